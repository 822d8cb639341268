# SPDX-License-Identifier: MIT
"""The table of README.md: which test runs on which kernel with which backend.

    python -m tests.native.matrix --write            make the table anew
    python -m tests.native.matrix --check [DIR…]     the table is right, and all of it has run and passed

DIR holds ran-*.json files, as the tests leave them in $AA_FILEIO_RESULTS (a guest: in its results folder). With
--grounds only those grounds must have run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.native.ground import GROUNDS

_README = Path(__file__).resolve().parents[1] / "README.md"
_BEGIN = "<!-- matrix: made by python -m tests.native.matrix --write -->"
_END = "<!-- end of matrix -->"
_PROJECT = Path(__file__).resolve().parents[2]


def row_of(item: pytest.Item) -> str:
    """file::test[parameters]@backend"""
    callspec = getattr(item, "callspec", None)
    backend = callspec.params.get("backend", "") if callspec else ""
    name = getattr(item, "originalname", item.name)
    others = [part for part in (callspec.id.split("-") if callspec else []) if part and part != backend]
    file = Path(item.path).name
    return f"{file}::{name}{'[' + '-'.join(others) + ']' if others else ''}@{backend}"


class _Collector:
    def __init__(self) -> None:
        self.rows: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.rows = [row_of(item) for item in session.items]


def _collect_here() -> list[str]:
    collector = _Collector()
    arguments = ["--collect-only", "-p", "no:cacheprovider", "-p", "no:terminal", str(Path(__file__).parent)]
    status = pytest.main(arguments, plugins=[collector])
    if status != 0:
        sys.exit(f"matrix: the tests cannot be collected ({status})")
    return collector.rows


def collect() -> dict[str, list[str]]:
    """The rows of each ground, by what the tests themselves say."""
    rows = {}
    for ground in GROUNDS:
        environment = dict(os.environ)
        for name in ("AA_FILEIO_GUEST", "AA_FILEIO_EVERYTHING"):
            environment.pop(name, None)
        if ground.name != "native":
            environment["AA_FILEIO_GUEST"] = ground.name
        run = subprocess.run(
            [sys.executable, "-m", "tests.native.matrix", "--rows"],
            cwd=_PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            sys.exit(run.stdout + run.stderr)
        rows[ground.name] = json.loads(run.stdout.splitlines()[-1])
    return rows


def table(rows: dict[str, list[str]]) -> str:
    """Markdown; K: kprobe, T: tracepoint, a dot: without a backend, a dash: not there."""
    cells: dict[str, dict[str, str]] = {}
    for ground in GROUNDS:
        for row in rows[ground.name]:
            test, _, backend = row.rpartition("@")
            cell = cells.setdefault(test, {})
            cell[ground.name] = cell.get(ground.name, "") + (backend[:1].upper() or "·")
    lines = [
        "| test | " + " | ".join(f"{ground.name} {ground.kernel}" for ground in GROUNDS) + " |",
        "|---|" + "---|" * len(GROUNDS),
    ]
    for test in sorted(cells):
        shown = test.replace("|", "\\|")
        lines.append(f"| `{shown}` | " + " | ".join(cells[test].get(ground.name, "–") for ground in GROUNDS) + " |")
    return "\n".join(lines) + "\n"


def written_table() -> str:
    """The one in README.md."""
    text = _README.read_text()
    return text.partition(_BEGIN)[2].partition(_END)[0].strip() + "\n"


def _write(rows: dict[str, list[str]]) -> None:
    head, _, rest = _README.read_text().partition(_BEGIN)
    _README.write_text(f"{head}{_BEGIN}\n\n{table(rows)}\n{_END}{rest.partition(_END)[2]}")


def check(rows: dict[str, list[str]], folders: Iterable[Path], grounds: Sequence[str]) -> list[str]:
    """What is wrong, in words."""
    problems = []
    if written_table() != table(rows):
        problems.append("the table of tests/README.md is out of date: python -m tests.native.matrix --write")
    passed: dict[str, set[str]] = {ground: set() for ground in grounds}
    for folder in folders:
        for report in sorted(folder.glob("**/ran-*.json")):
            content = json.loads(report.read_text())
            passed.setdefault(content["ground"], set()).update(content["passed"])
    for ground in grounds:
        missing = [row for row in rows[ground] if row not in passed[ground]]
        problems += [f"{ground}: did not run or did not pass: {row}" for row in missing]
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.native.matrix", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--grounds", default=",".join(ground.name for ground in GROUNDS), help="default: all")
    parser.add_argument("--rows", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rows:
        print(json.dumps(_collect_here()))
        return 0
    rows = collect()
    if options.write:
        _write(rows)
        return 0
    folders = options.check or []
    problems = check(rows, folders, options.grounds.replace(",", " ").split() if folders else [])
    print("\n".join(problems) or "matrix: every test of the table ran and passed" * bool(folders))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
