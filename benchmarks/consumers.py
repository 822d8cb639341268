# SPDX-License-Identifier: MIT
"""How fast Python gets events out of a full queue: as columns, as objects, as objects of which three fields are read.

    python benchmarks/consumers.py [--events 400000] [--rounds 9] [--json]

No kernel and no privilege: benchmarks/full_queue.c fills the real queue. What is compared is measured in turn, round by
round, in one process, in CPU time of the reading thread. The reference is one call of a Python function by ctypes for
each event, with three fields read, as tools do it that are written in Python over a C library.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
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
    "kernel_types",
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
    "path_rules",
    "rule_places",
    "boot_clock",
    "proc",
    "refusal",
    "signs",
    "signal_witness",
]
QUEUE_BYTES = 1 << 30


def build(folder: Path) -> None:
    """The package, over full_queue.c."""
    package = folder / "aa_fileio"
    package.mkdir()
    for source in (ROOT / "aa_fileio").glob("*.py"):
        (package / source.name).symlink_to(source)
    (package / "integrations").symlink_to(ROOT / "aa_fileio/integrations")
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


def by_json_lines(manager: Any, _count: int) -> int:
    from aa_fileio.integrations.trace_writer import TraceWriter

    writer = TraceWriter.to_file(os.devnull, as_json=True)
    while events := manager.poll(0):
        writer.write_events(events)
    writer.close()
    return writer.events


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
    "JSON lines, to /dev/null": by_json_lines,
}
#: What takes so long that a tenth of the events does.
SLOW = {"JSON lines, to /dev/null"}
REFERENCE = "ctypes callback, 3 fields"


def measure(events: int, rounds: int) -> dict[str, dict[str, float]]:
    """By shape of the events and form of reading: nanoseconds an event, the median of the rounds."""
    import aa_fileio
    from aa_fileio import _native

    assert aa_fileio.__file__ and not aa_fileio.__file__.startswith(str(ROOT))
    library = ctypes.CDLL(str(_native.__file__))
    found = {}
    for shape in ("storm", "paths"):
        os.environ["FULL_QUEUE_SHAPE"] = shape
        taken: dict[str, list[float]] = {name: [] for name in (*FORMS, REFERENCE)}
        for _ in range(rounds):
            for name, form in FORMS.items():
                count = max(1, events // 10) if name in SLOW else events
                os.environ["FULL_QUEUE_EVENTS"] = str(count)
                manager = aa_fileio.KprobeManager(1, queue_bytes=QUEUE_BYTES)
                manager.attach()
                gc.collect()
                begin = time.thread_time_ns()
                read = form(manager, count)
                taken[name].append((time.thread_time_ns() - begin) / count)
                assert read == count == manager.stats.delivered, (name, read)
                manager.close()
            few = max(1, events // 10)
            begin = time.thread_time_ns()
            assert by_ctypes(library, few) == few
            taken[REFERENCE].append((time.thread_time_ns() - begin) / few)
        found[shape] = {name: statistics.median(values) for name, values in taken.items()}
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':32}{'M events/s':>12}{'ns/event':>10}{'to ctypes':>11}"]
    for shape, row in found.items():
        lines.append(shape)
        lines += [f"  {name:30}{1e3 / ns:12.2f}{ns:10.1f}{row[REFERENCE] / ns:10.1f}×" for name, ns in row.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="nanoseconds an event, by shape and form")
    parser.add_argument("--built", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.built:
        found = measure(options.events, options.rounds)
        print(json.dumps(found) if options.json else table(found))
        return
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        form = ["--json"] if options.json else []
        arguments = [__file__, "--built", *form, "--events", str(options.events), "--rounds", str(options.rounds)]
        done = subprocess.run([sys.executable, "-P", *arguments], env={**os.environ, "PYTHONPATH": name})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
