"""Runs commands, and this project's real-probe tests, on Debian's kernels in emulated machines.

    python -m tests.kernels.guest run --suite trixie -- uname -r
    python -m tests.kernels.guest test --suites bullseye,sid
    python -m tests.kernels.guest fetch --suite sid

Exit status of `run`: the command's own; 70 if the kernel complained while it ran; 71 if the guest did not boot, died,
or did not end in time. Kernels are kept in ${XDG_CACHE_HOME:-~/.cache}/aa_fileio/kernels.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tests.kernels import images, machine
from tests.kernels.images import NAMES, SUITES, FetchError
from tests.kernels.machine import EXIT_GUEST, GuestError, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PROJECT = Path(__file__).resolve().parents[2]
# Which kernel has all ways in, and kprobe.multi for entries.
_ICOUNT_SUITE = "trixie"
# To take a hundred kprobes off, the kernel waits for as many of these, one after the other: 8 s of each test on an
# emulated 5.10 or 6.1, 1 to 3 s so. What runs for hours (AA_FILEIO_EVERYTHING) meets those of a real machine.
_SHORT_GRACE_PERIODS = ("rcupdate.rcu_expedited=1",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.guest", description=(__doc__ or "").split("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)

    fetch = actions.add_parser("fetch", help="fetch kernels into the cache")
    fetch.add_argument("--suite", action="append", choices=NAMES, help="may be repeated; default: the suites' own")
    fetch.add_argument("--refresh", action="store_true", help="fetch again what the cache has")

    run = actions.add_parser("run", help="run one command in a guest")
    run.add_argument("--suite", choices=NAMES, required=True, help="a suite's own kernel, or another one by its name")
    run.add_argument("--results", type=Path, metavar="DIR", help="seen by the guest as /run/aa-results, writable")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--cwd", type=Path, default=Path.cwd(), metavar="DIR")
    run.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="of the whole guest")
    run.add_argument("--memory", type=int, default=2048, metavar="MIB")
    run.add_argument("--parameter", action="append", default=[], help="of the kernel: preempt=full; may be repeated")
    run.add_argument("--icount", action="store_true", help="one CPU whose clock counts instructions")
    run.add_argument("command", nargs="+", metavar="-- COMMAND")

    test = actions.add_parser("test", help="run tests/native in guests")
    test.add_argument("--suites", default=",".join(SUITES), help="separated by commas; or names of other kernels")
    test.add_argument("--jobs", type=int, default=2, metavar="N", help="guests side by side")
    test.add_argument("--timeout", type=float, default=2400.0, metavar="SECONDS", help="of each guest")
    test.add_argument("--results", type=Path, default=_PROJECT / "build" / "kernels", metavar="DIR")
    test.add_argument("--icount", action="store_true")
    test.add_argument("pytest", nargs="*", metavar="-- ARGUMENTS", help="for pytest; default: tests/native")

    options = parser.parse_args(arguments)
    try:
        match options.action:
            case "fetch":
                return _fetch(options)
            case "run":
                return _run(options)
            case _:
                return _test(options)
    except (FetchError, GuestError) as error:
        print(f"aa_fileio guest: {error}", file=sys.stderr)
        return EXIT_GUEST


def _fetch(options: argparse.Namespace) -> int:
    for suite in options.suite or SUITES:
        image = images.fetch(suite, refresh=options.refresh)
        print(f"{suite}: {image.release}")
    return 0


def _run(options: argparse.Namespace) -> int:
    environment = dict(each.partition("=")[::2] for each in options.env)
    image = images.fetch(options.suite)

    def sink(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    with tempfile.TemporaryDirectory(prefix="aa_fileio-results-") as scratch:
        outcome = machine.run(
            image,
            options.command,
            results=options.results or Path(scratch),
            sink=sink,
            environment=environment,
            directory=options.cwd.absolute(),
            timeout=options.timeout,
            icount=options.icount,
            memory=options.memory,
            parameters=options.parameter,
        )
    if outcome.report():
        print(f"aa_fileio guest: {outcome.report()}", file=sys.stderr)
    return outcome.exit_status


@dataclass(frozen=True)
class Counts:
    """What a JUnit report says; an error while collecting or in a fixture counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def ran(self) -> int:
        return self.passed + self.failed

    @classmethod
    def read(cls, report: Path) -> Counts:
        try:
            suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
        except (OSError, ElementTree.ParseError):
            return cls()

        def total(name: str) -> int:
            return sum(int(suite.get(name, 0)) for suite in suites)

        failed, skipped = total("failures") + total("errors"), total("skipped")
        return cls(total("tests") - failed - skipped, failed, skipped)


@dataclass(frozen=True)
class Verdict:
    """One suite's result in one line, and whether it passed."""

    line: str
    passed: bool


def _test(options: argparse.Namespace) -> int:
    suites = options.suites.replace(",", " ").split()
    for suite in suites:
        if suite not in NAMES:
            raise GuestError(f"unknown kernel {suite}; known: {', '.join(NAMES)}")
    guests = [(suite, options.icount) for suite in suites]
    # What is counted in instructions has a guest of its own.
    if not options.icount and not options.pytest:
        guests += [(suite, True) for suite in suites if suite == _ICOUNT_SUITE]
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        verdicts = list(pool.map(lambda guest: _test_suite(guest[0], guest[1], options), guests))
    for verdict in verdicts:
        print(verdict.line)
    failed = sum(not verdict.passed for verdict in verdicts)
    seconds = time.monotonic() - started
    print(f"kernels: {len(verdicts) - failed} of {len(verdicts)} suites passed in {seconds:.0f} s")
    return 1 if failed or not verdicts else 0


def _tests_of(name: str, icount: bool) -> str:
    """What is asked of a kernel beside and between the suites' own: is what it is offered sound?"""
    if icount:
        return "tests/native/test_instructions.py"
    return "tests/native" if name in SUITES else "tests/native/test_offered.py"


def _test_suite(suite: str, icount: bool, options: argparse.Namespace) -> Verdict:
    name = f"{suite}-icount" if icount else suite
    results: Path = options.results.absolute() / name
    # An old report must not be taken for this run's.
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    try:
        image = images.fetch(suite)
    except FetchError as error:
        # One suite that cannot be had does not keep the others from being tested.
        return judge(Outcome(name, "not fetched", failure=str(error).removeprefix(f"{suite}: ")), Counts(), results)
    command = [
        str(_PROJECT / ".venv" / "bin" / "python"),
        *("-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--junitxml=/run/aa-results/junit.xml"),
        "--durations=15",
        # A test that hangs is the last one named, with its stacks, before the guest's own time is up.
        *("-v", "-o", "faulthandler_timeout=180"),
        # Importing this plugin takes seconds on an emulated CPU, and no test here needs it.
        *("-p", "no:hypothesispytest"),
        *(options.pytest or [_tests_of(suite, icount)]),
    ]
    # Of the other kernels there is no selection.
    everything = os.environ.get("AA_FILEIO_EVERYTHING", "") if suite in SUITES else "1"
    environment = {
        "AA_FILEIO_REQUIRE": "1",
        "AA_FILEIO_GUEST": image.suite,
        "AA_FILEIO_ICOUNT": "1" if icount else "",
        "AA_FILEIO_EVERYTHING": everything,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with (results / "output.log").open("wb") as log:
        sink = _Prefixed(name, log.write)
        outcome = machine.run(
            image,
            command,
            results=results,
            sink=sink,
            environment=environment,
            directory=_PROJECT,
            timeout=options.timeout,
            icount=icount,
            parameters=() if everything else _SHORT_GRACE_PERIODS,
        )
    sink.finish()
    outcome.suite = name
    counts = Counts.read(results / "junit.xml")
    return judge(outcome, counts, results)


def judge(outcome: Outcome, counts: Counts, results: Path) -> Verdict:
    problems = []
    if outcome.report():
        with _print_lock:
            print(outcome.report(), flush=True)
    if outcome.splats:
        problems.append("kernel warning: " + outcome.splats[0].title)
    if outcome.failure:
        problems.append(outcome.failure)
    elif outcome.status and not counts.failed:
        problems.append(f"pytest ended with status {outcome.status}")
    if not counts.ran and not outcome.failure:
        problems.append("no test ran")
    passed = not problems and not counts.failed and outcome.status == 0
    # Read by scripts/verdict.py: a problem is no test's failure and would be missed in the sum.
    (results / "problems.txt").write_text("".join(f"{problem}\n" for problem in problems))
    boot = f"boot {outcome.boot_seconds:.1f} s, " if outcome.boot_seconds is not None else ""
    line = (
        f"{outcome.suite} ({outcome.release}): {'passed' if passed else 'FAILED'}: {counts.passed} passed, "
        f"{counts.failed} failed, {counts.skipped} skipped; {boot}{outcome.seconds:.0f} s in all"
    )
    return Verdict("; ".join([line, *problems]), passed)


_print_lock = threading.Lock()


class _Prefixed:
    """Prints whole lines, each with its suite: guests run side by side."""

    def __init__(self, suite: str, also: Callable[[bytes], object]) -> None:
        self._suite = suite
        self._also = also
        self._pending = b""

    def __call__(self, data: bytes) -> None:
        self._also(data)
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._print(lines)

    def finish(self) -> None:
        """The line a guest was writing when it was stopped names the test that hung."""
        self._print([self._pending] if self._pending else [])

    def _print(self, lines: Sequence[bytes]) -> None:
        with _print_lock:
            for line in lines:
                print(f"[{self._suite}] {line.decode(errors='replace').rstrip()}", flush=True)


if __name__ == "__main__":
    if os.environ.get("AA_FILEIO_GUEST"):
        sys.exit("aa_fileio guest: already in a guest")
    sys.exit(main())
