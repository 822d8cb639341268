# SPDX-License-Identifier: MIT
"""What happened around the calls: under way at attach, refused before they began, killed half-way, by the 32-bit table.
Every call is counted once, in the right place, and nothing is made up."""

from __future__ import annotations

import errno
import os
import signal
import struct
from pathlib import Path

from aa_fileio import KprobeManager
from tests.native import outside
from tests.native.expected import (
    FILTERED,
    as_passed,
    check_ledger,
    check_results,
    check_script_ledger,
    file,
    performed,
)
from tests.native.ground import FIRST_OPS, HERE, scaled
from tests.native.script import AT_FDCWD, Address, Script, Stored
from tests.native.tracing import check_trace, read_to_end, trace

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1


def test_calls_under_way_at_attach(backend: str, area: Path) -> None:
    """Threads that block in read(2) before attach return after it: no event, and nothing in the ledger's sum."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    main = script.main
    blocked = [script.list() for _ in range(3)]
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    for steps in blocked:
        main.thread(steps)
        steps.call("read", fd, script.buffer(1), 1, sees=FILTERED)
        # The thread's next call is an ordinary one.
        steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    main.hold()
    main.call("write", fd, script.buffer(b"123"), 3, sees=file(fifo, kind="pipe", moved=3))
    for steps in blocked:
        main.wait_thread(steps)
    main.call("unlink", path, sees=as_passed(path))
    stat = path.stat()
    for steps in blocked:
        steps.steps[-1].sees = file(path, of=None)
    with script.start(area) as running:
        running.wait_blocked_in("read", len(blocked))
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, kinds=["file", "pipe"]) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        check_results(script)
        identities = {(event.device, event.inode) for event in events if event.op == "open"}
        assert identities == {(stat.st_dev, stat.st_ino)}
        assert sorted((str(event.op), event.tid) for event in events) == sorted(
            [("open", steps.tid) for steps in blocked] + [("write", main.tid), ("unlink", main.tid)]
        )
        # A return probe is hung into a call at its entry: kprobes never see the end of what they did not see begin, but
        # it is looked who sleeps in a call when they are there.
        check_ledger(manager.stats, backend, performed=5, delivered=5, pre_attach=len(blocked))


def _filter(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *each) for each in instructions)


def _deny(script: Script, number: int, error: int) -> Address:
    """A seccomp filter that answers one call itself: struct sock_fprog and the program behind it."""
    load, jump_equal, ret = 0x20, 0x15, 0x06
    program = _filter(
        (load, 0, 0, 0), (jump_equal, 0, 1, number), (ret, 0, 0, 0x50000 | error), (ret, 0, 0, 0x7FFF0000)
    )
    place = script.buffer(struct.pack("=QQ", len(program) // 8, 0) + program)
    script.main.poke(place + 8, place + 16)
    return place


def test_calls_refused_before_they_begin(backend: str, area: Path) -> None:
    """seccomp answers openat in the kernel's place: no event; counted as denied where that can be seen at all."""
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    steps = script.main
    rules = _deny(script, 257, errno.EPERM)
    steps.hold()
    steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    steps.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    steps.call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, rules)
    times = 7
    refused = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, repeat=times, sees=as_passed(path, error=errno.EPERM))
    steps.call("unlink", path, sees=as_passed(path))
    stat = path.stat()
    result = trace(script, area, backend)
    check_results(script)
    assert refused.done == refused.failed == times
    assert [(event.op, event.errno) for event in result.events] == [("open", 0), ("unlink", 0)]
    assert (result.events[0].device, result.events[0].inode) == (stat.st_dev, stat.st_ino)
    # A kprobe sits behind seccomp: to it there was no call.
    denied = {"kprobe": 0, "fentry": 0, "tracepoint": times}[backend]
    check_ledger(result.stats, backend, performed=2, delivered=2, denied=denied)


def test_killed_inside_a_call(backend: str, area: Path) -> None:
    """Threads blocked in read(2) and in open(2) of a FIFO when SIGKILL comes: nothing stays under way."""
    fifo, other = area / "fifo", area / "other"
    os.mkfifo(fifo)
    os.mkfifo(other)
    script = Script()
    main = script.main
    main.hold()
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=file(fifo, kind="pipe"))
    readers = [script.list() for _ in range(scaled(8, 4))]
    for steps in readers:
        main.thread(steps)
        steps.call("read", fd, script.buffer(1), 1, sees=file(fifo, kind="pipe"))
    opener = script.list()
    main.thread(opener)
    opener.call("openat", AT_FDCWD, other, os.O_RDONLY, sees=as_passed(other))
    main.wait_thread(opener)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, kinds=["pipe"]) as manager:
            running.go()
            running.wait_blocked_in("read", len(readers))
            running.wait_blocked_in("openat")
            assert manager.stats.in_flight == len(readers) + 1
            os.kill(running.pid, signal.SIGKILL)
            running.finish(-signal.SIGKILL)
            events = read_to_end(manager)
        stats = manager.stats
        assert stats.in_flight == 0
        # Each such call came back from the kernel, interrupted, though no instruction of the program followed.
        interrupted = [event for event in events if event.return_code != fd.result]
        assert {event.return_code for event in interrupted} == {-512}
        assert {event.errno for event in interrupted} == {512}
        assert sorted(event.op for event in interrupted) == ["open"] + ["read"] * len(readers)
        total = len(readers) + 2
        check_ledger(stats, backend, performed=total, delivered=total)


def test_killed_while_it_works(backend: str, area: Path) -> None:
    """SIGKILL in the middle of busy threads: the books balance, nothing is under way, no call is lost."""
    path = area / "file"
    path.write_bytes(b"x" * 4096)
    script = Script()
    main = script.main
    main.hold()
    busy = [script.list() for _ in range(3)]
    body = script.list()
    for steps in busy:
        main.thread(steps)
        steps.repeat(body, 1 << 60)
    fd = body.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    body.call("read", fd, script.buffer(64), 64, sees=file(path))
    body.call("unlink", area / "none", sees=as_passed(area / "none", error=errno.ENOENT))
    body.call("close", fd)
    main.wait_thread(busy[0])
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            events = manager.poll(60)
            while len(events) < scaled(3000, 300):
                events += manager.poll(60)
            os.kill(running.pid, signal.SIGKILL)
            running.finish(-signal.SIGKILL)
            events += read_to_end(manager)
        stats = manager.stats
        check_ledger(stats, backend, performed=stats.performed, delivered=len(events))
        # What the workload noted before it died it did perform.
        assert 0 <= stats.performed - performed(script) <= len(busy)


def test_without_latency(backend: str, area: Path) -> None:
    """latency=False: no duration; where that spares the entry probe, a name is the descriptor's at the return."""
    path = area / "file"
    path.write_bytes(b"0123456789")
    script = Script()
    steps = script.main
    steps.hold()
    buffer = script.buffer(16)
    fd = steps.call("openat", AT_FDCWD, path, os.O_RDWR, sees=file(path))
    steps.call("read", fd, buffer, 4, sees=file(path, offset=0, moved=4))
    steps.call("write", fd, buffer, 2, sees=file(path, offset=4, moved=2))
    steps.call("read", 900, buffer, 2, sees=file(path, error=errno.EBADF))
    steps.call("rename", area / "none", path, sees=as_passed(area / "none", path, error=errno.ENOENT))
    ends = script.buffer(8)
    steps.call("pipe", ends)
    steps.call("write", Stored(ends + 4), buffer, 3, sees=FILTERED)
    result = trace(script, area, backend, latency=False)
    opened, read, write, bad, renamed = result.events
    assert {event.duration_ns for event in result.events} == {None}
    by_descriptor = "fd_at_return" if backend in HERE.exit_only else "file"
    assert [str(event.path_source) for event in result.events] == [
        *("file", by_descriptor, by_descriptor, "none", "as_passed")
    ]
    assert [event.path for event in result.events] == [str(path)] * 3 + [None, str(area / "none")]
    assert (opened.fd, read.fd, write.fd, bad.fd) == (fd.result, fd.result, fd.result, 900)
    assert (read.count, write.count, bad.count) == (4, 2, 2)
    assert (read.bytes, write.bytes, bad.bytes, bad.errno) == (4, 2, 0, errno.EBADF)
    # The position before the call, or none at all.
    assert read.offset in (0, None)
    assert write.offset in (4, None)
    assert renamed.new_path == str(path)
    check_script_ledger(script, result.stats, backend)


def test_no_entry_probe_where_the_return_tells_all(backend: str, area: Path) -> None:
    """By the kernel's own lists."""
    script = Script()
    script.main.hold()
    options: dict[str, bool] = {"multi": False} if backend == "kprobe" and HERE.multi else {}
    before = outside.look()
    with (
        script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=["read"], latency=False, **options),
    ):
        there = outside.look().without(before)
        programs = set(outside.describe(there).programs.values())
    kprobes = {f"{way} {place.partition('+')[0]}" for _, way, place, *_ in map(str.split, there.probes)}
    entry, back = {
        "kprobe": ("k __x64_sys_read", "r __x64_sys_read"),
        "fentry": ("aa_sys_read_fen", "aa_sys_read_fex"),
        "tracepoint": ("sys_enter", "sys_exit"),
    }[backend]

    def is_there(what: str) -> bool:
        return what in kprobes if backend == "kprobe" else any(what in name for name in programs)

    assert is_there(back)
    # One tracepoint is for all calls, also for those that have to be looked at.
    assert is_there(entry) == (backend == "tracepoint" or backend not in HERE.exit_only)


def test_interrupted_and_restarted(backend: str, area: Path) -> None:
    """Each return of the kernel is one event: a read that a signal interrupts and that is begun again makes two."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    script = Script()
    steps = script.main
    fd = steps.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    steps.hold()
    steps.call("read", fd, script.buffer(4), 4, sees=file(fifo, kind="pipe"))
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, kinds=["pipe"]) as manager:
            running.go()
            running.wait_blocked_in("read")
            # A stop and a continue: no handler, so the kernel begins the call again by itself.
            os.kill(running.pid, signal.SIGSTOP)
            _, status = os.waitpid(running.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            os.kill(running.pid, signal.SIGCONT)
            running.wait_blocked_in("read")
            descriptor = os.open(fifo, os.O_WRONLY)
            os.write(descriptor, b"ab")
            os.close(descriptor)
            running.finish()
            events = read_to_end(manager)
        assert [event.return_code for event in events] == [-512, 2]
        assert {event.path for event in events} == {str(fifo)}
        check_ledger(manager.stats, backend, performed=2, delivered=2)


def test_own_files_of_the_kernel_are_named_too(backend: str, area: Path) -> None:
    """Two writers in one process, one file each by the same descriptor number after fork: each its own."""
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    first, second = area / "first", area / "second"
    first.write_bytes(b"")
    second.write_bytes(b"")
    data = script.buffer(b"data")
    main.fork(child)
    fd = main.call("openat", AT_FDCWD, first, os.O_WRONLY, sees=file(first))
    main.call("write", fd, data, 4, sees=file(first, offset=0, moved=4))
    other = child.call("openat", AT_FDCWD, second, os.O_WRONLY, sees=file(second))
    child.call("write", other, data, 4, sees=file(second, offset=0, moved=4))
    main.wait_children()
    check_trace(script, area, backend)
    assert fd.result == other.result
