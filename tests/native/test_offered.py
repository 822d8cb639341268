# SPDX-License-Identifier: MIT
"""Which backends a kernel is offered: those lose nothing and misname nothing under load, the others are refused by name
before anything is attached. The one test that other kernels than the suites' own run: OTHER_GROUNDS in ground.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import aa_fileio
from aa_fileio import BackendUnavailable, KprobeManager
from tests.native import outside
from tests.native.expected import check_ledger
from tests.native.ground import HANG_SECONDS, HERE, scaled
from tests.native.tracing import read_to_end

_OPS = ("open", "read", "write", "unlink", "rename")
_WORKERS = 4  # more than a guest has processors: only then is anything preempted


@contextmanager
def _busy(compiled: Path, area: Path, rounds: int, reads: int) -> Iterator[subprocess.Popen[bytes]]:
    """The workload, stopped before its first traced call."""
    (area / "file").write_bytes(bytes(8))
    command = [str(compiled / "busy"), str(area), str(_WORKERS), str(rounds), str(reads)]
    with subprocess.Popen(command) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            yield process
        finally:
            process.kill()


def test_the_report_is_of_this_kernel() -> None:
    """What `doctor` says, by a trial of each: and the trial leaves nothing."""
    before = outside.look()
    reports = {report.name: report for report in aa_fileio.backends()}
    outside.check_gone(before)
    assert {name for name, report in reports.items() if report.usable} == set(HERE.backends)
    # Of those, the first that needs no naming is taken.
    assert next(name for name in HERE.backends if not reports[name].reason) == HERE.backends[0]
    for name, words in HERE.refused:
        assert re.search(words, reports[name].reason or ""), reports[name]
    assert {name for name, report in reports.items() if report.reason} >= {name for name, _ in HERE.refused}


def test_the_default_is_the_first_that_is_sound(compiled: Path, area: Path) -> None:
    with _busy(compiled, area, 1, 1) as process, KprobeManager(process.pid, ops=_OPS) as manager:
        assert manager.backend == HERE.backends[0]
        passed_over = dict(manager.passed_over)
        for name, words in HERE.refused:
            if name in passed_over:
                assert re.search(words, passed_over[name])


def test_what_is_refused_is_refused_before_anything_is_attached(compiled: Path, area: Path) -> None:
    refused = [(name, words) for name, words in HERE.refused if name not in HERE.backends]
    before = outside.look()
    with _busy(compiled, area, 1, 1) as process:
        for name, words in refused:
            with pytest.raises(BackendUnavailable, match=words) as caught:
                KprobeManager(process.pid, backend=name, ops=_OPS).attach()
            # Neither a program nor a function: none was reached.
            assert (caught.value.program, caught.value.function) == (None, None)
            outside.check_gone(before)


def test_busy_processes_lose_nothing(backend: str, compiled: Path, area: Path) -> None:
    """Each event has its own process's names and results, and the counts are the workload's own."""
    rounds, reads = scaled(500, 100), scaled(20_000, 2_000)
    with _busy(compiled, area, rounds, reads) as process:
        with KprobeManager(process.pid, backend=backend, ops=_OPS) as manager:
            process.send_signal(signal.SIGCONT)
            events = read_to_end(manager)
            assert process.wait(HANG_SECONDS) == 0
        seen: Counter[tuple[int, str, str, int]] = Counter()
        for event in events:
            place = re.fullmatch(re.escape(str(area)) + r"/(?:(\d+)/([ab])\d+|file)", event.path or "")
            assert place, event
            if place[1]:
                assert int(place[1]) == event.pid, event
            assert event.return_code is not None, event
            result = -1 if str(event.op) == "open" and event.return_code > 2 else event.return_code
            seen[event.pid, str(event.op), place[2] or "file", result] += 1
        workers = {pid for pid, *_ in seen}
        assert len(workers) == _WORKERS
        wanted = {
            ("open", "a", -1): rounds,
            ("write", "a", 3): 3 * rounds,
            ("read", "a", 9): 2 * rounds,
            ("rename", "a", 0): rounds,
            ("unlink", "b", 0): rounds,
            ("open", "file", -1): 1,
            ("read", "file", 1): reads,
        }
        assert seen == {(pid, *what): count for pid in workers for what, count in wanted.items()}
        total = _WORKERS * sum(wanted.values())
        check_ledger(manager.stats, backend, performed=total, delivered=total)
