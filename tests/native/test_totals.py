# SPDX-License-Identifier: MIT
"""Totals: every call is counted in the row it belongs to, whatever becomes of its event."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import SYSCALLS, Kind, KprobeManager, Op, PathFlag, Total, Totals
from tests.native.expected import check_ledger
from tests.native.ground import FIRST_OPS, HANG_SECONDS, HERE, scaled
from tests.native.row_lists import LISTS
from tests.native.script import AT_FDCWD, Script, Steps
from tests.native.themes import Performed, performed_once
from tests.native.tracing import read_to_end

KEY = ("pid", "op", "path", "new_path", "path_source", "path_flags", "device", "inode", "kind")

# (list, op, path, new path, deleted) and what must be counted: calls, errors, bytes.
Row = tuple[Steps, str, str, str | None, bool]
Rows = dict[Row, tuple[int, int, int]]


def _workload(area: Path) -> tuple[Script, Rows]:
    """Two processes and a file that is renamed and removed under them."""
    file, new, missing, other = (area / name for name in ("file", "new", "missing", "other"))
    file.write_bytes(bytes(4096))
    other.write_bytes(bytes(100))
    script = Script(traced=())
    main, child = script.main, script.list()
    main.hold()
    byte, many = script.buffer(1), script.buffer(8)
    fd = main.call("openat", AT_FDCWD, file, os.O_RDWR)
    main.call("pread64", fd, byte, 1, 0, repeat=3_000)
    main.call("pwrite64", fd, many, 8, 0, repeat=200)
    main.call("pread64", fd, byte, 1, 1 << 20, repeat=30)  # behind the end
    main.call("openat", AT_FDCWD, missing, os.O_RDONLY, repeat=7)
    main.call("rename", missing, new, repeat=3)
    main.call("rename", file, new)
    main.call("pwrite64", fd, many, 8, 0, repeat=50)
    main.fork(child)
    main.wait_children()
    main.call("unlink", new)
    main.call("pwrite64", fd, many, 8, 0, repeat=20)
    read_only = child.call("openat", AT_FDCWD, other, os.O_RDONLY)
    child.call("read", read_only, many, 3, repeat=40)
    child.call("pwrite64", read_only, many, 8, 0, repeat=5)
    child.call("pread64", fd, byte, 1, 0, repeat=60)
    child.exit(0)
    return script, {
        (main, "open", str(file), None, False): (1, 0, 0),
        (main, "read", str(file), None, False): (3_030, 0, 3_000),
        (main, "write", str(file), None, False): (200, 0, 1600),
        (main, "open", str(missing), None, False): (7, 7, 0),
        (main, "rename", str(missing), str(new), False): (3, 3, 0),
        (main, "rename", str(file), str(new), False): (1, 0, 0),
        (main, "write", str(new), None, False): (50, 0, 400),
        (main, "unlink", str(new), None, False): (1, 0, 0),
        (main, "write", str(new), None, True): (20, 0, 160),
        (child, "open", str(other), None, False): (1, 0, 0),
        (child, "read", str(other), None, False): (40, 0, 100),  # 33 times 3, and 1
        (child, "write", str(other), None, False): (5, 5, 0),
        (child, "read", str(new), None, False): (60, 0, 60),
    }


def _counted(totals: Iterable[Total]) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    counted = {
        (row.pid, row.op, row.path, row.new_path, PathFlag.DELETED in (row.path_flags or PathFlag(0))): row
        for row in totals
    }
    return {key: (row.calls, row.errors, row.bytes) for key, row in counted.items()}


def _check_complete(totals: Totals, backend: str) -> None:
    """As far as this kernel lets it be known."""
    assert totals.complete == (backend not in HERE.inexact), totals.stats


@pytest.mark.parametrize(
    "options",
    [{"events": False}, {"events": False, "latency": False}, {}, {"ring_bytes": 4096, "queue_bytes": 4096}],
    ids=["alone", "alone-no-latency", "beside", "overflowing"],
)
def test_every_call_is_in_its_row(backend: str, area: Path, options: dict[str, Any]) -> None:
    """Also those whose events find no room: nobody reads, and ring and queue hold less than half of them."""
    script, rows = _workload(area)
    calls = sum(calls for calls, _, _ in rows.values())
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, totals=True, **options) as manager:
            running.go()
            if not options.get("ring_bytes"):
                events = read_to_end(manager)
                assert len(events) == (calls if options.get("events", True) else 0)
            running.finish()
        totals = manager.totals()
        assert _counted(totals) == {(steps.pid, *row): counts for (steps, *row), counts in rows.items()}
        for row in totals:
            assert (row.histogram is None) == (row.duration_ns is None) == (options.get("latency") is False)
            assert row.histogram is None or sum(row.histogram) == row.calls
        [everything] = totals.by()
        assert everything.calls == calls
        _check_complete(totals, backend)
        if options.get("ring_bytes"):
            assert totals.stats.ring_full > calls // 2, totals.stats
            assert not totals.stats.complete
        else:
            alone = not options.get("events", True)
            check_ledger(
                totals.stats,
                backend,
                performed=calls,
                **({"counted": calls} if alone else {"delivered": calls}),
            )
        manager.close()


performed = performed_once(
    LISTS, {row.name for row in SYSCALLS}, ops=list(Op), kinds=list(Kind), totals=True, totals_rows=1 << 16
)


def test_totals_are_the_events_added_up(performed: Performed) -> None:
    """Of every row of the table of calls, with success and with failure."""
    result = performed.result
    calls: Counter[tuple[Any, ...]] = Counter()
    moved: Counter[tuple[Any, ...]] = Counter()
    failed: Counter[tuple[Any, ...]] = Counter()
    spent: Counter[tuple[Any, ...]] = Counter()
    times: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 32)
    for event in result.events:
        key = tuple(getattr(event, field) for field in KEY)
        calls[key] += 1
        moved[key] += event.bytes or 0
        failed[key] += event.return_code < 0
        spent[key] += event.duration_ns
        times[key][min(31, max(0, event.duration_ns.bit_length() - 1))] += 1
    expected = {key: (calls[key], failed[key], moved[key], spent[key], tuple(times[key])) for key in calls}
    totals = {
        tuple(getattr(row, field) for field in KEY): (row.calls, row.errors, row.bytes, row.duration_ns, row.histogram)
        for row in result.totals
    }
    assert len(totals) == len(result.totals)
    assert totals == expected


def test_more_files_than_rows(backend: str, area: Path) -> None:
    """What finds no row is counted under its operation alone."""
    files = 500
    script = Script(traced=())
    script.main.hold()
    byte = script.buffer(1)
    for number in range(files):
        path = area / f"file-{number}"
        path.write_bytes(b"12")
        fd = script.main.call("openat", AT_FDCWD, path, os.O_RDONLY)
        script.main.call("read", fd, byte, 1, repeat=2)
        script.main.call("close", fd)
    with script.start(area) as running:
        with KprobeManager(
            running.pid, backend=backend, ops=FIRST_OPS, totals=True, totals_rows=64, events=False
        ) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        totals = manager.totals()
        rest = {row.op: row for row in totals if row.pid is None}
        named = [row for row in totals if row.pid is not None]
        manager.close()
    assert rest.keys() == {Op.OPEN, Op.READ}
    assert all(row.path is None and row.histogram is not None for row in rest.values())
    assert len(totals) == len(named) + len(rest)
    assert 32 < len(named) <= 64
    assert {row.path for row in named} <= {str(area / f"file-{number}") for number in range(files)}
    assert {row.op: (row.calls, row.bytes) for row in totals.by("op")} == {
        Op.OPEN: (files, 0),
        Op.READ: (2 * files, 2 * files),
    }
    _check_complete(totals, backend)


def test_many_threads_on_one_file(backend: str, area: Path) -> None:
    """Rows are made and counted in by several processors at once."""
    times, threads = scaled(20_000, 2_000), 8
    path = area / "file"
    path.write_bytes(b"1")
    script = Script(traced=())
    main = script.main
    main.hold()
    fd = main.call("openat", AT_FDCWD, path, os.O_RDONLY)
    bodies = [script.list() for _ in range(threads)]
    for body in bodies:
        body.call("pread64", fd, script.buffer(1), 1, 0, repeat=times)
        main.thread(body)
    for body in bodies:
        main.wait_thread(body)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=["read"], totals=True, events=False) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        [total] = manager.totals()
        manager.close()
    assert (total.pid, total.op, total.path) == (running.pid, "read", str(path))
    assert (total.calls, total.errors, total.bytes) == (threads * times, 0, threads * times)


def test_a_later_reading_has_all_of_an_earlier_one(backend: str, area: Path) -> None:
    """While rows are made all the time."""
    files, seen, readings = scaled(2_000, 200), dict[tuple[Any, ...], int](), 0
    script = Script(traced=())
    script.main.hold()
    for number in range(files):
        fd = script.main.call("openat", AT_FDCWD, area / f"file-{number}", os.O_CREAT | os.O_RDWR, 0o600)
        script.main.call("pwrite64", fd, script.buffer(b"1"), 1, 0, repeat=3)
        script.main.call("close", fd)
    with script.start(area) as running:
        with KprobeManager(
            running.pid, backend=backend, ops=["open", "write"], totals=True, totals_rows=1 << 14, events=False
        ) as manager:
            running.go()
            while manager.poll(0) is not None:
                counted = {(row.pid, row.op, row.path): row.calls for row in manager.totals()}
                assert all(counted.get(key, 0) >= calls for key, calls in seen.items() if key[0] is not None)
                seen, readings = counted, readings + 1
            running.finish()
        totals = manager.totals()
        manager.close()
    assert readings > 1
    assert {(row.op, row.path, row.calls, row.bytes) for row in totals} == {
        (op, str(area / f"file-{number}"), calls, moved)
        for number in range(files)
        for op, calls, moved in (("open", 1, 0), ("write", 3, 3))
    }


def test_while_it_counts(backend: str, area: Path) -> None:
    """A reading while attached has what was done before it, by name; `since` tells what came between two of them."""
    file = area / "file"
    file.write_bytes(bytes(100))
    script = Script(traced=())
    main = script.main
    went_on, goes_on = script.flag(), script.flag()
    main.hold()
    fd = main.call("openat", AT_FDCWD, file, os.O_RDONLY)
    main.call("pread64", fd, script.buffer(1), 1, 0, repeat=10)
    main.add(went_on, 1)
    main.wait(goes_on, 1)
    main.call("pread64", fd, script.buffer(2), 2, 0, repeat=5)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, totals=True, events=False) as manager:
            assert list(manager.totals()) == []
            running.go()
            script.wait_flag(went_on)
            first = manager.totals()
            assert [(row.op, row.path, row.calls, row.bytes) for row in first] == [
                ("read", str(file), 10, 10),
                ("open", str(file), 1, 0),
            ]
            script.raise_flag(goes_on)
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        between = manager.totals().since(first)
        assert [(row.op, row.path, row.calls, row.bytes) for row in between] == [("read", str(file), 5, 10)]
        began = first[0].started_ns
        assert began is not None
        assert 0 < began < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        manager.close()
        with pytest.raises(ValueError, match="closed"):
            manager.totals()
