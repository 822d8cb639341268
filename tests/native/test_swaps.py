# SPDX-License-Identifier: MIT
"""Descriptors that get another file while a call is under way: a name is the truth, or it is flagged."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import check_ledger
from tests.native.ground import HANG_SECONDS, scaled
from tests.native.tracing import read_to_end

_LOG = struct.Struct("=4IQ8I")
_LOG_BYTES = 8 << 20
_SWAPS = scaled(100_000, 10_000)
_ROOM = {"ring_bytes": scaled(256 << 20, 16 << 20), "queue_bytes": 256 << 20}
# What says that the name may be another file's.
_FLAGGED = {"fd_changed", "raced", "fd_at_return"}


class _Swap:
    """The running workload and its log."""

    def __init__(self, program: Path, area: Path, mode: str, swaps: int, x: Path, y: Path) -> None:
        descriptor = os.memfd_create("log", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _LOG_BYTES)
        self.log = mmap.mmap(descriptor, _LOG_BYTES)
        self.process = subprocess.Popen([program, mode, str(swaps), x, y], stdin=descriptor, start_new_session=True)
        os.close(descriptor)
        end = time.monotonic() + HANG_SECONDS
        while not self.log[0]:
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.001)

    def go(self) -> None:
        struct.pack_into("=I", self.log, 4, 1)

    def letters(self) -> dict[int, str]:
        """Of each thread, what its calls got."""
        fields = _LOG.unpack_from(self.log)
        found = {}
        for tid, count, at, room in (fields[5:9], fields[9:13]):
            assert count < max(room, 1), "the log is full"
            if tid:
                found[tid] = self.log[at : at + count].decode()
        return found

    @property
    def swaps(self) -> int:
        return _LOG.unpack_from(self.log)[4]

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


def _run(compiled: Path, area: Path, backend: str, mode: str, swaps: int, x: Path, y: Path, **options: Any) -> Any:
    swap = _Swap(compiled / "swap", area, mode, swaps, x, y)
    try:
        # Room for all of it: three threads that do not wait leave the processors to nobody else.
        with KprobeManager(swap.process.pid, backend=backend, **_ROOM, **options) as manager:
            swap.go()
            events = read_to_end(manager)
            assert swap.process.wait(HANG_SECONDS) == 0
        assert swap.swaps >= swaps
        # What is missing would put every later one beside another call's letter.
        assert manager.stats.lost == 0, manager.stats
        return events, swap.letters(), manager.stats, swap.swaps
    finally:
        swap.kill()


@pytest.mark.parametrize("mode", ["fifo", "file", "mixed", "reopen", "compat", "process"])
def test_reads_are_named_for_what_was_read(backend: str, area: Path, compiled: Path, mode: str) -> None:
    """Every byte read says which file it was of; no name without a flag says otherwise."""
    x, y = area / "X", area / "Y"
    for path, letter in ((x, b"A"), (y, b"B")):
        if mode == "file":
            path.write_bytes(letter * (4 << 20))
        else:
            os.mkfifo(path)
    swaps = _SWAPS if mode in ("fifo", "file") else _SWAPS // 5
    events, letters, stats, _ = _run(
        *(compiled, area, backend, mode, swaps, x, y), ops=["read"], kinds=["file", "pipe"], follow=mode != "process"
    )
    truth = {"A": str(x), "B": str(y)}
    position = dict.fromkeys(letters, 0)
    sources: Counter[str] = Counter()
    wrong = []
    for event in events:
        letter = letters[event.tid][position[event.tid]]
        position[event.tid] += 1
        assert event.return_code == {"A": 1, "B": 1, "0": 0, "-": -9}[letter], event
        source = str(event.path_source)
        sources[source] += 1
        if source in _FLAGGED:
            # A guess is worse than none.
            assert source != "fd_changed" or event.path is None, event
        elif letter in truth:
            if event.path != truth[letter]:
                wrong.append(event)
        elif letter == "-":
            # Nothing was read at all.
            if event.path is not None:
                wrong.append(event)
        else:
            assert event.path in truth.values(), event
    assert not wrong, f"{len(wrong)} of {len(events)} are misnamed ({sources}): {wrong[:3]}"
    total = sum(map(len, letters.values()))
    assert position == {tid: len(each) for tid, each in letters.items()}
    # The race did happen, and not every name was given up for it.
    assert {"A", "B"} <= set("".join(letters.values()))
    assert sources["fd_changed"] > 0, sources
    assert sources["file"] > 0, sources
    check_ledger(stats, backend, performed=total, delivered=total)


@pytest.mark.parametrize("latency", [True, False], ids=["latency", "no-latency"])
def test_opens_are_named_for_what_was_opened(backend: str, area: Path, compiled: Path, latency: bool) -> None:
    """Another thread takes the number that an open has just got."""
    x, y = area / "X", area / "Y"
    x.write_bytes(b"")
    y.write_bytes(b"")
    events, letters, stats, _ = _run(compiled, area, backend, "open", _SWAPS, x, y, ops=["open"], latency=latency)
    ((tid, log),) = letters.items()
    identities = {str(path): (path.stat().st_dev, path.stat().st_ino) for path in (x, y)}
    sources: Counter[str] = Counter()
    wrong = []
    for event, letter in zip(events, log, strict=True):
        assert event.tid == tid
        opened = {"A": str(x), "B": str(y), "-": event.raw_path}[letter]
        assert event.raw_path == opened, event
        sources[str(event.path_source)] += 1
        if event.path_source in _FLAGGED:
            continue
        if event.path != opened or (letter != "-" and (event.device, event.inode) != identities[opened]):
            wrong.append(event)
    assert not wrong, f"{len(wrong)} of {len(events)} are misnamed ({sources}): {wrong[:3]}"
    assert sources["file"] > 0, sources
    check_ledger(stats, backend, performed=len(log), delivered=len(log))
