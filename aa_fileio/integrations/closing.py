# SPDX-License-Identifier: MIT
"""The end of a trace: what it is worth, in one sentence for people and in one object for programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aa_fileio.integrations.json_lines import value_object
from aa_fileio.integrations.text_lines import shown

if TYPE_CHECKING:
    from aa_fileio import Reason, Stats, Verdict

LOSS_CAUSES = (
    "ring_full",
    "state_full",
    "no_entry",
    "no_exit",
    "fork_map_full",
    "queue_full",
    "decode_error",
)
# Not loss, and yet of use to whoever reads the trace. Name in the ledger, words in the closing line.
_REMARKS = (
    ("filtered", "left out as asked"),
    ("denied", "refused before they ran"),
    ("path_truncated", "names cut"),
    ("path_unreadable", "names unreadable"),
)


class Survivor(NamedTuple):
    """A descendant that is still running."""

    pid: int
    comm: str


class Survivors(NamedTuple):
    """The descendants that the command left running: those that made a traced call by name, the others by number."""

    named: Sequence[Survivor] = ()
    unnamed: int = 0


class ProcessStatus(NamedTuple):
    comm: str
    state: str
    start_ns: int
    """CLOCK_BOOTTIME, as the events' timestamps, in the kernel's coarser steps."""
    threads: int = 1

    @property
    def is_running(self) -> bool:
        """The state is that of the first thread: others may live on when it has ended, as a zombie until the last."""
        return self.state not in "ZX" or self.threads > 1  # zombie, dead


def process_status(pid: int, proc: Path = Path("/proc")) -> ProcessStatus | None:
    """None where there is no such process."""
    try:
        line = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses and may hold any of them, and spaces: the last one ends it.
    start, end = line.index(b"("), line.rindex(b")")
    rest = line[end + 2 :].split()
    ticks = int(rest[19])
    return ProcessStatus(
        comm=os.fsdecode(line[start + 1 : end]),
        state=rest[0].decode("ascii"),
        start_ns=ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK") - _boottime_offset_ns(proc),
        threads=int(rest[17]),
    )


def _boottime_offset_ns(proc: Path) -> int:
    """What a time namespace adds to the start of a process, and not to the time of an event. The file tells of the
    namespace of children, which is ours where the two links say the same."""
    try:
        namespaces = {os.readlink(proc / "self/ns" / name) for name in ("time", "time_for_children")}
        offsets = [line.split() for line in (proc / "self/timens_offsets").read_text().splitlines()]
    except OSError:
        return 0
    if len(namespaces) != 1:
        return 0
    return sum(int(seconds) * 10**9 + int(rest) for name, seconds, rest in offsets if name in ("boottime", "7"))


def surviving(last_seen_ns: Mapping[int, int], watched: int, proc: Path = Path("/proc")) -> Survivors:
    """Which of the processes seen in the trace still run. One that started after its number was last seen is another
    process with a recycled number."""
    named = []
    if watched:
        for pid, seen_ns in last_seen_ns.items():
            status = process_status(pid, proc)
            if status is not None and status.is_running and status.start_ns <= seen_ns:
                named.append(Survivor(pid, status.comm))
    return Survivors(named, max(0, watched - len(named)))


def losses(stats: Stats) -> dict[str, int]:
    return {cause: getattr(stats, cause) for cause in LOSS_CAUSES}


def verdict(events: int, stats: Stats, backend: str | None) -> str:
    """One sentence, in one of three forms: complete, complete but for what is named, INCOMPLETE."""
    by = f" ({backend})"
    calls = "1 event" if events == 1 else f"{events} events"
    found = stats.verdict
    if found.form is not found.INCOMPLETE:
        return f"trace {found}: {calls}, nothing lost{by}"
    if stats.lost:
        causes = ", ".join(f"{cause} {count}" for cause, count in losses(stats).items() if count)
        reasons = [f"{stats.lost} of {events + stats.lost} events lost: {causes}"]
    else:
        reasons = [f"{calls}, none known to be lost"]
    return f"trace INCOMPLETE: {'; '.join(reasons + unseen_words(stats, also_inexact=True))}{by}"


def unseen_words(stats: Stats, *, also_inexact: bool = False) -> list[str]:
    """What may be missing beside what was lost: what was done in ways that are not traced, or is under way."""
    left_out = LOSS_CAUSES if also_inexact else (*LOSS_CAUSES, "inexact")
    found = stats.verdict
    return found._replace(reasons=tuple(each for each in found.reasons if each.cause not in left_out)).words()


def verdict_object(found: Verdict, text: str) -> dict[str, Any]:
    """The verdict as data, and the sentence."""
    return {
        "form": str(found.form),
        "text": text,
        "reasons": [_reason_object(reason) for reason in found.reasons],
    }


def _reason_object(reason: Reason) -> dict[str, Any]:
    """Without what does not apply; a name that is not UTF-8 has its bytes beside it, as in an event."""
    record = {name: value for name, value in reason._asdict().items() if value is not None}
    if reason.cause == "mapped_file":
        record["dirtied"] = reason.dirtied
    record = value_object("reason", record)
    del record["record"]
    return record


def closing_lines(events: int, stats: Stats, backend: str | None, survivors: Survivors) -> Iterable[str]:
    """The verdict is the last one."""
    remarks = [f"{words} {count}" for name, words in _REMARKS if (count := getattr(stats, name))]
    if remarks:
        yield f"not lost, but to be known: {', '.join(remarks)}"
    if survivors.named or survivors.unnamed:
        still = [f"{shown(survivor.comm)} ({survivor.pid})" for survivor in survivors.named]
        if survivors.unnamed:
            more = "more " if still else ""
            noun = "process" if survivors.unnamed == 1 else "processes"
            still.append(f"{survivors.unnamed} {more}{noun} that made no traced call")
        yield f"still running, no longer traced: {', '.join(still)}"
    yield verdict(events, stats, backend)


def summary_object(
    events: int,
    stats: Stats,
    backend: str | None,
    passed_over: Iterable[tuple[str, str]],
    survivors: Survivors,
) -> dict[str, Any]:
    """The last line of ``--json``; the ledger's own words, so that nothing has to be computed to check it."""
    return {
        "record": "summary",
        "events": events,
        "losses": losses(stats),
        "backend": backend,
        "passed_over": [{"backend": name, "reason": reason} for name, reason in passed_over],
        "exact": stats.exact,
        "inexact_reason": stats.inexact_reason,
        "complete": stats.complete,
        "verdict": verdict_object(stats.verdict, verdict(events, stats, backend)),
        "performed": stats.performed,
        "delivered": stats.delivered,
        "queued": stats.queued,
        "in_flight": stats.in_flight,
        "filtered": stats.filtered,
        "counted": stats.counted,
        "canaries": stats.canaries,
        "lost": stats.lost,
        "probe_missed": stats.probe_missed,
        "pre_attach": stats.pre_attach,
        "denied": stats.denied,
        "compat_calls": stats.compat_calls,
        "blind_spots": stats.blind_spots,
        "bypass": stats.bypass,
        "path_truncated": stats.path_truncated,
        "path_unreadable": stats.path_unreadable,
        "still_running": [{"pid": survivor.pid, "comm": survivor.comm} for survivor in survivors.named],
        "still_running_unnamed": survivors.unnamed,
    }
