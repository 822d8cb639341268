# SPDX-License-Identifier: MIT
"""Lists of calls, each with what must be seen of it: every row of bpf/syscalls.h, with success and with failure.

Each list is performed by a process of its own. A call that the running kernel may lack is left out where it does.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.native.expected import (
    CLONE_NEWNS,
    FICLONE,
    FICLONERANGE,
    FIDEDUPERANGE,
    FS_IOC_RESVSP,
    FS_IOC_RESVSP64,
    FS_IOC_UNRESVSP,
    FS_IOC_UNRESVSP64,
    FS_IOC_ZERO_RANGE,
    UNSEEN,
    Filtered,
    Identity,
    Seen,
    Unseen,
    as_passed,
    file,
    nameless,
    relative,
    unreachable,
    unreadable,
)
from tests.native.ground import HERE, kernel_symbols
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

# Calls that not all of the kernels under test have.
MAYBE_MISSING = (
    *("fchmodat2", "setxattrat", "removexattrat", "getxattrat", "listxattrat"),
    *("mount_setattr", "open_tree_attr"),
)

NOWHERE = 0x10  # an address where nothing is mapped
NO_FD = 900
NAME = object()  # the place of a name among arguments
FD = object()  # of a descriptor
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
BAD_FLAG = 0x40000000
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
O_PATH = os.O_PATH
DELETED = frozenset({"deleted"})
PAGE = 4096


def kernel_has(call: str) -> bool:
    """By the kernel's own list of its functions."""
    return f"__x64_sys_{call}" in kernel_symbols()


@functools.cache
def kernel_is(*version: int) -> bool:
    """At least that version."""
    release = os.uname().release.split("-")[0].split(".")
    return tuple(int(part) for part in release[: len(version)]) >= version


def now(path: os.PathLike[str] | str) -> Identity:
    """Device and inode of what is there before the run; symbolic links are not followed."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def later(path: os.PathLike[str] | str) -> Callable[[], Identity]:
    """The same of what is there after it."""
    return lambda: now(path)


def acts(
    seen: Seen,
    of: Identity | Callable[[], Identity | tuple[None, None]] | None,
    kind: str | None = "file",
    entry: os.PathLike[str] | str | None = None,
    new_entry: os.PathLike[str] | str | None = None,
) -> Seen:
    """A call that succeeds by a name: what it acted on, and the true place where that is not the name's."""
    there = None
    if entry is not None or new_entry is not None:
        there = (
            seen.acted(seen.path or "") if entry is None else os.fspath(entry),
            None if new_entry is None and seen.new_path is None else os.fspath(new_entry or seen.new_path or ""),
        )
    return dataclasses.replace(seen, entry_of=of, entry_kind=kind, entry=there)


def enters(place: os.PathLike[str] | str, of: Path | Step | Identity | None = None) -> Seen:
    """A chdir that succeeds: the kernel's own name of what is the current directory then, by every backend."""
    return Seen("dentry", os.fspath(place), of=Path(place) if of is None else of, kind="dir")


class Lines:
    """What the lists have in common."""

    def __init__(self, script: Script, steps: Steps, home: Path) -> None:
        self.script = script
        self.steps = steps
        self.home = home
        self.buffer = script.buffer(PAGE)

    def call(self, name: str, *arguments: Any, sees: object) -> Step:
        return self.steps.call(name, *arguments, sees=sees)

    def go_home(self) -> None:
        self.call("chdir", self.home, sees=enters(self.home))

    def open(self, path: Path, flags: int = os.O_RDWR, mode: int = 0o600, **more: Any) -> Step:
        return self.call("openat", AT_FDCWD, path, flags, mode, sees=file(path, **more))

    def folder(self, path: Path) -> Step:
        return self.open(path, DIRECTORY, kind="dir")

    def stat(self, fd: Step | Stored, **more: Any) -> Step:
        """Asks the kernel which file that is; itself a call that is seen."""
        seen: list[Step] = []
        step = self.call("fstat", fd, self.script.buffer(144), sees=lambda _: file(of=seen[0], **more))
        seen.append(step)
        return step

    def pipe(self) -> tuple[Stored, Stored, Callable[..., Callable[[int], Seen]]]:
        """Its two ends, and what must be seen of a call on it."""
        ends = self.script.buffer(8)
        self.steps.call("pipe", ends)
        status = self.script.buffer(144)

        def sees(**more: Any) -> Callable[[int], Seen]:
            return lambda _: file(name(), kind="pipe", of=step, **more)

        def name() -> str:
            return f"pipe:[{struct.unpack_from('=QQ', status.read())[1]}]"

        step = self.call("fstat", Stored(ends), status, sees=sees())
        sees.name = name  # type: ignore[attr-defined]
        return Stored(ends), Stored(ends + 4), sees

    def fails(self, error: int, call: str, *arguments: Any, **more: Any) -> None:
        """By a name, absolute and relative; NAME among the arguments: (name,)."""
        index = next(i for i, argument in enumerate(arguments) if isinstance(argument, tuple))
        (name,) = arguments[index]
        for passed, seen in (
            (f"{self.home}/{name}", as_passed(f"{self.home}/{name}", error=error, **more)),
            (name, relative(f"{self.home}/{name}", error=error, **more)),
        ):
            self.call(call, *arguments[:index], passed, *arguments[index + 1 :], sees=seen)

    def misses(self, call: str, *arguments: Any) -> None:
        """By a name that is not there, an empty one, and one in memory that is not there."""
        index = arguments.index(NAME)
        self.fails(errno.ENOENT, call, *arguments[:index], ("none/x",), *arguments[index + 1 :])
        for passed, seen in ((b"", nameless(errno.ENOENT)), (NOWHERE, unreadable(errno.EFAULT))):
            self.call(call, *arguments[:index], passed, *arguments[index + 1 :], sees=seen)

    def misses_from(self, call: str, *arguments: Any) -> None:
        """By a name that starts from a descriptor that is none, from a file, and from a directory without it."""
        fd, name = arguments.index(FD), arguments.index(NAME)
        plain = self.home / "of-descriptor"
        plain.write_bytes(b"")

        def with_both(start: object, passed: object) -> list[Any]:
            replaced = list(arguments)
            replaced[fd], replaced[name] = start, passed
            return replaced

        for start in (NO_FD, -1):
            self.call(call, *with_both(start, "x"), sees=nameless(errno.EBADF))
        start = self.open(plain)
        self.call(call, *with_both(start, "x"), sees=relative(plain / "x", error=errno.ENOTDIR))
        start = self.folder(self.home)
        seen = relative(self.home / "none/x", error=errno.ENOENT)
        self.call(call, *with_both(start, "none/x"), sees=seen)
        passed = self.home / "none/x"
        self.call(call, *with_both(NO_FD, passed), sees=as_passed(passed, error=errno.ENOENT))

    def bad_fd(self, call: str, *arguments: Any, **more: Any) -> None:
        index = arguments.index(FD)
        for fd in (NO_FD, -1):
            replaced = [*arguments[:index], fd, *arguments[index + 1 :]]
            self.call(call, *replaced, sees=nameless(errno.EBADF, **more))

    def parts(self, *lengths: int, base: Address | int | None = None) -> Address:
        """An array of struct iovec."""
        word, bits = ("I", 32) if self.script.by_compat else ("Q", 64)
        most = (1 << bits) - 1
        array = self.script.buffer(b"".join(struct.pack(f"={word}{word}", 0, length & most) for length in lengths))
        for index, length in enumerate(lengths):
            if length:
                where = self.buffer if base is None else base
                self.steps.poke(array + bits // 4 * index, where, bits // 8)
        return array


Writer = Callable[[Script, Steps, Path], None]
LISTS: dict[str, Writer] = {}


def row_list(writer: Callable[[Lines], None]) -> Callable[[Lines], None]:
    """Each list starts at home, with a file, a folder, and a link to each."""

    def write(script: Script, steps: Steps, home: Path) -> None:
        (home / "plain").write_bytes(b"0123456789")
        (home / "real").mkdir()
        (home / "real" / "inner").write_bytes(b"inner")
        (home / "link").symlink_to("plain")
        (home / "at").symlink_to("real")
        (home / "loop").symlink_to("loop")
        lines = Lines(script, steps, home)
        lines.go_home()
        writer(lines)

    LISTS[writer.__name__] = write
    return writer


# --- opens ---


def _how(flags: int, mode: int = 0, resolve: int = 0) -> bytes:
    return struct.pack("=QQQ", flags, mode, resolve)


@row_list
def opens(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    it.call("openat", AT_FDCWD, plain, os.O_RDONLY, sees=file(plain))
    it.misses("openat", AT_FDCWD, NAME, os.O_RDONLY, 0)
    it.misses_from("openat", FD, NAME, os.O_RDONLY, 0)

    it.call("open", plain, os.O_RDWR, 0, sees=file(plain))
    it.call("open", "plain", os.O_RDONLY | os.O_CLOEXEC, 0o777, sees=file(plain))
    it.call("open", "link", os.O_RDONLY, sees=file(plain))
    it.call("open", "at/inner", os.O_RDONLY, sees=file(real / "inner"))
    it.call("open", f"/proc/self/root{plain}", os.O_RDONLY, sees=file(plain))
    it.call("open", home / "made1", create, 0o640, sees=file(home / "made1"))
    it.call("open", ".", DIRECTORY, sees=file(home, kind="dir"))
    link = it.script.buffer(144)
    held: list[Step] = []
    sees_link = lambda _: file(home / "link", kind="symlink", of=held[0])  # noqa: E731
    fd = it.call("open", "link", O_PATH | os.O_NOFOLLOW, sees=sees_link)
    held.append(it.call("fstat", fd, link, sees=sees_link))
    it.misses("open", NAME, os.O_RDONLY, 0o600)
    it.misses("open", NAME, os.O_WRONLY | os.O_CREAT, 0o600)
    it.fails(errno.EEXIST, "open", ("plain",), create, 0o4711)
    it.fails(errno.ELOOP, "open", ("loop",), os.O_RDONLY, 0)

    it.call("creat", home / "made2", 0o600, sees=file(home / "made2"))
    it.call("creat", "made2", 0o777, sees=file(home / "made2"))
    it.call("creat", "at/made3", 0o604, sees=file(real / "made3"))
    it.fails(errno.EISDIR, "creat", ("real",), 0o600)
    it.misses("creat", NAME, 0o600)

    def how(*arguments: int) -> Address:
        return it.script.buffer(_how(*arguments))

    inside = it.folder(real)
    it.call("openat2", AT_FDCWD, plain, how(os.O_RDWR), 24, sees=file(plain))
    it.call("openat2", AT_FDCWD, "plain", how(os.O_RDONLY | os.O_CLOEXEC), 24, sees=file(plain))
    it.call("openat2", inside, "inner", how(os.O_RDONLY, 0, 0x08), 24, sees=file(real / "inner"))
    it.call("openat2", AT_FDCWD, "made4", how(os.O_RDWR | os.O_CREAT, 0o604), 24, sees=file(home / "made4"))
    # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
    seen = relative(f"{real}/../plain", error=errno.EXDEV)
    it.call("openat2", inside, "../plain", how(os.O_RDONLY, 0, 0x08), 24, sees=seen)
    it.fails(errno.ELOOP, "openat2", AT_FDCWD, ("at/inner",), how(os.O_RDONLY, 0, 0x04), 24)
    it.fails(errno.EEXIST, "openat2", AT_FDCWD, ("plain",), how(create, 0o600), 24)
    # A mode without O_CREAT is refused; it applies to nothing.
    it.fails(errno.EINVAL, "openat2", AT_FDCWD, ("plain",), how(os.O_RDONLY, 0o600), 24)
    it.fails(errno.EINVAL, "openat2", AT_FDCWD, ("plain",), how(os.O_RDONLY), 8)
    it.fails(errno.EFAULT, "openat2", AT_FDCWD, ("plain",), NOWHERE, 24)
    it.misses("openat2", AT_FDCWD, NAME, how(os.O_RDONLY), 24)
    it.misses_from("openat2", FD, NAME, how(os.O_RDONLY), 24)

    handle = it.script.buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    it.call("name_to_handle_at", AT_FDCWD, plain, handle, it.script.buffer(8), 0, sees=as_passed(plain))
    it.call("open_by_handle_at", inside, handle, os.O_RDONLY, sees=file(plain))
    it.call("open_by_handle_at", AT_FDCWD, handle, os.O_RDWR | os.O_CLOEXEC, sees=file(plain))
    it.call("open_by_handle_at", NO_FD, handle, os.O_RDONLY, sees=nameless(errno.EBADF))
    empty = it.script.buffer(struct.pack("=Ii", 0, 1) + bytes(128))
    it.call("open_by_handle_at", inside, empty, os.O_RDONLY, sees=nameless(errno.EINVAL))
    it.call("open_by_handle_at", inside, NOWHERE, os.O_RDONLY, sees=nameless(errno.EFAULT))

    stats: list[Step] = []
    sees_memory = lambda _: file("/memfd:m e m", kind="memfd", of=stats[0])  # noqa: E731
    fd = it.call("memfd_create", b"m e m", 1, sees=sees_memory)
    stats.append(it.call("fstat", fd, it.script.buffer(144), sees=sees_memory))
    it.call("memfd_create", b"memory", BAD_FLAG, sees=nameless(errno.EINVAL))
    it.call("memfd_create", NOWHERE, 0, sees=nameless(errno.EFAULT))
    it.call("memfd_create", b"m" * 250, 0, sees=nameless(errno.EINVAL))


@row_list
def open_how_of_64_bits(it: Lines) -> None:
    """The flags of struct open_how have 64 bits, all of which are as passed."""
    how = it.script.buffer(_how(1 << 40 | os.O_CLOEXEC))
    it.fails(errno.EINVAL, "openat2", AT_FDCWD, ("plain",), how, 24)


# --- reads and writes ---


@row_list
def vectors(it: Lines) -> None:
    plain = it.home / "plain"
    buffer = it.buffer
    fd = it.open(plain)
    only_read, only_write = it.open(plain, os.O_RDONLY), it.open(plain, os.O_WRONLY)
    reader, writer, sees_pipe = it.pipe()
    it.call("read", fd, buffer, 2, sees=file(plain, offset=0, moved=2))
    it.bad_fd("read", FD, buffer, 4)
    it.call("write", only_write, buffer, 2, sees=file(plain, offset=0, moved=2))
    it.bad_fd("write", FD, buffer, 4)

    it.call("pread64", fd, buffer, 4, 3, sees=file(plain, moved=4))
    it.call("pread64", fd, buffer, 4, 8, sees=file(plain, moved=2))
    it.call("pread64", fd, buffer, 4, 5 << 32, sees=file(plain, moved=0))
    it.call("pread64", fd, buffer, 4, -2, sees=file(plain, offset=-2, error=errno.EINVAL))
    it.call("pread64", only_write, buffer, 4, 1, sees=file(plain, error=errno.EBADF))
    it.call("pread64", fd, NOWHERE, 4, 1, sees=file(plain, error=errno.EFAULT))
    it.call("pread64", reader, buffer, 4, 7, sees=sees_pipe(error=errno.ESPIPE))
    it.bad_fd("pread64", FD, buffer, 4, 9)

    it.call("pwrite64", fd, buffer, 4, 6, sees=file(plain, moved=4))
    it.call("pwrite64", fd, buffer, 0, 0, sees=file(plain, moved=0))
    it.call("pwrite64", only_read, buffer, 4, 1, sees=file(plain, error=errno.EBADF))
    it.call("pwrite64", writer, buffer, 4, 7, sees=sees_pipe(error=errno.ESPIPE))
    it.bad_fd("pwrite64", FD, buffer, 4, 9)

    two, sixteen, most = it.parts(3, 4), it.parts(*[1] * 16), it.parts(3, *[0] * 1022, 4)  # UIO_MAXIOV
    nowhere = it.parts(3, base=NOWHERE)

    def position(at: int) -> None:
        it.steps.call("lseek", fd, at, os.SEEK_SET)

    for call, moving in (("readv", "read"), ("writev", "write")):
        wrong = only_write if moving == "read" else only_read
        position(1)
        it.call(call, fd, two, 2, sees=file(plain, offset=1, count=7, moved=7))
        position(0)
        moved = 10 if moving == "read" else 16
        it.call(call, fd, sixteen, 16, sees=file(plain, offset=0, count=16, moved=moved))
        position(0)
        it.steps.call("ftruncate", fd, 16, sees=file(plain))
        it.call(call, fd, most, 1024, sees=file(plain, offset=0, count=7, moved=7))
        position(2)
        it.call(call, fd, two, 0, sees=file(plain, offset=2, count=0, moved=0))
        it.call(call, fd, nowhere, 1, sees=file(plain, offset=2, count=3, error=errno.EFAULT))
        it.call(call, fd, NOWHERE, 2, sees=file(plain, offset=2, error=errno.EFAULT))
        it.call(call, fd, two, 1025, sees=file(plain, offset=2, error=errno.EINVAL))
        # Only a write has moved this one's position.
        at = 0 if moving == "write" else 2
        it.call(call, wrong, two, 2, sees=file(plain, offset=at, count=7, error=errno.EBADF))
        it.bad_fd(call, FD, two, 2, count=7)
        it.steps.call("ftruncate", fd, 10, sees=file(plain))
    it.call("writev", writer, two, 2, sees=sees_pipe(count=7, moved=7))
    it.call("readv", reader, two, 1, sees=sees_pipe(count=3, moved=3))

    for call, wrong in (("preadv", only_write), ("pwritev", only_read)):
        it.call(call, fd, two, 2, 3, 0, sees=file(plain, count=7, moved=7))
        it.call(call, fd, two, 1, 1, 0, sees=file(plain, count=3, moved=3))
        it.call(call, fd, most, 0, 2, 0, sees=file(plain, count=0, moved=0))
        it.call(call, fd, two, 2, -2, -1, sees=file(plain, offset=-2, count=7, error=errno.EINVAL))
        it.call(call, wrong, two, 2, 5, 0, sees=file(plain, count=7, error=errno.EBADF))
        it.call(call, fd, NOWHERE, 1, 5, 0, sees=file(plain, error=errno.EFAULT))
        it.bad_fd(call, FD, two, 2, 5, 0, count=7)

    for call, wrong, flag in (("preadv2", only_write, 0), ("pwritev2", only_read, 2)):  # RWF_DSYNC
        it.call(call, fd, two, 2, 3, 0, flag, sees=file(plain, count=7, moved=7))
        position(2)
        # The position that is none: the descriptor's own.
        it.call(call, fd, two, 2, -1, -1, flag, sees=file(plain, offset=2, count=7, moved=7))
        it.call(call, fd, two, 2, 0, 0, BAD_FLAG, sees=file(plain, count=7, error=errno.EOPNOTSUPP))
        it.call(call, wrong, two, 2, 5, 0, flag, sees=file(plain, count=7, error=errno.EBADF))
        it.bad_fd(call, FD, two, 2, 5, 0, flag, count=7)
    it.call("preadv2", reader, two, 1, -1, -1, 0, sees=sees_pipe(count=3, moved=3))


@row_list
def position_of_minus_one(it: Lines) -> None:
    """For these calls it is no position at all, and an error; what was passed is told all the same."""
    plain = it.home / "plain"
    fd = it.open(plain)
    two = it.parts(3, 4)
    it.call("pread64", fd, it.buffer, 4, -1, sees=file(plain, error=errno.EINVAL))
    it.call("pwrite64", fd, it.buffer, 4, -1, sees=file(plain, error=errno.EINVAL))
    it.call("preadv", fd, two, 2, -1, -1, sees=file(plain, count=7, error=errno.EINVAL))
    it.call("pwritev", fd, two, 2, -1, -1, sees=file(plain, count=7, error=errno.EINVAL))


# --- lengths ---


@row_list
def lengths(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    it.call("truncate", plain, 5, sees=acts(as_passed(plain), now(plain)))
    it.call("truncate", "plain", 5 << 20, sees=acts(relative(plain), now(plain)))
    it.call("truncate", "./real/../plain", 7, sees=acts(relative(f"{home}/./real/../plain"), now(plain)))
    it.call("truncate", "link", 8, sees=acts(relative(home / "link"), now(plain), entry=plain))
    inner = real / "inner"
    it.call("truncate", home / "at/inner", 2, sees=acts(as_passed(home / "at/inner"), now(inner), entry=inner))
    by_root = f"/proc/self/root{inner}"
    it.call("truncate", by_root, 3, sees=acts(as_passed(by_root), now(inner), entry=inner))
    it.fails(errno.EISDIR, "truncate", ("real",), 0)
    it.fails(errno.EINVAL, "truncate", ("plain",), -1)
    it.fails(errno.ELOOP, "truncate", ("loop",), 0)
    it.misses("truncate", NAME, 4)

    large = 0o100000  # O_LARGEFILE, which open() does not add for a 32-bit program
    fd, only_read = it.open(plain, os.O_RDWR | large), it.open(plain, os.O_RDONLY)
    reader, writer, sees_pipe = it.pipe()
    it.call("ftruncate", fd, 6 << 32, sees=file(plain))
    it.call("ftruncate", fd, 3, sees=file(plain))
    it.call("ftruncate", only_read, 3, sees=file(plain, error=errno.EINVAL))
    it.call("ftruncate", fd, -1, sees=file(plain, error=errno.EINVAL))
    it.call("ftruncate", writer, 3, sees=sees_pipe(error=errno.EINVAL))
    it.bad_fd("ftruncate", FD, 3)

    it.call("fallocate", fd, 0, 0, 2 * PAGE, sees=file(plain))
    it.call("fallocate", fd, 1, PAGE, PAGE, sees=file(plain))  # FALLOC_FL_KEEP_SIZE
    it.call("fallocate", fd, 3, PAGE, PAGE, sees=file(plain))  # … and FALLOC_FL_PUNCH_HOLE
    it.call("fallocate", fd, 0, 0, 0, sees=file(plain, error=errno.EINVAL))
    it.call("fallocate", fd, 0, -5, 5, sees=file(plain, offset=-5, error=errno.EINVAL))
    it.call("fallocate", fd, BAD_FLAG, 0, 5, sees=file(plain, error=errno.EOPNOTSUPP))
    it.call("fallocate", only_read, 0, 1, 5, sees=file(plain, error=errno.EBADF))
    it.call("fallocate", reader, 0, 0, 5, sees=sees_pipe(error=errno.EBADF))
    it.call("fallocate", writer, 0, 0, 5, sees=sees_pipe(error=errno.ESPIPE))
    it.bad_fd("fallocate", FD, 0, 0, 5)

    # struct space_resv, which the 32-bit table has in 44 bytes and also takes as it is
    space = it.script.buffer(struct.pack("=hhiqqiI4i", 0, os.SEEK_SET, 0, PAGE, PAGE, 0, 0, 0, 0, 0, 0))
    for command in (FS_IOC_RESVSP, FS_IOC_UNRESVSP, FS_IOC_RESVSP64, FS_IOC_UNRESVSP64):
        it.call("ioctl", fd, command, space, sees=file(plain, op="allocate"))
    for command in (FS_IOC_UNRESVSP, FS_IOC_ZERO_RANGE):
        it.call("ioctl", only_read, command, space, sees=file(plain, op="allocate", error=errno.EBADF))
        it.call("ioctl", reader, command, space, sees=sees_pipe(op="allocate", error=errno.ENOTTY))
        it.call("ioctl", NO_FD, command, space, sees=nameless(errno.EBADF, op="allocate"))

    shared = it.call("mmap", 0, 2 * PAGE, 3, 1, fd, 0, sees=file(plain, op="blind_spot"))
    it.call("madvise", shared, PAGE, 9, sees=Seen("none"))  # MADV_REMOVE
    it.call("madvise", shared, PAGE, 4, sees=UNSEEN)  # MADV_DONTNEED
    anonymous = it.call("mmap", 0, PAGE, 3, 0x22, -1, 0, sees=UNSEEN)
    it.call("madvise", anonymous, PAGE, 9, sees=nameless(errno.EINVAL))
    it.call("madvise", NOWHERE & ~15, PAGE, 9, sees=nameless(errno.EINVAL))


# --- names ---


@row_list
def removals(it: Lines) -> None:
    home, real = it.home, it.home / "real"
    for name in ("f1", "f2", "f3", "f4", "f5", "real/f6", "real/f7", "real/f8"):
        (home / name).write_bytes(b"")
    for name in ("d1", "d2", "d3", "d4", "real/d5", "real/d6", "full"):
        (home / name).mkdir()
    (home / "full" / "x").write_bytes(b"")
    (home / "dangling").symlink_to("none")
    os.mkfifo(home / "fifo")
    inside = it.folder(real)

    def gone(path: str, seen: Seen, kind: str = "file") -> Seen:
        return acts(seen, now(home / path), kind, entry=home / path)

    it.call("unlink", home / "f1", sees=gone("f1", as_passed(home / "f1")))
    it.call("unlink", "./real/../f2", sees=gone("f2", relative(f"{home}/./real/../f2")))
    it.call("unlink", "at/f6", sees=gone("real/f6", relative(home / "at/f6")))
    it.call("unlink", "dangling", sees=gone("dangling", relative(home / "dangling"), "symlink"))
    it.call("unlink", "fifo", sees=gone("fifo", relative(home / "fifo"), "pipe"))
    it.call("unlinkat", AT_FDCWD, "f3", 0, sees=gone("f3", relative(home / "f3")))
    it.call("unlinkat", inside, "f7", 0, sees=gone("real/f7", relative(real / "f7")))
    passed = f"/proc/self/root{home}/at/f8"
    it.call("unlinkat", NO_FD, passed, 0, sees=gone("real/f8", as_passed(passed)))
    passed = "/proc/self/cwd/f4"
    it.call("unlink", passed, sees=gone("f4", as_passed(passed)))
    it.call("unlinkat", AT_FDCWD, "d1/", AT_REMOVEDIR, sees=gone("d1", relative(f"{home}/d1/"), "dir"))
    it.call("unlinkat", inside, "d5", AT_REMOVEDIR, sees=gone("real/d5", relative(real / "d5"), "dir"))
    it.call("rmdir", home / "d2", sees=gone("d2", as_passed(home / "d2"), "dir"))
    it.call("rmdir", "d3", sees=gone("d3", relative(home / "d3"), "dir"))
    it.call("rmdir", "at/d6/", sees=gone("real/d6", relative(f"{home}/at/d6/"), "dir"))

    it.misses("unlink", NAME)
    it.fails(errno.EISDIR, "unlink", ("full",))
    it.misses("unlinkat", AT_FDCWD, NAME, 0)
    it.misses_from("unlinkat", FD, NAME, 0)
    it.misses_from("unlinkat", FD, NAME, AT_REMOVEDIR)
    it.misses("rmdir", NAME)
    it.fails(errno.ENOTEMPTY, "rmdir", ("full",))
    it.fails(errno.ENOTDIR, "rmdir", ("f5",))
    it.fails(errno.EINVAL, "rmdir", ("d4/.",))
    it.fails(errno.ENOTDIR, "rmdir", ("at",))


@row_list
def renames(it: Lines) -> None:
    home, real = it.home, it.home / "real"
    for name in ("a", "b", "c", "d", "e", "other", "real/f"):
        (home / name).write_bytes(b"")
    (home / "folder").mkdir()
    inside = it.folder(real)
    here = AT_FDCWD

    def moved(old: str, new: str, seen: Seen, kind: str = "file") -> Seen:
        return acts(seen, later(home / new), kind, home / old, home / new)

    it.call("rename", home / "a", home / "a1", sees=moved("a", "a1", as_passed(home / "a", home / "a1")))
    it.call("rename", "b", "at/b1", sees=moved("b", "real/b1", relative(home / "b", home / "at/b1")))
    seen = moved("folder", "folder1", relative(home / "folder", home / "folder1"), "dir")
    it.call("rename", "folder", "folder1", sees=seen)
    it.call("rename", "link", "link1", sees=moved("link", "link1", relative(home / "link", home / "link1"), "symlink"))
    # Over another file: that one is gone.
    it.call("rename", "c", "other", sees=moved("c", "other", relative(home / "c", home / "other")))
    it.call("renameat", inside, "f", here, "f1", sees=moved("real/f", "f1", relative(real / "f", home / "f1")))
    by_root = f"/proc/self/root{home}/at/d1"
    seen = moved("d", "real/d1", as_passed(home / "d", by_root))
    it.call("renameat", here, "d", NO_FD, by_root, sees=seen)
    seen = moved("e", "real/e1", relative(home / "e", real / "e1"))
    it.call("renameat2", here, "e", inside, "e1", RENAME_NOREPLACE, sees=seen)
    exchanged = acts(relative(home / "plain", home / "at/inner"), now(home / "plain"), "file", None, real / "inner")
    it.call("renameat2", here, "plain", here, "at/inner", RENAME_EXCHANGE, sees=exchanged)

    for error, old, new in (
        (errno.ENOENT, "none", "x"),
        (errno.ENOENT, "a1", "none/x"),
        (errno.ENOTDIR, "folder1", "plain"),
        (errno.EISDIR, "plain", "folder1"),
        (errno.EINVAL, "folder1", "folder1/x"),
    ):
        apart = relative(f"{home}/{old}", f"{home}/{new}", error=error)
        absolute = as_passed(f"{home}/{old}", f"{home}/{new}", error=error)
        it.call("rename", old, new, sees=apart)
        it.call("renameat", here, old, here, new, sees=apart)
        it.call("renameat", here, f"{home}/{old}", here, f"{home}/{new}", sees=absolute)
        it.call("renameat2", here, old, here, new, 0, sees=apart)
    _two_bad_names(it, "renameat", lambda old, new: (here, old, here, new))
    it.call("renameat", here, "plain", NO_FD, "x", sees=relative(home / "plain", error=errno.EBADF))
    bad_old = Seen("dir_and_name", None, str(home / "x"), error=errno.EBADF)
    it.call("renameat", NO_FD, "plain", here, "x", sees=bad_old)
    it.call("renameat", NO_FD, "plain", -1, "x", sees=nameless(errno.EBADF))


def _two_bad_names(it: Lines, call: str, arguments: Callable[[Any, Any], tuple[Any, ...]]) -> None:
    """One or both of two names empty, or in memory that is not there."""
    plain, new = it.home / "plain", it.home / "x"
    flag = frozenset({"unreadable"})
    first = Seen("as_passed", None, str(new), error=errno.EFAULT, raw_is_unreadable=True, path_flags=flag)
    it.call(call, *arguments(NOWHERE, new), sees=first)
    it.call(call, *arguments("plain", NOWHERE), sees=relative(plain, error=errno.EFAULT, path_flags=flag))
    it.call(call, *arguments(NOWHERE, NOWHERE), sees=unreadable(errno.EFAULT))
    it.call(call, *arguments(b"", "x"), sees=Seen("dir_and_name", None, str(new), error=errno.ENOENT))
    it.call(call, *arguments(plain, b""), sees=as_passed(plain, error=errno.ENOENT))


@row_list
def links(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside = it.folder(real)
    here = AT_FDCWD

    def linked(new: str, seen: Seen, old: str = "plain", kind: str = "file") -> Seen:
        return acts(seen, now(home / old), kind, home / old, home / new)

    it.call("link", plain, home / "h1", sees=linked("h1", as_passed(plain, home / "h1")))
    it.call("link", "plain", "at/h2", sees=linked("real/h2", relative(plain, home / "at/h2")))
    it.call("link", "at/inner", "h3", sees=linked("h3", relative(home / "at/inner", home / "h3"), "real/inner"))
    # It does not follow the old name.
    it.call("link", "link", "h4", sees=linked("h4", relative(home / "link", home / "h4"), "link", "symlink"))
    it.call(
        "linkat",
        here,
        "link",
        here,
        "h5",
        0,
        sees=linked("h5", relative(home / "link", home / "h5"), "link", "symlink"),
    )
    seen = linked("h6", relative(home / "link", home / "h6"))
    it.call("linkat", here, "link", here, "h6", AT_SYMLINK_FOLLOW, sees=seen)
    seen = linked("real/h7", relative(real / "inner", real / "h7"), "real/inner")
    it.call("linkat", inside, "inner", inside, "h7", 0, sees=seen)
    by_root = f"/proc/self/root{home}/at/h8"
    it.call("linkat", NO_FD, plain, NO_FD, by_root, 0, sees=linked("real/h8", as_passed(plain, by_root)))
    fd = it.open(plain)
    # The old name is the descriptor's; of two, the weaker one says where the path is from.
    seen = acts(relative(plain, home / "h9", of=plain, kind="file"), now(plain))
    it.call("linkat", fd, b"", here, "h9", AT_EMPTY_PATH, sees=seen)
    for error, old, new in (
        (errno.ENOENT, "none", "x"),
        (errno.ENOENT, "plain", "none/x"),
        (errno.EEXIST, "plain", "real"),
        (errno.EPERM, "real", "x"),
    ):
        apart = relative(f"{home}/{old}", f"{home}/{new}", error=error)
        absolute = as_passed(f"{home}/{old}", f"{home}/{new}", error=error)
        it.call("link", old, new, sees=apart)
        it.call("link", f"{home}/{old}", f"{home}/{new}", sees=absolute)
        it.call("linkat", here, old, here, new, 0, sees=apart)
    _two_bad_names(it, "link", lambda old, new: (old, new))
    _two_bad_names(it, "linkat", lambda old, new: (here, old, here, new, 0))
    it.call("linkat", here, "plain", here, "x", 1, sees=relative(plain, home / "x", error=errno.EINVAL))
    it.call("linkat", here, "plain", NO_FD, "x", 0, sees=relative(plain, error=errno.EBADF))
    it.call("linkat", NO_FD, b"", -1, "x", AT_EMPTY_PATH, sees=nameless(errno.EBADF))

    def made(name: str, seen: Seen) -> Seen:
        return acts(seen, later(home / name), "symlink", home / name)

    it.call("symlink", b"no/matter", home / "s1", sees=made("s1", as_passed(home / "s1")))
    it.call("symlink", b"/", "at/s2", sees=made("real/s2", relative(home / "at/s2")))
    it.call("symlinkat", b"x", inside, "s3", sees=made("real/s3", relative(real / "s3")))
    it.call("symlinkat", b"x", here, "./s4", sees=made("s4", relative(f"{home}/./s4")))
    for call, between in (("symlink", ()), ("symlinkat", (here,))):
        it.misses(call, b"x", *between, NAME)
        it.fails(errno.EEXIST, call, b"x", *between, ("plain",))
        it.fails(errno.ENOENT, call, b"", *between, ("s5",))
        it.fails(errno.EFAULT, call, NOWHERE, *between, ("s5",))
    it.misses_from("symlinkat", b"x", FD, NAME)


@row_list
def makings(it: Lines) -> None:
    home, real = it.home, it.home / "real"
    inside = it.folder(real)
    here = AT_FDCWD

    def made(name: str, seen: Seen, kind: str) -> Seen:
        return acts(seen, later(home / name), kind, home / name)

    it.call("mkdir", home / "d1", 0o750, sees=made("d1", as_passed(home / "d1"), "dir"))
    it.call("mkdir", "d2/", 0o1777, sees=made("d2", relative(f"{home}/d2/"), "dir"))
    it.call("mkdir", "at/d3", 0o700, sees=made("real/d3", relative(home / "at/d3"), "dir"))
    it.call("mkdirat", inside, "d4", 0, sees=made("real/d4", relative(real / "d4"), "dir"))
    by_root = f"/proc/self/root{home}/at/d5"
    it.call("mkdirat", NO_FD, by_root, 0o700, sees=made("real/d5", as_passed(by_root), "dir"))
    it.fails(errno.EEXIST, "mkdir", ("plain",), 0o700)
    it.fails(errno.ENOTDIR, "mkdir", ("plain/x",), 0o700)
    it.misses("mkdir", NAME, 0o700)
    it.fails(errno.EEXIST, "mkdirat", here, ("link",), 0o700)
    it.misses("mkdirat", here, NAME, 0o700)
    it.misses_from("mkdirat", FD, NAME, 0o700)

    null = os.makedev(1, 3)
    for number, (kind, mode, device) in enumerate(
        (
            ("file", stat.S_IFREG | 0o640, 0),
            ("file", 0o600, 0),
            ("pipe", stat.S_IFIFO | 0o622, 0),
            ("socket", stat.S_IFSOCK | 0o600, 0),
            ("device", stat.S_IFCHR | 0o666, null),
            ("tty", stat.S_IFCHR | 0o600, os.makedev(4, 64)),
            ("device", stat.S_IFBLK | 0o600, os.makedev(7, 200)),
        )
    ):
        name = f"n{number}"
        it.call("mknod", home / name, mode, device, sees=made(name, as_passed(home / name), kind))
        name = f"real/n{number}"
        it.call("mknodat", inside, f"n{number}", mode, device, sees=made(name, relative(home / name), kind))
    fifo = stat.S_IFIFO | 0o600
    it.call("mknod", "at/n10", fifo, 0, sees=made("real/n10", relative(home / "at/n10"), "pipe"))
    it.fails(errno.EEXIST, "mknod", ("plain",), fifo, 0)
    it.fails(errno.EPERM, "mknod", ("x",), stat.S_IFDIR | 0o700, 0)
    it.fails(errno.EINVAL, "mknod", ("x",), stat.S_IFLNK | 0o700, 0)
    it.misses("mknod", NAME, fifo, 0)
    it.fails(errno.EEXIST, "mknodat", here, ("at",), fifo, 0)
    it.misses("mknodat", here, NAME, fifo, 0)
    it.misses_from("mknodat", FD, NAME, fifo, 0)

    def bind(name: str, seen: Seen, beyond: bytes = b"") -> None:
        """The name inside the address, which ends where the address ends."""
        address = struct.pack("=H", socket.AF_UNIX) + name.encode()
        fd = it.steps.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
        place = it.script.buffer(bytes(8) + address + beyond) + 8
        # Brings it into this process's own memory: see address_that_is_not_there_yet.
        it.steps.poke(place + -8, 0)
        it.call("bind", fd, place, len(address), sees=dataclasses.replace(seen, raw_path=name.split("\0")[0]))

    bind(f"{home}/b1", made("b1", as_passed(home / "b1"), "socket"))
    bind("b2", made("b2", relative(home / "b2"), "socket"), b"and more that does not count")
    bind("./at/b3\0", made("real/b3", relative(f"{home}/./at/b3"), "socket"))
    bind("b4\0neither", made("b4", relative(home / "b4"), "socket"))
    bind("plain", relative(home / "plain", error=errno.EADDRINUSE))
    bind(f"{home}/plain", as_passed(home / "plain", error=errno.EADDRINUSE), b"x")
    bind("none/x", relative(home / "none/x", error=errno.ENOENT))
    unix = it.steps.call("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0)
    abstract = struct.pack("=H", socket.AF_UNIX) + b"\0aa" + os.urandom(8)
    it.call("bind", unix, it.script.buffer(abstract), len(abstract), sees=UNSEEN)
    unix = it.steps.call("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0)
    # Autobind: a family and no name.
    it.call("bind", unix, it.script.buffer(struct.pack("=H6s", socket.AF_UNIX, b"/x")), 2, sees=UNSEEN)
    internet = it.steps.call("socket", socket.AF_INET, socket.SOCK_DGRAM, 0)
    it.call("bind", internet, it.script.buffer(struct.pack("=H14s", socket.AF_INET, b"")), 16, sees=UNSEEN)


@row_list
def address_that_is_not_there_yet(it: Lines) -> None:
    """An address that the process has not touched before, as it may be with a constant: a bind all the same."""
    place, bound = it.home / "address", it.home / "bound"
    address = struct.pack("=H", socket.AF_UNIX) + b"bound"
    place.write_bytes(address)
    mapped = it.call("mmap", 0, PAGE, 1, 2, it.open(place), 0, sees=file(place))  # PROT_READ, MAP_PRIVATE
    fd = it.steps.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    seen = acts(relative(bound, raw_path="bound"), later(bound), "socket")
    it.call("bind", fd, mapped, len(address), sees=seen)


# --- attributes ---


@row_list
def modes(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    here = AT_FDCWD

    def done(name: str, seen: Seen, kind: str = "file") -> Seen:
        return acts(seen, now(home / name), kind, home / name)

    it.call("chmod", plain, 0o640, sees=done("plain", as_passed(plain)))
    it.call("chmod", "plain", 0o4755, sees=done("plain", relative(plain)))
    it.call("chmod", "link", 0o600, sees=done("plain", relative(home / "link")))
    it.call("chmod", "at", 0o700, sees=done("real", relative(home / "at"), "dir"))
    it.call("chmod", "at/inner", 0o604, sees=done("real/inner", relative(home / "at/inner")))
    it.call("chmod", f"/proc/self/root{plain}", 0o600, sees=done("plain", as_passed(f"/proc/self/root{plain}")))
    it.fails(errno.ELOOP, "chmod", ("loop",), 0o600)
    it.misses("chmod", NAME, 0o600)
    it.call("fchmod", fd, 0o604, sees=file(plain))
    it.call("fchmod", inside, 0o711, sees=file(real, kind="dir"))
    it.bad_fd("fchmod", FD, 0o600)
    it.call("fchmodat", here, plain, 0o600, sees=done("plain", as_passed(plain)))
    it.call("fchmodat", inside, "inner", 0o666, sees=done("real/inner", relative(real / "inner")))
    it.misses("fchmodat", here, NAME, 0o600)
    it.misses_from("fchmodat", FD, NAME, 0o600)
    if kernel_has("fchmodat2"):
        it.call("fchmodat2", here, "link", 0o644, 0, sees=done("plain", relative(home / "link")))
        it.call(
            "fchmodat2", inside, "inner", 0o600, AT_SYMLINK_NOFOLLOW, sees=done("real/inner", relative(real / "inner"))
        )
        it.call("fchmodat2", fd, b"", 0o640, AT_EMPTY_PATH, sees=file(plain))
        it.call("fchmodat2", here, b"", 0o711, AT_EMPTY_PATH, sees=file(home, kind="dir"))
        it.fails(errno.EINVAL, "fchmodat2", here, ("plain",), 0o600, BAD_FLAG)
        it.bad_fd("fchmodat2", FD, b"", 0o600, AT_EMPTY_PATH)
        it.misses("fchmodat2", here, NAME, 0o600, 0)
        it.misses_from("fchmodat2", FD, NAME, 0o600, 0)

    it.call("chown", plain, 0, 0, sees=done("plain", as_passed(plain)))
    it.call("chown", "plain", -1, -1, sees=done("plain", relative(plain)))
    it.call("chown", "link", 1, 1, sees=done("plain", relative(home / "link")))
    it.call("chown", "at/inner", 0, 0, sees=done("real/inner", relative(home / "at/inner")))
    it.misses("chown", NAME, 0, 0)
    it.fails(errno.ENOTDIR, "chown", ("plain/x",), 0, 0)
    it.call("fchown", fd, 0, 0, sees=file(plain))
    it.bad_fd("fchown", FD, 0, 0)
    it.call("lchown", "link", 0, 0, sees=done("link", relative(home / "link"), "symlink"))
    it.call("lchown", home / "at", 0, 0, sees=done("at", as_passed(home / "at"), "symlink"))
    it.misses("lchown", NAME, 0, 0)
    it.call("fchownat", here, "link", 0, 0, 0, sees=done("plain", relative(home / "link")))
    seen = done("link", relative(home / "link"), "symlink")
    it.call("fchownat", here, "link", 0, 0, AT_SYMLINK_NOFOLLOW, sees=seen)
    it.call("fchownat", inside, "inner", 0, 0, 0, sees=done("real/inner", relative(real / "inner")))
    it.call("fchownat", fd, b"", 0, 0, AT_EMPTY_PATH, sees=file(plain))
    it.call("fchownat", inside, b"", 0, 0, AT_EMPTY_PATH, sees=file(real, kind="dir"))
    # With a name the flag means nothing.
    it.call("fchownat", inside, "inner", 0, 0, AT_EMPTY_PATH, sees=done("real/inner", relative(real / "inner")))
    it.fails(errno.EINVAL, "fchownat", here, ("plain",), 0, 0, BAD_FLAG)
    it.bad_fd("fchownat", FD, b"", 0, 0, AT_EMPTY_PATH)
    it.misses("fchownat", here, NAME, 0, 0, 0)
    it.misses_from("fchownat", FD, NAME, 0, 0, 0)


@row_list
def times(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    here = AT_FDCWD
    of_plain = acts(as_passed(plain), now(plain))
    within = acts(relative(real / "inner"), now(real / "inner"))
    for call in ("utime", "utimes"):
        it.call(call, plain, 0, sees=of_plain)
        behind = acts(relative(home / "at/inner"), now(real / "inner"), entry=real / "inner")
        it.call(call, "at/inner", it.script.buffer(32), sees=behind)
        it.fails(errno.EFAULT, call, ("plain",), NOWHERE)
        it.misses(call, NAME, 0)
    it.call("futimesat", here, "plain", 0, sees=acts(relative(plain), now(plain)))
    it.call("futimesat", inside, "inner", it.script.buffer(32), sees=within)
    it.call("futimesat", fd, 0, 0, sees=file(plain))
    it.bad_fd("futimesat", FD, 0, 0)
    it.misses("futimesat", here, NAME, 0)
    it.misses_from("futimesat", FD, NAME, 0)
    it.call("utimensat", here, plain, 0, 0, sees=of_plain)
    itself = acts(relative(home / "link"), now(home / "link"), "symlink")
    it.call("utimensat", here, "link", 0, AT_SYMLINK_NOFOLLOW, sees=itself)
    it.call("utimensat", here, "link", 0, 0, sees=acts(relative(home / "link"), now(plain), entry=plain))
    it.call("utimensat", inside, "inner", it.script.buffer(32), 0, sees=within)
    it.call("utimensat", fd, 0, 0, 0, sees=file(plain))
    it.call("utimensat", inside, b"", 0, AT_EMPTY_PATH, sees=file(real, kind="dir"))
    it.call("utimensat", fd, 0, 0, BAD_FLAG, sees=file(plain, error=errno.EINVAL))
    it.bad_fd("utimensat", FD, 0, 0, 0)
    it.bad_fd("utimensat", FD, b"", 0, AT_EMPTY_PATH)
    it.fails(errno.EINVAL, "utimensat", here, ("plain",), 0, BAD_FLAG)
    it.fails(errno.EFAULT, "utimensat", here, ("plain",), NOWHERE, 0)
    it.misses("utimensat", here, NAME, 0, 0)
    it.misses_from("utimensat", FD, NAME, 0, 0)


@row_list
def attributes(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    here = AT_FDCWD
    value = it.script.buffer(b"value")
    kinds = {"plain": "file", "link": "symlink"}
    of_plain = acts(as_passed(plain), now(plain))
    within = acts(relative(real / "inner"), now(real / "inner"))
    for call, name in (("setxattr", plain), ("lsetxattr", home / "link")):
        it.call(call, name, b"trusted.a", value, 5, 1, sees=acts(as_passed(name), now(name), kinds[name.name]))
        it.call(call, name.name, b"trusted.b", value, 0, 0, sees=acts(relative(name), now(name), kinds[name.name]))
        it.fails(errno.EEXIST, call, (name.name,), b"trusted.a", value, 3, 1)
        it.fails(errno.EINVAL, call, (name.name,), b"trusted.a", value, 3, BAD_FLAG)
        it.fails(errno.EFAULT, call, (name.name,), b"trusted.a", NOWHERE, 3, 0)
        it.misses(call, NAME, b"trusted.a", value, 4, 0)
    behind = acts(relative(home / "at/inner"), now(real / "inner"), entry=real / "inner")
    it.call("setxattr", "at/inner", b"trusted.a", value, 4, 0, sees=behind)
    it.call("setxattr", "link", b"trusted.f", value, 4, 0, sees=acts(relative(home / "link"), now(plain), entry=plain))
    it.call("fsetxattr", fd, b"trusted.c", value, 5, 0, sees=file(plain))
    it.call("fsetxattr", fd, b"trusted.none", value, 5, 2, sees=file(plain, error=errno.ENODATA))  # XATTR_REPLACE
    it.bad_fd("fsetxattr", FD, b"trusted.c", value, 5, 0)
    for call, name in (("removexattr", plain), ("lremovexattr", home / "link")):
        it.call(call, name, b"trusted.a", sees=acts(as_passed(name), now(name), kinds[name.name]))
        it.call(call, name.name, b"trusted.b", sees=acts(relative(name), now(name), kinds[name.name]))
        it.fails(errno.ENODATA, call, (name.name,), b"trusted.a")
        it.misses(call, NAME, b"trusted.a")
    it.call("fremovexattr", fd, b"trusted.c", sees=file(plain))
    it.call("fremovexattr", fd, b"trusted.c", sees=file(plain, error=errno.ENODATA))
    it.bad_fd("fremovexattr", FD, b"trusted.c")
    if kernel_has("setxattrat"):
        what = it.script.buffer(struct.pack("=QII", 0, 5, 0))
        it.steps.poke(what, value)
        it.call("setxattrat", here, plain, 0, b"trusted.d", what, 16, sees=of_plain)
        seen = acts(relative(home / "link"), now(home / "link"), "symlink")
        it.call("setxattrat", here, "link", AT_SYMLINK_NOFOLLOW, b"trusted.d", what, 16, sees=seen)
        it.call("setxattrat", inside, "inner", 0, b"trusted.d", what, 16, sees=within)
        it.call("setxattrat", fd, b"", AT_EMPTY_PATH, b"trusted.e", what, 16, sees=file(plain))
        it.fails(errno.EINVAL, "setxattrat", here, ("plain",), BAD_FLAG, b"trusted.d", what, 16)
        it.bad_fd("setxattrat", FD, b"", AT_EMPTY_PATH, b"trusted.d", what, 16)
        it.misses("setxattrat", here, NAME, 0, b"trusted.d", what, 16)
        it.misses_from("setxattrat", FD, NAME, 0, b"trusted.d", what, 16)
    if kernel_has("removexattrat"):
        it.call("removexattrat", here, plain, 0, b"trusted.d", sees=of_plain)
        it.call("removexattrat", inside, "inner", 0, b"trusted.d", sees=within)
        it.call("removexattrat", fd, b"", AT_EMPTY_PATH, b"trusted.e", sees=file(plain))
        it.fails(errno.ENODATA, "removexattrat", here, ("plain",), 0, b"trusted.d")
        it.bad_fd("removexattrat", FD, b"", AT_EMPTY_PATH, b"trusted.d")
        it.misses("removexattrat", here, NAME, 0, b"trusted.d")
        it.misses_from("removexattrat", FD, NAME, 0, b"trusted.d")


# --- from file to file ---


@row_list
def copies(it: Lines) -> None:
    source, target = it.home / "plain", it.home / "target"
    target.write_bytes(b"")
    # A second look at each of the positions that a call moves must not be one of a later time.
    fd, to = it.open(source), it.open(target)
    folder = it.folder(it.home / "real")
    reader, writer, sees_pipe = it.pipe()
    reader2, writer2, sees_pipe2 = it.pipe()

    def at(position: int) -> Address:
        return it.script.buffer(struct.pack("=q", position))

    def copied(**more: Any) -> Seen:
        return file(source, new_path=str(target), **more)

    it.call("copy_file_range", fd, 0, to, 0, 4, 0, sees=copied(offset=0, moved=4))
    it.call("copy_file_range", fd, 0, to, 0, 40, 0, sees=copied(offset=4, moved=6))
    it.call("copy_file_range", fd, at(2), to, at(1), 3, 0, sees=copied(offset=2, moved=3))
    it.call("copy_file_range", fd, 0, to, 0, 4, 0, sees=copied(offset=10, moved=0))
    it.call("copy_file_range", fd, 0, to, 0, 4, 1, sees=copied(offset=10, error=errno.EINVAL))
    it.call(
        "copy_file_range", NO_FD, at(3), to, 0, 4, 0, sees=Seen("file", None, str(target), error=errno.EBADF, offset=3)
    )
    it.call("copy_file_range", fd, 0, NO_FD, 0, 4, 0, sees=file(source, offset=10, error=errno.EBADF))
    it.call("copy_file_range", -1, 0, NO_FD, 0, 4, 0, sees=nameless(errno.EBADF))
    seen = file(it.home / "real", kind="dir", new_path=str(target), offset=0, error=errno.EISDIR)
    it.call("copy_file_range", folder, 0, to, 0, 4, 0, sees=seen)

    it.steps.call("lseek", fd, 1, os.SEEK_SET)
    it.call("sendfile", to, fd, 0, 4, sees=copied(offset=1, moved=4))
    it.call("sendfile", to, fd, at(7), 40, sees=copied(offset=7, moved=3))
    it.call("sendfile", to, fd, 0, 1, sees=copied(offset=5, moved=1))

    def into(sees: Any, **more: Any) -> Callable[[int], Seen]:
        return lambda _: file(source, new_path=sees.name(), **more)

    it.call("sendfile", writer, fd, at(0), 5, sees=into(sees_pipe, offset=0, moved=5))
    it.call("sendfile", to, fd, at(-5), 5, sees=copied(offset=-5, error=errno.EINVAL))
    it.call("sendfile", NO_FD, fd, 0, 5, sees=file(source, offset=6, error=errno.EBADF))
    it.call("sendfile", to, NO_FD, 0, 5, sees=Seen("file", None, str(target), error=errno.EBADF))
    it.call("sendfile", NO_FD, -1, 0, 5, sees=nameless(errno.EBADF))

    # Five bytes are in the pipe.
    it.call("splice", reader, 0, to, 0, 3, 0, sees=sees_pipe(new_path=str(target), moved=3))
    it.call("splice", reader, 0, to, at(1), 2, 1, sees=sees_pipe(new_path=str(target), moved=2))
    it.steps.call("lseek", fd, 2, os.SEEK_SET)
    it.call("splice", fd, 0, writer, 0, 4, 0, sees=into(sees_pipe, offset=2, moved=4))
    it.call("splice", fd, at(8), writer, 0, 10, 0, sees=into(sees_pipe, offset=8, moved=2))
    it.call("splice", fd, 0, to, 0, 4, 0, sees=copied(offset=6, error=errno.EINVAL))
    it.call("splice", fd, 0, writer, 0, 4, BAD_FLAG, sees=into(sees_pipe, offset=6, error=errno.EINVAL))
    it.call("splice", reader, at(5), to, 0, 4, 0, sees=sees_pipe(new_path=str(target), offset=5, error=errno.ESPIPE))
    it.call("splice", fd, 0, NO_FD, 0, 4, 0, sees=file(source, offset=6, error=errno.EBADF))
    it.call("splice", NO_FD, 0, to, 0, 4, 0, sees=Seen("file", None, str(target), error=errno.EBADF))

    def between(**more: Any) -> Callable[[int], Seen]:
        return lambda index: sees_pipe(new_path=sees_pipe2.name(), **more)(index)  # type: ignore[attr-defined]

    it.call("tee", reader, writer2, 4, 0, sees=between(moved=4))
    it.call("splice", reader2, 0, writer, 0, 4, 0, sees=lambda i: sees_pipe2(new_path=sees_pipe.name(), moved=4)(i))  # type: ignore[attr-defined]
    it.call("tee", reader, writer2, 40, 2, sees=between(moved=10))
    it.call("tee", fd, writer2, 4, 0, sees=into(sees_pipe2, offset=6, error=errno.EINVAL))
    it.call("tee", reader, NO_FD, 4, 0, sees=sees_pipe(error=errno.EBADF))
    it.call("tee", NO_FD, -1, 4, 0, sees=nameless(errno.EBADF))

    two = it.parts(3, 4)
    it.call("vmsplice", writer2, two, 2, 0, sees=sees_pipe2(count=7, moved=7))
    it.call("vmsplice", writer2, two, 1, 2, sees=sees_pipe2(count=3, moved=3))
    it.call("vmsplice", writer2, two, 2, BAD_FLAG, sees=sees_pipe2(count=7, error=errno.EINVAL))
    it.call("vmsplice", writer2, NOWHERE, 2, 0, sees=sees_pipe2(error=errno.EFAULT))
    it.call("vmsplice", writer2, two, 2000, 0, sees=sees_pipe2(error=errno.EINVAL))
    it.call("vmsplice", fd, two, 2, 0, sees=file(source, offset=6, count=7, error=errno.EBADF))
    it.bad_fd("vmsplice", FD, two, 2, 0, count=7)


@row_list
def copy_from_no_position(it: Lines) -> None:
    """A pointer to nowhere in place of the position: no position is known."""
    source, target = it.home / "plain", it.home / "target"
    target.write_bytes(b"")
    fd, to = it.open(source), it.open(target)
    seen = file(source, new_path=str(target), error=errno.EFAULT)
    it.call("copy_file_range", fd, NOWHERE, to, 0, 4, 0, sees=seen)
    it.call("sendfile", to, fd, NOWHERE, 4, sees=seen)


def _range(*destinations: bytes) -> bytes:
    """struct file_dedupe_range: of 4 bytes from the beginning."""
    return struct.pack("=QQHHI", 0, 4, len(destinations), 0, 0) + b"".join(destinations)


@row_list
def clones(it: Lines) -> None:
    """Here on a file system that cannot share extents, and on an overlay of it, which at least asks."""
    home, source, target = it.home, it.home / "plain", it.home / "target"
    target.write_bytes(b"0123456789")
    fd, to = it.open(source), it.open(target)

    def copied(**more: Any) -> Seen:
        return file(source, new_path=str(target), **more)

    def clone_range(of: Step | int) -> Address:
        place = it.script.buffer(struct.pack("=qQQQ", 0, 0, 0, 0))
        it.steps.poke(place, of)
        return place

    def dedupe(into: Step | int) -> Address:
        place = it.script.buffer(_range(struct.pack("=qQQiI", 0, 0, 0, 0, 0)))
        it.steps.poke(place + 24, into)
        return place

    it.call("ioctl", to, FICLONE, fd, sees=copied(error=errno.EOPNOTSUPP))
    it.call("ioctl", to, FICLONE, NO_FD, sees=Seen("file", None, str(target), error=errno.EBADF))
    it.call("ioctl", NO_FD, FICLONE, fd, sees=file(source, error=errno.EBADF))
    it.call("ioctl", NO_FD, FICLONE, -1, sees=nameless(errno.EBADF))
    it.call("ioctl", to, FICLONERANGE, clone_range(fd), sees=copied(error=errno.EOPNOTSUPP))
    it.call("ioctl", to, FICLONERANGE, clone_range(NO_FD), sees=Seen("file", None, str(target), error=errno.EBADF))
    it.call("ioctl", fd, FIDEDUPERANGE, dedupe(to), sees=copied(error=errno.EOPNOTSUPP))
    it.call("ioctl", NO_FD, FIDEDUPERANGE, dedupe(to), sees=Seen("file", None, str(target), error=errno.EBADF))
    # FIONREAD, FIOCLEX: of a file, but no copy.
    it.call("ioctl", fd, 0x541B, it.buffer, sees=UNSEEN)
    it.call("ioctl", fd, 0x5451, 0, sees=UNSEEN)

    for name in ("upper", "work", "merged"):
        (home / name).mkdir()
    (home / "upper" / "one").write_bytes(b"0123456789")
    (home / "upper" / "two").write_bytes(b"0123456789")
    merged = home / "merged"
    options = f"lowerdir={home}/real,upperdir={home}/upper,workdir={home}/work"
    it.steps.call("unshare", CLONE_NEWNS)
    _make_private(it)
    it.call("mount", b"overlay", merged, b"overlay", 0, options, sees=as_passed(merged))
    one: list[Step] = []
    two: list[Step] = []

    def sees(name: str, of: list[Step], **more: Any) -> Callable[[int], Seen]:
        return lambda _: file(merged / name, of=of[0], **more)

    for name, of in (("one", one), ("two", two)):
        opened = it.call("openat", AT_FDCWD, merged / name, os.O_RDWR, sees=sees(name, of))
        of.append(it.call("fstat", opened, it.script.buffer(144), sees=sees(name, of)))
    source_fd, target_fd = (each[0].arguments[0] for each in (one, two))
    both = sees("one", one, new_path=str(merged / "two"))
    # It succeeds, and says of the one destination that it could not: the status is in the structure.
    it.call("ioctl", source_fd, FIDEDUPERANGE, dedupe(target_fd), sees=both)


def _make_private(it: Lines) -> None:
    """What is mounted from now on is in this namespace only."""
    it.call("mount", b"none", b"/", 0, 0x44000, 0, sees=as_passed("/"))  # MS_REC | MS_PRIVATE


# --- memory, and to the disk ---


@row_list
def memory(it: Lines) -> None:
    plain = it.home / "plain"
    fd, only_read, only_write = it.open(plain), it.open(plain, os.O_RDONLY), it.open(plain, os.O_WRONLY)
    folder = it.folder(it.home)
    reader, _, sees_pipe = it.pipe()
    it.steps.call("lseek", fd, 3, os.SEEK_SET)
    blind = file(plain, op="blind_spot")
    shared = it.call("mmap", 0, PAGE, 3, 1, fd, 0, sees=blind)  # PROT_READ | PROT_WRITE, MAP_SHARED
    it.call("mmap", 0, PAGE, 1, 3, fd, 0, sees=blind)  # MAP_SHARED_VALIDATE, which mprotect() makes writable
    it.call("mmap", 0, PAGE, 1, 1, only_read, 0, sees=file(plain))
    status: list[Step] = []
    in_memory = lambda _: file("/memfd:m", kind="memfd", of=status[0])  # noqa: E731
    memory = it.call("memfd_create", b"m", 0, sees=in_memory)
    it.call("mmap", 0, PAGE, 3, 1, memory, 0, sees=in_memory)
    status.append(it.call("fstat", memory, it.script.buffer(144), sees=in_memory))
    it.call("mmap", 0, 100, 1, 2, only_read, PAGE, sees=file(plain))  # MAP_PRIVATE
    it.call("mmap", 0, PAGE, 5, 2, only_read, 0, sees=file(plain))  # PROT_EXEC
    it.call("mmap", 0, PAGE, 3, 0x22, -1, 0, sees=UNSEEN)  # MAP_ANONYMOUS
    it.call("mmap", 0, PAGE, 3, 0x21, fd, 0, sees=UNSEEN)
    it.call("mmap", 0, PAGE, 3, 1, only_read, 0, sees=file(plain, error=errno.EACCES))
    it.call("mmap", 0, PAGE, 1, 2, only_write, 0, sees=file(plain, error=errno.EACCES))
    it.call("mmap", 0, PAGE, 1, 2, fd, 1, sees=file(plain, error=errno.EINVAL))
    it.call("mmap", 0, 0, 1, 2, fd, 0, sees=file(plain, error=errno.EINVAL))
    it.call("mmap", 0, PAGE, 1, 2, folder, 0, sees=file(it.home, kind="dir", error=errno.ENODEV))
    it.call("mmap", 0, PAGE, 1, 2, reader, 0, sees=sees_pipe(error=errno.ENODEV))
    for none in (NO_FD, -1):
        it.call("mmap", 0, PAGE, 1, 2, none, 0, sees=nameless(errno.EBADF))
    it.call("msync", shared, PAGE, 4, sees=Seen("none"))  # MS_SYNC
    it.call("msync", shared, 1, 1, sees=Seen("none"))  # MS_ASYNC
    it.call("msync", shared, PAGE, 5, sees=nameless(errno.EINVAL))
    it.call("msync", 0, PAGE, 4, sees=nameless(errno.ENOMEM))
    it.steps.call("munmap", shared, PAGE)


@row_list
def syncs(it: Lines) -> None:
    plain = it.home / "plain"
    fd, folder = it.open(plain), it.folder(it.home)
    path_only = it.open(plain, O_PATH)
    reader, _, sees_pipe = it.pipe()
    for call in ("fsync", "fdatasync"):
        it.call(call, fd, sees=file(plain))
        it.call(call, folder, sees=file(it.home, kind="dir"))
        it.call(call, reader, sees=sees_pipe(error=errno.EINVAL))
        it.bad_fd(call, FD)
    it.call("syncfs", fd, sees=file(plain))
    it.call("syncfs", path_only, sees=file(plain, error=errno.EBADF))
    it.bad_fd("syncfs", FD)
    it.call("sync_file_range", fd, 3, 4, 2, sees=file(plain))  # SYNC_FILE_RANGE_WRITE
    it.call("sync_file_range", fd, 0, 0, 7, sees=file(plain))
    it.call("sync_file_range", fd, 1, 2, BAD_FLAG, sees=file(plain, error=errno.EINVAL))
    it.call("sync_file_range", fd, -5, 2, 2, sees=file(plain, offset=-5, error=errno.EINVAL))
    it.call("sync_file_range", reader, 0, 4, 2, sees=sees_pipe(error=errno.ESPIPE))
    it.bad_fd("sync_file_range", FD, 3, 4, 2)


# --- descriptors ---


@row_list
def descriptors(it: Lines) -> None:
    home, plain = it.home, it.home / "plain"
    fd, other, folder = it.open(plain), it.open(home / "real/inner"), it.folder(home)
    reader, writer, sees_pipe = it.pipe()
    seen = file(plain)
    twin = it.call("dup", fd, sees=seen)
    it.call("dup", reader, sees=sees_pipe())
    it.bad_fd("dup", FD)
    it.call("dup2", fd, 700, sees=seen)
    it.call("dup2", fd, fd, sees=seen)
    # What stood there before is closed without a close.
    it.call("dup2", other, 700, sees=file(home / "real/inner"))
    it.call("dup2", fd, -1, sees=file(plain, error=errno.EBADF))
    it.bad_fd("dup2", FD, 701)
    it.call("dup3", fd, 702, os.O_CLOEXEC, sees=seen)
    it.call("dup3", folder, 703, 0, sees=file(home, kind="dir"))
    it.call("dup3", fd, fd, 0, sees=file(plain, error=errno.EINVAL))
    it.call("dup3", fd, 704, os.O_APPEND, sees=file(plain, error=errno.EINVAL))
    it.bad_fd("dup3", FD, 704, 0)
    for command in (0, 1030):  # F_DUPFD, F_DUPFD_CLOEXEC
        it.call("fcntl", fd, command, 710, sees=seen)
        it.call("fcntl", fd, command, -1, sees=file(plain, error=errno.EINVAL))
        it.bad_fd("fcntl", FD, command, 710)
    it.call("fcntl", fd, 1, 0, sees=UNSEEN)  # F_GETFD
    it.call("fcntl", fd, 3, 0, sees=UNSEEN)  # F_GETFL

    it.call("close", twin, sees=seen)
    it.call("close", fd, sees=seen)
    it.call("close", 700, sees=file(home / "real/inner"))
    it.call("close", folder, sees=file(home, kind="dir"))
    it.call("close", fd, sees=nameless(errno.EBADF))
    it.bad_fd("close", FD)
    link = it.open(home / "plain", O_PATH)
    it.call("close", link, sees=seen)
    device = it.open(Path("/dev/null"), kind="device")
    it.call("close", device, sees=file("/dev/null", kind="device"))

    # The name of what nothing else holds can be gone with it.
    gone = Seen("fd_changed")
    held = it.script.buffer(144)
    create = os.O_RDWR | os.O_CREAT
    lost = home / "lost"

    def sees_lost(**more: Any) -> Callable[[int], Seen]:
        return lambda _: file(lost, of=lost_stat, **more)

    first = it.call("openat", AT_FDCWD, lost, create, 0o600, sees=sees_lost())
    lost_stat = it.call("fstat", first, held, sees=sees_lost())
    second = it.call("dup", first, sees=sees_lost())
    it.call("unlink", lost, sees=acts(as_passed(lost), lambda: struct.unpack_from("=QQ", held.read())))
    it.call("close", first, sees=sees_lost(path_flags=DELETED))
    it.call("close", second, sees=sees_lost(path_flags=DELETED, otherwise=gone))
    stats: list[Step] = []

    def sees_memory(**more: Any) -> Callable[[int], Seen]:
        return lambda _: file("/memfd:closed", kind="memfd", of=stats[0], **more)

    anonymous = it.call("memfd_create", b"closed", 0, sees=sees_memory())
    stats.append(it.call("fstat", anonymous, it.script.buffer(144), sees=sees_memory()))
    twin = it.call("dup", anonymous, sees=sees_memory())
    it.call("close", anonymous, sees=sees_memory())
    it.call("close", twin, sees=sees_memory(otherwise=gone))
    # One end of a pipe holds what the other is an end of, too.
    it.call("close", writer, sees=sees_pipe())

    it.call("close_range", 710, 720, 0, sees=Seen("none"))
    # CLOSE_RANGE_CLOEXEC
    it.call("close_range", 710, 720, 4, sees=Seen("none", error=0 if kernel_is(5, 11) else errno.EINVAL))
    it.call("close_range", 720, 710, 0, sees=nameless(errno.EINVAL))
    it.call("close_range", 710, 720, BAD_FLAG, sees=nameless(errno.EINVAL))
    it.call("close", 710, sees=nameless(errno.EBADF))


# --- programs ---

# An executable whose one call is exit_group(0): what is executed makes no call that is seen.
_CODE = bytes.fromhex("31ffb8e70000000f05")
_PROGRAM = (
    struct.pack("=4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    + struct.pack("=IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(_CODE), 120 + len(_CODE), PAGE)
    + _CODE
)


def _add_program(path: Path) -> None:
    path.write_bytes(_PROGRAM)
    path.chmod(0o700)


def _arguments(steps: Steps) -> Address:
    """An array with one argument."""
    array = steps.script.buffer(16)
    steps.poke(array, steps.script.buffer(b"argument\0"))
    return array


def _in_child(it: Lines, write: Callable[[Steps], None]) -> None:
    child = it.script.list()
    it.steps.fork(child)
    write(child)
    it.steps.wait_children()


@row_list
def programs(it: Lines) -> None:
    home, real = it.home, it.home / "real"
    tiny = real / "tiny"
    _add_program(tiny)
    (home / "short").symlink_to("real/tiny")
    (home / "nonsense").write_bytes(b"neither an ELF nor a script")
    (home / "nonsense").chmod(0o700)
    inside = it.folder(real)

    def becomes(seen: Seen, name: Path | str, start: Step | int | None = None, comm: str = "tiny") -> None:
        seen = dataclasses.replace(acts(seen, now(tiny), entry=tiny), comm=comm, opens=(tiny,))

        def write(child: Steps) -> None:
            passed = child.script.buffer(os.fsencode(name) + b"\0")
            if start is None:
                child.leave("execve", passed, _arguments(child), 0, sees=seen)
            else:
                child.leave("execveat", start, passed, _arguments(child), 0, 0, sees=seen)

        _in_child(it, write)

    becomes(as_passed(tiny), tiny)
    becomes(relative(home / "at/tiny"), "at/tiny")
    becomes(relative(home / "short"), "short", comm="short")
    long_name = "./" * 300 + "at/tiny"
    becomes(relative(f"{home}/{long_name}"), long_name)
    becomes(relative(real / "tiny"), "tiny", inside)
    becomes(as_passed(home / "short"), home / "short", AT_FDCWD, comm="short")

    it.misses("execve", NAME, 0, 0)
    it.fails(errno.EACCES, "execve", ("plain",), 0, 0)
    it.fails(errno.EACCES, "execve", ("real",), 0, 0)
    it.fails(errno.ENOEXEC, "execve", ("nonsense",), 0, 0, opens=(home / "nonsense",))
    # Linux 6.8 opens the program before it looks at the arguments (978ffcbf00d8).
    opened_first = (tiny,) if kernel_is(6, 8) else ()
    it.fails(errno.EFAULT, "execve", ("at/tiny",), NOWHERE, 0, opens=opened_first)
    it.misses("execveat", AT_FDCWD, NAME, 0, 0, 0)
    it.misses_from("execveat", FD, NAME, 0, 0, 0)
    it.fails(errno.ELOOP, "execveat", AT_FDCWD, ("short",), 0, 0, AT_SYMLINK_NOFOLLOW)
    it.fails(errno.EINVAL, "execveat", AT_FDCWD, ("at/tiny",), 0, 0, BAD_FLAG)
    it.bad_fd("execveat", FD, b"", 0, 0, AT_EMPTY_PATH)
    fd = it.open(home / "plain", os.O_RDONLY)
    it.call("execveat", fd, b"", 0, 0, AT_EMPTY_PATH, sees=file(home / "plain", error=errno.EACCES))


@functools.cache
def _named_by_number() -> bool:
    """Whether the kernel calls a program that was executed by a descriptor by that descriptor's number."""
    fd = os.open("/bin/cat", os.O_RDONLY)
    output, end = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(end, 1)
        os.execve(fd, ["cat", "/proc/self/comm"], {})
    os.close(end)
    with open(output, "rb") as reader:
        comm = reader.read().strip()
    assert os.waitpid(child, 0)[1] == 0
    os.close(fd)
    assert comm in (b"cat", str(fd).encode()), comm
    return comm != b"cat"


def _becomes_by_descriptor(it: Lines, flags: int) -> None:
    tiny = it.home / "real/tiny"
    _add_program(tiny)

    def write(child: Steps) -> None:
        fd = child.call("openat", AT_FDCWD, tiny, flags, 0, sees=file(tiny))
        name = lambda: str(fd.result) if _named_by_number() else "tiny"  # noqa: E731
        sees = lambda _: file(tiny, comm=name(), opens=(tiny,))  # noqa: E731
        child.leave("execveat", fd, child.script.buffer(b"\0"), _arguments(child), 0, AT_EMPTY_PATH, sees=sees)

    _in_child(it, write)


@row_list
def program_by_descriptor(it: Lines) -> None:
    _becomes_by_descriptor(it, os.O_RDONLY)
    _becomes_by_descriptor(it, O_PATH)


@row_list
def program_by_descriptor_that_it_closes(it: Lines) -> None:
    """O_CLOEXEC: at the return there is no such descriptor any more."""
    _becomes_by_descriptor(it, os.O_RDONLY | os.O_CLOEXEC)


@row_list
def program_whose_name_is_not_there_yet(it: Lines) -> None:
    """
    A new process has not touched the name before it executes, as a constant of the program seldom is; and afterwards
    there is nothing to read it from.
    """
    tiny = it.home / "real/tiny"
    _add_program(tiny)
    named = it.home / "name"
    named.write_bytes(os.fsencode(tiny) + b"\0")
    mapped = it.call("mmap", 0, PAGE, 1, 2, it.open(named), 0, sees=file(named))  # PROT_READ, MAP_PRIVATE

    seen = acts(as_passed(tiny, raw_path=str(tiny), comm="tiny", opens=(tiny,)), now(tiny))

    def write(child: Steps) -> None:
        child.leave("execve", mapped, _arguments(child), 0, sees=seen)

    _in_child(it, write)


@row_list
def program_by_another_thread(it: Lines) -> None:
    """The thread that executes takes the first one's number; the event comes under that."""
    home = it.home
    tiny = home / "real/tiny"
    _add_program(tiny)
    for name, sees in (
        (str(tiny), as_passed(tiny)),
        ("at/tiny", relative(home / "at/tiny")),
        ("./" * 300 + "at/tiny", relative(f"{home}/{'./' * 300}at/tiny")),
    ):
        leader, other = it.script.list(), it.script.list()
        it.steps.fork(leader)
        leader.call("access", "plain", 0, sees=relative(home / "plain"))
        leader.thread(other)
        # Until it is ended by the other one.
        leader.wait_thread(other)
        other.call("access", "none", 0, sees=relative(home / "none", error=errno.ENOENT))
        seen = dataclasses.replace(acts(sees, now(tiny), entry=tiny), comm="tiny", opens=(tiny,))
        passed = other.script.buffer(os.fsencode(name) + b"\0")
        other.leave("execve", passed, _arguments(other), 0, sees=seen, returns_to=leader)
        it.steps.wait_children()


# --- places ---


@row_list
def places(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    folder, fd = it.folder(real), it.open(plain)
    it.call("chdir", real, sees=enters(real))
    it.call("chdir", home / "at", sees=enters(real))
    it.call("chdir", f"/proc/self/root{home}/at/..", sees=enters(home))
    it.call("fchdir", folder, sees=file(real, kind="dir"))
    it.call("fchdir", fd, sees=file(plain, error=errno.ENOTDIR))
    it.bad_fd("fchdir", FD)
    it.call("chdir", home, sees=enters(home))
    it.fails(errno.ENOTDIR, "chdir", ("plain",))
    it.fails(errno.ELOOP, "chdir", ("loop",))
    it.misses("chdir", NAME)
    it.fails(errno.ENOTDIR, "chroot", ("plain",))
    it.misses("chroot", NAME)
    it.call("chroot", b"/", sees=as_passed("/"))
    it.call("chroot", real, sees=as_passed(real))
    # From now on names begin there.
    inner: list[Step] = []
    sees = lambda _: file("/inner", of=inner[0])  # noqa: E731
    opened = it.call("openat", AT_FDCWD, b"/inner", os.O_RDONLY, sees=sees)
    inner.append(it.call("fstat", opened, it.script.buffer(144), sees=sees))
    it.call("chdir", b"/", sees=enters("/", real))
    it.call("unlink", b"/inner", sees=acts(as_passed("/inner"), now(real / "inner")))
    it.call("chdir", b"/none", sees=as_passed("/none", error=errno.ENOENT))


@row_list
def steps_from_here(it: Lines) -> None:
    """A relative name of the new current directory starts from the old one."""
    home, real = it.home, it.home / "real"
    it.call("chdir", "real", sees=enters(real))
    it.call("chdir", "none", sees=relative(real / "none", error=errno.ENOENT))
    it.call("chdir", "..", sees=enters(home))
    it.call("chdir", ".", sees=enters(home))
    it.call("chdir", "at", sees=enters(real))
    it.call("openat", AT_FDCWD, "inner", os.O_RDONLY, sees=file(real / "inner"))


@row_list
def root_from_here(it: Lines) -> None:
    # The current directory lies outside of the new root.
    it.call("chroot", "real", sees=unreachable(relative(it.home / "real")))


@row_list
def mounts(it: Lines) -> None:
    home = it.home
    for name in ("m1", "m2", "m3", "shown"):
        (home / name).mkdir()
    (home / "to").symlink_to("m2")
    it.steps.call("unshare", CLONE_NEWNS)
    _make_private(it)
    here = AT_FDCWD
    m1, m3 = home / "m1", home / "m3"
    it.call("mount", b"none", m1, b"tmpfs", 6, 0, sees=acts(as_passed(m1), now(m1), "dir"))  # MS_NOSUID | MS_NODEV
    behind = acts(relative(home / "to"), now(home / "m2"), "dir", entry=home / "m2")
    it.call("mount", b"none", "to", b"tmpfs", 0, b"mode=0700", sees=behind)
    shown = acts(relative(home / "shown"), now(home / "shown"), "dir")
    it.call("mount", home / "real", "shown", 0, 4096, 0, sees=shown)  # MS_BIND
    it.fails(errno.ENODEV, "mount", b"none", ("real",), b"nosuchfs", 0, 0)
    it.fails(errno.ENOTDIR, "mount", b"none", ("plain",), b"tmpfs", 0, 0)
    it.misses("mount", b"none", NAME, b"tmpfs", 0, 0)
    # An object below a mount point is named by the way through it.
    made: list[Step] = []
    sees = lambda **more: lambda _: file(home / "m2/x", of=made[0], **more)  # noqa: E731
    fd = it.call("openat", here, "to/x", os.O_RDWR | os.O_CREAT, 0o600, sees=sees())
    made.append(it.call("fstat", fd, it.script.buffer(144), sees=sees()))
    it.call("close", fd, sees=sees())
    there = lambda: struct.unpack_from("=QQ", made[0].arguments[1].read())  # noqa: E731
    it.call("unlink", "to/x", sees=acts(relative(home / "to/x"), there, entry=home / "m2/x"))
    it.call("unlink", "shown/inner", sees=acts(relative(home / "shown/inner"), now(home / "real/inner")))
    it.call("umount2", "to", 0, sees=behind)
    seen = acts(as_passed(home / "shown"), now(home / "shown"), "dir")
    it.call("umount2", home / "shown", 2, sees=seen)  # MNT_DETACH
    it.fails(errno.EINVAL, "umount2", ("real",), 0)
    it.fails(errno.EINVAL, "umount2", ("real",), BAD_FLAG)
    it.misses("umount2", NAME, 0)

    it.call("move_mount", here, m1, here, m3, 0, sees=acts(as_passed(m1, m3), now(m1), "dir"))
    it.call("move_mount", here, "m3", here, "m1", 0, sees=acts(relative(m3, m1), now(m3), "dir"))
    it.call("move_mount", here, "real", here, "m2", 0, sees=relative(home / "real", home / "m2", error=errno.EINVAL))
    it.call("move_mount", here, m1, here, m3, BAD_FLAG, sees=as_passed(m1, m3, error=errno.EINVAL))
    it.call("move_mount", here, "none", here, "m3", 0, sees=relative(home / "none", m3, error=errno.ENOENT))
    it.call("move_mount", here, "m1", NO_FD, "x", 0, sees=relative(m1, error=errno.EBADF))
    it.call("move_mount", NO_FD, "x", -1, "x", 0, sees=nameless(errno.EBADF))

    it.call("open_tree", here, m1, 0, sees=as_passed(m1))
    it.call("open_tree", here, "to", 1, sees=relative(home / "to"))  # OPEN_TREE_CLONE
    folder = it.folder(home / "real")
    by_itself = file(home / "real", kind="dir")
    it.call("open_tree", folder, b"", AT_EMPTY_PATH, sees=by_itself)
    it.fails(errno.EINVAL, "open_tree", here, ("m1",), BAD_FLAG)
    it.misses("open_tree", here, NAME, 0)
    it.misses_from("open_tree", FD, NAME, 0)
    it.bad_fd("open_tree", FD, b"", AT_EMPTY_PATH)
    root: list[Step] = []
    on_it = lambda _: file(m1, kind="dir", of=root[0])  # noqa: E731
    mounted = it.call("openat", here, m1, DIRECTORY, sees=on_it)
    root.append(it.call("fstat", mounted, it.script.buffer(144), sees=on_it))
    it.call("fspick", here, "m1", 0, sees=relative(m1))
    it.call("fspick", mounted, b"", 8, sees=on_it)  # FSPICK_EMPTY_PATH
    it.fails(errno.EINVAL, "fspick", here, ("real",), 0)
    it.misses("fspick", here, NAME, 0)
    it.misses_from("fspick", FD, NAME, 0)
    attributes = it.script.buffer(struct.pack("=QQQQ", 8, 0, 0, 0))  # MOUNT_ATTR_NOEXEC
    if kernel_has("mount_setattr"):
        it.call("mount_setattr", here, m1, 0, attributes, 32, sees=as_passed(m1))
        it.call("mount_setattr", mounted, b"", AT_EMPTY_PATH, attributes, 32, sees=on_it)
        it.fails(errno.EINVAL, "mount_setattr", here, ("real",), 0, attributes, 32)
        it.misses("mount_setattr", here, NAME, 0, attributes, 32)
        it.misses_from("mount_setattr", FD, NAME, 0, attributes, 32)
    if kernel_has("open_tree_attr"):
        it.call("open_tree_attr", here, "m1", 1, attributes, 32, sees=relative(m1))
        it.call("open_tree_attr", folder, b"", AT_EMPTY_PATH, 0, 0, sees=by_itself)
        it.fails(errno.EINVAL, "open_tree_attr", here, ("m1",), BAD_FLAG, 0, 0)
        it.misses("open_tree_attr", here, NAME, 0, 0, 0)
        it.misses_from("open_tree_attr", FD, NAME, 0, 0, 0)

    it.call("pivot_root", b"/", b"/", sees=as_passed("/", "/", error=errno.EBUSY))
    flag = frozenset({"unreadable"})
    first = Seen("as_passed", None, str(m3), error=errno.EFAULT, raw_is_unreadable=True, path_flags=flag)
    it.call("pivot_root", NOWHERE, m3, sees=first)
    it.call("pivot_root", "m1", NOWHERE, sees=relative(m1, error=errno.EFAULT, path_flags=flag))
    it.call("pivot_root", "none", "m1", sees=relative(home / "none", m1, error=errno.ENOENT))
    it.call("pivot_root", "m1", "plain", sees=relative(m1, home / "plain", error=errno.ENOTDIR))
    it.call("mkdir", "m1/old", 0o700, sees=as_made(relative(home / "m1/old")))
    it.call("pivot_root", m1, home / "m1/old", sees=as_passed(m1, home / "m1/old"))
    top: list[Step] = []
    it.call("chdir", b"/", sees=lambda _: enters("/", top[0]))
    fd = it.call("openat", here, b"/", DIRECTORY, sees=lambda _: file("/", kind="dir", of=top[0]))
    top.append(it.call("fstat", fd, it.script.buffer(144), sees=lambda _: file("/", kind="dir", of=top[0])))
    it.call("mkdir", b"/new", 0o700, sees=as_made(as_passed("/new")))
    it.call("rmdir", f"/old{home}/m2", sees=acts(as_passed(f"/old{home}/m2"), now(home / "m2"), "dir"))
    it.call("umount2", b"/old", 2, sees=as_passed("/old"))


def as_made(seen: Seen) -> Seen:
    """In a place that is gone afterwards: whatever its inode was."""
    return acts(seen, None)


# --- looking ---


@row_list
def looks(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    reader, _, sees_pipe = it.pipe()
    here = AT_FDCWD
    buffer = it.buffer
    for call in ("stat", "lstat"):
        it.call(call, plain, buffer, sees=as_passed(plain))
        it.call(call, "at/inner", buffer, sees=relative(home / "at/inner"))
        it.fails(errno.EFAULT, call, ("plain",), NOWHERE)
        it.misses(call, NAME, buffer)
    it.call("lstat", "loop", buffer, sees=relative(home / "loop"))
    it.fails(errno.ELOOP, "stat", ("loop",), buffer)
    it.call("fstat", fd, buffer, sees=file(plain))
    it.call("fstat", fd, NOWHERE, sees=file(plain, error=errno.EFAULT))
    it.call("fstat", reader, buffer, sees=sees_pipe())
    it.bad_fd("fstat", FD, buffer)
    it.call("newfstatat", here, plain, buffer, 0, sees=as_passed(plain))
    it.call("newfstatat", inside, "inner", buffer, AT_SYMLINK_NOFOLLOW, sees=relative(real / "inner"))
    it.call("newfstatat", fd, b"", buffer, AT_EMPTY_PATH, sees=file(plain))
    it.call("newfstatat", here, b"", buffer, AT_EMPTY_PATH, sees=file(home, kind="dir"))
    it.call("newfstatat", inside, "inner", buffer, AT_EMPTY_PATH, sees=relative(real / "inner"))
    it.fails(errno.EINVAL, "newfstatat", here, ("plain",), buffer, BAD_FLAG)
    it.bad_fd("newfstatat", FD, b"", buffer, AT_EMPTY_PATH)
    it.misses("newfstatat", here, NAME, buffer, 0)
    it.misses_from("newfstatat", FD, NAME, buffer, 0)
    it.call("statx", here, plain, 0, 0x7FF, buffer, sees=as_passed(plain))
    it.call("statx", inside, "inner", 0x2000, 0x7FF, buffer, sees=relative(real / "inner"))  # AT_STATX_FORCE_SYNC
    it.call("statx", fd, b"", AT_EMPTY_PATH, 0x7FF, buffer, sees=file(plain))
    it.fails(errno.EINVAL, "statx", here, ("plain",), 0x6000, 0x7FF, buffer)
    it.bad_fd("statx", FD, b"", AT_EMPTY_PATH, 0x7FF, buffer)
    it.misses("statx", here, NAME, 0, 0x7FF, buffer)
    it.misses_from("statx", FD, NAME, 0, 0x7FF, buffer)

    it.call("access", plain, os.R_OK | os.W_OK, sees=as_passed(plain))
    it.call("access", "at/inner", os.F_OK, sees=relative(home / "at/inner"))
    it.fails(errno.EACCES, "access", ("plain",), os.X_OK)
    it.fails(errno.EINVAL, "access", ("plain",), 0o10)
    it.misses("access", NAME, os.R_OK)
    it.call("faccessat", inside, "inner", os.R_OK, sees=relative(real / "inner"))
    it.call("faccessat", NO_FD, plain, os.R_OK, sees=as_passed(plain))
    it.misses("faccessat", here, NAME, os.R_OK)
    it.misses_from("faccessat", FD, NAME, os.R_OK)
    it.call("faccessat2", here, "plain", os.W_OK, 0x200, sees=relative(plain))  # AT_EACCESS
    it.call("faccessat2", fd, b"", os.R_OK, AT_EMPTY_PATH, sees=file(plain))
    it.call("faccessat2", fd, b"", os.X_OK, AT_EMPTY_PATH, sees=file(plain, error=errno.EACCES))
    it.fails(errno.EINVAL, "faccessat2", here, ("plain",), os.R_OK, BAD_FLAG)
    it.bad_fd("faccessat2", FD, b"", os.R_OK, AT_EMPTY_PATH)
    it.misses("faccessat2", here, NAME, os.R_OK, 0)
    it.misses_from("faccessat2", FD, NAME, os.R_OK, 0)

    it.call("readlink", home / "link", buffer, 64, sees=as_passed(home / "link", moved=5))
    it.call("readlink", "at", buffer, 2, sees=relative(home / "at", moved=2))
    it.fails(errno.EINVAL, "readlink", ("plain",), buffer, 64)
    it.fails(errno.EINVAL, "readlink", ("link",), buffer, 0)
    it.misses("readlink", NAME, buffer, 64)
    it.call("readlinkat", here, "link", buffer, 64, sees=relative(home / "link", moved=5))
    it.fails(errno.EINVAL, "readlinkat", here, ("plain",), buffer, 64)
    it.misses("readlinkat", here, NAME, buffer, 64)
    it.misses_from("readlinkat", FD, NAME, buffer, 64)


@row_list
def looks_at_file_systems(it: Lines) -> None:
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    buffer = it.buffer
    it.call("statfs", plain, buffer, sees=as_passed(plain))
    it.call("statfs", "at/inner", buffer, sees=relative(home / "at/inner"))
    it.fails(errno.EFAULT, "statfs", ("plain",), NOWHERE)
    it.misses("statfs", NAME, buffer)
    it.call("fstatfs", fd, buffer, sees=file(plain))
    it.call("fstatfs", inside, buffer, sees=file(real, kind="dir"))
    it.bad_fd("fstatfs", FD, buffer)

    handle = it.script.buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    mount = it.script.buffer(8)
    it.call("name_to_handle_at", inside, "inner", handle, mount, 0, sees=relative(real / "inner"))
    it.call("name_to_handle_at", AT_FDCWD, "link", handle, mount, AT_SYMLINK_FOLLOW, sees=relative(home / "link"))
    it.call("name_to_handle_at", fd, b"", handle, mount, AT_EMPTY_PATH, sees=file(plain))
    seen = relative(plain, error=errno.EOVERFLOW)
    it.call("name_to_handle_at", AT_FDCWD, "plain", it.script.buffer(8), mount, 0, sees=seen)
    it.fails(errno.EINVAL, "name_to_handle_at", AT_FDCWD, ("plain",), handle, mount, BAD_FLAG)
    it.bad_fd("name_to_handle_at", FD, b"", handle, mount, AT_EMPTY_PATH)
    it.misses("name_to_handle_at", AT_FDCWD, NAME, handle, mount, 0)
    it.misses_from("name_to_handle_at", FD, NAME, handle, mount, 0)


@row_list
def watches(it: Lines) -> None:
    """Watching a place is a look at its name."""
    home, plain, real = it.home, it.home / "plain", it.home / "real"
    inside, fd = it.folder(real), it.open(plain)
    watch = it.steps.call("inotify_init1", 0)
    it.call("inotify_add_watch", watch, plain, 0xFFF, sees=as_passed(plain))
    it.call("inotify_add_watch", watch, "at", 0xFFF, sees=relative(home / "at"))
    it.fails(errno.ENOTDIR, "inotify_add_watch", watch, ("plain",), 0x01000FFF)  # IN_ONLYDIR
    it.fails(errno.EINVAL, "inotify_add_watch", watch, ("plain",), 0)
    it.fails(errno.EBADF, "inotify_add_watch", NO_FD, ("plain",), 0xFFF)
    it.misses("inotify_add_watch", watch, NAME, 0xFFF)

    marks = it.steps.call("fanotify_init", 0, 0)
    here, add, opened = AT_FDCWD, 1, 0x20  # FAN_MARK_ADD, FAN_OPEN
    it.call("fanotify_mark", marks, add, opened, here, plain, sees=as_passed(plain))
    it.call("fanotify_mark", marks, add, opened, inside, "inner", sees=relative(real / "inner"))
    it.call("fanotify_mark", marks, add, opened, fd, 0, sees=file(plain))
    it.call("fanotify_mark", marks, 2, opened, inside, "inner", sees=relative(real / "inner"))  # FAN_MARK_REMOVE
    it.call("fanotify_mark", marks, add, opened, here, 0, sees=nameless(errno.EBADF))
    it.fails(errno.ENOTDIR, "fanotify_mark", marks, add | 8, opened, here, ("plain",))  # FAN_MARK_ONLYDIR
    it.fails(errno.EINVAL, "fanotify_mark", marks, add, 1 << 35, here, ("plain",))
    it.fails(errno.EBADF, "fanotify_mark", NO_FD, add, opened, here, ("plain",))
    it.misses("fanotify_mark", marks, add, opened, here, NAME)
    it.misses_from("fanotify_mark", marks, add, opened, FD, NAME)
    # FAN_MARK_FLUSH: of all there is, whatever the name is.
    it.call("fanotify_mark", marks, 0x80, 0, here, plain, sees=UNSEEN)


@row_list
def link_by_descriptor(it: Lines) -> None:
    """readlinkat() of an empty name reads the symbolic link that the descriptor is of, without any flag."""
    link = it.home / "link"
    held: list[Step] = []
    sees = lambda **more: lambda _: file(link, kind="symlink", of=held[0], **more)  # noqa: E731
    fd = it.call("openat", AT_FDCWD, "link", O_PATH | os.O_NOFOLLOW, sees=sees())
    held.append(it.call("fstat", fd, it.script.buffer(144), sees=sees()))
    it.call("readlinkat", fd, b"", it.buffer, 64, sees=sees(moved=5))


@row_list
def no_name_at_all(it: Lines) -> None:
    """From 6.11 on NULL will do for an empty name (0ef625bba6fb); the *xattrat calls, of 6.13, always took it."""
    plain = it.home / "plain"
    fd = it.open(plain)
    it.call("futimesat", fd, 0, 0, sees=file(plain))
    if kernel_is(6, 11):
        it.call("newfstatat", fd, 0, it.buffer, AT_EMPTY_PATH, sees=file(plain))
        it.call("statx", fd, 0, AT_EMPTY_PATH, 0x7FF, it.buffer, sees=file(plain))
    if kernel_has("setxattrat"):
        what = it.script.buffer(struct.pack("=QII", 0, 5, 0))
        it.steps.poke(what, it.buffer)
        it.call("setxattrat", fd, 0, AT_EMPTY_PATH, b"trusted.a", what, 16, sees=file(plain))
        it.call("getxattrat", fd, 0, AT_EMPTY_PATH, b"trusted.a", what, 16, sees=file(plain, moved=5))
        it.call("removexattrat", fd, 0, AT_EMPTY_PATH, b"trusted.a", sees=file(plain))


@row_list
def no_name_where_one_is_needed(it: Lines) -> None:
    """NULL is an address where nothing is, wherever it does not mean the descriptor itself."""
    fd = it.open(it.home / "plain")
    bad = unreadable(errno.EFAULT)
    it.call("fchownat", fd, 0, 0, 0, AT_EMPTY_PATH, sees=bad)
    it.call("faccessat2", fd, 0, 0, AT_EMPTY_PATH, sees=bad)
    it.call("newfstatat", fd, 0, it.buffer, 0, sees=bad)
    it.call("statx", fd, 0, 0, 0x7FF, it.buffer, sees=bad)
    it.call("openat", AT_FDCWD, 0, 0, 0, sees=bad)
    it.call("futimesat", AT_FDCWD, 0, 0, sees=bad)
    it.call("unlink", 0, sees=bad)


@row_list
def attribute_looks(it: Lines) -> None:
    home, plain = it.home, it.home / "plain"
    os.setxattr(plain, "trusted.a", b"four")
    os.setxattr(home / "link", "trusted.b", b"and five", follow_symlinks=False)
    fd = it.open(plain)
    buffer = it.buffer
    for call, path, name, size in (
        ("getxattr", plain, b"trusted.a", 4),
        ("lgetxattr", home / "link", b"trusted.b", 8),
    ):
        it.call(call, path, name, buffer, 64, sees=as_passed(path, moved=size))
        it.call(call, path.name, name, buffer, 0, sees=relative(path, moved=size))
        it.fails(errno.ERANGE, call, (path.name,), name, buffer, 1)
        it.fails(errno.ENODATA, call, (path.name,), b"trusted.none", buffer, 64)
        it.misses(call, NAME, name, buffer, 64)
    it.call("getxattr", "link", b"trusted.a", buffer, 64, sees=relative(home / "link", moved=4))
    it.call("fgetxattr", fd, b"trusted.a", buffer, 64, sees=file(plain, moved=4))
    it.call("fgetxattr", fd, b"trusted.none", buffer, 64, sees=file(plain, error=errno.ENODATA))
    it.bad_fd("fgetxattr", FD, b"trusted.a", buffer, 64)
    for call, path in (("listxattr", plain), ("llistxattr", home / "link")):
        size = sum(len(name) + 1 for name in os.listxattr(path, follow_symlinks=False))
        it.call(call, path, buffer, PAGE, sees=as_passed(path, moved=size))
        it.call(call, path.name, buffer, 0, sees=relative(path, moved=size))
        it.fails(errno.ERANGE, call, (path.name,), buffer, 1)
        it.misses(call, NAME, buffer, PAGE)
    size = sum(len(name) + 1 for name in os.listxattr(plain))
    it.call("flistxattr", fd, buffer, PAGE, sees=file(plain, moved=size))
    it.call("flistxattr", fd, buffer, 1, sees=file(plain, error=errno.ERANGE))
    it.bad_fd("flistxattr", FD, buffer, PAGE)
    if not kernel_has("getxattrat"):
        return
    here, inside = AT_FDCWD, it.folder(home / "real")
    what, short = (it.script.buffer(struct.pack("=QII", 0, room, 0)) for room in (64, 1))
    for each in (what, short):
        it.steps.poke(each, buffer)
    it.call("getxattrat", here, plain, 0, b"trusted.a", what, 16, sees=as_passed(plain, moved=4))
    seen = relative(home / "link", moved=8)
    it.call("getxattrat", here, "link", AT_SYMLINK_NOFOLLOW, b"trusted.b", what, 16, sees=seen)
    it.call("getxattrat", fd, b"", AT_EMPTY_PATH, b"trusted.a", what, 16, sees=file(plain, moved=4))
    it.fails(errno.ERANGE, "getxattrat", here, ("plain",), 0, b"trusted.a", short, 16)
    it.misses("getxattrat", here, NAME, 0, b"trusted.a", what, 16)
    it.misses_from("getxattrat", FD, NAME, 0, b"trusted.a", what, 16)
    it.call("listxattrat", here, plain, 0, buffer, PAGE, sees=as_passed(plain, moved=size))
    it.call("listxattrat", inside, "../plain", 0, buffer, PAGE, sees=relative(f"{home}/real/../plain", moved=size))
    it.call("listxattrat", fd, b"", AT_EMPTY_PATH, buffer, PAGE, sees=file(plain, moved=size))
    it.fails(errno.EINVAL, "listxattrat", here, ("plain",), BAD_FLAG, buffer, PAGE)
    it.misses("listxattrat", here, NAME, 0, buffer, PAGE)
    it.misses_from("listxattrat", FD, NAME, 0, buffer, PAGE)


@row_list
def listings(it: Lines) -> None:
    plain, folder = it.home / "plain", it.home / "folder"
    folder.mkdir()
    names = (".", "..", "a", "bc", "d" * 40)
    for name in names[2:]:
        (folder / name).write_bytes(b"")
    fd = it.open(plain)
    # struct linux_dirent: two numbers, a length, the name and NUL, the type; linux_dirent64: the type before the name.
    word = 4 if it.script.by_compat else 8
    for call, fixed, unit in (("getdents", 2 * word + 2 + 1 + 1, word), ("getdents64", 8 + 8 + 2 + 1 + 1, 8)):
        size = sum((fixed + len(name) + unit - 1) & -unit for name in names)
        opened = it.folder(folder)
        it.call(call, opened, it.buffer, PAGE, sees=file(folder, kind="dir", offset=0, moved=size))
        end = it.steps.call("lseek", opened, 0, os.SEEK_CUR)
        # How a file system counts within a folder is its own matter.
        at_end = functools.partial(lambda end, _: file(folder, kind="dir", offset=end.result, moved=0), end)
        it.call(call, opened, it.buffer, PAGE, sees=at_end)
        again = it.folder(folder)
        it.call(call, again, it.buffer, 1, sees=file(folder, kind="dir", offset=0, error=errno.EINVAL))
        # That may have moved it to the first name's place.
        again = it.folder(folder)
        it.call(call, again, NOWHERE, PAGE, sees=file(folder, kind="dir", offset=0, error=errno.EFAULT))
        it.call(call, fd, it.buffer, PAGE, sees=file(plain, offset=0, error=errno.ENOTDIR))
        it.bad_fd(call, FD, it.buffer, PAGE)


# --- after which something is not seen ---


@dataclasses.dataclass(frozen=True)
class Message:
    """struct msghdr of 1 byte and room for control data, of 64 or 32 bits."""

    head: Address
    control: Address
    word: int

    def first(self, at: int = 0) -> Stored:
        """The descriptor that it brings, behind `at` bytes of other control data."""
        return Stored(self.control + at + self.word + 8)


def message(it: Lines, room: int, head: Address | None = None) -> Message:
    word = 4 if it.script.by_compat else 8
    made = Message(head or it.script.buffer(64), it.script.buffer(room or 8), word)
    part = it.script.buffer(16)
    it.steps.poke(part, it.script.buffer(1), word)
    it.steps.poke(part + word, 1, word)
    for index, value in ((2, part), (3, 1), (4, made.control), (5, room)):
        it.steps.poke(made.head + index * word, value, word)
    return made


# Of one descriptor, by the size of a long: the head, and the number, filled up.
CONTROL_BYTES = {8: 24, 4: 16}


def message_with(it: Lines, fd: Step | int, head: Address | None = None) -> Message:
    """One that gives it away."""
    word = 4 if it.script.by_compat else 8
    made = message(it, CONTROL_BYTES[word], head)
    it.steps.poke(made.control, word + 12, word)
    it.steps.poke(made.control + word, socket.SOL_SOCKET, 4)
    it.steps.poke(made.control + word + 4, socket.SCM_RIGHTS, 4)
    it.steps.poke(made.control + word + 8, fd, 4)
    return made


def a_pair(it: Lines) -> tuple[Stored, Stored]:
    pair = it.script.buffer(8)
    it.steps.call("socketpair", socket.AF_UNIX, socket.SOCK_DGRAM, 0, pair)
    return Stored(pair), Stored(pair + 4)


def given(it: Lines) -> None:
    """A message without descriptors is nothing to tell, nor is one that was not sent."""
    plain, part = it.home / "plain", it.home / "part"
    fd, (ours, _) = it.open(plain), a_pair(it)
    post, bare = message_with(it, fd), message(it, 0)
    it.call("sendmsg", ours, post.head, 0, sees=file(plain, fd=post.first()))
    it.call("sendmsg", ours, bare.head, 0, sees=UNSEEN)
    it.call("sendmsg", NO_FD, post.head, 0, sees=Unseen(errno.EBADF))
    it.call("sendmsg", ours, message_with(it, NO_FD).head, 0, sees=Unseen(errno.EBADF))
    it.call("sendmsg", ours, NOWHERE, 0, sees=Unseen(errno.EFAULT))
    reader, _, sees_pipe = it.pipe()
    other = message_with(it, reader)
    it.call("sendmsg", ours, other.head, 0, sees=sees_pipe(fd=other.first()))
    # In memory that is not there before the kernel wants it.
    it.call("dup2", fd, 700, sees=file(plain))
    word = post.word
    part.write_bytes(struct.pack("=QII" if word == 8 else "=III", word + 12, 1, 1) + struct.pack("=i", 700) + bytes(8))
    mapped = it.call("mmap", 0, PAGE, 1, 0x42, it.open(part), 0, sees=file(part))  # PROT_READ; MAP_PRIVATE, MAP_32BIT
    far = message(it, CONTROL_BYTES[word])
    it.steps.poke(far.head + 4 * word, mapped, word)
    seven = it.script.buffer(struct.pack("=i", 700))
    it.call("sendmsg", ours, far.head, 0, sees=file(plain, fd=Stored(seven)))
    # In the last of four; and where that one is not sent, because the one before it has no data.
    size = 32 if it.script.by_compat else 64
    for ends in (False, True):
        ours, _ = a_pair(it)
        heads = it.script.buffer(size * 4)
        messages = [message(it, 0, heads + size * index) for index in range(3)]
        last = message_with(it, fd, heads + size * 3)
        if ends:
            it.steps.poke(messages[2].head + 2 * word, NOWHERE, word)
        sees = UNSEEN if ends else file(plain, fd=last.first())
        it.call("sendmmsg", ours, heads, 4, 0, sees=sees)


def received(it: Lines) -> None:
    """Descriptors come with a message; without room for them, or with nothing, there is nothing to tell."""
    plain = it.home / "plain"
    fd, (ours, theirs) = it.open(plain), a_pair(it)
    it.steps.call(
        "setsockopt", theirs, socket.SOL_SOCKET, socket.SO_PASSCRED, it.script.buffer(struct.pack("=i", 1)), 4
    )
    post, bare = message_with(it, fd), message(it, 0)
    for each in (post, bare, post, post, *(bare,) * 40, post):
        it.call("sendmsg", ours, each.head, 0, sees=file(plain, fd=post.first()) if each is post else UNSEEN)
    got = message(it, 200)
    # Behind the sender's credentials: 12 bytes.
    behind = -(-(got.word + 8 + 12) // got.word) * got.word
    it.call("recvmsg", theirs, got.head, 0, sees=file(plain, op="blind_spot", fd=got.first(behind)))
    it.call("recvmsg", theirs, message(it, 200).head, 0, sees=UNSEEN)
    it.call("recvmsg", theirs, message(it, 0).head, 0, sees=UNSEEN)
    again = message(it, 200)
    it.call("recvmsg", theirs, again.head, socket.MSG_PEEK, sees=file(plain, fd=again.first(behind)))
    it.call("recvmsg", NO_FD, again.head, 0, sees=Unseen(errno.EBADF))
    it.call("recvmsg", theirs, message(it, 0).head, 0, sees=UNSEEN)
    # In the last of 41.
    size = 32 if it.script.by_compat else 64
    heads = it.script.buffer(size * 41)
    messages = [message(it, 200, heads + size * index) for index in range(41)]
    last = file(plain, fd=messages[40].first(behind))
    it.call("recvmmsg", theirs, heads, 41, 0, 0, sees=last)


def speaks(it: Lines) -> None:
    """To a socket that is nobody's: the others are in test_blind_spots.py."""
    unix = it.steps.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    name = b"\x01\x00" + os.fsencode(it.home / "nobody") + b"\x00"
    it.call("connect", unix, it.script.buffer(name), len(name), sees=Unseen(errno.ENOENT))
    internet = it.steps.call("socket", socket.AF_INET, socket.SOCK_DGRAM, 0)
    address = struct.pack("=H", socket.AF_INET) + b"\x00\x09\x7f\x00\x00\x01" + bytes(8)
    it.call("connect", internet, it.script.buffer(address), len(address), sees=UNSEEN)


def opens_a_listener(it: Lines) -> None:
    """A filter (struct sock_fprog) that allows everything, and somebody who could listen to it."""
    code = it.script.buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    program = it.script.buffer(16)
    word = 4 if it.script.by_compat else 8
    it.steps.poke(program, 1, 2)
    it.steps.poke(program + word, code, word)
    it.call("seccomp", 1, 0, program, sees=UNSEEN)
    status: list[Step] = []
    sees = lambda _: file("anon_inode:seccomp notify", kind="anon", of=status[0])  # noqa: E731
    opened = it.call("seccomp", 1, 8, program, sees=sees)
    status.append(it.call("fstat", opened, it.script.buffer(144), sees=sees))


@row_list
def blind_spots(it: Lines) -> None:
    """Told when they succeed; what fails has done nothing."""
    fd = it.open(it.home / "plain")

    def opens(what: str, call: str, *arguments: Any) -> None:
        status: list[Step] = []
        sees = lambda _: file(f"anon_inode:[{what}]", kind="anon", of=status[0])  # noqa: E731
        opened = it.call(call, *arguments, sees=UNSEEN if call in unseen else sees)
        status.append(it.call("fstat", opened, it.script.buffer(144), sees=sees))

    # Where a ring's requests are seen, making one is nothing to tell.
    unseen = {"io_uring_setup"} if HERE.ring_opcodes else set()
    other = Unseen if unseen else Filtered
    opens("io_uring", "io_uring_setup", 4, it.script.buffer(120))
    it.call("io_uring_setup", 0, it.script.buffer(120), sees=other(errno.EINVAL))
    it.call("io_uring_setup", 4, NOWHERE, sees=other(errno.EFAULT))
    opens("userfaultfd", "userfaultfd", os.O_CLOEXEC)
    it.call("userfaultfd", BAD_FLAG, sees=Filtered(errno.EINVAL))
    opens_a_listener(it)

    given(it)
    received(it)
    taken = it.steps.call("pidfd_open", it.steps.call("getpid"), 0)
    it.call("pidfd_getfd", taken, fd, 0, sees=file(it.home / "plain"))
    it.call("pidfd_getfd", taken, NO_FD, 0, sees=Filtered(errno.EBADF))
    speaks(it)

    own = it.steps.call("getpid")
    parts = it.parts(8)
    it.call("process_vm_writev", own, parts, 1, parts, 1, 0, sees=Seen("none"))
    it.call("process_vm_writev", own, parts, 1, NOWHERE, 1, 0, sees=Filtered(errno.EFAULT))
    it.call("process_vm_writev", own, parts, 1, parts, 1, 1, sees=Filtered(errno.EINVAL))

    child, flag = it.script.list(), it.script.flag()
    born = it.steps.fork(child)
    child.wait(flag, 1)
    it.call("ptrace", 0x4206, born, 0, 0, sees=Seen("none"))  # PTRACE_SEIZE
    it.call("ptrace", 16, born, 0, 0, sees=Filtered(errno.EPERM))  # PTRACE_ATTACH: it is ours already
    it.call("ptrace", 7, own, 0, 0, sees=Unseen(errno.ESRCH))  # PTRACE_CONT
    it.steps.add(flag, 1)
    it.steps.wait_children()
