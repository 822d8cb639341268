"""Adds up what the tiers of `make test` reported and says it in one line.

A tier that failed without a failing test (a compiler error, a kernel warning, a guest that ran nothing) counts as one
failure, so that "0 failed" can be believed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def from_junit(report: Path) -> Counts:
    """A pytest report; an error in a fixture or while collecting is a failure."""
    total = Counts()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, failures, errors, skipped = (int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped"))
        total += Counts(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def from_text(log: Path) -> Counts:
    """The closing "N passed, N failed" lines of a runner that writes no report."""
    found = _PLAIN.findall(log.read_text(errors="replace"))
    return sum((Counts(int(p), int(f), int(s or 0)) for p, f, s in found), Counts())


def counted(reports: Iterable[Path]) -> Counts:
    return sum((from_junit(path) if path.suffix == ".xml" else from_text(path) for path in reports), Counts())


def main(reports: Path, kernels: Path) -> int:
    total = Counts()
    for line in (reports / "tiers").read_text().splitlines():
        tier, status, seconds = line.split()
        if tier == "test-kernels":
            counts = counted(sorted(kernels.glob("*/junit.xml")))
            problems = "".join(path.read_text() for path in sorted(kernels.glob("*/problems.txt")))
            counts += Counts(failed=len(problems.splitlines()))
        else:
            counts = counted(sorted(reports.glob(f"{tier}*.xml")) + sorted(reports.glob(f"{tier}*.log")))
            if counts == Counts() and status == "0":
                counts = Counts(passed=1)
        if status != "0" and not counts.failed:
            counts += Counts(failed=1)
        verdict = "passed" if status == "0" else "FAILED"
        print(
            f"{tier}: {verdict}: {counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped; {seconds} s"
        )
        total += counts
    skipped = f", {total.skipped} skipped" if total.skipped else ""
    print(f"{total.passed} passed, {total.failed} failed{skipped}")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
