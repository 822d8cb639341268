# SPDX-License-Identifier: MIT
"""What a trace costs where that can be counted: bytes of ring, and how often its reader is woken."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native import outside
from tests.native.ground import FIRST_OPS, GUEST, HANG_SECONDS, scaled
from tests.native.script import AT_FDCWD, Running, Script

_BPF_MAP_GET_FD_BY_ID = 14
# What the ring puts before each record (BPF_RINGBUF_HDR_SZ).
_RING_HEAD = 8
# The drain thread's nap between two looks at the ring, which is what keeps it from being woken for each event.
_DELAY_MS = 5
# Its longest sleep when nothing comes.
_SLEEP_SECONDS = 0.5


class _Ring:
    """How far the kernel side has written, from the ring's own page (kernel/bpf/ringbuf.c)."""

    def __init__(self) -> None:
        maps = outside.describe(outside.look()).maps
        [number] = [key for key in outside.held_by(os.getpid()).maps if maps.get(key) == "aa_ring"]
        attributes = struct.pack("=3I", number, 0, 0)
        descriptor = ctypes.CDLL(None, use_errno=True).syscall(321, _BPF_MAP_GET_FD_BY_ID, attributes, len(attributes))
        assert descriptor >= 0, os.strerror(ctypes.get_errno())
        page = mmap.PAGESIZE
        self._page = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        os.close(descriptor)

    def written(self) -> int:
        return struct.unpack_from("=Q", self._page)[0]

    def close(self) -> None:
        self._page.close()


class _Storm:
    """Reads and writes the same 16 bytes of a file, or opens it, a few times and then, from its flag on, so many
    times."""

    FEW = 10

    def __init__(self, area: Path, times: int, opens: bool = False) -> None:
        self.file = file = area / "file"
        file.write_bytes(bytes(64))
        self.seen_first = self.FEW if opens else 2 * self.FEW
        self.script = Script(traced=())
        main, few, many = self.script.main, self.script.list(), self.script.list()
        self.flag = self.script.flag()
        main.hold()
        main.call("dup2", main.call("openat", AT_FDCWD, file, os.O_RDWR), 600)
        for body in (few, many):
            if opens:
                body.call("close", body.call("openat", AT_FDCWD, file, os.O_RDONLY))
                continue
            for call in ("pread64", "pwrite64"):
                body.call(call, 600, self.script.buffer(8), 8, 16)
        main.repeat(few, self.FEW)
        main.wait(self.flag, 1)
        main.repeat(many, times)

    def begin(self, running: Running, manager: KprobeManager) -> None:
        """To the flag; takes what is seen until then."""
        running.go()
        seen = 0
        while seen < 1 + self.seen_first:  # the open, too
            seen += len(manager.read_batch(HANG_SECONDS) or ())

    def go_on(self) -> None:
        self.script.raise_flag(self.flag)


def _read_all(manager: KprobeManager) -> int:
    """To the end; how many events."""
    return sum(len(batch) for batch in iter(manager.read_batch, None))


def test_bytes_of_a_read_and_a_write(backend: str, area: Path) -> None:
    for options in ({},) if GUEST else ({}, {"latency": False}):
        storm = _Storm(area, 1_000)
        with (
            storm.script.start(area) as running,
            KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, **options) as manager,
        ):
            storm.begin(running, manager)
            ring = _Ring()
            before = ring.written()
            storm.go_on()
            assert _read_all(manager) == 2_000
            taken = ring.written() - before
            ring.close()
        assert manager.stats.lost == 0
        # The thread's end is told too.
        assert taken <= 64 * 2_000 + 64, options


@pytest.mark.parametrize("opens", [False, True], ids=["reads-and-writes", "opens"])
def test_nothing_is_sent_of_what_rules_leave_out(backend: str, area: Path, opens: bool) -> None:
    """But that a thread has ended, if it had been told of."""
    storm = _Storm(area, 1_000, opens=opens)
    with (
        storm.script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, watch=[f"{area}/fil/"]) as manager,
    ):
        running.go()
        while manager.stats.filtered < 1 + storm.seen_first:
            time.sleep(0.01)
        ring = _Ring()
        before = ring.written()
        storm.go_on()
        assert _read_all(manager) == 0
        taken = ring.written() - before
        ring.close()
    made = 1_000 if opens else 2_000
    assert manager.stats.filtered == manager.stats.performed == 1 + storm.seen_first + made
    assert taken <= 64


def test_bytes_of_an_open(backend: str, area: Path) -> None:
    """The fixed part, and its names: as it was passed, and as it is, each component with one byte more."""
    storm = _Storm(area, 500, opens=True)
    with storm.script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
        storm.begin(running, manager)
        ring = _Ring()
        before = ring.written()
        storm.go_on()
        assert _read_all(manager) == 500
        taken = ring.written() - before
        ring.close()
    assert manager.stats.lost == 0
    names = 2 * len(os.fsencode(storm.file))
    assert taken <= 500 * (_RING_HEAD + (80 + names + 7) // 8 * 8) + 64


def _switches(name: str) -> int:
    """How often threads of that name have gone to sleep."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        # Another thread may end between the listing and the look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text().strip() == name:
                status = (task / "status").read_text()
                found.append(int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]))
    assert found, name
    return sum(found)


def _switches_during(what: Callable[[], object]) -> tuple[int, float]:
    """Of the drain thread, and in how many seconds."""
    started, before = time.monotonic(), _switches("aa_drain")
    what()
    return _switches("aa_drain") - before, time.monotonic() - started


@pytest.mark.parametrize("delay_ms", [None, 20])
def test_batches_wake_the_reader(backend: str, area: Path, delay_ms: int | None) -> None:
    """
    Not events. At 100,000 events a second a nap's length is two wake-ups for a thousand.

    The bound is a sum of naps, each at least so long as it says, so that a busy machine makes it only easier to keep.
    """
    times = scaled(50_000, 2_000)
    counts: list[int] = []
    options: dict[str, Any] = {} if delay_ms is None else {"max_delay_ms": delay_ms}
    storm = _Storm(area, times)
    with (
        storm.script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, **options) as manager,
    ):
        storm.begin(running, manager)
        reader = threading.Thread(target=lambda: counts.append(_read_all(manager)))
        reader.start()

        def to_its_end() -> None:
            storm.go_on()
            os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)

        switches, seconds = _switches_during(to_its_end)
        reader.join()
    assert counts == [2 * times]
    assert switches <= seconds * 1000 / (delay_ms or _DELAY_MS) + 10


def _interrupts() -> int:
    """What asks for a wake-up where none can be done at once is done by one: kernel/irq_work.c."""
    [line] = [each for each in Path("/proc/interrupts").read_text().splitlines() if each.split()[0] == "IWI:"]
    return sum(int(each) for each in line.split() if each.isdigit())


def test_a_reader_that_is_awake_is_not_woken(backend: str, area: Path) -> None:
    """Also not by events that fill the ring: while the queue is full nothing can be taken out of it."""
    ring, times = 128 << 10, 800
    storm = _Storm(area, times)
    with (
        storm.script.start(area) as running,
        KprobeManager(
            running.pid, backend=backend, ops=FIRST_OPS, ring_bytes=ring, queue_bytes=4096, max_delay_ms=20
        ) as manager,
    ):
        storm.begin(running, manager)
        before = _interrupts()
        storm.go_on()
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        made = _interrupts() - before
        assert _read_all(manager) == 2 * times
    assert manager.stats.lost == 0
    # It was more than half full for a third of them; what is allowed is of others.
    assert made <= times / 40


def test_an_idle_watch_sleeps(backend: str, area: Path) -> None:
    """It wakes twice a second, to look whether it is still wanted."""
    script = Script()
    script.main.hold()
    with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=FIRST_OPS):
        time.sleep(1)  # naps come before the first sleep
        switches, seconds = _switches_during(lambda: time.sleep(3))
    assert switches <= seconds / _SLEEP_SECONDS + 1
