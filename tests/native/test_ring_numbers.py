# SPDX-License-Identifier: MIT
"""Descriptors that requests of one ring get, close and get again, and rings that somebody else has made.

The truth is in the plan: nothing is renamed, so what an open got is the file of the name that it was passed.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.ground import HANG_SECONDS
from tests.native.rings import (
    ASYNC,
    AT_FDCWD,
    CLOSE,
    DEFER_TASKRUN,
    LINK,
    OPENAT,
    READ,
    RING_FD,
    SQPOLL,
    Plan,
    Running,
    Step,
)
from tests.native.tracing import read_to_end

pytestmark = pytest.mark.rings_only(OPENAT)

_NEXT = 4  # the lowest number that is free when the plan and one ring are open
_FLAGGED = {"raced", "fd_changed"}
_OPENAT, _CLOSE, _MMAP, _NANOSLEEP, _ENTER = 257, 3, 9, 35, 426
_GETEVENTS, _SHARED, _READ_AND_WRITE = 1, 1, 3


@pytest.fixture
def program(compiled: Path) -> Path:
    return compiled / "ring"


@pytest.fixture
def names(area: Path) -> list[str]:
    """In the cache of names, so that an open need not wait for them."""
    found = ["A", "B", "C"]
    for name in found:
        (area / name).write_text(name)
    return found


def _opens(plan: Plan, name: str, flags: int = 0) -> Step:
    return plan.entry(OPENAT, fd=AT_FDCWD, addr=plan.text(name), op_flags=os.O_RDONLY, flags=flags)


def _batch(plan: Plan, names: list[str], flags: int) -> list[Step]:
    """Opens of one name after the other, each but the last closed before the next: all by one submission."""
    steps = []
    for name in names:
        if steps:
            plan.entry(CLOSE, fd=_NEXT, flags=flags)
        steps.append(_opens(plan, name, flags if name != names[-1] else flags & ~LINK))
    plan.submit()
    return steps


def _trace(plan: Plan, program: Path, area: Path, backend: str, **options: Any) -> list[Any]:
    with plan.start(program, area) as running:
        with KprobeManager(running.process.pid, backend=backend, **options) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        assert manager.stats.lost == 0
    return events


def _check_named(events: list[Any], area: Path, names: list[str], exact: bool) -> None:
    opens = [event for event in events if event.op == "open" and event.errno == 0]
    assert sorted(event.raw_path for event in opens) == names
    for event in opens:
        path = area / event.raw_path
        if event.path_source in _FLAGGED:
            assert not exact, event
        else:
            assert (event.path, event.inode) == (str(path), path.stat().st_ino), event


@pytest.mark.parametrize("asked", [["open", "close"], ["open"]], ids="+".join)
@pytest.mark.parametrize("flags", [0, ASYNC, LINK], ids=["plain", "async", "chain"])
@pytest.mark.parametrize("way", [0, DEFER_TASKRUN, SQPOLL], ids=["ring", "deferred", "sqpoll"])
def test_a_number_that_is_given_again_by_one_call(
    backend: str, area: Path, program: Path, names: list[str], way: int, flags: int, asked: list[str]
) -> None:
    """The completions come after all was done: each name is of the request's own file, or flagged."""
    plan = Plan()
    plan.setup(flags=way)
    plan.hold()
    steps = _batch(plan, names, flags)
    events = _trace(plan, program, area, backend, ops=asked)
    if flags != ASYNC:
        assert [step.result for step in steps] == [_NEXT] * 3
    # What is done within the submitting call is told at once.
    _check_named(events, area, names, exact=not flags and way != SQPOLL)
    closes = [event for event in events if event.op == "close" and not event.errno]
    if not flags and way != SQPOLL and "close" in asked:
        assert [event.path for event in closes] == [str(area / name) for name in names[:2]]
        assert [event.op for event in events] == ["open", "close", "open", "close", "open"]
    for event in closes:
        assert event.path in {str(area / name) for name in names} or event.path_source in _FLAGGED, event


@pytest.mark.parametrize("watched", ["A", "B", "C"])
def test_rules_mean_the_file_that_was_opened(
    backend: str, area: Path, program: Path, names: list[str], watched: str
) -> None:
    plan = Plan()
    plan.setup()
    plan.hold()
    _batch(plan, names, 0)
    events = _trace(plan, program, area, backend, ops=["open"], watch=[area / watched])
    assert [(event.raw_path, event.path) for event in events] == [(watched, str(area / watched))]


def test_a_completion_that_is_taken_late(backend: str, area: Path, program: Path, names: list[str]) -> None:
    """A worker has opened the one; before its completion is taken the thread itself gives the number to the other."""
    plan = Plan()
    plan.setup(flags=DEFER_TASKRUN)
    plan.hold()
    opened = _opens(plan, "A", ASYNC)
    plan.submit(wait=False)
    plan.call(_NANOSLEEP, plan.data((0).to_bytes(8, "little") + (200_000_000).to_bytes(8, "little")), 0)
    closed = plan.call(_CLOSE, _NEXT)
    other = plan.call(_OPENAT, AT_FDCWD, plan.text("B"), os.O_RDONLY, 0)
    plan.call(_ENTER, RING_FD, 0, 1, _GETEVENTS, 0, 0)
    plan.submit(wait=False)
    events = _trace(plan, program, area, backend, ops=["open"])
    assert (opened.result, closed.result, other.result) == (_NEXT, 0, _NEXT)
    _check_named(events, area, ["A", "B"], exact=False)
    assert {event.raw_path: str(event.path_source) for event in events}["B"] == "file"


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    end = time.monotonic() + HANG_SECONDS
    while not (found := children.read_text().split()):
        assert time.monotonic() < end
        time.sleep(0.001)
    return int(found[0])


def _trace_child(running: Running, backend: str) -> tuple[list[Any], Any]:
    """Only the child is watched, and it does what follows."""
    child = _child_of(running.process.pid)
    with KprobeManager(child, backend=backend, ops=["open", "read"]) as manager:
        running.go()
        events = read_to_end(manager)
        running.finish()
    return events, manager.stats


def test_requests_by_a_ring_of_a_parent_are_told(backend: str, area: Path, program: Path, names: list[str]) -> None:
    plan = Plan()
    plan.setup()
    plan.fork()
    plan.hold()
    _batch(plan, names, 0)
    with plan.start(program, area) as running:
        events, stats = _trace_child(running, backend)
    _check_named(events, area, names, exact=True)
    assert (stats.blind_spots, stats.lost) == (0, 0)


@pytest.mark.parametrize("maps", [False, True], ids=["inherited", "mapped anew"])
def test_a_ring_that_a_strangers_thread_serves_is_announced(
    backend: str, area: Path, program: Path, names: list[str], maps: bool
) -> None:
    """Its requests are done by a thread of the parent's, which is not watched: with the parent's files."""
    plan = Plan()
    plan.setup(flags=SQPOLL)
    plan.fork()
    plan.hold()
    if maps:
        mapped = plan.call(_MMAP, 0, 4096, _READ_AND_WRITE, _SHARED, _NEXT - 1, 0)
    done = _opens(plan, "A")
    plan.submit()
    with plan.start(program, area) as running:
        events, stats = _trace_child(running, backend)
    assert done.result >= 0
    assert not stats.complete
    told = [(event.op, event.syscall) for event in events]
    if maps:
        assert mapped.result > 0
        assert told == [("blind_spot", "mmap")]
    else:
        assert told == []
    # The descriptor was there at the attach.
    assert stats.blind_spots == 1 + maps


@pytest.mark.parametrize("user", ["the maker", "a child"])
def test_a_ring_that_a_watched_thread_serves_hides_nothing(
    backend: str, area: Path, program: Path, names: list[str], user: str
) -> None:
    """Whoever writes the request: the thread that does it is watched, and the event is its."""
    plan = Plan()
    plan.setup(flags=SQPOLL)
    plan.hold()
    if user == "a child":
        plan.fork()
    plan.call(_MMAP, 0, 4096, _READ_AND_WRITE, _SHARED, _NEXT - 1, 0)
    _opens(plan, "A")
    plan.entry(READ, fd=_NEXT, addr=plan.room(1), length=1)
    plan.submit()
    with plan.start(program, area) as running:
        # The child of the second case is not watched.
        with KprobeManager(running.process.pid, backend=backend, ops=["open", "read"], follow=False) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        pids = {event.pid for event in events}
    assert pids == {running.process.pid}
    opens = [event for event in events if event.op == "open"]
    assert [event.raw_path for event in opens] == ["A"]
    assert opens[0].path == str(area / "A") or opens[0].path_source in _FLAGGED
    assert manager.stats.blind_spots == 0
    reads = [event for event in events if event.op == "read" and event.errno != errno.EBADF]
    assert {event.path for event in reads} <= {str(area / "A")}
