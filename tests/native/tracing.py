# SPDX-License-Identifier: MIT
"""One trace of one script, from attach to the last event."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aa_fileio import KprobeManager
from tests.native.expected import check_events, check_results, check_script_ledger
from tests.native.ground import FIRST_OPS, HANG_SECONDS
from tests.native.script import Running, Script


@dataclass(frozen=True)
class Trace:
    """What came of it."""

    events: list[Any]
    stats: Any
    pid: int
    looked: Any = None  # what `look` saw
    totals: Any = ()


def read_to_end(manager: Any) -> list[Any]:
    """Every event until the stream ends."""
    events: list[Any] = []
    while True:
        more = manager.poll(HANG_SECONDS)
        if more is None:
            return events
        assert more, f"no end and no event: {manager.stats}"
        events += more


def read_batches_to_end(manager: Any) -> list[Any]:
    """Every event until the stream ends, in batches of a few."""
    batches: list[Any] = []
    while True:
        batch = manager.read_batch(HANG_SECONDS, 7)
        if batch is None:
            return batches
        assert batch, f"no end and no event: {manager.stats}"
        batches.append(batch)


def read_until(manager: Any, wanted: Callable[[Any], bool]) -> list[Any]:
    """Events up to the first that is wanted."""
    events: list[Any] = []
    while True:
        more = manager.poll(HANG_SECONDS, 1)
        assert more, f"{'the end' if more is None else 'nothing'} and not the event: {manager.stats}"
        events += more
        if wanted(more[0]):
            return events


def trace(
    script: Script,
    area: Path,
    backend: str,
    *,
    status: int = 0,
    look: Callable[[Any], Any] = lambda _: None,
    **options: Any,
) -> Trace:
    """Runs the script under a trace, to the end of both. `look` is shown the manager while it is attached."""
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, **{"ops": FIRST_OPS} | options) as manager:
            assert manager.backend == backend
            looked = look(manager)
            started = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            running.go()
            events = read_to_end(manager)
            running.finish(status)
        ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        stats = manager.stats
        totals = manager.totals() if options.get("totals") else ()
        manager.close()
        _check_order(events, started, ended)
        return Trace(events, stats, running.pid, looked, totals)


def _check_order(events: list[Any], started: int, ended: int) -> None:
    """Numbered from 0 without a gap; each thread's times in order, within the trace."""
    assert [event.seq for event in events] == list(range(len(events)))
    last: dict[int, int] = {}
    for event in events:
        assert max(started, last.get(event.tid, 0)) <= event.timestamp_ns <= ended, event
        last[event.tid] = event.timestamp_ns
        if event.duration_ns is not None:
            assert 0 <= event.duration_ns <= ended - started, event
    if events:
        # The same moment by the wall's clock, which may have been set a little meanwhile.
        since = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - events[0].timestamp_ns) / 1e9
        latest = datetime.datetime.now(datetime.UTC) - events[0].time
        assert since - 1 < latest.total_seconds() < since + 1, (since, latest)


def check_trace(script: Script, area: Path, backend: str, **options: Any) -> Trace:
    """Runs the script and holds every event, every result and every count to it."""
    result = trace(script, area, backend, **options)
    check_results(script)
    check_events(script, result.events)
    check_script_ledger(script, result.stats, backend)
    return result


__all__ = ["Running", "Trace", "check_trace", "read_batches_to_end", "read_to_end", "read_until", "trace"]
