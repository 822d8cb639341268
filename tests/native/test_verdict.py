# SPDX-License-Identifier: MIT
"""The verdict: what a trace is complete but for, by name; and where there is none."""

from __future__ import annotations

import mmap
import os
import signal
import socket
from pathlib import Path

import pytest

from aa_fileio import KprobeManager, Verdict
from tests.native.expected import FILTERED, file
from tests.native.ground import HANG_SECONDS
from tests.native.script import AT_FDCWD, Script
from tests.native.test_blind_spots import NO_RING, manager_socket
from tests.native.tracing import read_to_end

__all__ = ["manager_socket"]  # a fixture


def test_nothing_attached_is_not_complete(backend: str, area: Path) -> None:
    """Before any attach, after one that failed, and closed without any."""
    manager = KprobeManager(backend=backend, ops=["unlink"])
    for _ in range(2):
        stats = manager.stats
        assert (stats.complete, stats.verdict.form) == (False, Verdict.INCOMPLETE)
        [reason] = stats.verdict.reasons
        assert (reason.cause, reason.text) == ("no_trace", "nothing has been attached")
        with pytest.raises(ValueError, match="no process"):
            manager.attach(0)
    manager.close()
    assert (manager.stats.complete, manager.stats.verdict.form) == (False, Verdict.INCOMPLETE)


def test_a_forked_child_knows_nothing_of_the_trace(backend: str, area: Path) -> None:
    script = Script(traced=())
    script.main.hold()
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=["unlink"]) as manager:
            child = os.fork()
            if child == 0:
                stats = manager.stats
                right = (stats.complete, stats.verdict.form, stats.verdict.reasons[0].cause)
                os._exit(right != (False, Verdict.INCOMPLETE, "no_trace"))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            running.go()
            read_to_end(manager)
            running.finish()
        assert manager.stats.complete == manager.stats.exact
        manager.close()
        # Of a trace that was: the numbers stay.
        assert manager.stats.complete == manager.stats.exact


def test_a_call_under_way_at_the_end(backend: str, area: Path) -> None:
    """It may have done its work; the trace is complete but for it, by name and process."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    script = Script()
    main, reader = script.main, script.list()
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    main.hold()
    main.thread(reader)
    reader.call("read", fd, script.buffer(1), 1, sees=file(fifo, kind="pipe"))
    main.wait_thread(reader)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=["read"], kinds=["pipe"]) as manager:
            running.go()
            running.wait_blocked_in("read")
            assert not manager.stats.complete
        stats = manager.stats
        assert (stats.in_flight, stats.lost, stats.complete) == (1, 0, False)
        [reason] = [each for each in stats.verdict.reasons if each.cause == "in_flight"]
        assert (reason.count, reason.call, reason.pid, reason.is_named) == (1, "read", running.pid, True)
        if stats.exact:
            assert stats.verdict.form is Verdict.COMPLETE_BUT
            words = f"complete but for 1 call under way: read by steps ({running.pid})"
            assert str(stats.verdict) == words
        manager.close()
        assert manager.stats.verdict == stats.verdict
        os.kill(running.pid, signal.SIGKILL)
        running.finish(-signal.SIGKILL)


def test_a_call_under_way_at_the_beginning(backend: str, area: Path) -> None:
    """By tracepoint its return is seen; by the others it is looked who sleeps in a call then."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    script = Script()
    main, reader = script.main, script.list()
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    main.thread(reader)
    reader.call("read", fd, script.buffer(1), 1, sees=FILTERED)
    main.hold()
    main.call("write", fd, script.buffer(b"1"), 1, sees=FILTERED)
    main.wait_thread(reader)
    with script.start(area) as running:
        running.wait_blocked_in("read")
        with KprobeManager(running.pid, backend=backend, ops=["read"], kinds=["pipe"]) as manager:
            running.go()
            read_to_end(manager)
            running.finish()
        stats = manager.stats
        assert not stats.complete
        assert [(each.cause, each.count) for each in stats.verdict.reasons if each.is_named] == [("pre_attach", 1)]
        if stats.exact:
            assert stats.verdict.form is Verdict.COMPLETE_BUT


def test_a_call_that_goes_on_all_the_time(backend: str, area: Path) -> None:
    """It began before the trace and ends after it: neither is seen."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    script = Script()
    main, reader = script.main, script.list()
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    main.thread(reader)
    reader.call("read", fd, script.buffer(1), 1, sees=FILTERED)
    main.wait_thread(reader)
    with script.start(area) as running:
        running.wait_blocked_in("read")
        with KprobeManager(running.pid, backend=backend, ops=["read"]):
            pass
        with KprobeManager(running.pid, backend=backend, ops=["read"]) as manager:
            pass
        assert (manager.stats.pre_attach, manager.stats.complete) == (1, False)
        with KprobeManager(running.pid, backend=backend, ops=["unlink"]) as manager:
            pass
        assert (manager.stats.pre_attach, manager.stats.complete) == (0, manager.stats.exact)
        os.kill(running.pid, signal.SIGKILL)
        running.finish(-signal.SIGKILL)


def _maps(path: Path, length: int, offset: int, hold: int, protection: int) -> None:
    """In a child of its own, which is watched from outside: a shared mapping, and a byte written through it."""
    fd = os.open(path, os.O_RDWR)
    os.read(hold, 1)
    memory = mmap.mmap(fd, length, mmap.MAP_SHARED, protection, offset=offset)
    if protection & mmap.PROT_WRITE:
        memory[0] = 1
    os.read(hold, 1)
    os._exit(0)


@pytest.mark.parametrize("protection", [mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE], ids=["read", "write"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_mapped_file_is_named_with_its_range(backend: str, area: Path, protection: int, when: str) -> None:
    path = area / "a mapped\nfile"
    path.write_bytes(bytes(4 * 4096))
    hold, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        _maps(path, 2 * 4096, 4096, hold, protection)
    os.close(hold)
    if when == "before":
        os.write(go, b"g")
        while os.fspath(area).encode() not in Path(f"/proc/{child}/maps").read_bytes():
            pass
    with KprobeManager(child, backend=backend, ops=NO_RING) as manager:
        os.write(go, b"g" * (2 - (when == "before")))
        read_to_end(manager)
    os.waitpid(child, 0)
    os.close(go)
    stats = manager.stats
    [reason] = [each for each in stats.verdict.reasons if each.cause != "inexact"]
    assert (reason.cause, reason.count, reason.path) == ("mapped_file", 1, str(path))
    assert (reason.start, reason.end, reason.pid) == (4096, 3 * 4096, child)
    assert reason.writable == bool(protection & mmap.PROT_WRITE)
    assert reason.dirtied is None
    assert (stats.blind_spots, stats.complete) == (1, False)
    if stats.exact:
        assert stats.verdict.form is Verdict.COMPLETE_BUT
        assert str(stats.verdict).startswith("complete but for writes into 1 mapped file: /")
        assert str(stats.verdict).endswith(" [4096, 12288)")


def test_a_file_that_is_named_as_memory_is(backend: str, area: Path) -> None:
    """/memfd:… is also a name that a file can have."""
    path = Path("/memfd:aa_fileio")
    path.write_bytes(bytes(4096))
    script = Script(traced=())
    fd = script.main.call("openat", AT_FDCWD, path, os.O_RDWR, 0)
    script.main.call("mmap", 0, 4096, 3, 1, fd, 0)
    script.main.hold()
    try:
        with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=NO_RING) as manager:
            running.go()
            read_to_end(manager)
            running.finish()
    finally:
        path.unlink()
    [reason] = [each for each in manager.stats.verdict.reasons if each.cause != "inexact"]
    assert (reason.cause, reason.path) == ("mapped_file", str(path))


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_server_that_was_given_work_is_named(backend: str, area: Path, manager_socket: Path, when: str) -> None:
    script = Script(traced=())
    main = script.main
    if when == "during":
        main.hold()
    unix = main.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    address = b"\1\0" + os.fsencode(manager_socket) + b"\0"
    main.call("connect", unix, script.buffer(address), len(address))
    if when == "before":
        main.hold()
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(os.fspath(manager_socket))
        bus.listen()
        with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=NO_RING) as manager:
            running.go()
            while manager.poll(HANG_SECONDS):
                pass
            running.finish()
    stats = manager.stats
    [reason] = [each for each in stats.verdict.reasons if each.cause != "inexact"]
    assert (reason.cause, reason.count, reason.pid) == ("server", 1, running.pid)
    assert reason.path == (str(manager_socket) if when == "during" else "/run/user/*/bus")
    if stats.exact:
        assert stats.verdict.form is Verdict.COMPLETE_BUT
