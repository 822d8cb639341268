# SPDX-License-Identifier: MIT
"""
What a call costs, in instructions: of a watched process, beside the least that a tracer of that way in can do
(benchmarks/floor.bpf.c), and of any other process.

In a guest whose clock counts instructions (two nanoseconds each): the same code costs the same every time, so that a
bound can be narrow. A processor's time is measured in the thread that makes the calls, so the reader's is not in it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.ground import FIRST_OPS, HANG_SECONDS
from tests.native.script import NUMBERS

pytestmark = pytest.mark.icount_only

_BUILT = Path(__file__).resolve().parents[2] / "build" / "floor"
_CALLS = 5_000
_NS_PER_INSTRUCTION = 2  # -icount shift=1

# By way in: our options, the floor's programs, and what may not be exceeded: times the floor's cost of a call of the
# watched process, and instructions of a call of another one. A tenth above what Debian's 6.12 gave.
WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...], float, int]] = {
    "tracepoint": ({"backend": "tracepoint"}, ("tracepoint_enter", "tracepoint_exit"), 3.4, 380),
    "tracepoint-no-latency": ({"backend": "tracepoint", "latency": False}, ("tracepoint_exit_only",), 6.7, 405),
    "tracepoint-totals-alone": (
        {"backend": "tracepoint", "totals": True, "events": False},
        ("tracepoint_enter", "tracepoint_exit"),
        3.3,
        380,
    ),
    "kprobe": ({"backend": "kprobe", "multi": False}, ("kprobe_enter", "kprobe_exit"), 3.5, 1970),
    "kprobe-multi": ({"backend": "kprobe"}, ("multi_enter", "kprobe_exit"), 3.4, 2250),
    "fentry": ({"backend": "fentry"}, ("fentry_enter", "fentry_exit"), 4.9, 1025),
}


class _Storm:
    """A loop that reads one byte of a file, waiting for its beginning."""

    def __init__(self, area: Path) -> None:
        command = [str(_BUILT / "storm"), "read", str(_CALLS), str(area)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def instructions(self) -> float:
        """Of a call, with the loop around it."""
        out, _ = self.process.communicate("g", timeout=HANG_SECONDS)
        assert self.process.returncode == 0
        return float(out.split()[1]) / _NS_PER_INSTRUCTION


@contextmanager
def _floor(pid: int, programs: tuple[str, ...]) -> Iterator[None]:
    """Every call is in its ring at the end."""
    command = [str(_BUILT / "floor"), str(_BUILT / "floor.o"), str(pid), str(NUMBERS["pread64"]), *programs]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        yield
        out, _ = reader.communicate(timeout=HANG_SECONDS)
        assert out.split()[1] == str(_CALLS), out


@pytest.fixture(scope="module")
def untraced(tmp_path_factory: pytest.TempPathFactory) -> float:
    return _Storm(tmp_path_factory.mktemp("untraced")).instructions()


@pytest.mark.parametrize("way", WAYS)
def test_instructions_of_a_call(area: Path, untraced: float, way: str) -> None:
    options, programs, most_times, most_foreign = WAYS[way]
    storm = _Storm(area)
    with _floor(storm.process.pid, programs):
        floor = storm.instructions() - untraced

    storm = _Storm(area)
    with KprobeManager(storm.process.pid, ops=FIRST_OPS, **options) as manager:
        ours = storm.instructions() - untraced
        seen = sum(map(len, iter(manager.read_batch, None)))
    assert seen == (_CALLS + 2 if options.get("events", True) else 0)  # and an open and a write before

    storm, other = _Storm(area), _Storm(area)
    with KprobeManager(other.process.pid, ops=FIRST_OPS, **options):
        foreign = storm.instructions() - untraced
    other.process.communicate("")

    told = f"{way}: untraced {untraced:.0f}; added by floor {floor:.0f}, by us {ours:.0f}, of another {foreign:.0f}"
    with Path("/run/aa-results/instructions.txt").open("a") as results:
        results.write(f"{told}: {ours / floor:.2f} times the floor\n")
    assert floor > 100, told
    assert ours / floor <= most_times, told
    assert foreign <= most_foreign, told
