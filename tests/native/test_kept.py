# SPDX-License-Identifier: MIT
"""keep_loaded(): what stays loaded between two traces takes nothing of the one into the other, and goes when it is not
wanted any more."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, keep_loaded
from tests.native import outside
from tests.native.expected import as_passed, check_ledger, file, identity
from tests.native.forked import Forked
from tests.native.ground import FIRST_OPS, HANG_SECONDS
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import check_trace, read_to_end, read_until

_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-latency": {"latency": False},
    "totals": {"totals": True},
    "overflowing": {"ring_bytes": 4096, "queue_bytes": 4096},
}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = outside.look()
    yield
    outside.wait_gone(before)


def _loaded(before: outside.View) -> dict[int, str]:
    """This product's programs by their numbers, which the kernel gives out once."""
    return outside.describe(outside.look().without(before)).programs


def _rings(before: outside.View) -> int:
    return list(outside.describe(outside.look().without(before)).maps.values()).count("aa_ring")


def _simple(area: Path) -> Script:
    """Also a failure, a short read and a name that comes again under another inode."""
    path, other = area / "simple", area / "other"
    path.write_bytes(b"0123456789")
    made = identity(path)
    script = Script()
    steps = script.main
    steps.hold()
    buffer = script.buffer(16)
    fd = steps.call("openat", AT_FDCWD, path, os.O_RDWR, sees=file(path, of=made))
    steps.call("read", fd, buffer, 4, sees=file(path, offset=0, moved=4, of=made))
    steps.call("write", fd, buffer, 2, sees=file(path, offset=4, moved=2, of=made))
    steps.call("rename", path, other, sees=as_passed(path, other))
    steps.call("read", fd, buffer, 16, sees=file(other, offset=6, moved=4, of=made))
    steps.call("unlink", path, sees=as_passed(path, error=errno.ENOENT))
    steps.call("unlink", other, sees=as_passed(other))
    return script


@pytest.mark.parametrize("options", _OPTIONS.values(), ids=_OPTIONS)
def test_the_same_process_again(backend: str, area: Path, options: dict[str, Any]) -> None:
    """
    Its threads are known from the trace before, with the names of their files, a call under way and events that nobody
    has read: all of that is of that trace.
    """
    first, second, fifo = area / "first", area / "second", area / "fifo"
    first.write_bytes(bytes(100))
    os.mkfifo(fifo)
    script = Script(traced=())
    main, blocked, few, many = script.main, script.list(), script.list(), script.list()
    flags = [script.flag() for _ in range(2)]
    ends = main.call("openat", AT_FDCWD, fifo, os.O_RDWR)
    main.call("dup2", main.call("openat", AT_FDCWD, first, os.O_RDWR), 600)
    main.thread(blocked)
    main.hold()
    few.call("pread64", 600, script.buffer(8), 8, 16)
    many.call("pwrite64", 600, script.buffer(8), 8, 16)
    blocked.call("read", ends, script.buffer(1), 1)
    blocked.call("pread64", 600, script.buffer(8), 4, 0)
    main.repeat(few, 20)
    for flag in flags:
        main.repeat(many, 1_000)
        main.wait(flag, 1)
    main.call("rename", first, second)
    main.repeat(few, 3)
    main.call("write", ends, script.buffer(1), 1)
    main.wait_thread(blocked)
    main.call("unlink", second)
    options = {"backend": backend, "ops": FIRST_OPS, **options}
    before = outside.look()
    with script.start(area) as running, keep_loaded():
        running.wait_blocked_in("read")
        with KprobeManager(running.pid, **options) as manager:
            running.go()
            read_until(manager, lambda event: event.op == "read")
            while manager.stats.performed < 1_020:
                time.sleep(0.01)
            loaded = _loaded(before)
        manager.close()
        assert loaded
        with KprobeManager(running.pid, **options) as manager:
            if backend != "fentry":
                assert _loaded(before) == loaded
            script.raise_flag(flags[0])
            [event] = manager.poll(HANG_SECONDS, 1) or ()
            assert (str(event.op), event.path, event.tid) == ("write", str(first), main.tid)
        manager.close()
        with KprobeManager(running.pid, **options) as manager:
            script.raise_flag(flags[1])
            events = read_to_end(manager)
            running.finish()
        totals = manager.totals() if "totals" in options else ()
    told = [(str(event.op), event.path, event.new_path, event.bytes) for event in events]
    by_main = [
        ("rename", str(first), str(second), None),
        *[("read", str(second), None, 8)] * 3,
        ("unlink", str(second), None, None),
    ]
    by_other = ("read", str(second), None, 4)
    assert sorted(map(str, told)) == sorted(map(str, [*by_main, by_other]))
    assert {event.tid for event in events} == {script.main.tid, blocked.tid}
    if totals:
        assert sum(row.calls for row in totals) == len(events)
        assert {row.path for row in totals} == {str(first), str(second)}
    # The fifo is of no selected kind: main's write is filtered. The read that was under way at the attach is filtered
    # too where its return suffices; else it is a call from before the trace.
    suffices = backend == "tracepoint" and options.get("latency") is False
    filtered, before_it = 1 + suffices, 1 - suffices
    check_ledger(
        manager.stats,
        backend,
        performed=len(events) + filtered,
        delivered=len(events),
        filtered=filtered,
        pre_attach=before_it,
    )
    manager.close()


def test_every_trace_is_exact(backend: str, area: Path) -> None:
    before = outside.look()
    loaded = []
    with keep_loaded():
        for name in ("a", "b", "c"):
            (area / name).mkdir()
            check_trace(_simple(area / name), area / name, backend)
            loaded.append(_loaded(before))
    assert bool(loaded[0]) == (backend != "fentry")
    assert loaded[0] == loaded[1] == loaded[2]


def test_only_what_is_the_same_is_taken(backend: str, area: Path) -> None:
    """Of four that are kept the oldest goes when there is a fifth."""
    choices: list[tuple[dict[str, Any], set[str]]] = [
        ({"ops": ["read"]}, {"read"}),
        ({"ops": ["write"]}, {"write"}),
        ({"ops": ["unlink"], "errors_only": True}, {"unlink"}),
        ({"ops": ["unlink", "rename"]}, {"unlink", "rename"}),
        ({"ops": ["open", "read"], "watch": [f"{area}/none"]}, set()),
        ({"ops": ["read"], "min_duration_ns": 10**12}, set()),
    ]
    before = outside.look()
    with keep_loaded():
        for turn in range(2):
            for options, wanted in choices:
                where = area / f"{turn}-{choices.index((options, wanted))}"
                where.mkdir()
                with (
                    _simple(where).start(where) as running,
                    KprobeManager(running.pid, backend=backend, **options) as manager,
                ):
                    running.go()
                    assert {str(event.op) for event in read_to_end(manager)} == wanted
                    running.finish()
                manager.close()
        kept = 0 if backend == "fentry" else 4
        # A map goes a moment after it was given back.
        end = time.monotonic() + HANG_SECONDS
        while _rings(before) != kept and time.monotonic() < end:
            time.sleep(0.05)
        assert _rings(before) == kept


def test_two_at_once(backend: str, area: Path) -> None:
    with keep_loaded():
        for name in ("first", "second"):
            places = [area / f"{name}-{i}" for i in range(2)]
            for place in places:
                place.mkdir()
            scripts = [_simple(place) for place in places]
            with (
                scripts[0].start(places[0]) as one,
                scripts[1].start(places[1]) as other,
                KprobeManager(one.pid, backend=backend, ops=FIRST_OPS) as of_one,
                KprobeManager(other.pid, backend=backend, ops=FIRST_OPS) as of_other,
            ):
                one.go()
                other.go()
                for manager, running in ((of_one, one), (of_other, other)):
                    events = read_to_end(manager)
                    assert [str(event.op) for event in events] == [
                        *("open", "read", "write", "rename", "read", "unlink", "unlink")
                    ]
                    assert {event.pid for event in events} == {running.pid}
                    running.finish()


@pytest.mark.parametrize("ends", ["in-order", "first-outer", "by-an-error"])
def test_when_it_ends(backend: str, area: Path, ends: str) -> None:
    """With the last block; a trace that is under way then goes on, and takes all with it at its end."""
    before = outside.look()
    script = _simple(area)
    outer, inner = keep_loaded(), keep_loaded()
    with script.start(area) as running:
        outer.__enter__()
        inner.__enter__()
        manager = KprobeManager(running.pid, backend=backend, ops=FIRST_OPS)
        manager.attach()
        (outer if ends == "first-outer" else inner).__exit__(None, None, None)
        if ends == "by-an-error":
            with pytest.raises(ZeroDivisionError), keep_loaded():
                1 / 0  # noqa: B018
        running.go()
        assert len(read_to_end(manager)) == 7
        manager.detach()
        if backend != "fentry":
            assert _loaded(before)
        (inner if ends == "first-outer" else outer).__exit__(None, None, None)
        manager.close()
        running.finish()
        outside.wait_gone(before)


def _wait(tell: Callable[[Any], None]) -> None:
    tell("there")
    time.sleep(600)


def test_a_child_keeps_nothing(backend: str, area: Path) -> None:
    """Forked within the block, and there after its end: what was kept goes all the same."""
    before = outside.look()
    block = keep_loaded()
    block.__enter__()
    check_trace(_simple(area), area, backend)
    assert bool(_loaded(before)) == (backend != "fentry")
    with Forked(_wait) as child:
        assert child.recv() == "there"
        assert outside.held_by(child.pid).programs == frozenset()
        block.__exit__(None, None, None)
        outside.wait_gone(before)
