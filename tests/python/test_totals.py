# SPDX-License-Identifier: MIT
"""Totals as Python shows them: added up, taken apart, and what they say of themselves."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from command_line_fakes import make_event, make_stats

from aa_fileio import Op, Total, Totals, Verdict
from aa_fileio.totals import totals_of


def buckets(**counts: int) -> tuple[int, ...]:
    """buckets(b5=3): three calls of 32 to 63 ns."""
    histogram = [0] * 32
    for name, calls in counts.items():
        histogram[int(name[1:])] = calls
    return tuple(histogram)


def core_row(op: str = "read", calls: int = 1, *, started_ns: int = 5, **given: Any) -> tuple[Any, ...]:
    """As the core gives it; 100 ns and 10 bytes for each call."""
    event = make_event(op, **given)
    return (event, event.op, started_ns, calls, 0, 10 * calls, 100 * calls, buckets(b6=calls))


def make_totals(*rows: tuple[Any, ...], **counters: Any) -> Totals:
    return totals_of(rows, make_stats(**counters))


def test_rows_about_the_same_are_one() -> None:
    totals = make_totals(core_row(calls=2, comm="first"), core_row("write", 9), core_row(calls=3, comm="second"))
    assert [(row.op, row.comm, row.calls, row.bytes, row.duration_ns) for row in totals] == [
        ("write", "cat", 9, 90, 900),
        ("read", "first", 5, 50, 500),
    ]
    assert totals[1].histogram == buckets(b6=5)


@pytest.mark.parametrize(
    "other",
    [
        {"pid": 4243},
        {"started_ns": 6},
        {"path": "/etc/group"},
        {"new_path": "/x"},
        {"path_source": "raced"},
        {"device": 1, "inode": 2},
        {"kind": "dir"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_rows_that_differ_stay_apart(other: dict[str, Any]) -> None:
    assert len(make_totals(core_row(), core_row(**other))) == 2


def test_by_adds_up_and_says_what_is_not_in_common() -> None:
    totals = make_totals(
        core_row(calls=1, pid=1, path="/a"), core_row("write", 2, pid=1, path="/a"), core_row(calls=4, pid=2, path="/a")
    )
    by_process = totals.by("pid")
    assert [(row.pid, row.op, row.path, row.calls) for row in by_process] == [(2, "read", "/a", 4), (1, None, "/a", 3)]
    [everything] = totals.by()
    assert (everything.pid, everything.op, everything.path, everything.calls) == (None, None, "/a", 7)
    assert everything.histogram == buckets(b6=7)
    assert [(row.op, row.calls) for row in totals.by("op")] == [("read", 5), ("write", 2)]
    assert len(totals.by("pid", "op")) == 3
    assert list(make_totals().by()) == []


@pytest.mark.parametrize("field", ["calls", "histogram", "nonsense", ""])
def test_an_unknown_field_is_refused_with_the_known_ones(field: str) -> None:
    with pytest.raises(ValueError, match=f"unknown field '{field}'; known are: pid, started_ns, comm, op, path"):
        make_totals(core_row()).by("pid", field)


def test_since_is_the_difference() -> None:
    before = make_totals(core_row(calls=2), core_row("write", 3), core_row("open", 1))
    after = make_totals(core_row(calls=7), core_row("write", 3), core_row("open", 1), core_row("unlink", 1))
    assert [(row.op, row.calls, row.bytes, row.duration_ns, row.histogram) for row in after.since(before)] == [
        ("read", 5, 50, 500, buckets(b6=5)),
        ("unlink", 1, 10, 100, buckets(b6=1)),
    ]
    assert list(after.since(after)) == []
    assert after.since(make_totals()) == after


def test_without_latency_there_are_no_times() -> None:
    event = make_event()
    totals = make_totals((event, event.op, 5, 2, 1, 0, 0, buckets()), (event, event.op, 5, 2, 1, 0, 0, buckets()))
    assert (totals[0].calls, totals[0].errors, totals[0].duration_ns, totals[0].histogram) == (4, 2, None, None)
    assert totals[0].quantile_ns(0.5) is None
    [left] = totals.since(make_totals((event, event.op, 5, 1, 0, 0, 0, buckets())))
    assert (left.calls, left.duration_ns, left.histogram) == (3, None, None)


@pytest.mark.parametrize("timed_first", [True, False])
def test_a_row_whose_time_is_not_counted_yet_takes_none_from_the_others(timed_first: bool) -> None:
    event = make_event()
    timed, early = (event, event.op, 5, 3, 0, 0, 300, buckets(b6=3)), (event, event.op, 5, 1, 0, 0, 0, buckets())
    [row] = make_totals(*((timed, early) if timed_first else (early, timed)))
    assert (row.calls, row.duration_ns, row.histogram) == (4, 300, buckets(b6=3))
    [since] = make_totals(timed).since(make_totals(early))
    assert (since.calls, since.duration_ns, since.histogram) == (2, 300, buckets(b6=3))


def test_what_has_no_name_is_under_its_operation() -> None:
    totals = make_totals((None, Op.READ, 0, 3, 1, 8, 30, buckets(b3=3)), (None, Op.READ, 9, 2, 0, 8, 20, buckets(b3=2)))
    [row] = totals
    assert row[: Total._fields.index("calls")] == (None, None, None, Op.READ, *[None] * 7)
    assert (row.calls, row.errors, row.bytes, row.duration_ns) == (5, 1, 16, 50)


@pytest.mark.parametrize(
    ("histogram", "quantile", "expected"),
    [
        (buckets(b0=1), 0.5, 2),
        (buckets(b0=99, b10=1), 0.99, 2),
        (buckets(b0=99, b10=1), 0.991, 2048),
        (buckets(b4=1, b9=1), 0, 32),
        (buckets(b4=1, b9=1), 0.5, 32),
        (buckets(b4=1, b9=1), 1, 1024),
        (buckets(b30=1), 1, 1 << 31),
        (buckets(b31=1), 1, None),
    ],
)
def test_quantile(histogram: tuple[int, ...], quantile: float, expected: int | None) -> None:
    event = make_event()
    [row] = make_totals((event, event.op, 5, sum(histogram), 0, 0, 1, histogram))
    assert row.quantile_ns(quantile) == expected


@pytest.mark.parametrize("quantile", [-0.1, 1.1, float("nan")])
def test_a_quantile_out_of_range_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="quantile must be from 0 to 1"):
        make_totals(core_row())[0].quantile_ns(quantile)


@pytest.mark.parametrize(
    ("counters", "complete"),
    [
        ({}, True),
        ({"ring_full": 3, "queue_full": 2, "decode_error": 1}, True),
        ({"filtered": 3, "denied": 1}, True),
        ({"pre_attach": 1}, False),
        ({"in_flight": 1}, False),
        ({"state_full": 1}, False),
        ({"ring_full": 1, "probe_missed": 1}, False),
        ({"no_entry": 1}, False),
        ({"no_exit": 1}, False),
        ({"fork_map_full": 1}, False),
        ({"compat_calls": 1}, False),
        ({"inexact_reason": "who knows"}, False),
    ],
    ids=str,
)
def test_complete_is_about_the_counts(counters: dict[str, Any], complete: bool) -> None:
    totals = make_totals(core_row(), **counters)
    assert totals.complete is complete
    assert ("INCOMPLETE" in repr(totals)) is not complete


def test_it_is_a_sequence() -> None:
    totals = make_totals(core_row(calls=3), core_row("write", 5))
    assert (len(totals), totals[0].op, totals[-1].op, [row.op for row in totals[:1]]) == (2, "write", "read", ["write"])
    assert totals == make_totals(core_row("write", 5), core_row(calls=3))
    assert hash(totals) == hash(make_totals(core_row("write", 5), core_row(calls=3)))
    assert totals != make_totals(core_row("write", 5))
    assert totals != list(totals)
    assert repr(totals) == "<Totals: 8 calls in 2 rows>"
    assert pickle.loads(pickle.dumps(totals)) == totals


def test_the_verdict_of_the_counts() -> None:
    """The same three forms; a mapped file is named in it."""
    mapped = (0, "mmap", 1, "/data/a", True, 0, 4096, True, True, 7, "db")
    found = make_totals(core_row(), blind_spots=1, ring_full=2, signs=(mapped,)).verdict
    assert (found.form, [reason.cause for reason in found.reasons]) == (Verdict.COMPLETE_BUT, ["mapped_file"])
    assert make_totals(core_row(), ring_full=2).verdict.form is Verdict.COMPLETE
    assert make_totals(core_row(), state_full=2).verdict.form is Verdict.INCOMPLETE
