# SPDX-License-Identifier: MIT
"""32-bit calls: every row of the table of calls again, by int 0x80; what only that table has; a 32-bit program."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest

from aa_fileio import SYSCALLS, Kind, KprobeManager, Op
from tests.native.compat import NUMBERS
from tests.native.expected import (
    as_passed,
    check_ledger,
    check_script_ledger,
    file,
    flag_names,
    nameless,
    sees_exec_opens,
)
from tests.native.ground import HANG_SECONDS, HERE
from tests.native.row_lists import LISTS, NO_FD, NOWHERE, Lines, acts, later, now
from tests.native.script import AT_FDCWD, Script, Step, Steps
from tests.native.themes import Performed, checked_each, performed_once
from tests.native.tracing import read_to_end, trace

ROWS = {row.name for row in SYSCALLS}
pytestmark = pytest.mark.follows_compat


def only_there(script: Script, steps: Steps, home: Path) -> None:
    """Older forms of a call, and several behind one number."""
    plain = home / "plain"
    plain.write_bytes(b"0123456789")
    it = Lines(script, steps, home)

    def call(number: str, name: str, *arguments: object, sees: object, means: tuple[object, ...] | None = None) -> Step:
        return steps.compat(NUMBERS[number], *arguments, name=name, means=means, sees=sees)

    fd = it.open(plain)
    for prefix, suffix in (("old", ""), ("", ""), ("", "64")):
        # Most inode numbers are too large for the oldest form.
        if not prefix:
            call(f"stat{suffix}", "stat", plain, it.buffer, sees=as_passed(plain))
            call(f"lstat{suffix}", "lstat", plain, it.buffer, sees=as_passed(plain))
            call(f"fstat{suffix}", "fstat", fd, it.buffer, sees=file(plain))
        missing = as_passed(home / "none", error=errno.ENOENT)
        call(f"{prefix}stat{suffix}", "stat", home / "none", it.buffer, sees=missing)
        call(f"{prefix}lstat{suffix}", "lstat", home / "none", it.buffer, sees=missing)
        call(f"{prefix}fstat{suffix}", "fstat", NO_FD, it.buffer, sees=nameless(errno.EBADF))
    call("statfs64", "statfs", plain, 84, it.buffer, means=(plain,), sees=as_passed(plain))
    call("fstatfs64", "fstatfs", fd, 84, it.buffer, means=(fd,), sees=file(plain))
    call("fstatat64", "newfstatat", AT_FDCWD, plain, it.buffer, 0x100, sees=as_passed(plain))

    done = acts(as_passed(plain), now(plain))
    call("chown", "chown", plain, 0, 0, sees=done)
    call("lchown", "lchown", plain, 0, 0, sees=done)
    call("fchown", "fchown", fd, 0, 0, sees=file(plain))
    call("truncate", "truncate", plain, 8, sees=done)
    failed = as_passed(plain, error=errno.EINVAL)
    call("truncate", "truncate", plain, 0xFFFFFFFF, means=(plain, -1), sees=failed)
    call("ftruncate", "ftruncate", fd, 9, sees=file(plain))
    times = it.buffer + 256
    call("utimensat_time64", "utimensat", AT_FDCWD, plain, times, 0, sees=done)
    call("fcntl", "fcntl", fd, 0, 500, sees=file(plain))  # F_DUPFD
    seen = as_passed(home / "none", error=errno.ENOENT)
    call("umount", "umount2", home / "none", means=(home / "none", 0), sees=seen)

    # A position of 32 bits in memory, and none.
    _, writer, sees_pipe = it.pipe()

    def sent(count: int, offset: int) -> object:
        return lambda _: file(plain, new_path=sees_pipe.name(), offset=offset, count=count, moved=count)  # type: ignore[attr-defined]

    at = script.buffer(struct.pack("=II", 4, 0xFFFFFFFF))
    call("sendfile", "sendfile", writer, fd, at, 3, sees=sent(3, 4))
    call("sendfile", "sendfile", writer, fd, 0, 2, sees=sent(2, 0))

    # All arguments in memory; where they cannot be read, nobody knows what the call is about.
    words = script.buffer(24)
    for index, word in enumerate((0, 4096, 1, 2, fd, 4096)):
        steps.poke(words + 4 * index, word, 4)
    call("mmap", "mmap", words, means=(0, 4096, 1, 2, fd, 4096), sees=file(plain))
    steps.compat(NUMBERS["mmap"], NOWHERE)

    # socketcall(SYS_SOCKET), then SYS_BIND.
    steps.compat(NUMBERS["socketcall"], 1, script.buffer(struct.pack("=3I", socket.AF_UNIX, socket.SOCK_STREAM, 0)))
    unix = steps.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    name = os.fsencode(home / "s")
    address = script.buffer(struct.pack("=H", socket.AF_UNIX) + name + b"\0")
    parts = script.buffer(12)
    for index, part in enumerate((unix, address, 2 + len(name) + 1)):
        steps.poke(parts + 4 * index, part, 4)
    made = acts(as_passed(home / "s", raw_path=str(home / "s")), later(home / "s"), kind="socket")
    call("socketcall", "bind", 2, parts, means=(unix, address, 2 + len(name) + 1), sees=made)
    steps.compat(NUMBERS["socketcall"], 2, NOWHERE)
    # Directories by a form that no library has used for decades.
    folder = it.open(home, os.O_RDONLY | os.O_DIRECTORY, kind="dir")
    steps.compat(NUMBERS["readdir"], folder, it.buffer, 1)
    # What is no call on a file is none here either, whatever the 64-bit table has there.
    for number in (0, 20, 257, 263, 82, 420):
        steps.compat(number, NOWHERE, NOWHERE, 0, 0, 0)


UNFOLLOWED = 3  # in that list: mmap and bind that cannot be read, readdir

performed = performed_once({**LISTS, "only_there": only_there}, ROWS, by_compat=True, ops=list(Op), kinds=list(Kind))
test_theme = checked_each({**LISTS, "only_there": only_there})


def test_nobody_else_is_seen(performed: Performed) -> None:
    performed.check_no_stranger()


def test_ledger(backend: str, performed: Performed) -> None:
    """What cannot be followed is counted."""
    unreadable = sum("unreadable" in flag_names(event) for event in performed.result.events)
    check_script_ledger(
        performed.script, performed.result.stats, backend, path_unreadable=unreadable, compat_calls=UNFOLLOWED
    )


@pytest.mark.parametrize("latency", [True, False], ids=["with-latency", "without-latency"])
def test_between_calls_of_64_bits(backend: str, area: Path, latency: bool) -> None:
    """Other numbers for the same names, in one thread: each is what it is, and only what was asked for."""
    path = area / "file"
    path.write_bytes(b"0123456789")
    script = Script()
    steps = script.main
    steps.hold()
    buffer = script.buffer(16)
    source = {} if latency or backend not in HERE.exit_only else {"source": "fd_at_return"}

    def read_at(offset: int, moved: int) -> object:
        return file(path, offset=offset, moved=moved)

    # Its first call of all is one of these.
    fd = steps.compat(NUMBERS["openat"], AT_FDCWD, path, os.O_RDONLY, 0, name="openat", sees=file(path))
    steps.compat(NUMBERS["read"], fd, buffer, 4, name="read", sees=read_at(0, 4))
    steps.call("read", fd, buffer, 3, sees=read_at(4, 3))
    steps.compat(NUMBERS["stat64"], path, script.buffer(144))  # not asked for
    steps.compat(NUMBERS["pread64"], fd, buffer, 4, 3, 0, name="pread64", means=(fd, buffer, 4, 3), sees=read_at(3, 4))
    # By their numbers the 64-bit table has read, write, openat, unlinkat, unlink, rename, renameat2.
    for number in (0, 1000, 257, 263, 87, 82):
        steps.compat(number, 0xFFFFFF, buffer, 0, 0, 0)
    steps.compat(NUMBERS["unlink"], path, name="unlink", sees=as_passed(path))
    steps.call("unlink", path, sees=as_passed(path, error=errno.ENOENT))
    stat = path.stat()
    result = trace(script, area, backend, latency=latency, ops=["open", "read", "unlink"])
    wanted = [("open", 3), ("read", 4), ("read", 3), ("read", 4), ("unlink", 0), ("unlink", -errno.ENOENT)]
    assert [(str(event.op), event.return_code) for event in result.events] == [("open", fd.result), *wanted[1:]]
    assert [event.offset for event in result.events[1:4]] == ([0, 4, 3] if not source else [None, None, 3])
    assert {(event.device, event.inode) for event in result.events[:4]} == {(stat.st_dev, stat.st_ino)}
    check_ledger(result.stats, backend, performed=6, delivered=6)


@pytest.mark.parametrize("latency", [True, False], ids=["with-latency", "without-latency"])
def test_what_cannot_be_followed_hides_nothing_else(backend: str, area: Path, latency: bool) -> None:
    path = area / "file"
    path.write_bytes(b"0123456789")
    script = Script(traced=())
    steps = script.main
    steps.hold()
    fd = steps.call("open", path, os.O_RDONLY)
    for _ in range(3):
        steps.compat(NUMBERS["mmap"], NOWHERE)
        steps.call("read", fd, script.buffer(16), 3)
        steps.compat(NUMBERS["mmap"], NOWHERE)
        steps.compat(NUMBERS["read"], fd, script.buffer(16), 2)
    result = trace(script, area, backend, latency=latency, ops=["read", "map"])
    assert [(event.path, event.return_code) for event in result.events] == [
        (str(path), moved) for moved in (3, 2, 3, 2, 0, 0)
    ]
    check_ledger(result.stats, backend, performed=6, delivered=6, compat_calls=6)


@pytest.mark.parametrize("way", ["sysinfo", "int80"])
def test_a_32_bit_program(backend: str, area: Path, compiled: Path, way: str) -> None:
    """Compiled with -m32; by the kernel's own entry (sysenter, syscall) and by int 0x80."""
    command = [compiled / "m32", area, *(["int80"] if way == "int80" else [])]
    ops = ["open", "write", "read", "map", "allocate", "rename", "unlink", "chdir", "exec"]
    with KprobeManager.spawn(command, backend=backend, ops=ops) as manager:
        events = read_to_end(manager)
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
    old, new = str(area / "old"), str(area / "new")
    seen = [
        (event.syscall, event.path, event.new_path, event.count, event.offset, event.return_code)
        for event in events
        if event.syscall not in ("chdir", "open", "mmap", "execve", "open_exec")
    ]
    assert seen == [
        ("write", old, None, 10, 0, 10),
        ("pread64", old, None, 4, 3, 4),
        ("fallocate", old, None, 4096, 0, 0),
        ("rename", old, new, None, None, 0),
        ("unlinkat", new, None, None, None, 0),
        ("unlink", new, None, None, None, -errno.ENOENT),
    ]
    (opened,) = (event for event in events if event.syscall == "open")
    (mapped,) = (event for event in events if event.syscall == "mmap")
    assert (opened.path, opened.flags, opened.mode) == (old, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
    assert (mapped.path, mapped.count, mapped.fd) == (old, 4096, opened.return_code)
    opened_by_exec = ["open_exec"] if sees_exec_opens(Script()) else []
    assert [event.syscall for event in events][: 3 + len(opened_by_exec)] == [
        *opened_by_exec,
        *("execve", "chdir", "open"),
    ]
    check_ledger(manager.stats, backend, performed=len(events), delivered=len(events))
