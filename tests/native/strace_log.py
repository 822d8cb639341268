# SPDX-License-Identifier: MIT
"""What `strace -ff -y -s 0 -X raw` writes, as calls of the table: which call, on which files, and what came of it.

    for tid, calls in read_logs(folder).items(): ...

Written by the manual pages and by strace's own output; nothing here comes from the tracer that is held to it.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# Every call of the table, as its manual page has it. Of the arguments only these are looked at:
#   fd, fd2          descriptors of the (first, second) file       dir, dir2    what the name after it starts from
#   name, name2      names                                         name?        … NULL: the file of `dir` itself
#   empty            flags; with AT_EMPTY_PATH an empty name means the file of `dir` itself
#   fds              descriptors that name no one file             -            anything else
# and `= fd`: the result is a new descriptor.
_PAGES = """
openat(dir, name) = fd
open(name) = fd
creat(name) = fd
openat2(dir, name) = fd
open_by_handle_at(-) = fd
memfd_create(-) = fd
read(fd)
write(fd)
pread64(fd)
readv(fd)
preadv(fd)
preadv2(fd)
pwrite64(fd)
writev(fd)
pwritev(fd)
pwritev2(fd)
truncate(name)
ftruncate(fd)
fallocate(fd)
madvise(-)
unlinkat(dir, name)
unlink(name)
rmdir(name)
renameat2(dir, name, dir2, name2)
renameat(dir, name, dir2, name2)
rename(name, name2)
link(name, name2)
linkat(dir, name, dir2, name2, empty)
symlink(-, name)
symlinkat(-, dir, name)
mkdir(name)
mkdirat(dir, name)
mknod(name)
mknodat(dir, name)
bind(-, name)
chmod(name)
fchmod(fd)
fchmodat(dir, name)
fchmodat2(dir, name, -, empty)
chown(name)
fchown(fd)
lchown(name)
fchownat(dir, name, -, -, empty)
utime(name)
utimes(name)
futimesat(dir, name?)
utimensat(dir, name?, -, empty)
setxattr(name)
lsetxattr(name)
fsetxattr(fd)
setxattrat(dir, name, empty)
removexattr(name)
lremovexattr(name)
fremovexattr(fd)
removexattrat(dir, name, empty)
copy_file_range(fd, -, fd2)
sendfile(fd2, fd)
splice(fd, -, fd2)
tee(fd, fd2)
vmsplice(fd)
ioctl(fd2, -, fd)
mmap(-, -, -, -, fd)
msync(-)
fsync(fd)
fdatasync(fd)
syncfs(fd)
sync_file_range(fd)
close(fd)
close_range(fds)
dup(fd)
dup2(fd)
dup3(fd)
fcntl(fd)
execve(name)
execveat(dir, name, -, -, empty)
chdir(name)
fchdir(fd)
chroot(name)
mount(-, name)
umount2(name)
move_mount(dir, name, dir2, name2)
pivot_root(name, name2)
open_tree(dir, name, empty)
open_tree_attr(dir, name, empty)
mount_setattr(dir, name, empty)
fspick(dir, name)
stat(name)
fstat(fd)
lstat(name)
newfstatat(dir, name, -, empty)
statx(dir, name?, empty)
access(name)
faccessat(dir, name)
faccessat2(dir, name, -, empty)
readlink(name)
readlinkat(dir, name)
getxattr(name)
lgetxattr(name)
fgetxattr(fd)
listxattr(name)
llistxattr(name)
flistxattr(fd)
getxattrat(dir, name, empty)
listxattrat(dir, name, empty)
statfs(name)
fstatfs(fd)
name_to_handle_at(dir, name, -, -, empty)
inotify_add_watch(-, name)
fanotify_mark(-, -, -, dir, name?)
getdents(fd)
getdents64(fd)
io_uring_setup(-) = fd
io_submit(-)
process_vm_writev(-)
ptrace(-)
userfaultfd(-) = fd
connect(-)
recvmsg(-)
recvmmsg(-)
sendmsg(-)
sendmmsg(-)
pidfd_getfd(-) = fd
seccomp(-) = fd
"""


def _pages() -> Iterator[tuple[str, dict[str, int]]]:
    for line in _PAGES.split("\n")[1:-1]:
        call, _, words = line.removesuffix(" = fd").rstrip(")").partition("(")
        form = {word: index for index, word in enumerate(words.split(", ")) if word not in ("-", "fds")}
        if line.endswith(" = fd"):
            form["opens"] = 1
        yield call, form


FORMS = dict(_pages())
BLIND_SPOTS = frozenset(
    {"io_uring_setup", "io_submit", "process_vm_writev", "ptrace", "userfaultfd"}
    | {"connect", "recvmsg", "recvmmsg", "sendmsg", "sendmmsg", "pidfd_getfd", "seccomp"}
)

AT_FDCWD = -100
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
AT_EMPTY_PATH = 0x1000
FAN_MARK_FLUSH = 0x80
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = 0x100, 0x400
MADV_REMOVE = 9
MAP_SHARED, PROT_WRITE = 1, 2
AF_UNIX = 1
FICLONE, FICLONERANGE, FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436
MAP_ANONYMOUS = 0x20
F_DUPFD, F_DUPFD_CLOEXEC = 0, 1030

# Results that no program sees: the kernel makes EINTR of them or repeats the call (include/linux/errno.h).
_RESTARTS = {"ERESTARTSYS": 512, "ERESTARTNOINTR": 513, "ERESTARTNOHAND": 514, "ERESTART_RESTARTBLOCK": 516}


@dataclass(frozen=True)
class Opened:
    """A file by the kernel's own name of it; name None: strace shows a descriptor without a file."""

    name: str | None
    is_deleted: bool = False


@dataclass(frozen=True)
class Named:
    """A file by a name as passed, and what a relative one starts from. Text None: not readable. Start None: not known;
    empty: the descriptor that it is to start from is none."""

    text: str | None
    start: str | None = None
    through: str | None = None  # of /proc/self/fd/N: what the descriptor was last seen to name


class Unknown:
    """strace does not tell of this file."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()
File = Opened | Named | Unknown


@dataclass(frozen=True)
class Call:
    """One call. `result` None: it did not come back (its thread was killed inside it, or exec ended the thread)."""

    name: str
    result: int | None
    file: File | None = None  # what the call is on; None: it is on none
    other: File | None = None  # the second one, of calls with two
    opened: Opened | Unknown | None = None  # behind the descriptor that is the result
    passed: str | None = None  # the first name as it was passed
    follows: bool | None = None  # by the flags: a symbolic link at the end of the first name; None: they do not say
    is_shared: bool = False  # a mapping that is shared and may be written to

    @property
    def is_blind_spot(self) -> bool:
        return self.is_shared or self.name in BLIND_SPOTS

    @property
    def is_kept_back(self) -> bool:
        """A blind spot is told of a call that succeeds."""
        return self.name in BLIND_SPOTS and self.result is not None and self.result < 0


class LogError(ValueError):
    """A line that is none of strace's forms."""


def _unescape(text: str) -> str:
    return os.fsdecode(text.encode("ascii").decode("unicode_escape").encode("latin-1"))


_QUOTED = re.compile(r'@?"((?:[^"\\]|\\.)*)"(?:\.\.\.)?$')
# In angle brackets these two themselves are escaped, so the first > is the end.
_DESCRIPTOR = re.compile(r"(-?\d+)(?:<([^>]*)>)?(\(deleted\))?$")
_SHOWN = re.compile(r"(?:^| )(\d+)<([^>]*)>")
_OWN_FD = re.compile(r"/proc/self/fd/(\d+)$")
_RESULT = re.compile(
    r"\s*= (?P<value>-?\d+|0x[0-9a-f]+|\?)(?P<file><[^>]*>(?:\(deleted\))?)?"
    r"(?: (?:(?P<error>E\w+)|\(errno (?P<number>\d+)\)))?(?: \(.*\))?$"
)
# In place of what is not known yet, and where it goes on.
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>\)?(.*)")
# An exec by another thread than the first (PTRACE_EVENT_EXEC): in its own log, and in that of the first.
_MOVED = re.compile(r" <pid changed to \d+ \.\.\.>$")
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+$")


def _end_of(text: str, at: int) -> int:
    """The index behind the quotes or brackets that open at `at`."""
    if text[at] == '"':
        while True:
            at += 1
            if text[at] == "\\":
                at += 1
            elif text[at] == '"':
                return at + 1
    if text[at] == "<":
        return text.index(">", at) + 1
    at += 1
    while text[at] not in ")]}":
        at = _end_of(text, at) if text[at] in '"([{' or (text[at] == "<" and _opens_name(text, at)) else at + 1
    return at + 1


def _opens_name(text: str, at: int) -> bool:
    return text[at - 1].isdigit()


def _split(text: str) -> tuple[list[str], str]:
    """Of `name(arguments)rest`, from the first parenthesis on: the arguments and the rest."""
    parts: list[str] = []
    start = at = 1
    while text[at] != ")":
        if text[at] == ",":
            parts.append(text[start:at].strip())
            start = at = at + 1
        elif text[at] in '"([{' or (text[at] == "<" and _opens_name(text, at)):
            at = _end_of(text, at)
        else:
            at += 1
    parts.append(text[start:at].strip())
    return parts, text[at + 1 :]


def _number(text: str) -> int:
    """Of flags that strace could not name some are told as |0x…."""
    return sum(int(part, 8 if re.fullmatch("0[0-7]+", part) else 0) for part in text.split("|") if part)


def _string(text: str) -> str | None:
    match = _QUOTED.match(text)
    return _unescape(match[1]) if match else None


def _descriptor(text: str) -> tuple[int, Opened]:
    match = _DESCRIPTOR.match(text)
    if not match:
        raise LogError(f"not a descriptor: {text}")
    if match[2] is None:
        return int(match[1]), Opened(None)
    name, deleted = _unescape(match[2]), match[3] is not None
    # That of the current directory stands inside the brackets.
    if int(match[1]) == AT_FDCWD and name.endswith(" (deleted)"):
        name, deleted = name.removesuffix(" (deleted)"), True
    # fs/d_path.c, simple_dname(): a file that was never in any directory is always called deleted.
    return int(match[1]), Opened(name, deleted and not name.startswith("/memfd:"))


def _unix_name(address: str) -> str | None:
    """The name in an AF_UNIX address; none in an abstract one (@"…"), nor where there is nothing but the family."""
    match = re.search(r'sun_path="((?:[^"\\]|\\.)*)"', address)
    return (_unescape(match[1]) or None) if match else None


def _is_meant(call: str, parts: list[str]) -> bool:
    """Calls that do many things are of the table only when they concern a file."""
    if call == "madvise":
        return _number(parts[2]) == MADV_REMOVE
    if call == "bind":
        return bool(re.match(r"{sa_family=(0x)?1[,}]", parts[1])) and _unix_name(parts[1]) is not None
    if call == "ioctl":
        return _number(parts[1]) in (FICLONE, FICLONERANGE, FIDEDUPERANGE) or _is_of_space(parts)
    if call == "mmap":
        return not _number(parts[3]) & MAP_ANONYMOUS
    if call == "fcntl":
        return _number(parts[1]) in (F_DUPFD, F_DUPFD_CLOEXEC)
    if call == "connect":
        return "/run/docker.sock" in parts[1]  # one of those; no program that is compared speaks to another
    if call in ("recvmsg", "recvmmsg", "sendmsg", "sendmmsg"):
        return "cmsg_type=0x1}" in parts[1] or "cmsg_type=0x1," in parts[1]  # SCM_RIGHTS
    if call == "fanotify_mark":
        return not _number(parts[1]) & FAN_MARK_FLUSH
    if call == "seccomp":
        return bool(_number(parts[1]) & SECCOMP_FILTER_FLAG_NEW_LISTENER)
    if call == "ptrace":
        return _number(parts[0]) in (PTRACE_ATTACH, PTRACE_SEIZE)
    return True


def _file(call: str, form: dict[str, int], parts: list[str], second: str, cwd: str | None) -> File | None:
    """The first or second file of a call, by descriptor or by name."""
    by_fd = form.get(f"fd{second}")
    if by_fd is not None:
        return _descriptor(parts[by_fd])[1] if by_fd < len(parts) else None
    by_name = form.get(f"name{second}", form.get("name?") if not second else None)
    if by_name is None or by_name >= len(parts):
        return None
    text = _unix_name(parts[by_name]) if call == "bind" else _string(parts[by_name])
    directory = form.get(f"dir{second}")
    if directory is None:
        return Named(text, cwd)
    _, start = _descriptor(parts[directory])
    if "name?" in form and parts[by_name] == "NULL":
        return start
    flags = _number(parts[form["empty"]]) if "empty" in form and not second else 0
    return start if text == "" and flags & AT_EMPTY_PATH else Named(text, start.name or "")


def _is_of_space(parts: list[str]) -> bool:
    """FS_IOC_RESVSP and its like, which 32-bit programs give another size."""
    return _number(parts[1]) & ~0x3FFF0000 in (0x40005828, 0x40005829, 0x4000582A, 0x4000582B, 0x40005839)


def _clone(parts: list[str]) -> tuple[File, File | None]:
    """Source and destination of the ioctls: FICLONE names its source by a bare number."""
    _, on = _descriptor(parts[0])
    if _is_of_space(parts):
        return on, None
    request = _number(parts[1])
    member = re.search(r"(?:src|dest)_fd=(-?\d+(?:<[^>]*>)?(?:\(deleted\))?)", parts[2])
    inside: File = _descriptor(member[1])[1] if member else UNKNOWN
    if request == FIDEDUPERANGE:
        return on, inside
    return (inside if request == FICLONERANGE else UNKNOWN), on


def _result(text: str) -> tuple[int | None, Opened]:
    match = _RESULT.match(text)
    if not match:
        raise LogError(f"not a result: {text}")
    file = _descriptor(f"0{match['file'] or ''}")[1]
    if match["error"]:
        number = _RESTARTS.get(match["error"]) or getattr(errno, match["error"])
        return -number, file
    if match["number"]:
        return -int(match["number"]), file
    return None if match["value"] == "?" else int(match["value"], 0), file


def known_calls() -> frozenset[str]:
    """Those of FORMS that the installed strace can trace: calls newer than itself it does not know."""
    known = set(FORMS)
    while True:
        names = ",".join(sorted(known))
        run = subprocess.run(["strace", "-e", f"trace={names}", "true"], capture_output=True, text=True, check=False)
        invalid = re.search(r"invalid system call '(\w+)'", run.stderr)
        if not invalid:
            assert run.returncode == 0, run.stderr
            return frozenset(known)
        known.remove(invalid[1])


class _Log:
    """One thread's lines. Where its relative names start is known from what strace shows of AT_FDCWD, until the thread
    goes to another directory; that of another thread which shares it is not noticed."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cwd: str | None = None
        self.names: dict[str, str] = {}  # of descriptors, by number
        self.moved: Call | None = None  # an exec that goes on under the first thread's number
        self.taken_over: list[tuple[int, int]] = []  # at this call: an exec begun by that thread

    def take(self, line: str) -> None:
        try:
            self._take(line)
        except (ValueError, IndexError) as error:
            raise LogError(f"{error}: {line}") from error

    def _take(self, line: str) -> None:
        superseded = _SUPERSEDED.match(line)
        if superseded:
            self.taken_over.append((len(self.calls), int(superseded[1])))
        if line.startswith(("+++ ", "--- ")):
            return
        resumed = _RESUMED.match(line)
        if resumed:
            self.calls.append(Call(resumed[1], _result(resumed[2])[0]))
            return
        moved = _MOVED.search(line)
        if moved:
            self.moved = self._call(line[: moved.start()] + ") = ?")
            return
        call = self._call(line)
        if call is None:
            return
        self.calls.append(call)
        if call.result == 0 and call.name in ("chdir", "fchdir", "chroot"):
            self.cwd = call.file.name if isinstance(call.file, Opened) else None

    def _call(self, line: str) -> Call | None:
        name, parenthesis, _ = line.partition("(")
        if not parenthesis or not name.isidentifier():
            raise LogError("not a call")
        form = FORMS.get(name)
        if form is None:
            return None
        # Of a call that did not come back strace may have told a part of the arguments.
        parts, rest = _split(line[len(name) :].replace(_UNFINISHED, ""))
        result, behind = _result(rest)
        if not _is_meant(name, parts):
            return None
        for word in ("dir", "dir2"):
            if word in form:
                number, start = _descriptor(parts[form[word]])
                if number == AT_FDCWD:
                    self.cwd = start.name
        if name == "ioctl":
            file, other = _clone(parts)
        else:
            file, other = (_file(name, form, parts, second, self.cwd) for second in ("", "2"))
        if "name?" in form and result == -errno.EFAULT and parts[form["name?"]] == "NULL":
            file = Named(None, self.cwd)  # statx() before Linux 6.11: NULL is a name that cannot be read
        file = self._through(file)
        for number, name_of in _SHOWN.findall(" ".join(part for part in parts if _DESCRIPTOR.match(part))):
            self.names[number] = _unescape(name_of)
        opened: Opened | Unknown | None = behind if "opens" in form and result is not None and result >= 0 else None
        if opened == Opened(None):
            opened = UNKNOWN  # strace 6.1 shows no name behind what open_by_handle_at() returns
        if isinstance(opened, Opened) and opened.name:
            self.names[str(result)] = opened.name
        passed = file.text if isinstance(file, Named) else None
        if isinstance(file, Opened) and "dir" in form:
            passed = _string(parts[form["name" if "name" in form else "name?"]])
        flags = _number(parts[form["empty"]]) if "empty" in form else 0
        follows = False if flags & AT_SYMLINK_NOFOLLOW else True if flags & AT_SYMLINK_FOLLOW else None
        is_memory = isinstance(file, Opened) and (file.name or "").startswith("/memfd:")
        is_shared = name == "mmap" and bool(_number(parts[3]) & MAP_SHARED and _number(parts[2]) & PROT_WRITE)
        return Call(name, result, file, other, opened, passed, follows, is_shared and not is_memory)

    def _through(self, file: File | None) -> File | None:
        """The same, of a name that leads through a descriptor (GNU tar, pip and others use such names)."""
        match = _OWN_FD.match(file.text or "") if isinstance(file, Named) else None
        return replace(file, through=self.names.get(match[1])) if match and isinstance(file, Named) else file


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls of one thread's log."""
    log = _Log()
    for line in lines:
        log.take(line)
    return log.calls


def read_logs(folder: Path) -> dict[int, list[Call]]:
    """The calls of each thread, by its number, from the files of `strace -ff -o FOLDER/log`.

    An exec by another thread than the first ends in the log of the first, whose number it takes over; what it was
    called with stands in its own log.
    """
    logs: dict[int, _Log] = {}
    for path in sorted(folder.iterdir()):
        log = logs[int(path.suffix[1:])] = _Log()
        for line in path.read_text(encoding="ascii").splitlines():
            log.take(line)
    for log in logs.values():
        for index, thread in log.taken_over:
            begun = logs[thread].moved
            if begun is None or log.calls[index].name != begun.name:
                raise LogError(f"no exec of thread {thread} that could go on here: {log.calls[index]}")
            log.calls[index] = replace(begun, result=log.calls[index].result)
    return {tid: log.calls for tid, log in logs.items()}
