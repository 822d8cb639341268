# SPDX-License-Identifier: MIT
"""The lines for people, and the closing words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from command_line_fakes import make_event, make_stats

from aa_fileio import Stats
from aa_fileio.integrations.closing import (
    LOSS_CAUSES,
    Survivor,
    Survivors,
    closing_lines,
    process_status,
    summary_object,
    surviving,
    verdict,
)
from aa_fileio.integrations.text_lines import HEADER, event_line, printable, shown


def test_no_byte_of_a_name_reaches_the_terminal_unescaped() -> None:
    for value in range(1, 256):
        name = os.fsdecode(b"/tmp/a" + bytes([value]) + b"b")
        assert event_line(make_event(path=name, comm=name)).isprintable()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/tmp/plain-1.txt", "/tmp/plain-1.txt"),
        ("/tmp/café".encode(), "/tmp/café"),
        (b"/tmp/a b", '"/tmp/a b"'),
        (b"/tmp/a\nb", '"/tmp/a\\nb"'),
        (b"/tmp/\x1b[31m", '"/tmp/\\x1b[31m"'),
        (b"/tmp/\xff", '"/tmp/\\xff"'),
        ("/tmp/\x9b1m".encode(), '"/tmp/\\u009b1m"'),
        ("/tmp/\u202egpj.exe".encode(), '"/tmp/\\u202egpj.exe"'),
        (b'/tmp/"', '"/tmp/\\""'),
        (b"/tmp/\\xff", '"/tmp/\\\\xff"'),
        (b"/tmp/[deleted]", '"/tmp/[deleted]"'),
    ],
)
def test_a_name_is_shown_plain_or_quoted_without_ambiguity(raw: bytes, expected: str) -> None:
    assert shown(os.fsdecode(raw)) == expected


def test_two_different_names_are_never_shown_alike() -> None:
    names = [os.fsdecode(bytes([value])) for value in range(1, 256)] + ["\\xff", "\x9b", "\u009c", '"', " "]
    assert len({shown(name) for name in names}) == len(set(names))


def test_a_name_cannot_pass_for_a_rename_or_a_remark() -> None:
    line = event_line(make_event("unlink", path="/tmp/x -> /etc/passwd [deleted]"))
    assert '"/tmp/x -> /etc/passwd [deleted]"' in line


def test_a_line_has_its_columns_where_the_header_says() -> None:
    line = event_line(make_event())
    assert line[HEADER.index("CALL") :].startswith("read ")
    assert line[HEADER.index("RESULT") :].startswith("12 of 4096 ")
    assert line[HEADER.index("PATH") :] == "/etc/hosts"
    assert "1500 ns" in line


def test_an_open_shows_its_descriptor_and_what_it_may_do() -> None:
    event = make_event("open", return_code=5, fd=5, flags=os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC)
    assert "fd 5 " in event_line(event)
    assert event_line(event).endswith("/etc/hosts O_WRONLY|O_CREAT|O_TRUNC")
    temporary = make_event("open", flags=os.O_RDWR | os.O_TMPFILE)
    assert event_line(temporary).endswith("O_RDWR|O_TMPFILE")


def test_a_failure_shows_its_name_and_an_unnamed_one_its_number() -> None:
    assert " ENOENT " in event_line(make_event("open", errno=errno.ENOENT))
    assert " -512 " in event_line(make_event(bytes=0, return_code=-512))


def test_a_rename_shows_both_names_and_where_they_come_from() -> None:
    event = make_event("rename", path="/a", new_path="/b c", path_source="as_passed")
    assert event_line(event).endswith('/a -> "/b c" [as passed]')


def test_what_has_no_name_is_shown_by_its_descriptor() -> None:
    assert event_line(make_event(path=None, kind="pipe", path_source="none")).endswith("<fd 3: pipe>")
    assert event_line(make_event("unlink", path=None, path_source="none")).endswith("<no name>")


def test_without_latency_there_is_no_duration() -> None:
    assert " - " in event_line(make_event(duration_ns=None))


def test_a_message_with_a_name_in_it_is_safe_to_print() -> None:
    assert printable("cannot open '\x1b[2J\udcff'") == "cannot open '\\x1b[2J\\xff'"


def test_the_verdict_of_a_complete_trace() -> None:
    assert verdict(12, make_stats(), "kprobe") == "trace complete: 12 events, nothing lost (kprobe)"
    assert verdict(1, make_stats(), "kprobe") == "trace complete: 1 event, nothing lost (kprobe)"


def test_the_verdict_names_how_many_were_lost_and_why() -> None:
    stats = make_stats(ring_full=2, no_exit=1)
    assert verdict(12, stats, "kprobe") == "trace INCOMPLETE: 3 of 15 events lost: ring_full 2, no_exit 1 (kprobe)"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inexact_reason": "missed 4"}, "the count is not exact: missed 4"),
        ({"compat_calls": 2}, "32-bit calls not followed: 2"),
    ],
)
def test_the_verdict_never_says_complete_where_the_ledger_does_not(changed: dict[str, object], words: str) -> None:
    text = verdict(12, make_stats(**changed), "tracepoint")
    assert text.startswith("trace INCOMPLETE: 12 events, none known to be lost")
    assert words in text


def test_remarks_and_survivors_come_before_the_verdict() -> None:
    lines = list(
        closing_lines(2, make_stats(filtered=4, in_flight=1), "kprobe", Survivors([Survivor(7, "a b")], unnamed=1))
    )
    assert lines[0] == "not lost, but to be known: left out as asked 4"
    assert lines[1] == 'still running, no longer traced: "a b" (7), 1 more process that made no traced call'
    assert lines[2] == "trace complete but for 1 call under way: 2 events, nothing lost (kprobe)"
    assert len(list(closing_lines(2, make_stats(), "kprobe", Survivors()))) == 1


def test_the_summary_holds_every_cause_of_loss_and_the_whole_ledger() -> None:
    summary = summary_object(3, make_stats(no_entry=1), "kprobe", [("fentry", "why")], Survivors())
    assert tuple(summary["losses"]) == LOSS_CAUSES
    assert summary["losses"]["no_entry"] == 1
    assert summary["passed_over"] == [{"backend": "fentry", "reason": "why"}]
    elsewhere = {"watched", "boottime_to_realtime_ns", "no_trace_reason", "signs"}
    ledger = set(Stats._fields) - set(LOSS_CAUSES) - elsewhere
    assert ledger <= set(summary)


def write_stat(proc: Path, pid: int, comm: str, state: str, start_ticks: int) -> None:
    (proc / str(pid)).mkdir()
    fields = [str(pid), f"({comm})", state, *["0"] * 18, str(start_ticks), "0"]
    (proc / str(pid) / "stat").write_text(" ".join(fields))


def test_survivors_are_those_seen_that_still_run_under_the_same_number(tmp_path: Path) -> None:
    write_stat(tmp_path, 10, "sleep) R 1", "S", 100)  # a name may look like the rest of the line
    write_stat(tmp_path, 11, "zombie", "Z", 100)
    write_stat(tmp_path, 12, "recycled", "S", 900)
    ticks = os.sysconf("SC_CLK_TCK")
    seen = dict.fromkeys((10, 11, 12, 13), 200 * 1_000_000_000 // ticks)
    survivors = surviving(seen, 3, tmp_path)
    assert survivors == Survivors([Survivor(10, "sleep) R 1")], 2)
    assert surviving(seen, 0, tmp_path) == Survivors([], 0)


def test_the_status_of_a_process_is_read_from_proc() -> None:
    status = process_status(os.getpid())
    assert status is not None and status.is_running
    assert process_status(2**22 + 1) is None
