# SPDX-License-Identifier: MIT
"""What a call costs in instructions: of a watched process, beside the floor's of the same way in, and of any other.

In a guest whose clock counts instructions (two nanoseconds each): the same code costs the same every time. A
processor's time is measured in the thread that makes the calls, so the reader's is not in it.

    python -m benchmarks.instructions BUILT FILE [WAY…]     in such a guest: a line of JSON for each way, into FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aa_fileio import KprobeManager, ProbeAttachError
from benchmarks.workload import HANG_SECONDS, Shape, Storm, floor

READS = Shape("read", 5_000)
#: Of an operation that nobody asked for.
UNASKED = Shape("getppid", 5_000)
#: Those whose calls this package's origin traced, of which the bcc script has the same.
OPS = ("open", "read", "write", "unlink", "rename")
_NS_PER_INSTRUCTION = 2  # -icount shift=1


@dataclass(frozen=True)
class Way:
    """A way in: our options, and the floor's programs."""

    options: dict[str, Any]
    floor: tuple[str, ...]
    delivers: bool = True
    """Events of what is done."""


_NOWHERE = {"watch": ["/nowhere/"]}
WAYS = {
    "tracepoint": Way({"backend": "tracepoint"}, ("tracepoint_enter", "tracepoint_exit")),
    "tracepoint-no-latency": Way({"backend": "tracepoint", "latency": False}, ("tracepoint_exit_only",)),
    "tracepoint-totals-alone": Way(
        {"backend": "tracepoint", "totals": True, "events": False}, ("tracepoint_enter", "tracepoint_exit"), False
    ),
    "kprobe": Way({"backend": "kprobe", "multi": False}, ("kprobe_enter", "kprobe_exit")),
    "kprobe-no-latency": Way({"backend": "kprobe", "multi": False, "latency": False}, ("kprobe_exit_only",)),
    "kprobe-multi": Way({"backend": "kprobe"}, ("multi_enter", "kprobe_exit")),
    "fentry": Way({"backend": "fentry"}, ("fentry_enter", "fentry_exit")),
    "fentry-no-latency": Way({"backend": "fentry", "latency": False}, ("fentry_exit_only",)),
}
#: What is asked for besides, and what it adds to the ways above.
OPTIONS = {
    "tracepoint-totals": Way({"backend": "tracepoint", "totals": True}, WAYS["tracepoint"].floor),
    "tracepoint-watch": Way({"backend": "tracepoint", "watch": ["/tmp/", "/run/"]}, WAYS["tracepoint"].floor),
    "tracepoint-left-out": Way({"backend": "tracepoint", **_NOWHERE}, WAYS["tracepoint"].floor, False),
    "kprobe-left-out": Way({"backend": "kprobe", "multi": False, **_NOWHERE}, WAYS["kprobe"].floor, False),
    "fentry-left-out": Way({"backend": "fentry", **_NOWHERE}, WAYS["fentry"].floor, False),
    "kprobe-witness-io": Way({"backend": "kprobe", "multi": False, "witness_io": True}, WAYS["kprobe"].floor),
    "kprobe-multi-witness-io": Way({"backend": "kprobe", "witness_io": True}, WAYS["kprobe-multi"].floor),
    "fentry-witness-io": Way({"backend": "fentry", "witness_io": True}, WAYS["fentry"].floor),
}


@dataclass
class Added:
    """Instructions of one call."""

    way: str
    untraced: float
    floor: float | None = None
    ours: float | None = None
    foreign: float | None = None
    """Of a process that is not watched."""
    unasked: float | None = None
    """Of the watched process, by no operation that was asked for."""
    notes: list[str] = field(default_factory=list)
    """Why something is not known."""

    def __str__(self) -> str:
        def said(number: float | None) -> str:
            return "?" if number is None else f"{number:.0f}"

        notes = "".join(f"; {note}" for note in self.notes)
        ratio = f": {self.ours / self.floor:.2f} times the floor" if self.floor and self.ours else ""
        return (
            f"{self.way}: untraced {self.untraced:.0f}; added by floor {said(self.floor)}, by us {said(self.ours)}, "
            f"of another {said(self.foreign)}, not asked for {said(self.unasked)}{ratio}{notes}"
        )


@dataclass(frozen=True)
class Untraced:
    """Instructions of one call."""

    read: float
    unasked: float


def untraced(built: Path, area: Path) -> Untraced:
    return Untraced(*(Storm(built, shape, area).run().cpu_ns / _NS_PER_INSTRUCTION for shape in (READS, UNASKED)))


def measure(way: str, built: Path, area: Path, base: Untraced) -> Added:
    """Raises ProbeAttachError where this kernel has no such way; the floor may lack alone."""
    added = Added(way, base.read)
    how = WAYS.get(way) or OPTIONS[way]
    options = {"ops": OPS, **how.options}

    def cost(storm: Storm, untraced: float = base.read) -> float:
        return storm.run().cpu_ns / _NS_PER_INSTRUCTION - untraced

    storm = Storm(built, READS, area)
    with KprobeManager(storm.process.pid, **options) as manager:
        added.ours = cost(storm)
        seen = sum(map(len, iter(manager.read_batch, None)))
    assert seen == (READS.events if how.delivers else 0), seen

    storm = Storm(built, UNASKED, area)
    with KprobeManager(storm.process.pid, **options):
        added.unasked = cost(storm, base.unasked)

    storm, other = Storm(built, READS, area), Storm(built, READS, area)
    with KprobeManager(other.process.pid, **options):
        added.foreign = cost(storm)
    other.dismiss()

    storm = Storm(built, READS, area)
    try:
        with floor(built, storm.process.pid, how.floor) as records:
            added.floor = cost(storm)
        assert records.records == READS.calls, records
    except RuntimeError as error:
        storm.dismiss()
        added.notes.append(str(error))
    return added


@contextmanager
def _bcc(pid: int, lines: Path) -> Iterator[None]:
    """benchmarks/bcc_fileio.py, a tool of thirty lines."""
    script = Path(__file__).with_name("bcc_fileio.py")
    # Debian's bcc is of Debian's Python.
    command = ["/usr/bin/python3", str(script), str(pid), str(lines)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        assert tool.stdout is not None
        if tool.stdout.readline() != b"ready\n":
            _, messages = tool.communicate(timeout=HANG_SECONDS)
            raise RuntimeError(messages.decode(errors="replace").strip().splitlines()[-1])
        yield
        tool.communicate(timeout=600)


def _show_headers_to_bcc() -> None:
    """
    It compiles against the headers of the kernel that runs, of which Debian keeps the newest revision alone: those
    stand in for them. The guest's root is its own.
    """
    folder, release = Path("/lib/modules"), os.uname().release
    headers = sorted(folder.glob(f"{release.partition('-')[0]}-*-amd64"))
    if headers and not (folder / release).exists():
        (folder / release).symlink_to(headers[-1])


def measure_bcc(built: Path, area: Path, base: Untraced) -> Added:
    added = Added("bcc, a Python script of 30 lines", base.read)
    _show_headers_to_bcc()
    lines = area / "bcc.out"
    storm = Storm(built, READS, area)
    try:
        with _bcc(storm.process.pid, lines):
            added.ours = storm.run().cpu_ns / _NS_PER_INSTRUCTION - base.read
    except RuntimeError as error:
        storm.dismiss()
        added.notes.append(f"not run: {error}")
        return added
    seen = sum(line.startswith("pread64 ") for line in lines.read_text().splitlines())
    if seen < READS.calls:
        added.notes.append(f"it lost {READS.calls - seen} of {READS.calls}")
    return added


def main() -> None:
    built, file, *ways = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name, Path(file).open("w") as results:
        area = Path(name)
        base = untraced(Path(built), area)
        for way in ways or [*WAYS, *OPTIONS, "bcc"]:
            try:
                added = measure_bcc(Path(built), area, base) if way == "bcc" else measure(way, Path(built), area, base)
            except ProbeAttachError as error:
                added = Added(way, base.read, notes=[f"not here: {error}"])
            print(added, flush=True)
            results.write(json.dumps(asdict(added)) + "\n")
            results.flush()


if __name__ == "__main__":
    main()
