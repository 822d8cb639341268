# SPDX-License-Identifier: MIT
"""What a run found, and its page."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.instructions import Added
from benchmarks.tracers import Round

OURS = "aa_fileio"


@dataclass
class Cell:
    """The rounds of one tracer on one storm."""

    ns: list[float] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)
    made: int = 0
    seen: int | None = None
    instructions: Sequence[int] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.ns)

    @property
    def has_lost(self) -> bool:
        return self.seen is not None and self.seen < self.made


@dataclass
class Found:
    storms: dict[str, dict[str, Cell]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Cell)))
    profile: dict[str, dict[str, float]] = field(default_factory=dict)
    """Nanoseconds of a call in each function."""
    commands: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    """Seconds, untraced and traced."""
    start: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Milliseconds."""
    stalled: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Calls performed, and lost."""
    memory: dict[str, Any] = field(default_factory=dict)
    consumers: dict[str, dict[str, float]] = field(default_factory=dict)
    """Nanoseconds an event."""
    guests: dict[str, list[Added]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> Found:
        """What was kept of an earlier run, or nothing."""
        found = cls()
        kept = json.loads(file.read_text()) if file.exists() else {}
        for storm, row in kept.get("storms", {}).items():
            for tracer, cell in row.items():
                found.storms[storm][tracer] = Cell(**cell)
        found.profile = kept.get("profile", {})
        for command, seconds in kept.get("commands", {}).items():
            found.commands[command] |= seconds
        found.start |= kept.get("start", {})
        for burst, rounds_of in kept.get("stalled", {}).items():
            found.stalled[burst] = [(performed, lost) for performed, lost in rounds_of]
        found.memory, found.consumers = kept.get("memory", {}), kept.get("consumers", {})
        found.guests = {suite: [Added(**each) for each in ways] for suite, ways in kept.get("guests", {}).items()}
        found.not_run = kept.get("not_run", {})
        return found

    def keep(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(vars(self), default=vars))

    def add(self, storm: str, tracer: str, one: Round) -> None:
        cell = self.storms[storm][tracer]
        cell.ns.append(one.cost.wall_ns)
        cell.cpu_ns.append(one.cost.cpu_ns)
        cell.made += one.made
        cell.instructions = one.instructions
        if one.seen is not None:
            cell.seen = (cell.seen or 0) + one.seen


def text(found: Found) -> str:
    """Markdown."""
    head = (
        f"# What tracing costs\n\n`make bench`, on: {_machine()}. Medians of rounds in which the tracers take turns,\n"
        "with 95 % bootstrap intervals. Compare within one table only."
    )
    sections = [
        head,
        *(_storms(found) if found.storms else ()),
        *(_profile(found) if found.profile else ()),
        *(_commands(found) if found.commands else ()),
        *(_start(found) if found.start else ()),
        *(_stalled(found) if found.stalled else ()),
        *(_memory(found) if found.memory else ()),
        *(_consumers(found) if found.consumers else ()),
        *(_guests(found) if found.guests else ()),
        *(f"{name}: not run: {why}." for name, why in found.not_run.items()),
    ]
    return "\n\n".join(sections) + "\n"


def _machine() -> str:
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return f"{model.partition(':')[2].strip()}, {os.cpu_count()} processors, Linux {platform.release()}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _interval(values: list[float]) -> tuple[float, float]:
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(400))
    return medians[10], medians[389]


def _storms(found: Found) -> Iterable[str]:
    rounds = len(found.storms["read"]["untraced"].ns)
    yield (
        f"## Storms\n\nA loop of one call in each thread, by the tracepoint backend; {rounds} rounds, of other tools as"
        " many as there was time for.\nns are of the wall, divided by all calls. `× ours` is the cost added, to that"
        " which aa_fileio adds by default, where every\ncall was seen."
    )
    rows = []
    for storm, row in found.storms.items():
        base = row["untraced"].median
        added = row[OURS].median - base
        for tracer, cell in row.items():
            low, high = _interval(cell.ns)
            times = f"{(cell.median - base) / added:.2f}"
            if cell.has_lost:
                times = f"lost {1 - (cell.seen or 0) / cell.made:.1%}"
            rows.append(
                [
                    storm,
                    tracer,
                    f"{cell.median:,.0f}",
                    f"{low:,.0f} to {high:,.0f}",
                    f"{cell.median / base:.2f}",
                    f"{cell.median - base:,.0f}",
                    "" if tracer == "untraced" else times,
                    "" if cell.seen is None else f"{cell.seen:,} of {cell.made:,}",
                ]
            )
    head = ("storm", "tracer", "ns a call", "interval", "× untraced", "added ns", "× ours", "seen of made")
    yield _table(head, rows)
    row = found.storms["read"]
    base = row["untraced"].median
    lines = ["Added to a read (logarithmic: three # are twice as much):", "", "```"]
    for tracer, cell in row.items():
        if tracer != "untraced":
            added = max(1.0, cell.median - base)
            lines.append(f"{tracer:30} {'#' * round(3 * math.log2(added)):52} {added:,.0f} ns")
    yield "\n".join([*lines, "```"])
    programs = {name: cell.instructions for name, cell in row.items() if cell.instructions}
    told = "; ".join(f"{name}: {' + '.join(map(str, counts))}" for name, counts in programs.items())
    yield f"BPF instructions of the floor's programs (benchmarks/floor.bpf.c): {told}."


# Below this a function is one of the others.
_PROFILED_NS = 3.0


def _profile(found: Found) -> Iterable[str]:
    yield (
        "## Where the time of a read goes\n\nNanoseconds of a processor for one call of the storm `read`, by the"
        " function that perf met (`cpu-clock`, 4,000 times a second,\nitself in each of them). What differs by less"
        f" than {_PROFILED_NS:.0f} ns between the three is among the others."
    )
    tracers = list(found.profile)
    names = sorted(set().union(*found.profile.values()), key=lambda name: -found.profile[tracers[-1]].get(name, 0))
    of = {name: [found.profile[tracer].get(name, 0.0) for tracer in tracers] for name in names}
    shown = [name for name in names if max(of[name]) - min(of[name]) >= _PROFILED_NS]
    others = [sum(of[name][i] for name in names if name not in shown) for i in range(len(tracers))]
    totals = [sum(found.profile[tracer].values()) for tracer in tracers]
    rows = [*((f"`{name}`", of[name]) for name in shown), ("others", others), ("all", totals)]
    yield _table(("function", *tracers), [[name, *(f"{ns:.0f}" for ns in numbers)] for name, numbers in rows])


def _commands(found: Found) -> Iterable[str]:
    rounds = len(found.commands["tar"]["untraced"])
    yield (
        f"## Commands\n\nSeconds from the first instruction to the exit, {rounds} rounds, every event read as columns"
        " and none lost. `floor`: the floor's\ntwo programs are attached for another process and record nothing: what"
        " any tracer by system call tracepoints costs."
    )
    rows = []
    for name, row in found.commands.items():
        bare, least, traced = (statistics.median(row[how]) for how in ("untraced", "floor", "traced"))
        low, high = _interval([b / a for a, b in zip(row["untraced"], row["traced"], strict=True)])
        ratios = [f"{least / bare:.3f}", f"{traced / bare:.3f}", f"{low:.3f} to {high:.3f}"]
        rows.append([name, f"{bare:.3f}", f"{least:.3f}", f"{traced:.3f}", *ratios])
    head = ("command", "untraced", "floor", "traced", "floor's ratio", "ratio", "interval of pairs")
    yield _table(head, rows)


def _start(found: Found) -> Iterable[str]:
    yield "## Start and stop: milliseconds"
    rows = [[name, f"{statistics.median(values):.2f}"] for name, values in found.start.items()]
    yield _table(("what", "median"), rows)


def _stalled(found: Found) -> Iterable[str]:
    yield "## Bursts with a stalled reader\n\nDefault sizes; its process is stopped, and goes on reading then."
    rows = [
        [name, f"{max(calls for calls, _ in rounds):,}", f"{sum(lost > 0 for _, lost in rounds)} of {len(rounds)}",
         f"{max(lost for _, lost in rounds):,}"]
        for name, rounds in found.stalled.items()
    ]  # fmt: skip
    yield _table(("burst", "calls", "rounds with loss", "most lost"), rows)


def _memory(found: Found) -> Iterable[str]:
    held = [bytes_held / 1e6 for bytes_held in found.memory["held"]]
    tenths = [held[index * (len(held) - 1) // 10] for index in range(11)]
    yield (
        f"## Memory\n\nA reader of default sizes, columns, {len(held)} s at full rate: {found.memory['delivered']:,}"
        f" events, {found.memory['lost']:,} lost. MB above the\ninterpreter, from its beginning to its end, in tenths:"
        f" {', '.join(f'{each:.1f}' for each in tenths)}."
    )


def _consumers(found: Found) -> Iterable[str]:
    yield (
        "## Consumers\n\nFrom a full queue, without a kernel (benchmarks/consumers.py): CPU time of the reading thread."
        " `storm` is one file read over and\nover, `paths` another name each time."
    )
    rows = []
    for shape, row in found.consumers.items():
        *_, reference = row.values()
        for name, ns in row.items():
            rows.append([shape, name, f"{1e3 / ns:.2f}", f"{ns:,.1f}", f"{reference / ns:.1f}"])
    yield _table(("events", "form", "M events/s", "ns an event", "× ctypes callback"), rows)


def _guests(found: Found) -> Iterable[str]:
    yield (
        "## Instructions in guests\n\nOf a read of one byte, in Debian's kernels in emulated machines whose clock"
        " counts instructions: what is added to a call of the\nwatched process by the floor of that way in, by us,"
        " to one of another process, and to a\ncall of the watched process that nobody asked for. Exact to a few in a"
        " thousand."
    )
    rows = []
    for suite, ways in found.guests.items():
        for added in ways:
            numbers = [added.untraced, added.floor, added.ours, added.foreign, added.unasked]
            ratio = added.ours / added.floor if added.ours and added.floor else None
            rows.append(
                [suite, added.way]
                + ["" if number is None else f"{number:,.0f}" for number in numbers]
                + ["" if ratio is None else f"{ratio:.2f}", "; ".join(added.notes).replace("\n", "; ")]
            )
    yield _table(
        ("suite", "way in", "untraced", "floor", "ours (or the script)", "another's", "unasked", "× floor", "remarks"),
        rows,
    )
