# SPDX-License-Identifier: MIT
"""How fast Python gets events out of a full queue: as columns, as objects, as objects of which three fields are read.

    python benchmarks/consumers.py [--events 400000] [--rounds 9]

No kernel and no privilege: benchmarks/full_queue.c fills the real queue. What is compared is measured in turn, round by
round, in one process, in CPU time of the reading thread. The reference is one call of a Python function by ctypes for
each event, with three fields read, as tools do it that are written in Python over a C library.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# As setup.py and CPython's own flags build the extension.
CFLAGS = [
    "-std=c11",
    "-O3",
    "-DNDEBUG",
    "-g",
    "-fPIC",
    "-fvisibility=hidden",
    "-D_GNU_SOURCE",
    "-DPy_LIMITED_API=0x030B0000",
]
CORE = [
    "session",
    "event_queue",
    "event_decode",
    "kernel_ring",
    "totals",
    "columns",
    "arrow_export",
    "fileio_error",
    "held_process",
    "syscall_table",
]
QUEUE_BYTES = 1 << 30


def build(folder: Path) -> None:
    """The package, over full_queue.c."""
    package = folder / "aa_fileio"
    package.mkdir()
    for source in (ROOT / "aa_fileio").glob("*.py"):
        (package / source.name).symlink_to(source)
    sources = [
        *sorted((ROOT / "csrc/binding").glob("*.c")),
        *(ROOT / f"csrc/core/{name}.c" for name in CORE),
        ROOT / "benchmarks/full_queue.c",
    ]
    includes = [f"-I{ROOT}/csrc/core", f"-I{ROOT}/bpf", f"-I{sysconfig.get_path('include')}"]
    objects = []
    for source in sources:
        objects.append(str(folder / f"{source.parent.name}_{source.stem}.o"))
        subprocess.run(["gcc", *CFLAGS, *includes, "-c", str(source), "-o", objects[-1]], check=True)
    subprocess.run(["gcc", "-shared", *objects, "-lpthread", "-o", str(package / "_native.abi3.so")], check=True)


class Event(ctypes.Structure):
    """The fixed part of struct aa_file_event, as far as it is read."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("seq", "timestamp_ns", "duration_ns")),
        *((name, ctypes.c_int64) for name in ("result", "offset")),
        ("count", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("size", "present", "pid", "tid")),
    )


CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def by_columns(manager: Any, _count: int) -> int:
    read = 0
    while batch := manager.read_batch(0):
        read += len(batch)
    return read


def by_lists(manager: Any, _count: int) -> int:
    read = 0
    while events := manager.poll(0):
        read += len(events)
    return read


def by_objects(manager: Any, count: int) -> int:
    for event in manager:
        if event.seq + 1 == count:
            return count
    return 0


def by_objects_untouched(manager: Any, count: int) -> int:
    left = count
    for _ in manager:
        left -= 1
        if not left:
            return count
    return 0


def by_three_attributes(manager: Any, _count: int) -> int:
    read = 0
    while events := manager.poll(0):
        for event in events:
            event.op, event.path, event.return_code  # noqa: B018
        read += len(events)
    return read


def by_batch_rows(manager: Any, _count: int) -> int:
    read = 0
    while batch := manager.read_batch(0):
        for event in batch:
            event.op, event.path, event.return_code  # noqa: B018
        read += len(batch)
    return read


def by_ctypes(library: ctypes.CDLL, count: int) -> int:
    read = 0

    def on_event(_context: int, address: int, _bytes: int) -> None:
        nonlocal read
        event = ctypes.cast(address, ctypes.POINTER(Event)).contents
        event.timestamp_ns, event.pid, event.result  # noqa: B018
        read += 1

    library.each_event(CALLBACK(on_event), ctypes.c_uint64(count))
    return read


FORMS: dict[str, Callable[[Any, int], int]] = {
    "columns, read_batch()": by_columns,
    "objects, poll()": by_lists,
    "objects, for event in m": by_objects_untouched,
    "objects, poll(), 3 attributes": by_three_attributes,
    "rows of a batch, 3 attributes": by_batch_rows,
}
REFERENCE = "ctypes callback, 3 fields"


def measure(events: int, rounds: int) -> None:
    import aa_fileio
    from aa_fileio import _native

    assert aa_fileio.__file__ and not aa_fileio.__file__.startswith(str(ROOT))
    library = ctypes.CDLL(str(_native.__file__))
    os.environ["FULL_QUEUE_EVENTS"] = str(events)
    print(f"{events} events, median of {rounds} interleaved rounds, Python {sys.version.split()[0]}")
    print(f"{'':32}{'M events/s':>12}{'ns/event':>10}{'to ctypes':>11}")
    for shape in ("storm", "paths"):
        os.environ["FULL_QUEUE_SHAPE"] = shape
        seconds: dict[str, list[float]] = {name: [] for name in (*FORMS, REFERENCE)}
        for _ in range(rounds):
            for name, form in FORMS.items():
                manager = aa_fileio.KprobeManager(1, queue_bytes=QUEUE_BYTES)
                manager.attach()
                gc.collect()
                begin = time.thread_time()
                read = form(manager, events)
                seconds[name].append(time.thread_time() - begin)
                assert read == events == manager.stats.delivered, (name, read)
                manager.close()
            few = max(1, events // 10)
            begin = time.thread_time()
            assert by_ctypes(library, few) == few
            seconds[REFERENCE].append((time.thread_time() - begin) * events / few)
        print(shape)
        reference = statistics.median(seconds[REFERENCE])
        for name, taken in seconds.items():
            median = statistics.median(taken)
            rate, each, ratio = events / median / 1e6, median / events * 1e9, reference / median
            print(f"  {name:30}{rate:12.2f}{each:10.1f}{ratio:10.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--built", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.built:
        measure(options.events, options.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        arguments = [__file__, "--built", "--events", str(options.events), "--rounds", str(options.rounds)]
        done = subprocess.run([sys.executable, "-P", *arguments], env={**os.environ, "PYTHONPATH": name})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
