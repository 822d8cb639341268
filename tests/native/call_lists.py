# SPDX-License-Identifier: MIT
"""Lists of calls, each with what must be seen of it: every traced call, in each way it can succeed and fail."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.native.expected import FILTERED, Seen, as_passed, file, nameless, relative, unreadable
from tests.native.script import (
    AT_FDCWD,
    AT_REMOVEDIR,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    Address,
    Script,
    Step,
    Steps,
    Stored,
)

NOWHERE = 0x10  # an address where nothing is mapped
NO_FD = 900
CLONE_FS = 0x200
TRUNCATED = frozenset({"truncated"})
DELETED = frozenset({"deleted"})
O_TMPFILE = os.O_TMPFILE

Writer = Callable[[Script, Steps, Path], None]


def _stat(script: Script, steps: Steps, fd: Step) -> Step:
    """Asks the kernel itself which file that is."""
    return steps.call("fstat", fd, script.buffer(144))


def _path_of(size: int, start: Path, name: str) -> str:
    """An absolute path of just so many bytes that leads to start/name by way of many dots."""
    path = f"{start}/"
    dots = size - len(path) - len(name)
    assert dots >= 0
    return path + "./" * (dots // 2) + "/" * (dots % 2) + name


def openings(script: Script, steps: Steps, home: Path) -> None:
    """openat."""
    (home / "plain").write_bytes(b"0123456789")
    (home / "sub").mkdir()
    (home / "sub" / "inner").write_bytes(b"inner")
    (home / "link").symlink_to("plain")
    (home / "loop").symlink_to("loop")
    plain, sub = home / "plain", home / "sub"
    # Threads share the working directory unless told not to.
    steps.call("unshare", CLONE_FS)

    steps.call("openat", AT_FDCWD, plain, os.O_RDWR, sees=file(plain))
    steps.call("openat", AT_FDCWD, plain, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, sees=file(plain))
    create = os.O_RDWR | os.O_CREAT | os.O_EXCL
    steps.call("openat", AT_FDCWD, home / "new", create, 0o640, sees=file(home / "new"))
    steps.call("openat", AT_FDCWD, home / "new", os.O_WRONLY | os.O_TRUNC | os.O_APPEND, sees=file(home / "new"))
    steps.call("chdir", home)
    steps.call("openat", AT_FDCWD, "plain", os.O_RDONLY, sees=file(plain))
    steps.call("openat", AT_FDCWD, "./sub//../plain", os.O_RDONLY, sees=file(plain))
    steps.call("openat", AT_FDCWD, "link", os.O_RDONLY, sees=file(plain))
    steps.call("openat", AT_FDCWD, "made", os.O_CREAT | os.O_WRONLY, 0o4755, sees=file(home / "made"))
    directory = os.O_RDONLY | os.O_DIRECTORY
    steps.call("openat", AT_FDCWD, ".", directory, sees=file(home, kind="dir"))
    steps.call("openat", AT_FDCWD, "/", directory, sees=file("/", kind="dir"))
    inside = steps.call("openat", AT_FDCWD, "sub", directory, sees=file(sub, kind="dir"))
    steps.call("openat", inside, "inner", os.O_RDONLY, sees=file(sub / "inner"))
    steps.call("openat", inside, "../plain", os.O_RDONLY, sees=file(plain))
    steps.call("openat", inside, plain, os.O_RDONLY, sees=file(plain))
    steps.call("openat", NO_FD, plain, os.O_RDONLY, sees=file(plain))
    steps.call("openat", AT_FDCWD, _path_of(4095, home, "plain"), os.O_RDONLY, sees=file(plain))
    steps.call("openat", AT_FDCWD, "./" * 2000 + "plain", os.O_RDONLY, sees=file(plain))

    stat = script.buffer(144)
    link = steps.call("openat", AT_FDCWD, "link", os.O_PATH | os.O_NOFOLLOW, sees=lambda _: seen_link)
    seen_link = file(home / "link", kind="symlink", of=steps.call("fstat", link, stat))
    hidden = steps.call("openat", AT_FDCWD, home, O_TMPFILE | os.O_RDWR, 0o600, sees=lambda _: seen_hidden())
    hidden_stat = _stat(script, steps, hidden)

    def seen_hidden() -> Seen:
        inode = struct.unpack_from("=QQ", hidden_stat.arguments[1].read())[1]
        return file(home / f"#{inode}", of=hidden_stat, path_flags=DELETED)

    def fails(error: int, dirfd: int | Step, path: object, flags: int, seen: Seen) -> None:
        assert seen.error == error
        steps.call("openat", dirfd, path, flags, 0o600, sees=seen)

    for error, name, flags in (
        (errno.ENOENT, "none", os.O_RDONLY),
        (errno.ENOENT, "none/../plain", os.O_RDONLY),
        (errno.ENOTDIR, "plain/x", os.O_RDWR),
        (errno.ENOTDIR, "plain", directory),
        (errno.EISDIR, "sub", os.O_WRONLY),
        (errno.EEXIST, "plain", create),
        (errno.ELOOP, "loop", os.O_RDONLY),
        (errno.ELOOP, "link", os.O_RDONLY | os.O_NOFOLLOW),
        (errno.ENAMETOOLONG, "n" * 256, os.O_RDONLY),
        (errno.ENOENT, "n" * 255, os.O_RDONLY),
    ):
        fails(error, AT_FDCWD, f"{home}/{name}", flags, as_passed(f"{home}/{name}", error=error))
        fails(error, AT_FDCWD, name, flags, relative(f"{home}/{name}", error=error))
    fails(errno.ENOENT, inside, "none", os.O_RDONLY, relative(sub / "none", error=errno.ENOENT))
    fails(errno.ENOENT, inside, ".././x/../none", os.O_RDONLY, relative(f"{sub}/.././x/../none", error=errno.ENOENT))
    file_fd = steps.call("openat", AT_FDCWD, "plain", os.O_RDONLY, sees=file(plain))
    fails(errno.ENOTDIR, file_fd, "x", os.O_RDONLY, relative(plain / "x", error=errno.ENOTDIR))
    fails(errno.EBADF, NO_FD, "plain", os.O_RDONLY, nameless(errno.EBADF))
    fails(errno.EBADF, -1, "plain", os.O_RDONLY, nameless(errno.EBADF))
    fails(errno.ENOENT, AT_FDCWD, b"", os.O_RDONLY, nameless(errno.ENOENT))
    fails(errno.EFAULT, AT_FDCWD, NOWHERE, os.O_RDONLY, unreadable(errno.EFAULT))
    fails(errno.EFAULT, NO_FD, NOWHERE, os.O_RDWR, unreadable(errno.EFAULT))
    longest = _path_of(4095, home, "none")
    fails(errno.ENOENT, AT_FDCWD, longest, os.O_RDONLY, as_passed(longest, error=errno.ENOENT))
    long_name = "./" * 2045 + "none"
    assert len(long_name) == 4094
    fails(errno.ENOENT, AT_FDCWD, long_name, os.O_RDONLY, relative(f"{home}/{long_name}", error=errno.ENOENT))
    for size in (4096, 4097, 6000):
        too_long = _path_of(size, home, "none")
        cut = too_long[:4095]
        seen = as_passed(cut, error=errno.ENAMETOOLONG, raw_path=cut, path_flags=TRUNCATED)
        fails(errno.ENAMETOOLONG, AT_FDCWD, too_long, os.O_RDONLY, seen)


def descriptors(script: Script, steps: Steps, home: Path) -> None:
    """read and write."""
    plain = home / "data"
    plain.write_bytes(b"0123456789")
    (home / "dir").mkdir()
    steps.call("unshare", CLONE_FS)
    steps.call("chdir", home)
    buffer = script.buffer(4096)

    def read(fd: int | Step | Stored, count: int, seen: object, into: Address | int = buffer) -> None:
        steps.call("read", fd, into, count, sees=seen)

    def write(fd: int | Step | Stored, data: bytes | int, seen: object, count: int | None = None) -> None:
        source = script.buffer(data) if isinstance(data, bytes) else data
        steps.call("write", fd, source, len(data) if isinstance(data, bytes) else count, sees=seen)

    fd = steps.call("openat", AT_FDCWD, "data", os.O_RDWR, sees=file(plain))
    read(fd, 3, file(plain, offset=0, moved=3))
    read(fd, 3, file(plain, offset=3, moved=3))
    steps.call("lseek", fd, 8, os.SEEK_SET)
    read(fd, 5, file(plain, offset=8, moved=2))
    read(fd, 5, file(plain, offset=10, moved=0))
    write(fd, b"abcd", file(plain, offset=10, moved=4))
    read(fd, 0, file(plain, offset=14, moved=0))
    write(fd, b"", file(plain, offset=14, moved=0))
    twin = steps.call("dup", fd)
    steps.call("lseek", fd, 1, os.SEEK_SET)
    read(twin, 2, file(plain, offset=1, moved=2))
    read(fd, 2**31 + 5, file(plain, offset=3, moved=11))
    steps.call("lseek", fd, 0, os.SEEK_SET)
    read(fd, 4, file(plain, offset=0, error=errno.EFAULT), into=NOWHERE)
    read(fd, 2**64 - 1, file(plain, offset=0, error=errno.EFAULT))
    write(fd, NOWHERE, file(plain, offset=0, error=errno.EFAULT), 4)
    steps.call("lseek", fd, 5 << 32, os.SEEK_SET)
    read(fd, 4, file(plain, offset=5 << 32, moved=0))

    only_write = steps.call("openat", AT_FDCWD, plain, os.O_WRONLY, sees=file(plain))
    read(only_write, 4, file(plain, offset=0, error=errno.EBADF))
    only_read = steps.call("openat", AT_FDCWD, plain, os.O_RDONLY, sees=file(plain))
    write(only_read, b"x", file(plain, offset=0, error=errno.EBADF))
    # The position before the call is what it is; the kernel moves it to the end itself.
    end = steps.call("openat", AT_FDCWD, plain, os.O_WRONLY | os.O_APPEND, sees=file(plain))
    write(end, b"ef", file(plain, offset=0, moved=2))
    write(end, b"g", file(plain, offset=16, moved=1))
    read(NO_FD, 4, nameless(errno.EBADF))
    read(-1, 4, nameless(errno.EBADF))
    write(-1, b"x", nameless(errno.EBADF))
    write(NO_FD, b"x", nameless(errno.EBADF))

    folder = steps.call("openat", AT_FDCWD, "dir", os.O_RDONLY, sees=file(home / "dir", kind="dir"))
    read(folder, 8, file(home / "dir", kind="dir", offset=0, error=errno.EISDIR))

    create = os.O_RDWR | os.O_CREAT
    gone = steps.call("openat", AT_FDCWD, "gone", create, 0o600, sees=lambda _: file(home / "gone", of=gone_stat))
    gone_stat = _stat(script, steps, gone)
    steps.call("unlink", "gone", sees=relative(home / "gone"))
    seen_gone = file(home / "gone", of=gone_stat, path_flags=DELETED, offset=0, moved=4)
    write(gone, b"last", seen_gone)
    steps.call("lseek", gone, 1, os.SEEK_SET)
    read(gone, 8, file(home / "gone", of=gone_stat, path_flags=DELETED, offset=1, moved=3))

    moved = steps.call("openat", AT_FDCWD, "before", create, 0o600, sees=file(home / "before", of=home / "after"))
    write(moved, b"1", file(home / "before", of=home / "after", offset=0, moved=1))
    steps.call("rename", "before", "after", sees=relative(home / "before", home / "after"))
    write(moved, b"2", file(home / "after", offset=1, moved=1))

    memory = steps.call("memfd_create", b"secret", 0)
    memory_stat = _stat(script, steps, memory)
    write(memory, b"abc", file("/memfd:secret", kind="memfd", of=memory_stat, offset=0, moved=3))
    steps.call("lseek", memory, 0, os.SEEK_SET)
    read(memory, 8, file("/memfd:secret", kind="memfd", of=memory_stat, offset=0, moved=3))

    for name, data in (("null", b"x"), ("full", b"x")):
        device = Path("/dev", name)
        error = errno.ENOSPC if name == "full" else 0
        fd = steps.call("openat", AT_FDCWD, device, os.O_RDWR, sees=file(device, kind="device"))
        write(fd, data, file(device, kind="device", offset=0, error=error, moved=None if error else len(data)))
        read(fd, 2, file(device, kind="device", offset=0, moved=2 if name == "full" else 0))

    for name, arguments in (("pipe", ()), ("socketpair", (socket.AF_UNIX, socket.SOCK_STREAM, 0))):
        ends = script.buffer(8)
        steps.call(name, *arguments, ends)
        reader, writer = Stored(ends), Stored(ends + 4)
        write(writer, b"12345", FILTERED)
        read(reader, 5, FILTERED)
        write(NO_FD, b"", nameless(errno.EBADF))
    counter = steps.call("eventfd2", 1, 0)
    read(counter, 8, FILTERED)
    write(counter, struct.pack("=Q", 5), FILTERED)

    # A file that no disk holds; its name has the reader's own number.
    status = steps.call("openat", AT_FDCWD, "/proc/self/status", os.O_RDONLY, sees=lambda _: seen_status())
    status_stat = _stat(script, steps, status)

    def seen_status(**more: object) -> Seen:
        return file(f"/proc/{steps.pid}/status", of=status_stat, **more)

    read(status, 16, lambda _: seen_status(offset=0, moved=16))


def removals(script: Script, steps: Steps, home: Path) -> None:
    """unlinkat and unlink; unlinkat(AT_REMOVEDIR) is rmdir."""
    for name in ("a", "b", "c", "d", "e", "plain"):
        (home / name).write_bytes(b"")
    for name in ("sub", "full", "empty1", "empty2", "empty3"):
        (home / name).mkdir()
    for name in ("x", "y"):
        (home / "sub" / name).write_bytes(b"")
    (home / "full" / "x").write_bytes(b"")
    (home / "sub" / "empty").mkdir()
    (home / "loop").symlink_to("loop")
    sub = home / "sub"
    steps.call("unshare", CLONE_FS)
    steps.call("chdir", home)
    inside = steps.call("openat", AT_FDCWD, sub, os.O_RDONLY | os.O_DIRECTORY, sees=file(sub, kind="dir"))

    steps.call("unlinkat", AT_FDCWD, home / "a", 0, sees=as_passed(home / "a"))
    steps.call("unlinkat", AT_FDCWD, "b", 0, sees=relative(home / "b"))
    steps.call("unlinkat", inside, "x", 0, sees=relative(sub / "x"))
    steps.call("unlinkat", inside, "../c", 0, sees=relative(f"{sub}/../c"))
    steps.call("unlinkat", NO_FD, home / "d", 0, sees=as_passed(home / "d"))
    steps.call("unlink", sub / "y", sees=as_passed(sub / "y"))
    steps.call("unlink", "./e", sees=relative(f"{home}/./e"))
    steps.call("unlink", "loop", sees=relative(home / "loop"))
    steps.call("unlinkat", AT_FDCWD, home / "empty1", AT_REMOVEDIR, sees=as_passed(home / "empty1"))
    steps.call("unlinkat", AT_FDCWD, "empty2/", AT_REMOVEDIR, sees=relative(f"{home}/empty2/"))
    steps.call("unlinkat", inside, "empty", AT_REMOVEDIR, sees=relative(sub / "empty"))

    for error, name, flags in (
        (errno.ENOENT, "a", 0),
        (errno.EISDIR, "full", 0),
        (errno.ENOTDIR, "plain/", 0),
        (errno.ENOTEMPTY, "full", AT_REMOVEDIR),
        (errno.ENOTDIR, "plain", AT_REMOVEDIR),
        (errno.EINVAL, "plain", 1),
        (errno.EINVAL, "empty3", AT_REMOVEDIR | 1),
        (errno.EINVAL, "empty3/.", AT_REMOVEDIR),
        (errno.ENAMETOOLONG, "n" * 256, 0),
    ):
        name_seen = f"{home}/{name}"
        steps.call("unlinkat", AT_FDCWD, name_seen, flags, sees=as_passed(name_seen, error=error))
        steps.call("unlinkat", AT_FDCWD, name, flags, sees=relative(name_seen, error=error))
    for error, name in ((errno.ENOENT, "a"), (errno.EISDIR, "full"), (errno.ENOTDIR, "plain/x")):
        steps.call("unlink", f"{home}/{name}", sees=as_passed(f"{home}/{name}", error=error))
        steps.call("unlink", name, sees=relative(f"{home}/{name}", error=error))
    steps.call("unlinkat", NO_FD, "plain", 0, sees=nameless(errno.EBADF))
    for flags in (0, AT_REMOVEDIR):
        steps.call("unlinkat", AT_FDCWD, NOWHERE, flags, sees=unreadable(errno.EFAULT))
        steps.call("unlinkat", inside, b"", flags, sees=nameless(errno.ENOENT))
    steps.call("unlink", NOWHERE, sees=unreadable(errno.EFAULT))
    steps.call("unlink", b"", sees=nameless(errno.ENOENT))
    longest = _path_of(4095, home, "none")
    steps.call("unlink", longest, sees=as_passed(longest, error=errno.ENOENT))
    cut = (longest + "more")[:4095]
    seen = as_passed(cut, error=errno.ENAMETOOLONG, raw_path=cut, path_flags=TRUNCATED)
    steps.call("unlink", longest + "more", sees=seen)
    steps.call("unlinkat", AT_FDCWD, longest + "more", 0, sees=seen)


def renames(script: Script, steps: Steps, home: Path) -> None:
    """renameat2 and rename."""
    for name in ("a", "b", "c", "plain", "other"):
        (home / name).write_bytes(name.encode())
    for name in ("sub", "full"):
        (home / name).mkdir()
    (home / "sub" / "inner").write_bytes(b"")
    (home / "full" / "x").write_bytes(b"")
    sub = home / "sub"
    steps.call("unshare", CLONE_FS)
    steps.call("chdir", home)
    inside = steps.call("openat", AT_FDCWD, sub, os.O_RDONLY | os.O_DIRECTORY, sees=file(sub, kind="dir"))

    steps.call("rename", home / "a", home / "a1", sees=as_passed(home / "a", home / "a1"))
    steps.call("rename", "a1", "a2", sees=relative(home / "a1", home / "a2"))
    # Of two names the weaker one says where the path is from.
    steps.call("rename", home / "a2", "./a3", sees=as_passed(home / "a2", f"{home}/./a3"))
    steps.call("rename", "a3", home / "a4", sees=as_passed(home / "a3", home / "a4"))
    here = AT_FDCWD
    steps.call("renameat2", here, home / "b", here, home / "b1", 0, sees=as_passed(home / "b", home / "b1"))
    steps.call("renameat2", here, "b1", inside, "b2", 0, sees=relative(home / "b1", sub / "b2"))
    steps.call("renameat2", inside, "b2", here, "b3", 0, sees=relative(sub / "b2", home / "b3"))
    steps.call("renameat2", NO_FD, home / "b3", here, "b", 0, sees=as_passed(home / "b3", home / "b"))
    exchanged = relative(home / "plain", f"{sub}/../other")
    steps.call("renameat2", here, "plain", inside, "../other", RENAME_EXCHANGE, sees=exchanged)
    steps.call("renameat2", here, "c", here, "c1", RENAME_NOREPLACE, sees=relative(home / "c", home / "c1"))

    for error, old, new, flags in (
        (errno.ENOENT, "none", "x", 0),
        (errno.ENOENT, "c1", "none/x", 0),
        (errno.EEXIST, "plain", "other", RENAME_NOREPLACE),
        (errno.ENOTEMPTY, "sub", "full", 0),
        (errno.ENOTDIR, "sub", "plain", 0),
        (errno.EISDIR, "plain", "sub", 0),
        (errno.EINVAL, "sub", "sub/inner2", 0),
        (errno.EINVAL, "plain", "x", 0x80),
        (errno.ENAMETOOLONG, "plain", "n" * 256, 0),
        (errno.EBUSY, "plain", "sub/..", 0),
    ):
        absolute = as_passed(f"{home}/{old}", f"{home}/{new}", error=error)
        apart = relative(f"{home}/{old}", f"{home}/{new}", error=error)
        steps.call("renameat2", here, f"{home}/{old}", here, f"{home}/{new}", flags, sees=absolute)
        steps.call("renameat2", here, old, here, new, flags, sees=apart)
        if not flags:
            steps.call("rename", f"{home}/{old}", f"{home}/{new}", sees=absolute)
            steps.call("rename", old, new, sees=apart)
    steps.call("rename", home / "c1", "/proc/none", sees=as_passed(home / "c1", "/proc/none", error=errno.EXDEV))

    unreadable_flag = frozenset({"unreadable"})
    bad_first = Seen(
        "as_passed", None, str(home / "x"), error=errno.EFAULT, raw_is_unreadable=True, path_flags=unreadable_flag
    )
    bad_second = relative(home / "plain", error=errno.EFAULT, path_flags=unreadable_flag)
    steps.call("rename", NOWHERE, home / "x", sees=bad_first)
    steps.call("rename", "plain", NOWHERE, sees=bad_second)
    steps.call("rename", NOWHERE, NOWHERE, sees=unreadable(errno.EFAULT))
    steps.call("renameat2", here, NOWHERE, here, home / "x", 0, sees=bad_first)
    steps.call("renameat2", here, "plain", here, NOWHERE, 0, sees=bad_second)
    steps.call("rename", b"", "x", sees=Seen("dir_and_name", None, str(home / "x"), error=errno.ENOENT))
    steps.call("rename", "plain", b"", sees=relative(home / "plain", error=errno.ENOENT))
    steps.call("renameat2", here, "plain", NO_FD, "x", 0, sees=relative(home / "plain", error=errno.EBADF))
    bad_old = Seen("dir_and_name", None, str(home / "x"), error=errno.EBADF)
    steps.call("renameat2", NO_FD, "plain", here, "x", 0, sees=bad_old)
    longest, longest2 = _path_of(4095, home, "none"), _path_of(4095, home, "name")
    steps.call("rename", longest, longest2, sees=as_passed(longest, longest2, error=errno.ENOENT))
    cut = (longest2 + "more")[:4095]
    too_long = as_passed(longest, cut, error=errno.ENAMETOOLONG, path_flags=TRUNCATED)
    steps.call("rename", longest, longest2 + "more", sees=too_long)


LISTS: dict[str, Writer] = {
    "openings": openings,
    "descriptors": descriptors,
    "removals": removals,
    "renames": renames,
}
