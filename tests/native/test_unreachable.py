# SPDX-License-Identifier: MIT
"""Names that do not begin at the process's root: flagged, and kept by rules. Mounts that move meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, Op, PathFlag
from tests.native import unreachable
from tests.native.forked import Forked
from tests.native.ground import scaled
from tests.native.tracing import read_to_end
from tests.native.unreachable import NAMES, WAYS, call, mount, own_mounts, unmount

OPS = ["modify", "read"]
_MS_MOVE = 8192


def _trace(backend: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[list[Any], Any, Any]:
    """The events of work(tell, go, *arguments) in a child, what it returns, and the manager's totals."""
    go, start = os.pipe()
    try:
        with Forked(work, go, *arguments) as child:
            assert child.recv() == "ready"
            with KprobeManager(child.pid, backend=backend, **{"ops": OPS} | options) as manager:
                os.write(start, b"x")
                events = read_to_end(manager)
                totals = manager.totals() if options.get("totals") else []
            truth = child.recv()
            assert child.reap() == 0
        assert manager.stats.lost == 0
        assert manager.stats.decode_error == 0
        return events, truth, totals
    finally:
        os.close(go)
        os.close(start)


def _acts(events: list[Any], pid: int) -> list[Any]:
    """Those of act(): from its first on."""
    own = [event for event in events if event.pid == pid]
    first = next(i for i, event in enumerate(own) if event.syscall == "mkdirat" and event.raw_path == "made")
    wanted = {name for name, _, _ in NAMES}
    return [event for event in own[first:] if event.syscall in wanted]


def test_every_call_there_is_flagged(backend: str, area: Path) -> None:
    events, gone, _ = _trace(backend, unreachable.go_all, str(area))
    for way, (pid, cwd) in gone.items():
        assert cwd.startswith("(unreachable)"), way  # so says the kernel
        known = "(unreachable)" + WAYS[way][1].format(folder=area / way)
        if way != "escaped":  # of which it says nothing
            assert cwd.removesuffix("/") == known
        acts = _acts(events, pid)
        found = [(event.syscall, event.path, event.new_path) for event in acts]
        assert found == [(name, f"{known}/{old}", new and f"{known}/{new}") for name, old, new in NAMES], way
        assert all(PathFlag.UNREACHABLE in event.path_flags for event in acts), way
        assert {event.path_source for event in acts} <= {"file", "dentry", "dir_and_name"}, way


@pytest.mark.parametrize("rules", [{"watch": ["/nowhere/"]}, {"ignore": ["/**"]}, {"ignore": ["/"]}], ids=str)
def test_rules_keep_them(backend: str, area: Path, rules: dict[str, list[str]]) -> None:
    events, gone, _ = _trace(backend, unreachable.go_all, str(area), **rules)
    kept = [event for event in events if PathFlag.UNREACHABLE in event.path_flags]
    for way, (pid, _) in gone.items():
        assert [event.syscall for event in _acts(kept, pid)] == [name for name, _, _ in NAMES], way


def test_no_rule_of_a_path_takes_them_for_its_own(backend: str, area: Path) -> None:
    events, gone, _ = _trace(backend, unreachable.go_all, str(area), sensitive=["/etc/", "/etc/passwd"])
    assert {event.sensitive for pid, _ in gone.values() for event in _acts(events, pid)} == {None}


def _let_go_and_attached(tell: Callable[[object], None], go: int, folder: str) -> None:
    """One descriptor, before and after its mount is let go; and one before and after its mount is attached."""
    own_mounts(folder)
    os.mkdir(folder + "/old")
    os.mkdir(folder + "/new")
    mount(folder + "/old")
    context = call(430, b"tmpfs", 0)
    call(431, context, 6, None, None, 0)
    detached = call(432, context, 0, 0)
    first = os.open(folder + "/old/file", os.O_RDWR | os.O_CREAT)
    second = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=detached)
    tell("ready")
    os.read(go, 1)
    for _ in range(3):
        os.write(first, b"1")
        os.write(second, b"2")
    unmount(folder + "/old")
    call(429, detached, b"", -100, os.fsencode(folder + "/new"), 4)  # move_mount(F_EMPTY_PATH)
    for _ in range(3):
        os.write(first, b"1")
        os.write(second, b"2")


def test_what_was_told_before_is_told_anew(backend: str, area: Path) -> None:
    """A file that a thread speaks of by number keeps neither its name nor its flag when its mount changes."""
    events, _, totals = _trace(backend, _let_go_and_attached, str(area), totals=True)
    found = [(event.path, PathFlag.UNREACHABLE in event.path_flags) for event in events if event.op == Op.WRITE]
    before = [(f"{area}/old/file", False), ("(unreachable)/file", True)]
    after = [("(unreachable)/file", True), (f"{area}/new/file", False)]
    assert found == before * 3 + after * 3
    rows: dict[tuple[str, bool], int] = {}
    for row in totals:
        if row.op == Op.WRITE:
            name = row.path, PathFlag.UNREACHABLE in row.path_flags
            rows[name] = rows.get(name, 0) + row.calls
    assert rows == {before[0]: 3, before[1]: 6, after[1]: 3}


def _in_removed(tell: Callable[[object], None], go: int, folder: str) -> str:
    """The current directory is removed, and another one made that has its name."""
    tell("ready")
    os.read(go, 1)
    os.mkdir(folder + "/gone")
    (Path(folder) / "out").write_bytes(b"")
    gone = os.open(folder + "/gone", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(folder + "/gone")
    os.rmdir(folder + "/gone")
    os.mkdir(folder + "/gone")
    for at in (None, gone):
        with contextlib.suppress(FileNotFoundError):
            os.open("x", os.O_RDWR | os.O_CREAT, dir_fd=at)
        with contextlib.suppress(FileNotFoundError):
            os.mkdir("y", dir_fd=at)
        os.close(os.open("../out", os.O_RDONLY, dir_fd=at))
    return os.readlink(f"/proc/self/fd/{gone}")


@pytest.mark.parametrize("rules", [{}, {"watch": ["/nowhere/"]}, {"ignore": ["/"]}], ids=str)
def test_a_removed_directory(backend: str, area: Path, rules: dict[str, list[str]]) -> None:
    events, link, _ = _trace(backend, _in_removed, str(area), **rules)
    assert link == f"{area}/gone (deleted)"
    found = [(event.path, event.path_flags) for event in events if event.raw_path in ("x", "y")]
    flags = PathFlag.UNREACHABLE | PathFlag.DELETED
    assert found == [(f"(unreachable){area}/gone/{name}", flags) for name in "xyxy"]
    # The kernel has found this one, and its name is its own.
    if not rules:
        out = [(event.path, event.path_flags) for event in events if event.raw_path == "../out"]
        assert out == [(f"{area}/out", PathFlag(0))] * 2


def _while_mounts_move(tell: Callable[[object], None], go: int, folder: str, reads: int) -> None:
    """
    C lies in B, which is at 1. Again and again: C goes to D, B to 2 and back, C back into B. So C is never below 2.
    """
    own_mounts(folder)
    for name in ("1", "2", "d"):
        os.mkdir(f"{folder}/{name}")
    mount(folder + "/1")
    os.mkdir(folder + "/1/c")
    mount(folder + "/1/c")
    file = os.open(folder + "/1/c/file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"x")
    moves = [("1/c", "d"), ("1", "2"), ("2", "1"), ("d", "1/c")]
    tell("ready")
    os.read(go, 1)
    mover = os.fork()
    if mover == 0:
        while os.getppid() != 1:
            for old, new in moves:
                call(165, os.fsencode(f"{folder}/{old}"), os.fsencode(f"{folder}/{new}"), None, _MS_MOVE, None)
        os._exit(0)
    libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(1)
    for _ in range(reads):
        libc.pread(file, buffer, 1, 0)
    os.kill(mover, 9)
    os.waitpid(mover, 0)


def test_mounts_that_move_meanwhile(backend: str, area: Path) -> None:
    """One of the places where it was, or `raced`; and never a place made of two."""
    reads = scaled(150_000, 20_000)
    events, _, _ = _trace(backend, _while_mounts_move, str(area), reads, ops=["read"], queue_bytes=256 << 20)
    told = [event for event in events if event.syscall == "pread64"]
    assert len(told) == reads
    names = {event.path for event in told if event.path_source != "raced"}
    assert not any(PathFlag.UNREACHABLE in event.path_flags for event in told if event.path_source != "raced")
    assert names <= {f"{area}/1/c/file", f"{area}/d/file"}
    # Most are told: it is no storm that flags all.
    assert sum(event.path_source != "raced" for event in told) > reads // 2


def _of_own_root(tell: Callable[[object], None], go: int, folder: str) -> None:
    tell("ready")
    os.read(go, 1)
    start = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for name, resolve in _OF_OWN_ROOT:
        how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, resolve)
        with contextlib.suppress(OSError):
            call(437, start, os.fsencode(name), ctypes.addressof(how), 24)


_BENEATH, _IN_ROOT = 8, 16
_OF_OWN_ROOT = {
    ("/etc/hostname", _IN_ROOT): "{}/etc/hostname",
    ("etc/hostname", _IN_ROOT): "{}/etc/hostname",
    ("../../etc/hostname", _IN_ROOT): "{}/etc/hostname",
    ("a/../../b", _IN_ROOT): "{}/a/../b",
    ("/", _IN_ROOT | 1 << 40): "{}",  # EINVAL
    ("//./..//x/", _IN_ROOT): "{}/./x",
    ("etc/hostname", _BENEATH): "{}/etc/hostname",
    ("../x", _BENEATH): "{}/../x",
    # The kernel has refused it; it is what was passed.
    ("/etc/hostname", _BENEATH): "/etc/hostname",
    ("/etc/none", 0): "/etc/none",
}


def test_names_whose_root_is_the_directory(backend: str, area: Path) -> None:
    """openat2(RESOLVE_IN_ROOT) that fails: the name starts from the descriptor, and leads nowhere above it."""
    events, _, _ = _trace(backend, _of_own_root, str(area), sensitive=["/etc/"])
    told = [event for event in events if event.syscall == "openat2"]
    assert [event.raw_path for event in told] == [name for name, _ in _OF_OWN_ROOT]
    assert [event.path for event in told] == [path.format(area) for path in _OF_OWN_ROOT.values()]
    assert [event.sensitive for event in told] == [
        name[1] != _IN_ROOT and path.startswith("/etc/") for name, path in _OF_OWN_ROOT.items()
    ]


def _nameless(tell: Callable[[object], None], go: int) -> dict[int, str]:
    """Descriptors of what is no file, each asked once by fsync(2); and what the kernel calls them."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = [os.memfd_create(name) for name in ("x/../../etc/passwd", "[eventfd]", "pipe:[1]", "x (deleted)")]
    made += [*os.pipe(), os.eventfd(0), os.pidfd_open(os.getpid()), libc.inotify_init()]
    made += [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("mnt", "net", "pid", "user", "uts", "ipc")]
    made += [os.open("/proc/self/ns/pid_for_children", os.O_RDONLY), libc.socket(1, 1, 0)]
    made += [libc.mq_open(b"/aa_fileio", os.O_CREAT | os.O_RDWR, 0o600, None)]
    secret = libc.syscall(447, 0)  # memfd_secret(2), where it is switched on
    made += [secret] if secret >= 0 else []
    libc.mq_unlink(b"/aa_fileio")
    assert min(made) >= 0
    tell("ready")
    os.read(go, 1)
    for fd in made:
        libc.fsync(fd)
    return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in made}


_NO_FILES = ["file", "dir", "memfd", "pipe", "socket", "anon"]


def test_objects_are_named_as_the_kernel_does_or_not(backend: str) -> None:
    """Nothing is guessed from how a name begins."""
    options = {"ops": ["sync"], "kinds": _NO_FILES, "sensitive": ["/etc/", "/**"]}
    events, links, _ = _trace(backend, _nameless, **options)
    told = {event.fd: event for event in events if event.syscall == "fsync"}
    assert set(told) == set(links)
    for fd, link in links.items():
        event = told[fd]
        # A message queue's, and secret memory's, is that of a file of its own file system.
        expected = None if event.kind == "anon" and link.startswith("/") else link.removesuffix(" (deleted)")
        if link.startswith("/memfd:x (deleted)"):
            expected = "/memfd:x (deleted)"
        assert (event.path, event.sensitive) == (expected, False), link


def test_rules_of_paths_are_not_of_objects(backend: str) -> None:
    """A memfd may be called as it likes: no rule takes that for a path."""
    events, _, _ = _trace(backend, _nameless, ops=["sync"], kinds=_NO_FILES, watch=["/etc/", "/memfd*"])
    assert not [event for event in events if event.op == Op.SYNC]
