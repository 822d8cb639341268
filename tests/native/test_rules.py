# SPDX-License-Identifier: MIT
"""Path rules in real traces: what is kept, what is left out and counted, which files are found by what they are."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import CLONE_NEWNS, as_passed, check_ledger, file
from tests.native.ground import HANG_SECONDS
from tests.native.script import AT_FDCWD, Script, Step
from tests.native.tracing import read_to_end

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


class Tree:
    """Folders and files, and a script that opens them one after the other by their names."""

    def __init__(self, area: Path) -> None:
        self.area = area
        self.script = Script()
        self.script.main.hold()
        self.calls = 0
        for name in ("watched", "watchedmore", "other"):
            (area / name).mkdir()
            (area / name / "file").write_bytes(b"")

    def open(self, path: Path | str, *, truly: Path | None = None, flags: int = os.O_RDONLY) -> Step:
        self.calls += 1
        return self.script.main.call("openat", AT_FDCWD, path, flags, sees=file(truly or path))

    def trace(self, backend: str, **options: Any) -> tuple[list[Any], Any]:
        with (
            self.script.start(self.area) as running,
            KprobeManager(running.pid, backend=backend, **{"ops": ["open", "rename"], **options}) as manager,
        ):
            running.go()
            events = read_to_end(manager)
            running.finish()
        return events, manager.stats


def test_a_folder_and_all_below(backend: str, area: Path) -> None:
    """Never the folder whose name only begins so; by symbolic links too, and what was asked for in vain."""
    tree = Tree(area)
    (area / "link").symlink_to(area / "watched")
    tree.open(area / "watched/file")
    tree.open(area / "watchedmore/file")
    tree.open(area / "other/file")
    tree.open(area / "link/file", truly=area / "watched/file")
    tree.open(area / "other/../watched/file", truly=area / "watched/file")
    for name in ("watched/none", "other/none"):
        tree.calls += 1
        tree.script.main.call("openat", AT_FDCWD, area / name, 0, sees=as_passed(area / name, error=errno.ENOENT))
    events, stats = tree.trace(backend, watch=[f"{area}/watched/"])
    seen = str(area / "watched/file")
    assert [(event.path, event.errno) for event in events] == [(seen, 0)] * 3 + [(str(area / "watched/none"), 2)]
    assert [event.seq for event in events] == [0, 1, 2, 3]
    assert not any(event.sensitive for event in events)
    check_ledger(stats, backend, performed=tree.calls, delivered=4, filtered=tree.calls - 4)


def test_the_file_under_another_name(backend: str, area: Path) -> None:
    """A hard link is found by device and inode where the file has a rule, and not where only its folder has."""
    tree = Tree(area)
    os.link(area / "watched/file", area / "other/hard")
    tree.open(area / "other/hard")
    tree.open(area / "other/file")
    hard = str(area / "other/hard")
    events, stats = tree.trace(backend, watch=[area / "watched/file"])
    assert [event.path for event in events] == [hard]
    check_ledger(stats, backend, performed=2, delivered=1, filtered=1)
    (area / "again").mkdir()
    again = Tree(area / "again")
    os.link(area / "again/watched/file", area / "again/other/hard")
    again.open(area / "again/other/hard")
    events, stats = again.trace(backend, watch=[f"{area}/again/watched/"])
    assert events == []
    check_ledger(stats, backend, performed=1, delivered=0, filtered=1)


def test_a_watched_folder_that_is_renamed(backend: str, area: Path) -> None:
    """Its rule stays with the name: the rename itself is seen, what is below the new name is not."""
    tree = Tree(area)
    before, after = area / "watched", area / "moved"
    tree.open(before / "file", truly=after / "file")
    tree.calls += 1
    tree.script.main.call("rename", before, after, sees=as_passed(before, after))
    tree.open(after / "file")
    events, stats = tree.trace(backend, watch=[f"{before}/"])
    assert [(str(event.op), event.path) for event in events] == [("open", f"{before}/file"), ("rename", str(before))]
    check_ledger(stats, backend, performed=3, delivered=2, filtered=1)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        # The folder has a rule of its own, and so it is found by what it is; what lies below it goes by its name there.
        ("watched/", ["watched/file", "other/bound"]),
        ("watched/file", ["watched/file", "other/bound/file", "other/alone"]),
    ],
)
def test_a_watched_place_that_is_bound_elsewhere(backend: str, area: Path, rule: str, kept: list[str]) -> None:
    tree = Tree(area)
    (area / "other/bound").mkdir()
    (area / "other/alone").write_bytes(b"")
    main = tree.script.main
    main.call("unshare", CLONE_NEWNS)
    main.call("mount", b"none", b"/", 0, MS_REC | MS_PRIVATE, 0)
    main.call("mount", area / "watched", area / "other/bound", 0, MS_BIND, 0)
    main.call("mount", area / "watched/file", area / "other/alone", 0, MS_BIND, 0)
    for name in ("watched/file", "other/bound/file", "other/bound", "other/alone", "other/file"):
        tree.open(area / name)
    events, stats = tree.trace(backend, watch=[area / rule if rule[-1] != "/" else f"{area}/{rule}"])
    assert [event.path for event in events] == [str(area / name) for name in kept]
    check_ledger(stats, backend, performed=5, delivered=len(kept), filtered=5 - len(kept))


def test_a_symbolic_link_to_it(backend: str, area: Path) -> None:
    """Found by the true name, which an open has; and what a rule's own link leads to has the rule, too."""
    tree = Tree(area)
    os.symlink(area / "watched", area / "link")
    tree.open(area / "link/file", truly=area / "watched/file")
    tree.open(area / "other/file")
    events, stats = tree.trace(backend, watch=[f"{area}/watched/"])
    assert [event.path for event in events] == [str(area / "watched/file")]
    check_ledger(stats, backend, performed=2, delivered=1, filtered=1)
    (area / "again").mkdir()
    again = Tree(area / "again")
    os.symlink(area / "again/watched", area / "again/link")
    again.open(area / "again/link/file", truly=area / "again/watched/file")
    again.open(area / "again/other/file")
    events, stats = again.trace(backend, watch=[f"{area}/again/link/"])
    assert [event.path for event in events] == [str(area / "again/watched/file")]
    check_ledger(stats, backend, performed=2, delivered=1, filtered=1)


def test_sensitive_before_ignored_before_watched(backend: str, area: Path) -> None:
    tree = Tree(area)
    for name in ("watched/file", "watched/secret", "other/secret", "other/file", "watchedmore/file"):
        (area / name).write_bytes(b"")
        tree.open(area / name)
    rules = {
        "watch": [f"{area}/watched*/"],
        "ignore": [f"{area}/watched/", f"{area}/other/"],
        "sensitive": [f"{area}/**/secret"],
    }
    events, stats = tree.trace(backend, **rules)
    assert [(event.path, event.sensitive) for event in events] == [
        (f"{area}/watched/secret", True),
        (f"{area}/other/secret", True),
        (f"{area}/watchedmore/file", False),
    ]
    check_ledger(stats, backend, performed=5, delivered=3, filtered=2)
    (area / "rows").mkdir()
    rows = Tree(area / "rows")
    rows.open(area / "rows/watched/file")
    rows.open(area / "rows/other/file")
    with (
        rows.script.start(area) as running,
        KprobeManager(
            running.pid, backend=backend, ops=["open"], totals=True, events=False, watch=[f"{area}/rows/watched/"]
        ) as manager,
    ):
        running.go()
        assert read_to_end(manager) == []
        running.finish()
        totals = manager.totals()
    assert [(total.path, total.calls) for total in totals] == [(f"{area}/rows/watched/file", 1)]


def test_every_form_of_reading_shows_it(area: Path) -> None:
    """Columns and lines too."""
    tree = Tree(area)
    tree.open(area / "watched/file")
    tree.open(area / "other/file")
    with (
        tree.script.start(area) as running,
        KprobeManager(running.pid, ops=["open"], sensitive=[f"{area}/watched/"]) as manager,
    ):
        running.go()
        batch = manager.read_batch(HANG_SECONDS, 2)
        assert batch is not None
        while len(batch) < 2:
            more = manager.read_batch(HANG_SECONDS, 2)
            assert more is not None
            batch = [*batch, *more]
        running.finish()
    assert [event.sensitive for event in batch] == [True, False]


@pytest.mark.native_only
def test_on_the_command_line(area: Path) -> None:
    secret = area / "secret"
    secret.write_bytes(b"x")
    (area / "other").write_bytes(b"x")
    command = [sys.executable, "-m", "aa_fileio.integrations.command_line", "run", "--json", "-o", str(area / "trace")]
    rules = ["--sensitive", str(secret), "--path", f"{area}/", "--ignore", f"{area}/o*", "--sensitive", "default"]
    cat = ["--", "cat", str(secret), str(area / "other"), "/etc/passwd"]
    subprocess.run([*command, *rules, "--ops", "open", *cat], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (area / "trace").read_text().splitlines()]
    opened = [(line["path"], line["sensitive"]) for line in lines if line["record"] == "event"]
    assert opened == [(str(secret), True), ("/etc/passwd", True)]
    text = subprocess.run(
        [sys.executable, "-m", "aa_fileio.integrations.command_line", "run", *rules, "--ops", "open", *cat],
        check=True,
        capture_output=True,
    ).stderr.decode()
    assert text.count("[sensitive]") == 2
    wrong = subprocess.run([*command, "--path", "etc", "--", "true"], check=False, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (125, 1)
    assert 'rule "etc" can never match' in wrong.stderr
