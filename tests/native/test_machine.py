# SPDX-License-Identifier: MIT
"""What happens to the machine under a trace: a processor goes away and comes back, and the clock is set back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import check_ledger, file
from tests.native.ground import FIRST_OPS, scaled
from tests.native.script import Script
from tests.native.tracing import read_to_end

pytestmark = [pytest.mark.guest_only]

_PHASES = 6
_FIRST_FLAG = 8  # those below are the script's own
_ARRIVED = 20
_READS = scaled(20_000, 2_000)  # in each phase, by each of two threads


def _reader(area: Path) -> Script:
    """Two threads, each with as many reads of its own file between one flag and the next."""
    script = Script()
    main, other = script.main, script.list()
    for number, steps in enumerate((main, other)):
        path = area / f"file{number}"
        path.write_bytes(bytes(_READS * _PHASES))
        fd = steps.call("openat", -100, path, os.O_RDONLY, sees=file(path))
        if steps is main:
            main.hold()
            main.thread(other)
        for phase in range(_PHASES):
            steps.add(_ARRIVED, 1)
            steps.wait(_FIRST_FLAG + phase, 1)
            start = phase * _READS
            steps.call(
                "read",
                fd,
                script.buffer(1),
                1,
                repeat=_READS,
                sees=lambda i, path=path, start=start: file(path, offset=start + i, moved=1),
            )
    main.wait_thread(other)
    return script


def _trace(area: Path, backend: str, between: Callable[[int], None]) -> list[tuple[int, int]]:
    """Offsets and times of every read; `between` is called while a phase runs."""
    script = _reader(area)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            for phase in range(_PHASES):
                script.wait_flag(_ARRIVED, 2 * (phase + 1))
                script.raise_flag(_FIRST_FLAG + phase)
                between(phase)
            running.finish()
            events = read_to_end(manager)
        reads = [event for event in events if event.op == "read"]
        for number in range(2):
            own = [event.offset for event in reads if event.path == str(area / f"file{number}")]
            assert own == list(range(_READS * _PHASES))
        # The second thread opens its file while it is traced.
        total = 2 * _READS * _PHASES + 1
        check_ledger(manager.stats, backend, performed=total, delivered=total)
        return [(event.tid, event.timestamp_ns) for event in reads]


@contextmanager
def _second_processor() -> Iterator[Path]:
    switch = Path("/sys/devices/system/cpu/cpu1/online")
    try:
        yield switch
    finally:
        if switch.read_text().strip() == "0":
            switch.write_text("1")


def test_a_processor_goes_and_comes_back(backend: str, area: Path) -> None:
    """What is counted and kept per processor stays right: each read is reported, in order, and the ledger closes."""
    with _second_processor() as switch:
        _trace(area, backend, lambda phase: switch.write_text("01"[phase % 2]) and None)
        assert switch.read_text().strip() == "1"


def test_the_clock_is_set_back(backend: str, area: Path) -> None:
    """CLOCK_REALTIME jumps an hour back and forth; the events' clock does not."""
    times: list[float] = []

    def step(phase: int) -> None:
        times.append(time.clock_gettime(time.CLOCK_REALTIME))
        time.clock_settime(time.CLOCK_REALTIME, times[-1] + (-3600 if phase % 2 == 0 else 3600))

    started = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    seen = _trace(area, backend, step)
    ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert times[1] < times[0]
    for thread in {tid for tid, _ in seen}:
        own = [timestamp for tid, timestamp in seen if tid == thread]
        assert own == sorted(own)
    assert all(started <= timestamp <= ended for _, timestamp in seen)
