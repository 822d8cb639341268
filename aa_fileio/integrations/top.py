# SPDX-License-Identifier: MIT
"""Totals as a table for people and as objects for programs: what `aa-fileio top` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aa_fileio.integrations.closing import unseen_words
from aa_fileio.integrations.json_lines import value_object
from aa_fileio.integrations.text_lines import duration_shown, shown

if TYPE_CHECKING:
    from aa_fileio import Stats, Total, Totals

#: What rows may be kept apart by, and the fields that make the difference.
GROUPS = {
    "process": ("pid", "started_ns"),
    "op": ("op",),
    "file": ("path", "new_path", "path_source", "path_flags", "device", "inode", "kind"),
}
#: What they may be sorted by, the largest first.
ORDERS = ("calls", "errors", "bytes", "time")

_COLUMNS = f"{'CALLS':>10} {'ERRORS':>8} {'BYTES':>8} {'TIME':>8} {'P99':>8}"


def grouped(totals: Totals, groups: list[str]) -> Totals:
    return totals.by(*(field for name in GROUPS if name in groups for field in GROUPS[name]))


def ordered(totals: Totals, order: str) -> list[Total]:
    if order == "time":
        return sorted(totals, key=lambda row: -(row.duration_ns or 0))
    return sorted(totals, key=lambda row: -getattr(row, order))


def table_lines(totals: Totals, groups: list[str], order: str, limit: int) -> Iterator[str]:
    """A line of headings, and at most `limit` rows (0: all), with a word about those that are left out."""
    rows = ordered(grouped(totals, groups), order)
    header = [_COLUMNS]
    if "process" in groups:
        header.append(f"{'PID':>7} {'COMMAND':<15}")
    if "op" in groups:
        header.append(f"{'CALL':<10}")
    if "file" in groups:
        header.append("PATH")
    yield " ".join(header).rstrip()
    for row in rows[: limit or None]:
        yield _line(row, groups).rstrip()
    if limit and len(rows) > limit:
        rest = sum(row.calls for row in rows[limit:])
        yield f"{rest:>10} in {len(rows) - limit} more rows"


def total_object(row: Total, groups: list[str]) -> dict[str, Any]:
    """The fields that were asked for, and the counts; of the process also its name."""
    fields = [field for name in GROUPS if name in groups for field in GROUPS[name]]
    if "process" in groups:
        fields.append("comm")
    fields += ("calls", "errors", "bytes", "duration_ns", "histogram")
    return value_object("total", {field: getattr(row, field) for field in row._fields if field in fields})


def ending(totals: Totals, stats: Stats, backend: str | None) -> str:
    """The verdict on the counts, which the loss of events does not touch."""
    calls = sum(row.calls for row in totals)
    noun = "call" if calls == 1 else "calls"
    found = totals.verdict
    if found.form is not found.INCOMPLETE:
        return f"totals {found}: {calls} {noun} ({backend})"
    lost = stats.lost - stats.ring_full - stats.queue_full - stats.decode_error
    reasons = [f"{lost} not counted"] if lost else []
    reasons += unseen_words(stats, also_inexact=True)
    return f"totals INCOMPLETE: {calls} {noun}; {'; '.join(reasons)} ({backend})"


def _line(row: Total, groups: list[str]) -> str:
    took, slowest = duration_shown(row.duration_ns), duration_shown(row.quantile_ns(0.99))
    parts = [f"{row.calls:>10} {row.errors:>8} {_bytes_shown(row.bytes):>8} {took:>8} {slowest:>8}"]
    if "process" in groups:
        pid = "-" if row.pid is None else row.pid
        parts.append(f"{pid:>7} {shown(row.comm) if row.comm is not None else '-':<15}")
    if "op" in groups:
        parts.append(f"{row.op!s:<10}")
    if "file" in groups:
        parts.append(_file_shown(row))
    return " ".join(parts)


def _file_shown(row: Total) -> str:
    if row.path is None:
        return f"<{row.kind or 'no name'}>"
    if row.new_path is None:
        return shown(row.path)
    return f"{shown(row.path)} -> {shown(row.new_path)}"


def _bytes_shown(count: int) -> str:
    """In four digits at most."""
    size, units = float(count), iter(("", "K", "M", "G", "T", "P", "E"))
    unit = next(units)
    while size >= 9999.5:
        size, unit = size / 1024, next(units)
    return f"{size:.0f}{unit}"
