# SPDX-License-Identifier: MIT
"""tests/FAULTS.md names tests that exist, and leaves no fault without a test or a reason."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
_ROW = re.compile(r"^\| (F\d+) [^|]*\|[^|]*\|(?P<tests>[^|]*)\|$")
_NAME = re.compile(r"`(?P<path>[\w/]+\.(?:py|c|sh))(?:::(?P<test>\w+))?`")


def _rows() -> dict[str, str]:
    found = [_ROW.match(line) for line in (_TESTS / "FAULTS.md").read_text().splitlines()]
    return {row[1]: row["tests"].strip() for row in found if row}


def test_every_fault_has_its_row() -> None:
    assert list(_rows()) == [f"F{number}" for number in range(1, 37)]


def test_a_fault_has_tests_or_a_reason() -> None:
    empty = [name for name, tests in _rows().items() if not _NAME.search(tests) and not tests.startswith("Reason: ")]
    assert not empty


def test_the_named_tests_exist() -> None:
    missing = []
    for tests in _rows().values():
        for name in _NAME.finditer(tests):
            folder = _TESTS.parent if name["path"].startswith("scripts/") else _TESTS
            file = folder / name["path"]
            if not file.is_file() or (name["test"] and f"def {name['test']}(" not in file.read_text()):
                missing.append(name[0])
    assert not missing
