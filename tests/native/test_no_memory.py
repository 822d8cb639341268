# SPDX-License-Identifier: MIT
"""The interpreter has no memory for one allocation, each in its turn: MemoryError or success, and nothing left."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.native.ground import EVERYTHING, HANG_SECONDS, unable

_PROJECT = Path(__file__).resolve().parents[2]
# What each call may raise beside MemoryError.
_ELSE = {"refused": "ValueError", "copies": "PicklingError"}


def test_each_call_is_refused_memory_and_leaves_nothing() -> None:
    if not importlib.util.find_spec("_testcapi"):
        unable("this Python has no _testcapi")
    if EVERYTHING:
        signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS * 30)
    numbers = (0, 1, 3000) if EVERYTHING else (0, 7, 300)
    done = subprocess.run(
        [sys.executable, "-m", "tests.native.no_memory_cases", *map(str, numbers)],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS * 30,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-4000:])
    result = json.loads(done.stdout)
    assert sum("MemoryError" in got["came"] for got in result.values()) > 10, result
    for name, got in result.items():
        assert set(got["came"]) <= {"fine", "MemoryError", _ELSE.get(name, "fine")}, (name, got)
        # Fewer, where the last one was still being given up when they were counted first.
        assert got["descriptors"] <= 0, (name, got)
