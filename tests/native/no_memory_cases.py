# SPDX-License-Identifier: MIT
"""
The interpreter's n-th allocation fails (_testcapi.set_nomemory), over one call of the API after the other:
`python -m tests.native.no_memory_cases FIRST STRIDE LIMIT` says in JSON what came of each.
"""

from __future__ import annotations

import _testcapi
import contextlib
import copy
import gc
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from aa_fileio import KprobeManager, _native

_ENOUGH = 5  # so many in a row succeed: there are no more allocations


def _attach_detach() -> None:
    manager = KprobeManager(os.getpid(), ops=["rmdir"])
    try:
        manager.attach()
    finally:
        manager.close()


def _spawn() -> None:
    manager = KprobeManager.spawn(["true"], ops=["rmdir"])
    manager.process.wait()
    manager.close()


def _cases(attached: Any, done: Any, events: list[Any], batch: Any) -> dict[str, Callable[[], object]]:
    event = max(events, key=lambda each: len(str(each.path)))
    return {
        "construct": lambda: KprobeManager(1, ops=["open"], watch=["/a/", b"/b"], ignore=["/c"], totals=True),
        "refused": lambda: KprobeManager(1, ops=["nope"]),
        "poll": lambda: attached.poll(0),
        "read_batch": lambda: attached.read_batch(0),
        "row": lambda: (batch[0], len(batch), list(batch)),
        "arrow": lambda: (batch.__arrow_c_array__(), batch.__arrow_c_schema__(), attached.__arrow_c_stream__()),
        "stats": lambda: (done.stats, repr(attached)),
        "totals": lambda: (done._total_rows(), done.totals()),
        "targets": lambda: (attached.targets, attached.passed_over),
        "health": lambda: attached.health(2.0),
        "event": lambda: (event._asdict(), repr(event), hash(event), event == events[0], event.time),
        "copies": lambda: (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event)),
        "decide": lambda: _native.decide(event, watch=["/a/"], ignore=["/b"]),
        "tables": lambda: (_native.calls(), _native.ring_operations(), _native.aio_operations()),
        "attach and detach": _attach_detach,
        "spawn": _spawn,
    }


def _sweep(call: Callable[[], object], first: int, stride: int, limit: int) -> Counter[str]:
    came: Counter[str] = Counter()
    in_a_row = 0
    for number in range(first, limit, stride):
        try:
            _testcapi.set_nomemory(number, number + 1)
            try:
                call()
            finally:
                _testcapi.remove_mem_hooks()
            came["fine"] += 1
            in_a_row += 1
        except BaseException as error:
            in_a_row = 0
            came[type(error).__name__] += 1
        if in_a_row == _ENOUGH:
            break
    return came


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    first, stride, limit = map(int, sys.argv[1:])
    warnings.simplefilter("ignore", ResourceWarning)
    sys.unraisablehook = lambda _: None  # a finalizer that got no memory
    with KprobeManager.spawn(
        ["ls", "/"], ops=["open", "read", "stat", "exec"], totals=True, stdout=subprocess.DEVNULL
    ) as done:
        batch = done.read_batch(30.0, 1)
        events = list(done)
        done.process.wait()
    attached = KprobeManager(os.getpid(), ops=["rmdir"])
    attached.attach()
    result = {}
    for name, call in _cases(attached, done, events, batch).items():
        with contextlib.suppress(ValueError):
            call()
        before = _descriptors()
        came = _sweep(call, first, stride, limit if name not in ("attach and detach", "spawn") else min(limit, 300))
        result[name] = {"came": came, "descriptors": _descriptors() - before}
    attached.close()
    done.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
