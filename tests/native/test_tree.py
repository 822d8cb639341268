# SPDX-License-Identifier: MIT
"""Who is watched: a process, its threads and all that come from it, however they come; and nobody else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import (
    as_passed,
    check_events,
    check_ledger,
    check_results,
    delivered,
    file,
    relative,
    sees_exec_opens,
)
from tests.native.ground import FIRST_OPS, HANG_SECONDS, scaled
from tests.native.script import AT_FDCWD, Script, Steps, Stored
from tests.native.tracing import check_trace, read_to_end, trace

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_ENDLESS = 1 << 60


def _work(steps: Steps, area: Path, name: str) -> None:
    """Four calls on a file of its own; the first call is an open."""
    path, done = area / name, area / f"{name}.done"
    path.write_bytes(b"")
    data = steps.script.buffer(name.encode())
    fd = steps.call("openat", AT_FDCWD, name, os.O_RDWR, sees=file(path, of=done))
    steps.call("write", fd, data, data.size, sees=file(path, of=done, offset=0, moved=data.size))
    steps.call("renameat2", AT_FDCWD, path, AT_FDCWD, done, 0, sees=as_passed(path, done))
    steps.call("unlink", path, sees=as_passed(path, error=errno.ENOENT))


def _family(script: Script, area: Path, *, hold_all: bool) -> list[Steps]:
    """Threads, a fork with a thread and a child of its own, a vfork and exec; the lists of the first process."""
    main = script.main
    thread, child, child_thread, grandchild, executed, later = (script.list() for _ in range(6))
    lists = [main, thread, child, child_thread, grandchild, executed, later]
    if not hold_all:
        main.hold()
    main.thread(thread)
    main.fork(child)
    main.vfork_exec(executed)
    child.thread(child_thread)
    if hold_all:
        # The child must have all of its own before it waits.
        child.fork(grandchild)
        for steps in (thread, child, child_thread, grandchild, executed):
            steps.hold()
        main.hold()
    for steps in lists:
        if steps is grandchild and not hold_all:
            steps.wait_orphaned(child)
            steps.parent = steps.call("getppid")
        _work(steps, area, f"of-{lists.index(steps)}")
    if hold_all:
        child.wait_children()
    else:
        child.fork(grandchild)
        ended = script.flag()
        grandchild.add(ended, 1)
        main.wait(ended, 1)
    child.wait_thread(child_thread)
    main.wait_thread(thread)
    main.wait_children()
    # What a process executes itself is the same process still.
    main.exec(later)
    return [main, thread, later]


def test_tree_from_the_start(backend: str, area: Path) -> None:
    """Everything is started after attach; a grandchild outlives its parent and works as an orphan."""
    script = Script()
    _family(script, area, hold_all=False)
    check_trace(script, area, backend)


def test_tree_that_runs_already(backend: str, area: Path) -> None:
    """Everything but what the exec brings is there before attach."""
    script = Script()
    _family(script, area, hold_all=True)
    check_trace(script, area, backend)


@pytest.mark.parametrize("running", [False, True], ids=["started-later", "running-already"])
def test_one_process_only(backend: str, area: Path, running: bool) -> None:
    """follow=False: its threads are seen, no child is."""
    script = Script()
    own = _family(script, area, hold_all=running)
    result = trace(script, area, backend, follow=False)
    check_results(script)
    check_events(script, result.events, own)
    wanted = sum(step.done for steps in own for step in steps.steps if step.sees)
    wanted += sees_exec_opens(script)  # of the last one's
    check_ledger(result.stats, backend, performed=wanted, delivered=wanted)


def test_first_call_of_a_child(backend: str, area: Path) -> None:
    """Its open is seen even if it is the very first thing the child does, every time."""
    times = scaled(500, 50)
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    path = area / "first"
    path.write_bytes(b"")
    child.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    child.exit(0)
    for _ in range(times):
        main.fork(child)
        main.wait_children()
    result = trace(script, area, backend)
    assert child.steps[0].done == times
    assert len({event.pid for event in result.events}) == times
    assert {(event.op, event.path, event.return_code) for event in result.events} == {("open", str(path), 3)}
    check_ledger(result.stats, backend, performed=times, delivered=times)


def test_born_during_attach(backend: str, area: Path) -> None:
    """While the probes are being attached, children come, fork and die; whoever is alive afterwards is watched."""
    script = Script()
    main, birth, middle, late = script.main, script.list(), script.list(), script.list()
    path = area / "file"
    path.write_bytes(b"")
    begun, stop = script.flag(), script.flag()
    main.call("prctl", _PR_SET_CHILD_SUBREAPER, 1)
    # Each round: a child forks a grandchild and is gone at once, so that the chain's middle is missing.
    birth.fork(middle)
    birth.add(begun, 1)
    birth.sleep(scaled(4, 40))
    middle.fork(late)
    late.wait(stop, 1)
    late.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    # Bounded: they all live until the end, and an attach may be slow.
    rounds = main.repeat(birth, 300, until=stop)
    main.wait_children()
    with script.start(area) as running:
        script.wait_flag(begun, 3)
        before = script.read_flag(begun)
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            assert script.read_flag(begun) > before + 3
            script.raise_flag(stop)
            events = read_to_end(manager)
            running.finish()
        assert late.steps[1].done == rounds.result
        assert len({event.pid for event in events}) == len(events) == rounds.result
        check_ledger(manager.stats, backend, performed=rounds.result, delivered=rounds.result)


def test_who_did_it(backend: str, area: Path) -> None:
    """Name, real user, parent, group: each call with those of its own moment."""
    path = area / "file"
    path.write_bytes(b"")
    secret = area / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    for folder in [area, *area.parents[:2]]:
        folder.chmod(0o755)
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    main.call("prctl", _PR_SET_NAME, b"a name \xff of 15+ bytes")
    name = os.fsdecode(b"a name \xff of 15+")
    main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path, comm=name))
    main.fork(child)
    # The real user is not the one whose rights count.
    child.call("setresuid", 1234, 0, 0)
    child.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path, comm=name, uid=1234))
    child.call("setresuid", 4321, 1234, 1234)
    denied = as_passed(secret, error=errno.EACCES, comm=name, uid=4321)
    child.call("openat", AT_FDCWD, secret, os.O_RDONLY, sees=denied)
    child.call("unlink", path, sees=as_passed(path, error=errno.EACCES, comm=name, uid=4321))
    child.call("rename", path, area / "x", sees=as_passed(path, area / "x", error=errno.EACCES, comm=name, uid=4321))
    main.wait_children()
    result = check_trace(script, area, backend)
    assert len({event.cgroup_id for event in result.events}) == 1
    assert result.events[0].cgroup_id > 0


def test_no_other_process(backend: str, area: Path) -> None:
    """A neighbour does the same on the same files all the time; none of it is seen or counted."""
    path = area / "shared"
    path.write_bytes(b"0123456789")
    noise = Script()
    neighbour, round_ = noise.main, noise.list()
    buffer = noise.buffer(16)
    turns = noise.flag()
    neighbour.hold()
    stop = noise.flag()
    fd = round_.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    round_.call("read", fd, buffer, 8, sees=file(path))
    round_.call("unlink", area / "none", sees=as_passed(area / "none"))
    round_.call("rename", area / "none", path, sees=as_passed(area / "none"))
    round_.call("close", fd)
    round_.add(turns, 1)
    neighbour.repeat(round_, _ENDLESS, until=stop)
    script = Script()
    script.main.hold()
    for _ in range(scaled(200, 20)):
        fd = script.main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        script.main.call("read", fd, script.buffer(8), 8, sees=file(path, offset=0, moved=8))
        script.main.call("unlink", "none", sees=relative(area / "none", error=errno.ENOENT))
        script.main.call("close", fd)
    with noise.start(area) as noisy:
        noisy.go()
        noise.wait_flag(turns, 1)
        check_trace(script, area, backend)
        # It went on to the end.
        noise.wait_flag(turns, noise.read_flag(turns) + 2)
        noise.raise_flag(stop)
        noisy.finish()
    assert delivered(noise) > 10


@pytest.mark.parametrize("until", ["tree", "root"])
def test_until(backend: str, area: Path, until: str) -> None:
    """The stream ends with the last process of the tree, or with the root."""
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    main, child = script.main, script.list()
    free = script.flag()
    main.hold()
    main.fork(child)
    main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    child.wait(free, 1)
    child.call("openat", AT_FDCWD, path, os.O_WRONLY, sees=file(path))
    with (
        script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, until=until) as manager,
    ):
        running.go()
        running.finish()
        if until == "root":
            events = read_to_end(manager)
            assert [event.flags for event in events] == [os.O_RDONLY]
            script.raise_flag(free)
        else:
            (event,) = manager.poll(HANG_SECONDS)
            assert event.flags == os.O_RDONLY
            # The root is gone, its child is not.
            assert manager.poll(0.2) == []
            assert manager.stats.watched == 1
            script.raise_flag(free)
            events = [event, *read_to_end(manager)]
            assert [event.flags for event in events] == [os.O_RDONLY, os.O_WRONLY]
            assert manager.stats.watched == 0


def test_exec_by_a_thread(backend: str, area: Path) -> None:
    """The thread becomes the process: from then on it has the number of the first thread, which is gone."""
    script = Script()
    main, thread, later = script.main, script.list(), script.list()
    main.hold()
    _work(main, area, "before")
    main.thread(thread)
    main.wait(script.flag(), 1)
    _work(thread, area, "in-thread")
    thread.exec(later)
    _work(later, area, "after")
    later.parent = later.call("getppid")
    check_trace(script, area, backend)
    assert later.tid == later.pid == main.tid


def test_first_thread_ends_first(backend: str, area: Path) -> None:
    """A process lives as long as one of its threads: they are seen after the first thread has gone, to the last."""
    script = Script()
    main, thread, child = script.main, script.list(), script.list()
    main.hold()
    main.thread(thread)
    _work(main, area, "first")
    main.exit_thread()
    # Long enough that the first thread is gone, and if it is not, nothing is lost by it.
    thread.sleep(200)
    _work(thread, area, "second")
    thread.fork(child)
    _work(child, area, "child")
    thread.wait_children()
    check_trace(script, area, backend)


@pytest.mark.parametrize("follow", [True, False], ids=["tree", "one-process"])
def test_number_that_is_used_again(backend: str, area: Path, follow: bool) -> None:
    """The watched process is gone, and another one gets its pid while the probes are still there: it is a stranger."""
    path = area / "file"
    path.write_bytes(b"")
    first = Script()
    first.main.hold()
    first.main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    second = Script()
    place = second.buffer(8)
    heir = second.list()
    second.main.hold()
    second.main.fork(heir, Stored(place))
    second.main.wait_children()
    heir.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    heir.call("unlink", path, sees=as_passed(path))
    with first.start(area) as running, second.start(area) as other:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, follow=follow) as manager:
            running.go()
            running.finish()
            assert len(read_to_end(manager)) == 1
            place.write(running.pid.to_bytes(4, "little"))
            other.go()
            other.finish()
            assert heir.pid == running.pid
            assert heir.steps[-1].result == 0
            assert manager.poll(0) is None
        check_ledger(manager.stats, backend, performed=1, delivered=1)
