# SPDX-License-Identifier: MIT
"""The verdict as data and in words, from ledgers of our own making."""

from __future__ import annotations

import json

import pytest

from aa_fileio import KprobeManager, Stats, Verdict, VerdictForm
from aa_fileio.integrations.closing import Survivors, summary_object, verdict
from aa_fileio.integrations.json_lines import json_line
from aa_fileio.verdict import LOSSES, Sign, SignKind
from tests.python.command_line_fakes import make_stats

MAPPED = Sign(SignKind.CALL, "mmap", 2, "/data/a", True, 0, 4096, True, True, 7, "db")
SERVED = Sign(SignKind.CONNECTION, None, 1, "/run/docker.sock", True, 0, 0, False, False, 8, "cli")
READING = Sign(SignKind.UNDER_WAY, "read", 1, None, False, 0, 0, False, False, 9, "cat")
GIVEN = Sign(SignKind.CALL, "sendmsg", 3, "/data/b", True, 0, 0, False, False, 7, "db")


def test_nothing_to_say_is_complete() -> None:
    found = make_stats(delivered=3, performed=3).verdict
    assert (found.form, found.reasons, bool(found), str(found)) == (Verdict.COMPLETE, (), True, "complete")


@pytest.mark.parametrize("cause", LOSSES)
def test_every_loss_is_incomplete(cause: str) -> None:
    stats = make_stats(**{cause: 2})
    assert (stats.lost, stats.complete, stats.verdict.form) == (2, False, VerdictForm.INCOMPLETE)
    assert [(reason.cause, reason.count) for reason in stats.verdict.reasons] == [(cause, 2)]
    assert str(stats.verdict) == f"INCOMPLETE: lost: {cause} 2"


def test_what_is_named_bounds_what_is_missing() -> None:
    stats = make_stats(blind_spots=3, in_flight=1, pre_attach=2, signs=(MAPPED, SERVED, READING))
    found = stats.verdict
    assert (found.form, bool(found), stats.complete) == (VerdictForm.COMPLETE_BUT, False, False)
    assert [reason.cause for reason in found.reasons] == ["mapped_file", "server", "in_flight", "pre_attach"]
    mapped, server, reading, before = found.reasons
    assert (mapped.path, mapped.start, mapped.end, mapped.writable, mapped.dirtied) == ("/data/a", 0, 4096, True, None)
    assert (mapped.count, mapped.pid, mapped.comm) == (2, 7, "db")
    assert (server.path, server.pid) == ("/run/docker.sock", 8)
    assert (reading.call, reading.pid, before.count) == ("read", 9, 2)
    assert str(found) == (
        "complete but for writes into 1 mapped file: /data/a [0, 4096); work handed to 1 server: /run/docker.sock; "
        "1 call under way: read by cat (9); 2 calls entered before the trace began"
    )
    assert verdict(5, stats, "kprobe") == f"trace {found}: 5 events, nothing lost (kprobe)"


@pytest.mark.parametrize(
    "changes",
    [
        {"blind_spots": 3, "signs": (MAPPED,)},  # one whose event did not arrive
        {"blind_spots": 3, "signs": (GIVEN,)},
        {"blind_spots": 2, "signs": (MAPPED._replace(is_named=False),)},
        {"blind_spots": 2, "signs": (MAPPED._replace(path=None, is_named=False),)},
        {"blind_spots": 2, "signs": (MAPPED._replace(has_range=False),)},
        {"blind_spots": 2, "signs": (MAPPED,), "compat_calls": 1},
        {"blind_spots": 2, "signs": (MAPPED,), "bypass": 1},
        {"blind_spots": 2, "signs": (MAPPED,), "ring_full": 1},
        {"blind_spots": 2, "signs": (MAPPED,), "inexact_reason": "why"},
        {"blind_spots": 1, "signs": (GIVEN._replace(kind=SignKind.HIDDEN, call=None, count=1),)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_what_is_not_named_makes_it_incomplete(changes: dict[str, object]) -> None:
    stats = make_stats(**changes)
    assert (stats.verdict.form, stats.complete) == (VerdictForm.INCOMPLETE, False)
    assert "INCOMPLETE" in verdict(5, stats, "kprobe")


def test_more_under_way_than_is_known_by_name() -> None:
    """And a thread whose call has returned meanwhile is none."""
    [first, rest] = make_stats(in_flight=3, signs=(READING,)).verdict.reasons
    assert (first.count, first.call, rest.count, rest.call) == (1, "read", 2, None)
    assert make_stats(in_flight=0, signs=(READING,)).complete


def test_skipped_probes_are_no_second_loss() -> None:
    """A return that the kernel skipped is one call of no_exit; how often it skipped, for anybody, is said beside it."""
    stats = make_stats(
        performed=8005, delivered=7142, no_exit=863, probe_missed=1177, inexact_reason="skipped 1177 times"
    )
    assert stats.performed == stats.delivered + stats.lost
    assert [(reason.cause, reason.count) for reason in stats.verdict.reasons] == [("no_exit", 863), ("inexact", 1177)]
    # Both probes of a call skipped: nothing else says so.
    stats = make_stats(probe_missed=2, inexact_reason="skipped twice")
    assert (stats.lost, stats.complete, stats.verdict.form) == (0, False, VerdictForm.INCOMPLETE)


def test_no_trace_is_incomplete() -> None:
    stats = make_stats(no_trace_reason="nothing has been attached")
    assert str(stats.verdict) == "INCOMPLETE: nothing has been attached"


def test_many_files_are_named_in_the_data_and_some_in_words() -> None:
    signs = tuple(MAPPED._replace(path=f"/data/{i}", count=1) for i in range(9))
    found = make_stats(blind_spots=9, signs=signs).verdict
    assert len(found.reasons) == 9
    assert str(found).startswith("complete but for writes into 9 mapped files: /data/0 [0, 4096), ")
    assert str(found).endswith(" and 4 more")


def test_two_mappings_of_a_file_are_one_in_words() -> None:
    more = MAPPED._replace(start=8192, end=16384, pid=10)
    assert str(make_stats(blind_spots=4, signs=(MAPPED, more)).verdict).endswith("1 mapped file: /data/a [0, 16384)")


def test_a_name_does_not_reach_the_terminal_as_it_is() -> None:
    found = make_stats(blind_spots=2, signs=(MAPPED._replace(path="/a\x1b[2J\n\udcff"),)).verdict
    assert str(found).isprintable()


def test_the_summary_has_it_as_data() -> None:
    signs = (MAPPED._replace(path="/a\udcff"), READING)
    stats = make_stats(blind_spots=2, in_flight=1, signs=signs)
    summary = json.loads(json_line(summary_object(5, stats, "kprobe", [], Survivors())))
    found = summary["verdict"]
    assert (found["form"], found["text"]) == ("complete_but", verdict(5, stats, "kprobe").replace("\\udcff", "\\udcff"))
    mapped, reading = found["reasons"]
    assert (mapped["cause"], mapped["path"], mapped["path_b64"]) == ("mapped_file", "/a\ufffd", "L2H/")
    assert (mapped["start"], mapped["end"], mapped["writable"], mapped["dirtied"]) == (0, 4096, True, None)
    assert (reading["cause"], reading["call"], reading["pid"]) == ("in_flight", "read", 9)
    assert "path" not in reading


def test_a_verdict_cannot_be_changed() -> None:
    found = make_stats().verdict
    with pytest.raises(AttributeError):
        found.form = VerdictForm.INCOMPLETE  # type: ignore[misc]


def test_a_manager_that_was_never_attached() -> None:
    manager = KprobeManager(ops=["read"])
    assert (manager.stats.complete, bool(manager.stats.verdict)) == (False, False)
    manager.close()
    assert isinstance(manager.stats, Stats) and not manager.stats.complete
