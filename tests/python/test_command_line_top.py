# SPDX-License-Identifier: MIT
"""`aa-fileio top`: the table, the objects, and when which of them is written."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from command_line_fakes import AS_GIVEN, FakeManager, make_event, make_stats
from conftest import Begin

from aa_fileio import Totals
from aa_fileio.integrations.command_line import main
from aa_fileio.integrations.top import table_lines
from aa_fileio.totals import totals_of

HEADER = "     CALLS   ERRORS    BYTES     TIME      P99     PID COMMAND         CALL       PATH"


def row(op: str, calls: int, *, errors: int = 0, moved: int = 0, ns: int = 100, **given: Any) -> tuple[Any, ...]:
    histogram = [0] * 32
    histogram[ns.bit_length() - 1] = calls
    event = make_event(op, **given)
    return (event, event.op, 5, calls, errors, moved, ns * calls, tuple(histogram))


def totals(*rows: tuple[Any, ...], **counters: Any) -> Totals:
    return totals_of(rows, make_stats(**counters))


SOME = (
    row("read", 5, moved=20480, ns=1000),
    row("open", 7, errors=7, path="/no such"),
    row("rename", 2, pid=4343, comm="mv", path="/a", new_path="/b", ns=3_000_000_000),
)


def lines_of(*given: Any) -> list[str]:
    return list(table_lines(*given))


def test_the_table() -> None:
    nameless = (None, make_event("write").op, 0, 1, 0, 2**60, 0, (1, *[0] * 31))
    assert lines_of(totals(*SOME, nameless), ["process", "op", "file"], "calls", 0) == [
        HEADER,
        '         7        7        0   700 ns   128 ns    4242 cat             open       "/no such"',
        "         5        0      20K  5000 ns  1024 ns    4242 cat             read       /etc/hosts",
        "         2        0        0  6000 ms        -    4343 mv              rename     /a -> /b",
        "         1        0    1024P     0 ns     2 ns       - -               write      <no name>",
    ]


@pytest.mark.parametrize(
    ("groups", "heading", "first"),
    [
        (["op"], "CALL", "open"),
        (["process"], "PID COMMAND", "4242 cat"),
        (["file"], "PATH", '"/no such"'),
        (["file", "process"], "PID COMMAND         PATH", '4242 cat             "/no such"'),
    ],
)
def test_rows_are_kept_apart_as_asked(groups: list[str], heading: str, first: str) -> None:
    table = lines_of(totals(*SOME), groups, "errors", 0)
    assert table[0].endswith(heading)
    assert table[1].endswith(first)
    assert sum(int(line.split()[0]) for line in table[1:]) == 14


@pytest.mark.parametrize(
    ("order", "calls"), [("calls", [7, 5, 2]), ("errors", [7, 5, 2]), ("bytes", [5, 7, 2]), ("time", [2, 5, 7])]
)
def test_order(order: str, calls: list[int]) -> None:
    assert [int(line.split()[0]) for line in lines_of(totals(*SOME), ["op"], order, 0)[1:]] == calls


def test_what_is_left_out_is_counted() -> None:
    assert lines_of(totals(*SOME), ["op"], "calls", 1)[2:] == ["         7 in 2 more rows"]
    assert len(lines_of(totals(*SOME), ["op"], "calls", 3)) == 4


def test_sizes_have_four_digits() -> None:
    sizes = (0, 9999, 10_000, 10 << 20, 9999 << 20, 10_000 << 20, 2**63)
    rows = (row("read", 1, moved=size, path=f"/{size}") for size in sizes)
    shown = {line.split()[-1]: line.split()[2] for line in lines_of(totals(*rows), ["file"], "bytes", 0)[1:]}
    assert [shown[f"/{size}"] for size in sizes] == ["0", "9999", "10K", "10M", "9999M", "10G", "8192P"]


def test_options_reach_the_manager(begin: Begin) -> None:
    manager = FakeManager()
    manager.counted = [totals()]
    asked = begin(manager)
    assert main(["top", "--ops", "read", "--totals-rows", "1K", "--no-latency", "--wait-tree", "true", "-x"]) == 0
    assert asked == AS_GIVEN | {
        "argv": ["true", "-x"],
        "until": "tree",
        "ops": ["read"],
        "latency": False,
        "totals": True,
        "totals_rows": 1024,
        "events": False,
    }
    asked = begin(manager)
    assert main(["top", "-p", "17", "--no-follow"]) == 0
    assert asked == {"pid": 17, "follow": False, "totals": True, "events": False}
    assert manager.done.count("close") == 2


def test_a_command_has_its_table_at_the_end_and_its_own_status(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    manager = FakeManager()
    manager.process.status = 3
    manager.counted = [totals(), totals(*SOME)]
    begin(manager)
    assert main(["top", "--by", "op", "--rows", "1", "x"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "     CALLS   ERRORS    BYTES     TIME      P99 CALL",
        "         7        7        0   700 ns   128 ns open",
        "         7 in 2 more rows",
        "totals complete: 14 calls (kprobe)",
    ]


def test_an_interval_has_what_came_in_it(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    manager = FakeManager(batches=[[], []])
    manager.counted = [totals(), totals(row("read", 2)), totals(row("read", 5)), totals(row("read", 5))]
    begin(manager)
    assert main(["top", "--by", "op", "--interval", "0.1", "-p", "7"]) == 0
    calls = [line.split()[0] for line in capfd.readouterr().out.splitlines() if line.endswith("read")]
    assert calls == ["2", "3", "5"]


@pytest.mark.parametrize(
    ("counters", "verdict"),
    [
        ({}, "totals complete: 14 calls (kprobe)"),
        ({"state_full": 2}, "totals INCOMPLETE: 14 calls; 2 not counted (kprobe)"),
        (
            {"inexact_reason": "why", "compat_calls": 3},
            "totals INCOMPLETE: 14 calls; the count is not exact: why; 32-bit calls not followed: 3 (kprobe)",
        ),
    ],
    ids=["complete", "lost", "not-proven"],
)
def test_the_verdict_is_the_last_line_and_with_a_file_on_stderr_too(
    begin: Begin, capfd: pytest.CaptureFixture[str], tmp_path: Path, counters: dict[str, Any], verdict: str
) -> None:
    manager = FakeManager()
    manager.counted = [totals(), totals(*SOME, **counters)]
    begin(manager)
    assert main(["top", "-o", str(tmp_path / "table"), "-p", "7"]) == 0
    assert (tmp_path / "table").read_text().splitlines()[-1] == verdict
    assert capfd.readouterr().err == (f"aa-fileio: {verdict}\n" if counters else "")


def test_json(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    manager = FakeManager()
    manager.counted = [totals(), totals(*SOME, row("unlink", 1, path="/\udcff", pid=1), counted=15, performed=15)]
    begin(manager)
    assert main(["top", "--json", "--by", "process,file", "-p", "7"]) == 0
    *records, summary = map(json.loads, capfd.readouterr().out.splitlines())
    assert [record["record"] for record in records] == ["total"] * 4
    assert records[0] == {
        "record": "total",
        "pid": 4242,
        "started_ns": 5,
        "comm": "cat",
        "path": "/no such",
        "new_path": None,
        "path_source": "file",
        "path_flags": [],
        "device": None,
        "inode": None,
        "kind": None,
        "calls": 7,
        "errors": 7,
        "bytes": 0,
        "duration_ns": 700,
        "histogram": [0] * 6 + [7] + [0] * 25,
    }
    assert (records[3]["path"], records[3]["path_b64"]) == ("/\N{REPLACEMENT CHARACTER}", "L/8=")
    assert (summary["record"], summary["calls"], summary["rows"], summary["complete"]) == ("summary", 15, 4, True)
    assert (summary["performed"], summary["counted"]) == (15, 15)
    assert summary["verdict"] == {"form": "complete", "text": "totals complete: 15 calls (kprobe)", "reasons": []}


def test_a_terminal_shows_the_last_second_and_then_all(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = FakeManager(batches=[[]])
    manager.counted = [totals(), totals(row("read", 2)), totals(row("read", 5))]
    begin(manager)
    master, slave = pty.openpty()
    saved = os.dup(1)
    try:
        os.dup2(slave, 1)
        assert main(["top", "--by", "op", "-p", "7"]) == 0
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    # The terminal hands over what was written in pieces, when it comes to it.
    shown = ""
    while not shown.endswith("(kprobe)\r\n"):
        shown += os.read(master, 65536).decode()
    os.close(slave)
    os.close(master)
    pictures = shown.split("\x1b[H\x1b[J")
    assert pictures[0] == ""
    assert [picture.splitlines()[1].split()[0] for picture in pictures[1:]] == ["2", "5"]
    assert pictures[2].splitlines()[-1] == "totals complete: 5 calls (kprobe)"
