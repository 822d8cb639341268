# SPDX-License-Identifier: MIT
"""What must be seen of each call of a script, and the comparison with what was."""

from __future__ import annotations

import dataclasses
import functools
import os
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.native import compat
from tests.native.ground import HERE, kernel_symbols
from tests.native.script import AT_REMOVEDIR, GO, NUMBERS, Address, Script, Step, Steps, Stored

# Which argument of a call is what: by the manual pages.
_ARGUMENTS: dict[str, dict[str, int]] = {
    "openat": {"dirfd": 0, "raw_path": 1, "flags": 2, "mode": 3},
    "open": {"raw_path": 0, "flags": 1, "mode": 2},
    "creat": {"raw_path": 0, "mode": 1},
    "openat2": {"dirfd": 0, "raw_path": 1},
    "open_by_handle_at": {"dirfd": 0, "flags": 2},
    "memfd_create": {"flags": 1},
    "read": {"fd": 0, "count": 2},
    "write": {"fd": 0, "count": 2},
    "pread64": {"fd": 0, "count": 2, "offset": 3},
    "pwrite64": {"fd": 0, "count": 2, "offset": 3},
    "readv": {"fd": 0},
    "writev": {"fd": 0},
    "preadv": {"fd": 0, "offset": 3},
    "pwritev": {"fd": 0, "offset": 3},
    "preadv2": {"fd": 0, "offset": 3, "flags": 5},
    "pwritev2": {"fd": 0, "offset": 3, "flags": 5},
    "truncate": {"raw_path": 0, "count": 1},
    "ftruncate": {"fd": 0, "count": 1},
    "fallocate": {"fd": 0, "flags": 1, "offset": 2, "count": 3},
    "madvise": {"count": 1, "flags": 2},
    "unlinkat": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "unlink": {"raw_path": 0},
    "rmdir": {"raw_path": 0},
    "renameat2": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "renameat": {"dirfd": 0, "raw_path": 1},
    "rename": {"raw_path": 0},
    "link": {"raw_path": 0},
    "linkat": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "symlink": {"raw_path": 1},
    "symlinkat": {"dirfd": 1, "raw_path": 2},
    "mkdir": {"raw_path": 0, "mode": 1},
    "mkdirat": {"dirfd": 0, "raw_path": 1, "mode": 2},
    "mknod": {"raw_path": 0, "mode": 1},
    "mknodat": {"dirfd": 0, "raw_path": 1, "mode": 2},
    "bind": {"fd": 0},
    "chmod": {"raw_path": 0, "mode": 1},
    "fchmod": {"fd": 0, "mode": 1},
    "fchmodat": {"dirfd": 0, "raw_path": 1, "mode": 2},
    "fchmodat2": {"dirfd": 0, "raw_path": 1, "mode": 2, "flags": 3},
    "chown": {"raw_path": 0},
    "fchown": {"fd": 0},
    "lchown": {"raw_path": 0},
    "fchownat": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "utime": {"raw_path": 0},
    "utimes": {"raw_path": 0},
    "futimesat": {"dirfd": 0, "raw_path": 1},
    "utimensat": {"dirfd": 0, "raw_path": 1, "flags": 3},
    "setxattr": {"raw_path": 0, "count": 3, "flags": 4},
    "lsetxattr": {"raw_path": 0, "count": 3, "flags": 4},
    "fsetxattr": {"fd": 0, "count": 3, "flags": 4},
    "setxattrat": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "removexattr": {"raw_path": 0},
    "lremovexattr": {"raw_path": 0},
    "fremovexattr": {"fd": 0},
    "removexattrat": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "copy_file_range": {"fd": 0, "count": 4, "flags": 5},
    "sendfile": {"fd": 1, "count": 3},
    "splice": {"fd": 0, "count": 4, "flags": 5},
    "tee": {"fd": 0, "count": 2, "flags": 3},
    "vmsplice": {"fd": 0, "flags": 3},
    "ioctl": {"flags": 1},
    "mmap": {"count": 1, "mode": 2, "flags": 3, "fd": 4, "offset": 5},
    "msync": {"count": 1, "flags": 2},
    "fsync": {"fd": 0},
    "fdatasync": {"fd": 0},
    "syncfs": {"fd": 0},
    "sync_file_range": {"fd": 0, "offset": 1, "count": 2, "flags": 3},
    "close": {"fd": 0},
    "close_range": {"fd": 0, "flags": 2},
    "dup": {"fd": 0},
    "dup2": {"fd": 0},
    "dup3": {"fd": 0, "flags": 2},
    "fcntl": {"fd": 0},
    "execve": {"raw_path": 0},
    "execveat": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "chdir": {"raw_path": 0},
    "fchdir": {"fd": 0},
    "chroot": {"raw_path": 0},
    "mount": {"raw_path": 1, "flags": 3},
    "umount2": {"raw_path": 0, "flags": 1},
    "move_mount": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "pivot_root": {"raw_path": 0},
    "open_tree": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "open_tree_attr": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "mount_setattr": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "fspick": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "stat": {"raw_path": 0},
    "fstat": {"fd": 0},
    "lstat": {"raw_path": 0},
    "newfstatat": {"dirfd": 0, "raw_path": 1, "flags": 3},
    "statx": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "access": {"raw_path": 0, "mode": 1},
    "faccessat": {"dirfd": 0, "raw_path": 1, "mode": 2},
    "faccessat2": {"dirfd": 0, "raw_path": 1, "mode": 2, "flags": 3},
    "readlink": {"raw_path": 0, "count": 2},
    "readlinkat": {"dirfd": 0, "raw_path": 1, "count": 3},
    "getxattr": {"raw_path": 0, "count": 3},
    "lgetxattr": {"raw_path": 0, "count": 3},
    "fgetxattr": {"fd": 0, "count": 3},
    "listxattr": {"raw_path": 0, "count": 2},
    "llistxattr": {"raw_path": 0, "count": 2},
    "flistxattr": {"fd": 0, "count": 2},
    "getxattrat": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "listxattrat": {"dirfd": 0, "raw_path": 1, "flags": 2, "count": 4},
    "statfs": {"raw_path": 0},
    "fstatfs": {"fd": 0},
    "name_to_handle_at": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "inotify_add_watch": {"fd": 0, "raw_path": 1, "flags": 2},
    "fanotify_mark": {"fd": 0, "flags": 1, "dirfd": 3, "raw_path": 4},
    "getdents": {"fd": 0, "count": 2},
    "getdents64": {"fd": 0, "count": 2},
    "io_uring_setup": {"count": 0},
    "io_submit": {"count": 1},
    "process_vm_writev": {"flags": 5},
    "ptrace": {"flags": 0},
    "userfaultfd": {"flags": 0},
    "seccomp": {"flags": 1},
    "connect": {"fd": 0},
    "recvmsg": {"flags": 2},
    "recvmmsg": {"count": 2, "flags": 3},
    "sendmsg": {"flags": 2},
    "sendmmsg": {"count": 2, "flags": 3},
    "pidfd_getfd": {"flags": 2},
}
_OPERATIONS = {
    call: operation
    for operation, calls in {
        "open": "openat open creat openat2 open_by_handle_at",
        "memfd": "memfd_create",
        "read": "read pread64 readv preadv preadv2",
        "write": "write pwrite64 writev pwritev pwritev2",
        "truncate": "truncate ftruncate",
        "allocate": "fallocate madvise",
        "unlink": "unlinkat unlink",
        "rmdir": "rmdir",
        "rename": "renameat2 renameat rename",
        "link": "link linkat",
        "symlink": "symlink symlinkat",
        "mkdir": "mkdir mkdirat",
        "mknod": "mknod mknodat bind",
        "chmod": "chmod fchmod fchmodat fchmodat2",
        "chown": "chown fchown lchown fchownat",
        "utime": "utime utimes futimesat utimensat",
        "xattr": "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat",
        "copy": "copy_file_range sendfile splice tee vmsplice ioctl",
        "map": "mmap",
        "sync": "msync fsync fdatasync syncfs sync_file_range",
        "close": "close close_range",
        "dup": "dup dup2 dup3 fcntl",
        "exec": "execve execveat",
        "chdir": "chdir fchdir chroot",
        "mount": "mount umount2 move_mount pivot_root open_tree open_tree_attr mount_setattr fspick",
        "stat": (
            "stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getxattr "
            "lgetxattr fgetxattr listxattr llistxattr flistxattr getxattrat listxattrat statfs fstatfs "
            "name_to_handle_at inotify_add_watch fanotify_mark"
        ),
        "list": "getdents getdents64",
        "blind_spot": (
            "io_uring_setup io_submit process_vm_writev ptrace userfaultfd connect recvmsg recvmmsg sendmsg sendmmsg "
            "seccomp pidfd_getfd"
        ),
    }.items()
    for call in calls.split()
}


def calls_of(operations: Collection[str]) -> frozenset[str]:
    """What is traced when these operations are asked for."""
    asked = {call for call, operation in _OPERATIONS.items() if operation in (*operations, "blind_spot")}
    return frozenset(asked | ({"unlinkat"} if "rmdir" in operations else set()))


# Of these the result is a new descriptor, and of those a number of bytes.
_RETURNS_FD = {"openat", "open", "creat", "openat2", "open_by_handle_at", "memfd_create"}
_RETURNS_FD |= {"io_uring_setup", "userfaultfd", "seccomp", "pidfd_getfd"}
_MOVES = {
    *("read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2"),
    *("copy_file_range", "sendfile", "splice", "tee", "vmsplice", "readlink", "readlinkat", "getdents", "getdents64"),
    *("getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr"),
    *("getxattrat", "listxattrat"),
}
_CREAT_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC  # creat(2)
FICLONE, FICLONERANGE, FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436
FS_IOC_RESVSP, FS_IOC_UNRESVSP, FS_IOC_RESVSP64, FS_IOC_UNRESVSP64 = range(0x40305828, 0x4030582C)
FS_IOC_ZERO_RANGE = 0x40305839

# What a call that succeeds by a name did is told by the kernel itself, where a backend has probes below the calls.
_ACTED = {
    *("unlinkat", "unlink", "rmdir", "renameat2", "renameat", "rename", "link", "linkat", "symlink", "symlinkat"),
    *("mkdir", "mkdirat", "mknod", "mknodat", "bind"),
    *("truncate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat", "execve", "execveat", "mount", "umount2", "move_mount"),
    *("setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat"),
}
# The kernel keeps what these acted on until they return, so that every backend can have it.
_KEPT = {"bind", "execve", "execveat"}
# The function that is told, where it is not security_path_<operation>.
_TOLD_BY = {
    "utime": "vfs_utimes",
    "exec": "security_bprm_check",
    "xattr": "security_inode_setxattr",
    "mount": "security_sb_mount",
}
_PLACELESS = {"pipe", "socket", "memfd", "anon"}  # named alike from everywhere
CLONE_NEWNS = 0x00020000
_HAS_BELOW = {"kprobe", "fentry"}


@dataclass(frozen=True)
class Filtered:
    """Counted as filtered, not seen."""

    error: int = 0


FILTERED = Filtered()


@dataclass(frozen=True)
class Unseen:
    """A call that does many things, and here nothing to a file: neither seen nor counted."""

    error: int = 0


UNSEEN = Unseen()
Identity = tuple[int, int]


class Something:
    """Equal to anything but None."""

    def __eq__(self, other: object) -> bool:
        return other is not None

    __hash__ = None  # type: ignore[assignment]


SOMETHING = Something()
CHOSEN = {"backend": ""}  # of the test that runs: set by its fixture


@dataclass(frozen=True)
class Seen:
    """One event, apart from what the call's own arguments say. None: does not apply."""

    source: str
    path: str | None = None
    new_path: str | None = None
    error: int = 0
    moved: int | None = None  # bytes, of a call that succeeded and moves them
    offset: int | None = None  # where the call's arguments do not say it
    count: int | None = None  # of a call with several parts
    kind: str | None = None
    of: Path | Step | Identity | Callable[[], Identity] | None = (
        None  # whose device and inode: of a path, an fstat step
    )
    path_flags: frozenset[str] = frozenset()
    raw_path: str | None = None  # unlike the argument
    raw_is_unreadable: bool = False
    uid: int | None = None
    comm: str | None = None
    acted: Callable[[str], str] = os.path.normpath  # from the name as passed to the entry that the kernel acted on
    entry: tuple[str | None, str | None] | None = None  # these entries (path, new path), where that does not tell
    entry_of: Path | Identity | Callable[[], Identity] | None = None  # device and inode of what was acted on
    entry_kind: str | None = None
    start: Path | Step | Identity | None = None  # the directory that the name starts from, where `path` does not tell
    otherwise: Seen | None = None  # it may also be seen so
    op: str | None = None  # where it is not the call's own
    fd: Stored | None = None  # where neither the call's arguments nor its result say it
    opens: tuple[Path, ...] = ()  # of an exec: the files that the kernel itself opens for it, in order
    is_script: bool = False  # of an exec: the program that the kernel keeps is an interpreter


@dataclass(frozen=True)
class OpenedByExec:
    """One of these files, told before the exec is; by the thread that asked for it."""

    path: Path
    thread: Steps


def unreachable(seen: Seen, *flags: str) -> Seen:
    """The same, which no name from the process's root leads to any more."""
    found = seen.path_flags | {"unreachable", *flags}
    return dataclasses.replace(seen, path=f"(unreachable){seen.path}", path_flags=found)


def file(path: os.PathLike[str] | str, **more: Any) -> Seen:
    """A call on an open file: the kernel's own name of it."""
    more.setdefault("kind", "file")
    more.setdefault("of", Path(path))
    return Seen("file", os.fspath(path), **more)


def as_passed(path: os.PathLike[str] | str, new: os.PathLike[str] | str | None = None, **more: Any) -> Seen:
    """A call by an absolute name."""
    return Seen("as_passed", os.fspath(path), None if new is None else os.fspath(new), **more)


def relative(path: os.PathLike[str] | str, new: os.PathLike[str] | str | None = None, **more: Any) -> Seen:
    """A call by a name that starts from a directory."""
    return Seen("dir_and_name", os.fspath(path), None if new is None else os.fspath(new), **more)


def nameless(error: int, **more: Any) -> Seen:
    """A call whose name is not known, because there is none."""
    return Seen("none", error=error, **more)


def unreadable(error: int, **more: Any) -> Seen:
    """A call with a pointer to nowhere in place of its name."""
    return nameless(error, raw_is_unreadable=True, path_flags=frozenset({"unreadable"}), **more)


def _text(argument: Any) -> str | None:
    if argument is None or argument == 0:
        return None
    if isinstance(argument, Address):
        argument = argument.read().split(b"\0")[0]
    return os.fsdecode(argument)


def _signed(value: int) -> int:
    return struct.unpack("=i", struct.pack("=I", value & 0xFFFFFFFF))[0]


def _argument(step: Step, field: str) -> Any:
    index = _ARGUMENTS[step.name].get(field)
    if index is None or index >= len(step.arguments):
        return None
    return _value(step.arguments[index])


def _value(argument: Any) -> Any:
    """As the workload had it."""
    if isinstance(argument, Step):
        return argument.result
    return argument.value if isinstance(argument, Stored) else argument


@functools.cache
def _tells(operation: str) -> bool:
    """Whether this kernel has the function that is told the entry; where it was inlined the name is as passed."""
    function = _TOLD_BY.get(operation, f"security_path_{operation}")
    return function in kernel_symbols()


def _clone_source(step: Step) -> Any:
    """FICLONE is asked of the destination; the ranges are described in a structure."""
    request = step.arguments[1]
    if request == FICLONERANGE:
        return struct.unpack_from("=q", step.arguments[2].read())[0]
    return _value(step.arguments[2 if request == FICLONE else 0])


def _asked(step: Step, seen: Seen) -> dict[str, Any]:
    """What the call's own arguments say."""
    fields = ("dirfd", "flags", "mode", "fd", "count", "offset", "raw_path")
    asked = {field: _argument(step, field) for field in fields}
    if step.name == "creat":
        asked["flags"] = _CREAT_FLAGS
    if step.name == "openat2" and isinstance(how := step.arguments[2], Address):
        asked["flags"], asked["mode"] = struct.unpack_from("=QQ", how.read())
    if step.name == "ioctl":
        asked["fd"] = _clone_source(step)
    if seen.fd is not None:
        asked["fd"] = seen.fd.value
    for field in ("dirfd", "fd"):
        if asked[field] is not None:
            asked[field] = _signed(asked[field])
    if seen.count is not None:
        asked["count"] = seen.count
    if asked["count"] is not None:
        bits = compat.count_bits(step.name) if step.steps.script.by_compat else 64
        asked["count"] &= (1 << bits) - 1
    # Those two take it for none: then the descriptor's own counts, if it has one.
    if seen.offset is not None or (step.name in ("preadv2", "pwritev2") and asked["offset"] == -1):
        asked["offset"] = seen.offset
    return asked


@functools.cache
def _begins_elsewhere(steps: Steps) -> bool:
    """Whoever started this list had left our mounts or our root directory by then."""
    starts = ("thread", "fork", "vfork_exec", "spawn", "exec")
    for step in steps.script.steps:
        if step.name in starts and step.arguments[0] == steps.index:
            return _has_other_root(step)
    return False


def _has_other_root(step: Step) -> bool:
    """By the calls so far: its thread has left our mounts, or our root directory."""
    for each in step.steps.steps:
        if each.name == "unshare" and each.arguments[0] & CLONE_NEWNS:
            return True
        if each.name == "chroot" and each.result == 0 and each.arguments[0] != b"/":
            return True
        if each is step:
            break
    return _begins_elsewhere(step.steps)


def _start_of(step: Step, path: object, raw: str) -> tuple[object, object]:
    """Device and inode of the directory that the name starts from, if we see it, and at the same place still."""
    if _has_other_root(step):
        return SOMETHING, SOMETHING
    try:
        return identity(Path(str(path).removesuffix(raw)))
    except OSError:
        return SOMETHING, SOMETHING


def sees_exec_opens(script: Script) -> bool:
    """Whether the backend that is tried is told of every open of a file, and opens were asked for."""
    return CHOSEN["backend"] in _HAS_BELOW and "openat" in script.traced and "security_file_open" in kernel_symbols()


def opened_by_exec(path: os.PathLike[str] | str, pid: int, tid: int, ppid: int, **more: Any) -> dict[str, Any]:
    """Every field of the event of an open by an exec: it is told as it begins, of the file that was found."""
    # The superblock's number: on an overlay a folder has that, a file need not (fs/overlayfs/inode.c).
    device, inode = Path(path).parent.stat().st_dev, Path(path).stat().st_ino
    nothing = ("new_path", "raw_path", "fd", "dirfd", "mode", "count", "offset", "bytes", "return_code", "errno")
    return dict.fromkeys(nothing) | {
        "op": "open",
        "syscall": "open_exec",
        "path": os.fspath(path),
        "path_source": "file",
        "path_flags": frozenset(),
        "flags": os.O_RDONLY,
        "device": device,
        "inode": inode,
        "kind": "file",
        "pid": pid,
        "tid": tid,
        "ppid": ppid,
        "comm": "steps",
        "uid": os.getuid(),
        **more,
    }


def _expected_open(step: Step, opened: OpenedByExec) -> dict[str, Any]:
    thread = opened.thread
    flags = frozenset({"other_root"} if _has_other_root(step) else set())
    return opened_by_exec(opened.path, thread.pid, thread.tid, thread.ppid, path_flags=flags)


def expected_fields(step: Step, seen: Seen | OpenedByExec) -> dict[str, Any]:
    """Every field of the event that is fixed by the call and by what the test says of it."""
    if isinstance(seen, OpenedByExec):
        return _expected_open(step, seen)
    asked = _asked(step, seen)
    raw = None
    if not seen.raw_is_unreadable:
        raw = seen.raw_path if seen.raw_path is not None else _text(asked["raw_path"])
    operation = seen.op or _OPERATIONS[step.name]
    if step.name == "unlinkat" and asked["flags"] & AT_REMOVEDIR:
        operation = "rmdir"
    if operation == "open" and not (asked["flags"] or 0) & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
        asked["mode"] = None
    if step.name in _RETURNS_FD:
        asked["fd"] = None if seen.error else step.result
    moved = None
    if step.name in _MOVES:
        moved = 0 if seen.error else seen.moved
    device, inode = identity(seen.of) if seen.of is not None else (None, None)
    kind, path, new_path, source, flags = seen.kind, seen.path, seen.new_path, seen.source, seen.path_flags
    by_name = source in ("as_passed", "dir_and_name")
    told = CHOSEN["backend"] in _HAS_BELOW and step.name in _ACTED and _tells(operation)
    told = told and (CHOSEN["backend"], operation) not in HERE.untold
    if (told or (step.name in _KEPT and not seen.is_script)) and not seen.error and by_name:
        # Where it was, whatever way the caller's name took to it; what it was, too.
        source = "dentry"
        if seen.entry is not None:
            path, new_path = seen.entry
        else:
            path, new_path = (None if name is None else seen.acted(name) for name in (path, new_path))
        if seen.entry_of is not None:
            device, inode = identity(seen.entry_of)
            kind = seen.entry_kind
        elif seen.of is None:
            device = inode = kind = SOMETHING
    if source in ("as_passed", "dir_and_name") and device is None and raw and not raw.startswith("/") and path:
        # The object is not known, but the directory that its name starts from.
        device, inode = identity(seen.start) if seen.start else _start_of(step, path, raw)
    if step.name == "chdir" and not seen.error:
        # Every backend can ask afterwards which directory it is now.
        source, path = "dentry", os.path.realpath(str(path))
        device = inode = SOMETHING
        kind = "dir"
    placeless = isinstance(kind, str) and kind in _PLACELESS
    if source not in ("none", "fd_changed") and not placeless and _has_other_root(step):
        flags = flags | {"other_root"}
    thread = step.returns_to or step.steps
    return {
        "op": operation,
        "syscall": step.name,
        "path": path,
        "new_path": new_path,
        "raw_path": raw,
        "path_source": source,
        "path_flags": flags,
        "fd": asked["fd"],
        "dirfd": asked["dirfd"],
        "flags": asked["flags"],
        "mode": asked["mode"],
        "count": asked["count"],
        "offset": asked["offset"],
        "bytes": moved,
        "return_code": -seen.error if seen.error else (step.result if moved is None else moved),
        "errno": seen.error,
        "device": device,
        "inode": inode,
        "kind": kind,
        "pid": thread.pid,
        "tid": thread.tid,
        "ppid": thread.ppid,
        "comm": seen.comm or "steps",
        "uid": os.getuid() if seen.uid is None else seen.uid,
    }


def identity(of: Path | Step | Identity | Callable[[], Identity]) -> Identity:
    """Device and inode: by its path, or as the workload itself asked with fstat."""
    if isinstance(of, tuple):
        return of
    if not isinstance(of, (Path, Step)):
        return of()
    if isinstance(of, Step):
        assert of.name == "fstat" and of.result == 0, of
        return struct.unpack_from("=QQ", of.arguments[1].read())
    stat = of.stat()
    return stat.st_dev, stat.st_ino


def fields_of(event: Any) -> dict[str, Any]:
    """The same fields of a real event, in plain types."""
    names = (
        *("op", "syscall", "path", "new_path", "raw_path", "path_source", "fd", "dirfd", "flags", "mode", "count"),
        *("offset", "bytes", "return_code", "errno", "device", "inode", "kind", "pid", "tid", "ppid"),
        *("comm", "uid"),
    )
    fields = {name: getattr(event, name) for name in names}
    for name in ("op", "path_source", "kind"):
        fields[name] = None if fields[name] is None else str(fields[name])
    fields["path_flags"] = flag_names(event)
    return fields


def flag_names(event: Any) -> frozenset[str]:
    """The names of the flags that are set, in lower case."""
    return frozenset(str(flag.name).lower() for flag in event.path_flags)


# How a list comes to be the program anew: in a child, or in the very thread of another list.
_EXEC_IN_CHILD = ("vfork_exec", "spawn")


def _execs_in_child(script: Script) -> Iterator[Step]:
    """Those that the trace sees: whoever waits for it later has done before what it did."""
    for step in script.ordered():
        later = step.steps.steps[step.steps.steps.index(step) + 1 :]
        if step.name in _EXEC_IN_CHILD and not any(each.name == "wait" and each.arguments[0] == GO for each in later):
            yield step


def _opens_of(step: Step) -> Iterator[tuple[Step, OpenedByExec]]:
    """By the exec that the step is, in its own thread."""
    if step.name == "exec":
        yield step, OpenedByExec(Script.program, step.steps)
    elif isinstance(step.sees, (Seen, Filtered)) or callable(step.sees):
        seen = step.sees(0) if callable(step.sees) else step.sees
        for path in seen.opens if isinstance(seen, Seen) else ():
            yield step, OpenedByExec(path, step.steps)


def sightings(steps: Steps) -> Iterator[tuple[Step, Seen | OpenedByExec]]:
    """What must be seen of a list's thread, in order; last what another thread of its process returns as it."""
    tells_opens = sees_exec_opens(steps.script)
    for step in _execs_in_child(steps.script):
        if tells_opens and step.arguments[0] == steps.index:
            yield step, OpenedByExec(Script.program, steps)
    for step in steps.steps + [step for step in steps.script.ordered() if step.returns_to is steps]:
        if tells_opens and step.steps is steps:
            yield from _opens_of(step)
        sees = step.sees if step.steps is not steps or step.returns_to in (None, steps) else None
        if sees is None or isinstance(sees, (Filtered, Unseen)):
            continue
        for index in range(step.repeat):
            yield step, sees(index) if callable(sees) else sees


def check_results(script: Script, lists: Iterable[Steps] | None = None) -> None:
    """The workload itself met what the test foresaw: without this a comparison would prove little."""
    problems = []
    for step in [step for steps in (script.lists if lists is None else lists) for step in steps.steps]:
        if step.name not in NUMBERS:
            continue
        seen = step.sees(step.repeat - 1) if callable(step.sees) else step.sees
        if isinstance(seen, (Seen, Filtered, Unseen)) and seen.error:
            fits = step.result == -seen.error and step.failed == step.done
        elif isinstance(seen, Seen) and seen.moved is not None:
            fits = step.result == seen.moved and step.failed == 0
        else:
            fits = step.result >= 0 and step.failed == 0
        if not fits or step.done == 0:
            problems.append(f"{step}: {step.result}, done {step.done}, failed {step.failed}")
    assert not problems, "\n".join(problems[:40])


def check_events(script: Script, events: Iterable[Any], lists: Iterable[Steps] | None = None) -> None:
    """Each thread's events are exactly its list, in order and in every field; no other thread has any."""
    by_thread = defaultdict(list)
    for event in events:
        by_thread[event.tid].append(event)
    problems = []
    threads = defaultdict(list)
    for steps in script.lists if lists is None else lists:
        # After an exec the same thread goes on with another list.
        threads[steps.tid].append(steps)
    for tid, performed_by in threads.items():
        wanted = [each for steps in performed_by for each in sightings(steps)]
        got = by_thread.pop(tid, [])
        for (step, seen), event in zip(wanted, got, strict=False):
            want, have = expected_fields(step, seen), fields_of(event)
            if have != want and isinstance(seen, Seen) and seen.otherwise is not None:
                want = expected_fields(step, seen.otherwise)
            different = [f"{name} {have[name]!r}, not {want[name]!r}" for name in want if have[name] != want[name]]
            if different:
                problems.append(f"{step}: " + "; ".join(different))
        if len(got) != len(wanted):
            numbers = [steps.index for steps in performed_by]
            problems.append(f"list {numbers}: {len(got)} events, not {len(wanted)}")
            problems.extend(f"  unexpected: {event!r}" for event in got[len(wanted) :][:5])
            problems.extend(f"  missing: {step}" for step, _ in wanted[len(got) :][:5])
    for tid, strangers in by_thread.items():
        problems.append(f"thread {tid} is nobody's: {strangers[:3]!r}")
    assert not problems, "\n".join(problems[:40])


def performed(script: Script, chosen: Callable[[Step], bool] = lambda step: True) -> int:
    """Traced calls, by the workload's own count."""
    traced = (step for step in script.ordered() if step.name in script.traced and not isinstance(step.sees, Unseen))
    return sum(step.done for step in traced if chosen(step))


def exec_opens(script: Script) -> int:
    """Files that the kernel opened for the execs of the script, where that is told."""
    if not sees_exec_opens(script):
        return 0
    in_children = sum(step.done for step in _execs_in_child(script))
    return in_children + sum(1 for step in script.ordered() for _ in _opens_of(step))


def filtered(script: Script) -> int:
    """Those of them on objects that were not asked for."""
    return performed(script, lambda step: isinstance(step.sees, Filtered))


def delivered(script: Script) -> int:
    """Those of them that must arrive."""
    return performed(script, lambda step: not isinstance(step.sees, Filtered))


def blind_spots(script: Script) -> int:
    def is_one(step: Step) -> bool:
        return (getattr(step.sees, "op", None) or _OPERATIONS[step.name]) == "blind_spot"

    return performed(script, lambda step: is_one(step) and not isinstance(step.sees, Filtered))


CAUSES = (
    *("ring_full", "state_full", "no_entry", "no_exit", "fork_map_full", "queue_full"),
    "decode_error",
)


def check_ledger(stats: Any, backend: str, **expected: int) -> None:
    """The books balance, and each account has the workload's own number; an account not named is empty."""
    elsewhere = stats.queued + stats.in_flight + stats.filtered + stats.counted + stats.canaries + stats.lost
    assert stats.performed == stats.delivered + elsewhere, stats
    assert stats.lost == sum(getattr(stats, cause) for cause in CAUSES), stats
    accounts = dict.fromkeys(
        (
            *("performed", "delivered", "queued", "in_flight", "filtered", "counted", "lost", "pre_attach", "denied"),
            *("canaries", "compat_calls", "blind_spots", "bypass", "path_truncated", "path_unreadable"),
        ),
        0,
    )
    assert not expected.keys() - accounts.keys()
    accounts |= expected
    assert {name: getattr(stats, name) for name in accounts} == accounts, stats
    # The numbers are right all the same; but where the kernel keeps no count of misses, that is said.
    assert stats.exact == (backend not in HERE.inexact), stats
    unseen = ("lost", "in_flight", "pre_attach", "compat_calls", "blind_spots", "bypass")
    seen_whole = not any(accounts[name] for name in unseen)
    assert stats.complete == (stats.exact and seen_whole), stats


def check_script_ledger(script: Script, stats: Any, backend: str, **expected: int) -> None:
    """The same, of a script that has ended and whose every event has been read."""
    seen_ones = [seen for steps in script.lists for _, seen in sightings(steps) if isinstance(seen, Seen)]
    flags = [flag for seen in seen_ones for flag in seen.path_flags]
    check_ledger(
        stats,
        backend,
        **{
            "performed": performed(script) + exec_opens(script),
            "delivered": delivered(script) + exec_opens(script),
            "filtered": filtered(script),
            "blind_spots": blind_spots(script),
            "path_truncated": flags.count("truncated"),
            "path_unreadable": flags.count("unreadable"),
        }
        | expected,
    )
