# SPDX-License-Identifier: MIT
"""Many threads, many processes, many events: all of it arrives, or what does not is counted to the last one."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import FILTERED, as_passed, check_ledger, file, sees_exec_opens
from tests.native.ground import FIRST_OPS, HANG_SECONDS, scaled
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import read_to_end


def _batches(manager: Any) -> Iterator[list[Any]]:
    """Events in lists, up to the end: a million need not all be kept."""
    while (events := manager.poll(HANG_SECONDS)) is not None:
        assert events, f"no end and no event: {manager.stats}"
        yield events


def test_strangers_blocked_in_read(backend: str, area: Path) -> None:
    """64 threads of a process that nobody watches wait in read(2); the watched one's 10,000 reads are all seen."""
    strangers = Script()
    main = strangers.main
    ends = strangers.buffer(8)
    fifo = area / "fifo"
    os.mkfifo(fifo)
    fd = main.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=FILTERED)
    main.hold()
    blocked = [strangers.list() for _ in range(64)]
    for steps in blocked:
        main.thread(steps)
        steps.call("read", fd, ends, 1, sees=FILTERED)
    main.wait_thread(blocked[0])

    reads = 10_000
    path = area / "file"
    path.write_bytes(bytes(reads))
    script = Script()
    own = script.main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    script.main.hold()
    script.main.call("read", own, script.buffer(1), 1, repeat=reads, sees=lambda i: file(path, offset=i, moved=1))
    with strangers.start(area) as foreign, script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            # Only now: a call that began before the probes were there does not hold them.
            foreign.go()
            foreign.wait_blocked_in("read", 64)
            running.go()
            offsets = [event.offset for events in _batches(manager) for event in events]
            running.finish()
            foreign.wait_blocked_in("read", 64)
        assert offsets == list(range(reads))
        check_ledger(manager.stats, backend, performed=reads, delivered=reads)


def test_many_short_processes(backend: str, area: Path) -> None:
    """Each is started by fork and exec, opens, writes, renames, removes one file and is gone."""
    times = scaled(1000, 100)
    script = Script()
    main, each = script.main, script.list()
    main.hold()
    path, new = area / "file", area / "renamed"
    fd = each.call("openat", AT_FDCWD, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, sees=file(path))
    each.call("write", fd, script.buffer(b"short"), 5, sees=file(path, offset=0, moved=5))
    each.call("rename", path, new, sees=as_passed(path, new))
    each.call("unlink", new, sees=as_passed(new))
    main.spawn(each, times)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        assert [step.done for step in each.steps] == [times] * 4
        assert [step.failed for step in each.steps] == [0] * 4
        by_process: dict[int, list[Any]] = {}
        for event in events:
            by_process.setdefault(event.pid, []).append(
                (str(event.op), event.path, event.new_path, event.return_code, event.comm, event.ppid)
            )
        told = int(sees_exec_opens(script))
        wanted = [
            *[("open", str(Script.program), None, None, "steps", running.pid)] * told,
            ("open", str(path), None, fd.result, "steps", running.pid),
            ("write", str(path), None, 5, "steps", running.pid),
            ("rename", str(path), str(new), 0, "steps", running.pid),
            ("unlink", str(new), None, 0, "steps", running.pid),
        ]
        assert Counter(map(tuple, by_process.values())) == {tuple(wanted): times}
        check_ledger(manager.stats, backend, performed=(4 + told) * times, delivered=(4 + told) * times)


def _reader(area: Path, reads: int) -> Script:
    path = area / "file"
    with path.open("wb") as made:
        made.truncate(reads)
    script = Script()
    own = script.main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    script.main.hold()
    script.main.call("read", own, script.buffer(1), 1, repeat=reads, sees=lambda i: file(path, offset=i, moved=1))
    return script


def test_a_million_reads_while_nobody_reads(backend: str, area: Path) -> None:
    """1-byte reads as fast as they go; Python sleeps for 2 s and then takes them all: none is lost by default."""
    reads = scaled(1_000_000, 100_000)
    script = _reader(area, reads)
    path = str(area / "file")
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            time.sleep(2)
            position = 0
            for events in _batches(manager):
                for event in events:
                    assert event.offset == position
                    position += 1
                assert {(event.path, event.bytes, event.tid) for event in events} == {(path, 1, running.pid)}
            running.finish()
        assert script.ordered()[-1].done == script.ordered()[-1].sum == reads == position
        check_ledger(manager.stats, backend, performed=reads, delivered=reads)


@pytest.mark.parametrize(
    ("ring_bytes", "queue_bytes"), [(4096, 4096), (1 << 18, 4096), (4096, 1 << 23)], ids=["both", "queue", "ring"]
)
def test_losses_are_counted(backend: str, area: Path, ring_bytes: int, queue_bytes: int) -> None:
    """With the smallest buffers much is lost, and what is delivered and what is lost is exactly what was done."""
    reads = scaled(300_000, 30_000)
    script = _reader(area, reads)
    with script.start(area) as running:
        manager = KprobeManager(
            running.pid, backend=backend, ops=FIRST_OPS, ring_bytes=ring_bytes, queue_bytes=queue_bytes
        )
        with manager:
            running.go()
            if queue_bytes == 4096:
                running.finish()
            last, count = -1, 0
            for events in _batches(manager):
                for event in events:
                    # Gaps, but neither disorder nor repetition.
                    assert event.offset > last
                    last = event.offset
                    count += 1
            running.finish()
        stats = manager.stats
        assert script.ordered()[-1].done == reads
        assert 0 < count < reads
        assert stats.lost == stats.ring_full + stats.queue_full
        check_ledger(stats, backend, performed=reads, delivered=count, lost=reads - count)
        assert not stats.complete
        manager.close()


def test_losses_of_many_threads_are_counted(backend: str, area: Path) -> None:
    """The same with names of many lengths from four threads and two processes at once."""
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    main.fork(child)
    workers = []
    for owner in (main, child):
        for _ in range(2):
            workers.append(script.list())
            owner.thread(workers[-1])
    body = script.list()
    for length in (1, 50, 120, 200, 255):
        name = area / ("n" * length)
        body.call("unlink", name, sees=as_passed(name, error=errno.ENOENT))
    fd = body.call("openat", AT_FDCWD, area, os.O_RDONLY, sees=file(area, kind="dir"))
    body.call("close", fd)
    for worker in workers:
        worker.repeat(body, scaled(3000, 300))
    for worker in workers[:2]:
        main.wait_thread(worker)
    for worker in workers[2:]:
        child.wait_thread(worker)
    main.wait_children()
    total = 4 * scaled(3000, 300) * 6
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, ring_bytes=16384, queue_bytes=16384) as manager:
            running.go()
            # Reads in bursts, so that both buffers overflow at times and are empty at others.
            count = 0
            for events in _batches(manager):
                count += len(events)
                time.sleep(0.005)
            running.finish()
        assert sum(step.done for step in body.steps if step.name in ("unlink", "openat")) == total
        assert 0 < count < total
        check_ledger(manager.stats, backend, performed=total, delivered=count, lost=total - count)
        manager.close()


def test_smallest_sizes_are_those_documented() -> None:
    for options in (
        {"ring_bytes": 4095},
        {"ring_bytes": 5000},
        {"ring_bytes": 0},
        {"ring_bytes": -1},
        {"ring_bytes": 1 << 31},
        {"queue_bytes": 4095},
        {"queue_bytes": 1 << 31},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            KprobeManager(1, **options)
