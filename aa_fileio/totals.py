# SPDX-License-Identifier: MIT
"""Calls counted in the kernel, without a stream: by process, operation and file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from aa_fileio.verdict import Verdict, verdict_by

if TYPE_CHECKING:
    from aa_fileio._native import FileEvent
    from aa_fileio.events import Kind, Op, PathFlag, PathSource
    from aa_fileio.ledger import Stats

__all__ = ["Total", "Totals"]


class Total(NamedTuple):
    """Calls added up. What they do not have in common, or what is not known, is None."""

    pid: int | None
    started_ns: int | None
    """When the process began, by CLOCK_BOOTTIME: a number may come to be another process's."""
    comm: str | None
    """Of the thread that made the first of these calls."""
    op: Op | int | None
    path: str | None
    """As an event of these calls tells it: a file that was renamed meanwhile has a row under each of its names."""
    new_path: str | None
    path_source: PathSource | None
    path_flags: PathFlag | None
    device: int | None
    inode: int | None
    kind: Kind | None

    calls: int
    errors: int
    """Calls that failed."""
    bytes: int
    """Moved, as the kernel returned it; not what was asked for."""
    duration_ns: int | None
    """Of all calls together; None with ``latency=False``."""
    histogram: tuple[int, ...] | None
    """Calls by how long they took: ``histogram[i]`` of at least 2**i and less than 2**(i + 1) ns, the first with those
    of 0 ns, the last, 31, with all that took longer. None with ``latency=False``."""

    def quantile_ns(self, quantile: float) -> int | None:
        """A time in which this part of the calls was done (0.99: all but one in a hundred), in ns.

        It is the end of the histogram's bucket, so at most twice as long as the true one, or None where that is the
        last bucket, which has no end, or where there are no times. ValueError for what is not from 0 to 1.
        """
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile must be from 0 to 1, not {quantile}")
        if self.histogram is None:
            return None
        seen, wanted = 0, quantile * sum(self.histogram)
        for index, calls in enumerate(self.histogram[:-1]):
            seen += calls
            if calls and seen >= wanted:
                return 2 << index
        return None


_KEYS = Total._fields[: Total._fields.index("calls")]
_Key = Callable[[Total], tuple[Any, ...]]


def _key_of(fields: Iterable[str]) -> _Key:
    indices = tuple(Total._fields.index(field) for field in fields)
    return lambda row: tuple(row[index] for index in indices)


# What makes two rows the same: all but the name of the thread that came first.
_same = _key_of(field for field in _KEYS if field != "comm")


#: Losses after which a call is in its row all the same.
_LOST_EVENTS = ("ring_full", "queue_full", "decode_error")


class Totals(Sequence[Total]):
    """What KprobeManager.totals() gives: rows of Total, most calls first. Immutable.

    Calls whose process or file is not known stand in rows without pid and path: the table had no row left
    (``totals_rows``), or the name could not be handed over. They are counted all the same.
    """

    def __init__(self, rows: Iterable[Total], stats: Stats) -> None:
        self._rows = tuple(sorted(rows, key=lambda row: -row.calls))
        self._stats = stats

    @property
    def complete(self) -> bool:
        """Every call was counted: nothing lost but events, which are counted before they are sent; no blind spot, and
        nothing under way."""
        return bool(self.verdict)

    @property
    def verdict(self) -> Verdict:
        """What the counts are worth: the ledger's verdict, but for the loss of events."""
        return verdict_by(reason for reason in self._stats.verdict.reasons if reason.cause not in _LOST_EVENTS)

    @property
    def stats(self) -> Stats:
        """The ledger at the same moment."""
        return self._stats

    def by(self, *fields: str) -> Totals:
        """The rows added up by these fields: any of those before ``calls``. The others are None where they differ.

        Without any: one row, if there was a call. ValueError for an unknown name.
        """
        for field in fields:
            if field not in _KEYS:
                raise ValueError(f"unknown field {field!r}; known are: {', '.join(_KEYS)}")
        return Totals(_added_up(self._rows, _key_of(fields)), self._stats)

    def since(self, earlier: Totals) -> Totals:
        """What has been counted since an earlier reading of the same trace: rows without new calls are left out."""
        before = {_same(row): row for row in earlier}
        rows = []
        for row in self._rows:
            known = before.get(_same(row))
            if known is None:
                rows.append(row)
            elif row.calls > known.calls:
                rows.append(_counted(row, row, known, -1))
        return Totals(rows, self._stats)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Total: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Total, ...]: ...
    def __getitem__(self, index: int | slice) -> Total | tuple[Total, ...]:
        return self._rows[index]

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, Totals) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        calls = sum(row.calls for row in self._rows)
        return f"<Totals: {calls} calls in {len(self._rows)} rows{'' if self.complete else ', INCOMPLETE'}>"


def totals_of(rows: Iterable[tuple[Any, ...]], stats: Stats) -> Totals:
    """From the core's rows, of which two may be about the same."""
    return Totals(_added_up((_row_of(*row) for row in rows), _same), stats)


def _row_of(
    first: FileEvent | None,
    op: Op | int,
    started_ns: int,
    calls: int,
    errors: int,
    moved: int,
    duration_ns: int,
    histogram: tuple[int, ...],
) -> Total:
    # Where times are taken, each call has one.
    has_times = any(histogram)
    counts = (calls, errors, moved, duration_ns if has_times else None, histogram if has_times else None)
    if first is None:
        return Total(None, None, None, op, None, None, None, None, None, None, None, *counts)
    return Total(
        first.pid,
        started_ns,
        first.comm,
        op,
        first.path,
        first.new_path,
        first.path_source,
        first.path_flags,
        first.device,
        first.inode,
        first.kind,
        *counts,
    )


def _counted(common: Total, a: Total, b: Total, sign: int) -> Total:
    """`a` and `b` added up, or taken away with sign -1, under what they have in common."""
    sums = common._replace(
        calls=a.calls + sign * b.calls,
        errors=a.errors + sign * b.errors,
        bytes=a.bytes + sign * b.bytes,
        duration_ns=None,
        histogram=None,
    )
    # A row that was read between its first call and that one's time has none yet.
    histogram = a.histogram or b.histogram
    if histogram is None:
        return sums
    none = (0,) * len(histogram)
    pairs = zip(a.histogram or none, b.histogram or none, strict=True)
    return sums._replace(
        duration_ns=(a.duration_ns or 0) + sign * (b.duration_ns or 0),
        histogram=tuple(x + sign * y for x, y in pairs),
    )


def _added_up(rows: Iterable[Total], key: _Key) -> Iterable[Total]:
    groups: dict[tuple[Any, ...], Total] = {}
    for row in rows:
        known = groups.setdefault(key(row), row)
        if known is not row:
            differing: dict[str, Any] = {
                field: None
                for field, value, other in zip(_KEYS, known, row, strict=False)
                if value != other and not (field == "comm" and key is _same)
            }
            groups[key(row)] = _counted(known._replace(**differing), known, row, 1)
    return groups.values()
