# SPDX-License-Identifier: MIT
"""
References on a Python that counts them (python3-dbg): the same calls over and over leave none behind.

Each case runs until its count stands still for three turns; one that still grows after thirty leaks. Root, because some
attach; without it those are left out, and said to be.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import aa_fileio
from aa_fileio import KprobeManager, _native

TURNS = 30
STILL = 3


def _use(*_values: object) -> None:
    pass


def _events() -> list[Any]:
    with KprobeManager.spawn(["ls", "/"], ops=["open", "read", "stat", "exec"], stdout=subprocess.DEVNULL) as manager:
        events = list(manager)
    manager.close()
    return events


def _construct() -> None:
    KprobeManager(1, ops=["open", "modify"], kinds=["file"], watch=["/a/", b"/b"], ignore=["/c"], totals=True).close()


def _refused() -> None:
    for options in ({"ops": ["nope"]}, {"backend": "nope"}, {"ring_bytes": 5}, {"watch": [5]}, {"nonsense": 1}):
        with contextlib.suppress(TypeError, ValueError):
            KprobeManager(1, **options)
    for pid in (0, -1, 2**40):
        with contextlib.suppress(ValueError, ProcessLookupError):
            KprobeManager(pid).attach()


def _never_attached() -> None:
    manager = KprobeManager(os.getpid())
    for call in (manager.poll, manager.read_batch, lambda: next(manager), lambda: manager.health(), manager.totals):
        with contextlib.suppress(RuntimeError):
            call()
    _use(repr(manager), manager.stats, manager.targets, manager.passed_over, manager.fileno())
    manager.close()


def _spawn_refused() -> None:
    for argv, options in ((["/nonexistent"], {}), (["true"], {"stdout": 2**40}), (["true"], {"cwd": "/nonexistent"})):
        with contextlib.suppress(OSError, ValueError):
            KprobeManager.spawn(argv, **options)


def _trace() -> None:
    manager = KprobeManager(os.getpid(), ops=["rmdir"], totals=True)
    manager.attach()
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir("/nonexistent")
    manager.poll(5.0, 1)
    manager.read_batch(5.0, 1)
    next(manager)
    _use(manager.stats, manager.targets, manager.passed_over)
    manager.detach()
    manager.totals()
    manager.close()


def _spawn() -> None:
    with KprobeManager.spawn(["true"], ops=["open"], stdout=subprocess.PIPE) as manager:
        list(manager)
        manager.process.wait(60)
        manager.process.stdout.close()
    manager.close()


def _of_events(events: list[Any]) -> Callable[[], None]:
    def use() -> None:
        for event in events[:20]:
            _use(repr(event), hash(event), event == events[0], event._asdict())
            _use(copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event)))
            _native.decide(event, watch=["/a/"], ignore=["/b"])

    return use


CASES: dict[str, Callable[[], None]] = {
    "construct": _construct,
    "refused options": _refused,
    "never attached": _never_attached,
    "tables": lambda: _use(_native.calls(), _native.ring_operations(), _native.aio_operations()),
}
ROOTS_CASES: dict[str, Callable[[], None]] = {"spawn refused": _spawn_refused, "trace": _trace, "spawn": _spawn}


def grows(case: Callable[[], None]) -> list[int]:
    """The counts of its turns, if they never stand still; else nothing."""
    counts: list[int] = [0] * TURNS
    for turn in range(TURNS):
        case()
        gc.collect()
        counts[turn] = sys.gettotalrefcount()  # type: ignore[attr-defined]
        if turn >= STILL and max(counts[turn - STILL : turn + 1]) <= counts[turn - STILL]:
            return []
    return counts


def main() -> int:
    if not hasattr(sys, "gettotalrefcount"):
        print("this Python does not count references: run it by python3-dbg", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore", ResourceWarning)
    cases = dict(CASES)
    if os.geteuid() == 0:
        cases |= ROOTS_CASES | {"events": _of_events(_events())}
    else:
        print("without root nothing is attached: left out", *ROOTS_CASES)
    failed = 0
    for name, case in cases.items():
        counts = grows(case)
        by = [after - before for before, after in itertools.pairwise(counts)]
        print(f"{name}: {f'grows by {by}' if counts else 'still'}", flush=True)
        failed |= bool(counts)
    return failed


if __name__ == "__main__":
    assert aa_fileio.__name__
    sys.exit(main())
