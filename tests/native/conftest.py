# SPDX-License-Identifier: MIT
"""Where the real-probe tests run and with which backends; what each test may not leave behind; what really ran."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The helpers are tests.native.*, however pytest was started.
_PROJECT = str(Path(__file__).resolve().parents[2])
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

from tests.native import matrix, outside, workload_programs  # noqa: E402
from tests.native.expected import CHOSEN  # noqa: E402
from tests.native.ground import (  # noqa: E402
    DESCRIPTORS,
    EVERYTHING,
    GUEST,
    GUEST_TESTS,
    GUEST_TESTS_BY_FENTRY,
    GUEST_TESTS_OF,
    HANG_SECONDS,
    HERE,
    ICOUNT,
    unable,
)
from tests.native.script import Script  # noqa: E402

_ran: dict[str, bool] = {}
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "guest_only: touches the whole system, so not on a machine that others use")
    config.addinivalue_line("markers", "native_only: says nothing about a kernel")
    config.addinivalue_line("markers", "follows_compat: by the backends that can follow 32-bit calls here")
    config.addinivalue_line("markers", "rings_only(opcode): needs io_uring's requests to be shown, and that opcode")
    config.addinivalue_line("markers", "icount_only: counts instructions, in a guest made for that")
    config.addinivalue_line("markers", "any_backend: says nothing about a backend, so that a guest tries one")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        any_one = GUEST and metafunc.definition.get_closest_marker("any_backend")
        backends = HERE.backends[-1:] if any_one else HERE.backends
        if metafunc.definition.get_closest_marker("follows_compat"):
            backends = tuple(backend for backend in backends if backend not in HERE.no_compat)
        metafunc.parametrize("backend", backends)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Not a skip: such a test does not belong to this ground, and the table in README.md says so."""
    other = "native_only" if GUEST else "guest_only"
    dropped = [
        item
        for item in items
        if item.get_closest_marker(other)
        or bool(item.get_closest_marker("icount_only")) != ICOUNT
        or any(HERE.ring_opcodes <= (marker.args or (0,))[0] for marker in item.iter_markers("rings_only"))
    ]
    if GUEST and not ICOUNT and EVERYTHING != "1":
        for item in items:
            name = f"{Path(item.path).name}::{item.name}"
            chosen = GUEST_TESTS_BY_FENTRY if "[fentry" in name else GUEST_TESTS + GUEST_TESTS_OF.get(HERE.name, ())
            if item not in dropped and name.startswith(chosen) == (EVERYTHING == "rest"):
                dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    row = matrix.row_of(item)
    _ran[row] = _ran.get(row, True) and (report.passed if report.when == "call" else not report.failed)
    if report.skipped:
        _ran[row] = False
    if report.failed:
        item.stash[_FAILED] = True
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells `python -m tests.native.matrix --check` what ran here."""
    folder = os.environ.get("AA_FILEIO_RESULTS", "/run/aa-results" if GUEST else "")
    if folder and not session.config.option.collectonly:
        passed = sorted(row for row, good in _ran.items() if good)
        text = json.dumps({"ground": HERE.name, "passed": passed}, indent=1)
        Path(folder, f"ran-{HERE.name}-{os.getpid()}.json").write_text(text)


@pytest.fixture(scope="session", autouse=True)
def _privileged() -> None:
    if sys.platform != "linux":
        unable("probes are Linux's")
    if os.geteuid() != 0:
        unable("attaching probes needs root")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the workloads, static: nothing but their own calls."""
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("workloads")))
    if workload_programs.kept().is_dir():
        shutil.copytree(workload_programs.kept(), folder, dirs_exist_ok=True)
    elif shutil.which("gcc"):
        workload_programs.compile_into(folder, HANG_SECONDS)
    else:
        unable("the workloads need gcc")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _script_program(_privileged: None, compiled: Path) -> None:
    Script.program = compiled / "steps"


@pytest.fixture(autouse=True)
def _chosen(request: pytest.FixtureRequest) -> None:
    CHOSEN["backend"] = request.getfixturevalue("backend") if "backend" in request.fixturenames else ""


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A folder for the workload's files, by the name that the kernel has for it."""
    return Path(os.path.realpath(tmp_path))


class HangError(Exception):
    """A test does not come to its end."""


def _hang(_number: int, _frame: object) -> None:
    raise HangError(f"no end after {HANG_SECONDS:.0f} s")


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _hang)
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS * 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, the tracer holds nothing afterwards; in a guest nor does the kernel."""
    before = Counter(outside.bpf_descriptors())
    yield
    if _FAILED in request.node.stash:
        # Its traceback holds what the test held.
        return
    # What pytest.raises() caught refers to the test's own frame, and so to its managers.
    gc.collect()
    assert Counter(outside.bpf_descriptors()) <= before
    if GUEST:
        assert not outside.KPROBE_EVENTS.read_text()
        assert not outside.KPROBES_LIST.read_text()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Each manager has some for each of its probes; a guest's limit is 4,096, which root may raise there."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(DESCRIPTORS, before[1])))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
