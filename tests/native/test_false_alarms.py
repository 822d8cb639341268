# SPDX-License-Identifier: MIT
"""Where nothing raced, no name is flagged: `raced` and `fd_changed` are worth looking at."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import check_ledger
from tests.native.ground import HANG_SECONDS, scaled
from tests.native.tracing import read_to_end

_FILES = 16  # of a thread; see workloads/walk.c
_THREADS = 8
_ROUNDS = scaled(12_500, 250)
_FLAGGED = ("raced", "fd_changed")
_MOST = 100_000  # events to one that is flagged


@pytest.mark.parametrize("asked", [["open"], ["open", "read", "close", "dup"]], ids=["opens", "all"])
def test_threads_that_share_descriptors_and_use_their_own(
    backend: str, area: Path, compiled: Path, asked: list[str]
) -> None:
    """The program itself says that each open got its own file; a close that has not returned raises no alarm."""
    folder = area / "files"
    folder.mkdir()
    for thread in range(_THREADS):
        for number in range(_FILES):
            (folder / f"{thread}-{number}").write_text(f"{thread}-{number}")
    with KprobeManager.spawn(
        [compiled / "walk", str(_THREADS), str(_ROUNDS)],
        cwd=folder,
        backend=backend,
        ops=asked,
        ring_bytes=scaled(64 << 20, 16 << 20),
        queue_bytes=512 << 20,
    ) as manager:
        events = read_to_end(manager)
        assert manager.process.wait(HANG_SECONDS) == 0
    assert manager.stats.lost == 0
    flagged: Counter[tuple[str, str]] = Counter()
    opened = 0
    for event in events:
        source = str(event.path_source)
        if source in _FLAGGED:
            flagged[str(event.op), source] += 1
        elif event.op == "open" and event.raw_path and "/" not in event.raw_path:
            opened += 1
            assert event.path == os.path.join(folder, event.raw_path), event
    assert opened + flagged["open", "raced"] >= _THREADS * _ROUNDS
    assert sum(flagged.values()) <= len(events) // _MOST, (flagged, len(events))
    # What is done with sockets and pipes is not asked for.
    filtered = manager.stats.filtered
    check_ledger(manager.stats, backend, performed=len(events) + filtered, delivered=len(events), filtered=filtered)
