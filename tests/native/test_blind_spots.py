# SPDX-License-Identifier: MIT
"""What is done in a way that is not traced is announced, whatever was asked for. The calls: test_rows.py."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import (
    UNSEEN,
    Filtered,
    Seen,
    Unseen,
    check_events,
    check_results,
    check_script_ledger,
    file,
)
from tests.native.ground import HANG_SECONDS, HERE
from tests.native.row_lists import NO_FD, Lines, a_pair, message
from tests.native.script import AT_FDCWD, Address, Script, Step, Steps
from tests.native.tracing import check_trace, trace

# No request of a ring can do it, so that rings are not followed but announced, as all of them are where the kernel does
# not show their requests.
NO_RING = ["chmod"]


def _ring(script: Script, steps: Steps, *, is_seen: bool = False) -> None:
    status: list[Step] = []
    sees = (lambda _: file("anon_inode:[io_uring]", kind="anon", of=status[0])) if is_seen else None
    ring = steps.call("io_uring_setup", 4, script.buffer(120), sees=sees)
    status.append(steps.call("fstat", ring, script.buffer(144)))


@pytest.mark.parametrize("options", [{"errors_only": True}, {"min_duration_ns": 2**62}], ids=["errors", "slow"])
def test_no_filter_keeps_it_back(backend: str, area: Path, options: dict[str, object]) -> None:
    (area / "plain").write_bytes(b"1234")
    script = Script(traced=("chmod", "io_uring_setup"))
    main = script.main
    main.hold()
    main.call("chmod", area / "plain", 0o600, sees=Filtered())
    _ring(script, main, is_seen=True)
    main.call("io_uring_setup", 0, script.buffer(120), sees=Filtered(errno.EINVAL))
    main.call("chmod", area / "plain", 0o644, sees=Filtered())
    result = trace(script, area, backend, ops=NO_RING, **options)
    check_results(script)
    check_events(script, result.events)
    check_script_ledger(script, result.stats, backend)


def test_an_operation_that_nobody_asked_for_is_told(backend: str, area: Path) -> None:
    script = Script(traced=("io_uring_setup",))
    script.main.hold()
    _ring(script, script.main, is_seen=True)
    check_trace(script, area, backend, ops=NO_RING, kinds=["file"])


def test_totals_alone_say_it(backend: str, area: Path) -> None:
    script = Script(traced=("io_uring_setup",))
    script.main.hold()
    _ring(script, script.main, is_seen=True)
    result = trace(script, area, backend, ops=NO_RING, totals=True, events=False)
    [row] = result.totals
    assert (str(row.op), row.path, row.calls) == ("blind_spot", "anon_inode:[io_uring]", 1)
    assert not result.totals.complete
    assert result.stats.blind_spots == 1


@pytest.mark.parametrize("where", ["root", "child"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "one"])
@pytest.mark.parametrize("op", [*NO_RING, "unlink"])
def test_a_ring_from_before_the_trace_is_counted(backend: str, area: Path, where: str, follow: bool, op: str) -> None:
    """By whichever watched process: a child of one that is watched alone is none. Where its requests are followed it is
    no blind spot."""
    script = Script(traced=("rmdir",))
    if where == "root":
        _ring(script, script.main)
        _ring(script, script.main)
        script.main.hold()
    else:
        child = script.list()
        script.main.fork(child)
        _ring(script, child)
        child.hold()
        script.main.hold()
    script.main.call("rmdir", area / "none", sees=Filtered())
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=[op], follow=follow) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        stats = manager.stats
    expected = 2 if where == "root" else int(follow)
    if op == "unlink" and HERE.ring_opcodes:
        expected = 0
    assert (stats.blind_spots, stats.performed, stats.lost) == (expected, 0, 0)
    assert stats.complete == (stats.exact and not expected)


@pytest.mark.guest_only
def test_a_ring_from_before_is_found_in_the_whole_system(backend: str, area: Path) -> None:
    def counted() -> int:
        with KprobeManager(None, backend=backend, ops=NO_RING) as manager:
            return manager.stats.blind_spots

    script = Script(traced=())
    _ring(script, script.main)
    script.main.hold()
    before = counted()
    with script.start(area):
        assert counted() == before + 1
    assert counted() == before


def test_a_32_bit_program_is_announced(backend: str, area: Path, compiled: Path) -> None:
    """Where its calls cannot be followed; elsewhere they are events, which test_compat.py has."""
    with KprobeManager.spawn([compiled / "m32", area], backend=backend, ops=["rmdir"]) as manager:
        assert manager.poll(HANG_SECONDS) is None
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
    expected = 1 if backend in HERE.no_compat else 0
    stats = manager.stats
    assert (stats.compat_calls, stats.blind_spots, stats.unseen) == (0, expected, expected)


@pytest.fixture
def manager_socket() -> Iterator[Path]:
    """A message bus at its usual place, of a user that there is none of."""
    folder = Path("/run/user/4294967000")
    folder.mkdir(parents=True)
    try:
        yield folder / "bus"
    finally:
        shutil.rmtree(folder)


def test_work_that_is_handed_over(backend: str, area: Path, manager_socket: Path) -> None:
    """By whatever name the socket is reached, and whenever its owner bound it; to others it is nothing to tell."""
    link, other = area / "link", area / "other"
    link.symlink_to(manager_socket)
    script = Script(traced=("connect",))
    main = script.main
    main.hold()

    def connects(name: bytes, sees: object) -> None:
        unix = main.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
        address = struct.pack("=H", socket.AF_UNIX) + name + b"\0"
        main.call("connect", unix, script.buffer(address), len(address), sees=sees)

    def told(name: str) -> Seen:
        return Seen("as_passed", name, raw_path=name, op="blind_spot")

    connects(os.fsencode(manager_socket), told(str(manager_socket)))
    connects(os.fsencode(link), told(str(link)))
    connects(os.fsencode(other), UNSEEN)
    connects(b"\0abstract", Unseen(errno.ECONNREFUSED))
    connects(os.fsencode(area / "none"), Unseen(errno.ENOENT))
    with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=NO_RING) as manager:
        with socket.socket(socket.AF_UNIX) as bus, socket.socket(socket.AF_UNIX) as nobody:
            bus.bind(os.fspath(manager_socket))
            nobody.bind(os.fspath(other))
            bus.listen()
            nobody.listen()
            running.go()
            events = []
            while batch := manager.poll(HANG_SECONDS):
                events += batch
            running.finish()
        stats = manager.stats
    check_events(script, events)
    check_script_ledger(script, stats, backend)


def test_memory_of_a_file_from_before_the_trace(backend: str, area: Path) -> None:
    """A mapping that can be made writable counts; one of a file that was opened to be read, and memory, do not."""
    plain = area / "plain"
    plain.write_bytes(bytes(4096))
    script = Script(traced=())
    main = script.main
    for flags in (os.O_RDWR, os.O_RDONLY):
        fd = main.call("openat", AT_FDCWD, plain, flags, 0)
        for sharing in (1, 2):  # MAP_SHARED, MAP_PRIVATE
            main.call("mmap", 0, 4096, 1, sharing, fd, 0)
    memory = main.call("memfd_create", b"m", 0)
    main.call("ftruncate", memory, 4096)
    main.call("mmap", 0, 4096, 3, 1, memory, 0)
    main.call("mmap", 0, 4096, 3, 0x21, -1, 0)
    main.hold()
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=NO_RING) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        stats = manager.stats
    assert (stats.blind_spots, stats.complete) == (1, False)


def _speaks(script: Script, steps: Steps, name: bytes) -> None:
    unix = steps.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_UNIX) + name + b"\0"
    steps.call("connect", unix, script.buffer(address), len(address))


@pytest.mark.parametrize("where", ["root", "child"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "one"])
def test_what_watched_processes_have_before_the_trace(
    backend: str, area: Path, manager_socket: Path, where: str, follow: bool
) -> None:
    """Connections to a manager, by whatever name, and userfaultfd; a connection to others is nothing."""
    link, other = area / "link", area / "other"
    link.symlink_to(manager_socket)
    script = Script(traced=("chmod",))
    main = script.main
    steps = main
    if where == "child":
        steps = script.list()
        main.fork(steps)
    for name in (manager_socket, link, other):
        _speaks(script, steps, os.fsencode(name))
    steps.call("userfaultfd", os.O_CLOEXEC)
    steps.hold()
    if where == "child":
        main.hold()
    main.call("chmod", area / "none", 0o600, sees=Seen("as_passed", str(area / "none"), error=errno.ENOENT))
    with socket.socket(socket.AF_UNIX) as bus, socket.socket(socket.AF_UNIX) as nobody:
        bus.bind(os.fspath(manager_socket))
        nobody.bind(os.fspath(other))
        bus.listen()
        nobody.listen()
        with script.start(area) as running:
            with KprobeManager(running.pid, backend=backend, ops=NO_RING, follow=follow) as manager:
                running.go()
                events = manager.poll(HANG_SECONDS)
                assert manager.poll(HANG_SECONDS) is None
                running.finish()
            stats = manager.stats
    check_events(script, events or [])
    expected = 3 if where == "root" or follow else 0
    assert (stats.blind_spots, stats.performed, stats.lost) == (expected, 1, 0)
    assert stats.complete == (stats.exact and not expected)


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "not-watched"])
def test_others_that_reach_in(backend: str, area: Path, is_watched: bool) -> None:
    """Who is not watched seizes a watched process, writes into its memory or takes a descriptor of it: each is told,
    and nothing else of it."""
    _others_reach_in(backend, area, is_watched, by_compat=False)


@pytest.mark.follows_compat
@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "not-watched"])
def test_others_that_reach_in_by_32_bit_calls(backend: str, area: Path, is_watched: bool) -> None:
    """The same by the other table of calls, where two of the three have other numbers."""
    _others_reach_in(backend, area, is_watched, by_compat=True)


def _others_reach_in(backend: str, area: Path, is_watched: bool, *, by_compat: bool) -> None:
    traced = ("ptrace", "process_vm_writev", "pidfd_getfd", "chmod")
    script, stranger = Script(traced=()), Script(traced=traced, by_compat=by_compat)
    word, form = (4, "=II") if by_compat else (8, "=QQ")
    script.main.hold()
    plain = area / "plain"
    plain.write_bytes(b"")
    with script.start(area) as running, bystander(area) as unwatched:
        target = running.pid if is_watched else unwatched
        maps = Path(f"/proc/{target}/maps").read_text().splitlines()
        at = int(next(line for line in maps if " rw-p " in line).split("-")[0], 16) & (0xFFFFFFFF if by_compat else -1)
        here, there = stranger.buffer(16), stranger.buffer(struct.pack(form, at, 0))
        main = stranger.main
        main.poke(here, stranger.buffer(8), word)
        main.hold()
        told = Seen("none") if is_watched else UNSEEN
        failed = Filtered if is_watched else Unseen
        main.call("process_vm_writev", target, here, 1, there, 1, 0, sees=told)
        main.call("chmod", plain, 0o600, sees=UNSEEN)
        pidfd = main.call("pidfd_open", target, 0)
        taken = file("/dev/null", kind="device") if is_watched else UNSEEN
        main.call("pidfd_getfd", pidfd, 1, 0, sees=taken)
        main.call("pidfd_getfd", pidfd, NO_FD, 0, sees=failed(errno.EBADF))
        main.call("pidfd_getfd", 1, 1, 0, sees=Unseen(errno.EBADF))
        main.call("ptrace", 0x4206, target, 0, 0, sees=told)  # PTRACE_SEIZE
        main.call("ptrace", 0x4206, target, 0, 0, sees=failed(errno.EPERM))
        main.call("chmod", plain, 0o644, sees=UNSEEN)
        with stranger.start(area) as seizing, KprobeManager(running.pid, backend=backend, ops=NO_RING) as manager:
            seizing.go()
            seizing.finish()
            running.go()
            events = []
            while batch := manager.poll(HANG_SECONDS):
                events += batch
            running.finish()
    check_results(stranger)
    check_events(stranger, events)
    check_script_ledger(stranger, manager.stats, backend)


@contextlib.contextmanager
def bystander(area: Path) -> Iterator[int]:
    """A process that nobody watches."""
    with subprocess.Popen(["sleep", "infinity"], cwd=area) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _allows_all(script: Script) -> Address:
    """A filter (struct sock_fprog) that somebody may listen to, though it asks nothing."""
    code = script.buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    program = script.buffer(16)
    script.main.poke(program, 1, 2)
    script.main.poke(program + 8, code)
    return program


def test_who_answers_calls(backend: str, area: Path) -> None:
    """Who listens to a filter of seccomp's can put other files behind descriptors (SECCOMP_IOCTL_NOTIF_ADDFD)."""
    script = Script(traced=("seccomp",))
    main = script.main
    program = _allows_all(script)
    main.hold()
    main.call("seccomp", 1, 0, program, sees=UNSEEN)  # SECCOMP_SET_MODE_FILTER, without a listener
    status: list[Step] = []
    listener = main.call("seccomp", 1, 8, program, sees=lambda _: file(_LISTENER, kind="anon", of=status[0]))
    status.append(main.call("fstat", listener, script.buffer(144)))
    main.call("seccomp", 1, 8, NO_FD, sees=Filtered(errno.EFAULT))
    check_trace(script, area, backend, ops=NO_RING)


_LISTENER = "anon_inode:seccomp notify"


@pytest.mark.parametrize("where", ["root", "child"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "one"])
def test_who_answers_calls_from_before_the_trace(backend: str, area: Path, where: str, follow: bool) -> None:
    """Once for each process that has such a filter; one whose listener has gone counts no more."""
    script = Script(traced=())
    main = script.main
    program = _allows_all(script)
    if where == "child":
        child = script.list()
        main.fork(child)
        steps = child
    else:
        steps = main
    steps.call("seccomp", 1, 8, program)
    steps.hold()
    if where == "child":
        main.hold()
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=NO_RING, follow=follow) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        stats = manager.stats
    expected = 1 if where == "root" or follow else 0
    assert (stats.blind_spots, stats.lost) == (expected, 0)
    assert stats.complete == (stats.exact and not expected)
    named = [reason.pid for reason in stats.verdict.reasons if reason.cause == "seccomp_listener"]
    assert named == ([child.tid if where == "child" else main.tid] if expected else [])


def test_a_descriptor_behind_many_parts(backend: str, area: Path) -> None:
    """Of control data only the first parts are looked at: what may have a descriptor behind them is announced."""
    script = Script(traced=("sendmsg",))
    it = Lines(script, script.main, area)
    script.main.hold()
    ours, _ = a_pair(it)
    for parts, sees in ((7, UNSEEN), (8, UNSEEN), (9, Seen("none")), (20, Seen("none"))):
        control = script.buffer(b"".join(struct.pack("=QII", 16, 200, 0) for _ in range(parts)) + bytes(8))
        post = message(it, 0)
        script.main.poke(post.head + 32, control)
        script.main.poke(post.head + 40, parts * 16 + 8)
        script.main.call("sendmsg", ours, post.head, 0, sees=sees)
    check_trace(script, area, backend, ops=NO_RING)


def test_userfaultfd_of_a_device(backend: str, area: Path) -> None:
    """By ioctl(USERFAULTFD_IOC_NEW), from Linux 6.1 on: announced as userfaultfd(2) is; what fails has done nothing."""
    has_device = os.path.exists("/dev/userfaultfd")
    script = Script(traced=("ioctl",))
    main = script.main
    main.hold()
    fd = main.call("openat", AT_FDCWD, b"/dev/userfaultfd", os.O_RDWR, 0)
    sees = file("/dev/userfaultfd", kind="device", op="blind_spot")
    main.call("ioctl", fd, 0xAA00, os.O_CLOEXEC, sees=sees if has_device else Filtered(errno.EBADF))
    main.call("ioctl", fd, 0xAA00, 0x10, sees=Filtered(errno.EINVAL if has_device else errno.EBADF))
    main.call("ioctl", fd, 0x5401, script.buffer(64), sees=Unseen(errno.EINVAL if has_device else errno.EBADF))
    check_trace(script, area, backend, ops=NO_RING)
