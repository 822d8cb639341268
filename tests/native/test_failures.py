# SPDX-License-Identifier: MIT
"""Failures of what we stand on, injected one by one: a named error or success, nothing left, and the next attach in the
same process works."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.native.failing import build_shim, run_failing
from tests.native.ground import EVERYTHING, GUEST, HERE


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def test_the_fallback_is_a_trace_like_any_other(backend: str, shim: Path) -> None:
    """A refused link: the attach succeeds without io_uring's requests, says so, and its stream does not end at once."""
    got = run_failing(shim, "fallback", backend)
    if not got["rings"]:
        assert HERE.ring_opcodes == 0 or GUEST == "bullseye"
        return
    assert got["fell_back"], got
    assert got["first"] == []
    assert got["attached"]
    assert got["events"] == ["/nonexistent"] * 5
    assert got["performed"] == got["delivered"] == 5
    assert not got["seen_rings"]
    assert [name for name, _ in got["passed_over"]] == ["io_uring"]
    assert "blind spot" in got["passed_over"][0][1]
    assert os.strerror(errno.EMFILE) in got["passed_over"][0][1]
    assert got["end"] is None


@pytest.mark.guest_only
def test_a_backend_that_is_refused_while_attaching_gives_way(shim: Path) -> None:
    """The next one's trace is like any other; where there is none that needs no perf event, that is the error."""
    got = run_failing(shim, "backend_fallback")
    if "fentry" not in HERE.backends:
        assert "perf event" in got["error"]
        return
    assert got["backend"] == "fentry"
    assert got["passed_over"] == ["kprobe"]
    assert got["first"] == []
    assert got["events"] == ["/nonexistent"] * 5
    assert got["complete"]
    assert got["end"] is None


def test_no_memory_for_an_event_is_memory_error(shim: Path, area: Path) -> None:
    """Neither the end nor a wait that never comes back: the event stays, and comes when there is memory."""
    path = area / "/".join(["d" * 200] * 6)
    got = run_failing(shim, "no_memory_for_an_event", "/bin/sh", str(path))
    ways = ("poll", "poll at once", "next", "read_batch", "poll after the end")
    assert {way: got[way] for way in ways} == dict.fromkeys(ways, "MemoryError")
    assert got["stays"]
    assert got["events"] == got["wanted"]
    assert got["seq"]
    assert got["complete"]


_SOAK_SECONDS = 3600.0  # in `make soak` a sweep takes longer than any other test may


# Of one call by its number, for `make test`: those of an attach's beginning, of its middle and of its end, and of what
# comes after. `make soak` takes each of them.
@pytest.mark.parametrize(
    ("what", "number", "begin", "stride", "limit"),
    [
        ("bpf", errno.EMFILE, 1, 13, 100),
        ("bpf", errno.ENOMEM, 2, 41, 220),
        ("bpf", errno.EPERM, 3, 40, 200),
        ("perf_event_open", errno.EMFILE, 1, 3, 12),
        ("mmap", errno.ENOMEM, 1, 1, 40),
        ("epoll", errno.EMFILE, 1, 4, 40),
        ("eventfd", errno.EMFILE, 1, 1, 10),
        ("thread", errno.EAGAIN, 1, 5, 60),
        ("memory", errno.ENOMEM, 1, 197, 4000),
    ],
)
def test_a_failure_leaves_nothing(
    shim: Path, backend: str, what: str, number: int, begin: int, stride: int, limit: int
) -> None:
    """A named error or a whole trace; no descriptor, thread or BPF object left; and the next trace is whole."""
    if EVERYTHING:
        signal.setitimer(signal.ITIMER_REAL, _SOAK_SECONDS)
    if EVERYTHING and not GUEST:
        stride = 1 if what != "memory" else 7
    got = run_failing(shim, "sweep", what, number, backend, begin, stride, limit, seconds=_SOAK_SECONDS)
    assert not got["wrong"], got
    assert not got["left"], got
    assert got["threads"] == 0
    assert not got["bpf"]
    if what != "perf_event_open" or backend == "kprobe":
        assert got["tried"], got


@pytest.mark.parametrize("what", ["drop", "use"])
def test_a_child_that_is_forked_while_the_queue_is_locked_ends(shim: Path, what: str) -> None:
    assert run_failing(shim, "fork_while_the_queue_is_locked", what) == {"status": 0}


def test_a_child_that_is_forked_while_a_thread_waits_ends(shim: Path) -> None:
    """Also where a thread of the parent waits inside detach()."""
    assert run_failing(shim, "fork_while_a_thread_waits") == {"status": 0}
