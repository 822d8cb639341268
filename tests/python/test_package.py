# SPDX-License-Identifier: MIT
"""The package as a whole: what importing costs, what the builds without a backend say, other interpreters."""

from __future__ import annotations

import errno
import json
import os
import pickle
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Run

import aa_fileio
from aa_fileio import BackendUnavailable, FileIOError, Op, PathFlag, PermissionDenied, ProbeAttachError, Stats


def test_the_benchmark_of_consumers_runs() -> None:
    command = [sys.executable, "benchmarks/consumers.py", "--events", "20000", "--rounds", "1"]
    done = subprocess.run(command, check=True, cwd=ROOT, timeout=300, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.count("columns, read_batch()") == 2


def test_everything_public_is_there_and_nothing_else() -> None:
    for name in aa_fileio.__all__:
        assert getattr(aa_fileio, name) is not None
    for later in ("EventsLost", "Recording", "available"):
        assert not hasattr(aa_fileio, later)


def test_an_operation_is_its_name() -> None:
    assert str(Op.OPEN) == "open"
    assert f"{Op.OPEN:>6}" == "  open"
    assert Op.OPEN == "open"
    assert json.dumps({"op": Op.OPEN}) == '{"op": "open"}'


def test_path_flags_are_false_when_nothing_is_wrong() -> None:
    assert not PathFlag(0)
    assert list(PathFlag.TRUNCATED | PathFlag.DELETED) == [PathFlag.TRUNCATED, PathFlag.DELETED]


def make_stats(**changes: int | str | None) -> Stats:
    return Stats(**{**dict.fromkeys(Stats._fields, 0), "inexact_reason": None, **changes})  # type: ignore[arg-type]


LOSSES = [
    *("ring_full", "state_full", "no_entry", "no_exit", "fork_map_full", "queue_full", "decode_error"),
]


@pytest.mark.parametrize("cause", LOSSES)
def test_each_cause_of_loss_counts(cause: str) -> None:
    stats = make_stats(**{cause: 3})
    assert stats.lost == 3
    assert not stats.complete


def test_complete_needs_no_loss_exact_numbers_and_no_blind_spot() -> None:
    assert make_stats().complete
    assert make_stats(performed=9, delivered=9, denied=1, filtered=2, path_truncated=1).complete
    assert not make_stats(in_flight=1).complete
    assert not make_stats(pre_attach=1).complete
    assert not make_stats(compat_calls=1).complete
    assert not make_stats(bypass=1).complete
    inexact = make_stats(inexact_reason="misses")
    assert not inexact.complete
    assert not inexact.exact
    assert make_stats(**dict.fromkeys(LOSSES, 1)).lost == len(LOSSES)
    with pytest.raises(AttributeError):
        make_stats().performed = 1  # type: ignore[misc]


def test_the_exceptions_are_what_their_users_expect() -> None:
    assert issubclass(ProbeAttachError, FileIOError)
    assert issubclass(ProbeAttachError, OSError)
    assert issubclass(PermissionDenied, PermissionError)
    assert issubclass(BackendUnavailable, ProbeAttachError)
    error = PermissionDenied(errno.EPERM, "cannot load", program="p", function="f", libbpf_log="log", remedy="be root")
    assert str(error) == "cannot load (p on f) [EPERM]\nbe root"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), again.args) == (type(error), vars(error), error.args)
    assert str(ProbeAttachError(None, "no")) == "no"


def test_import_loads_no_bpf_and_little_else() -> None:
    code = """
        import os, sys
        # What the standard library brings in for it: from 3.14 on logging has dataclasses, and those have inspect.
        import logging
        standard = set(sys.modules)
        before = sorted(os.listdir('/proc/self/fd'))
        import aa_fileio
        assert sorted(os.listdir('/proc/self/fd')) == before
        maps = open('/proc/self/maps').read()
        assert 'bpf-map' not in maps and 'anon_inode' not in maps
        assert len(os.listdir('/proc/self/task')) == 1
        heavy = {'asyncio', 'subprocess', 'ctypes', 'dataclasses', 'inspect', 'IPython', 'pytest'}
        heavy &= set(sys.modules) - standard
        assert not heavy, heavy
        m = aa_fileio.KprobeManager(1)
        assert len(os.listdir('/proc/self/task')) == 1
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True, cwd=ROOT, timeout=60)


STUB = """
import sys
import aa_fileio
from aa_fileio import KprobeManager
m = KprobeManager(1, ops=["open"])
for call in (m.attach, m.__enter__):
    try:
        call()
    except aa_fileio.BackendUnavailable as error:
        print(str(error).splitlines()[0])
assert m.is_attached is False
m.detach()
assert m.targets == () and not m.stats.complete
assert [report.usable for report in aa_fileio.backends()] == [False] * len(aa_fileio.backends())
try:
    KprobeManager.spawn(["true"])
except aa_fileio.BackendUnavailable as error:
    pass
assert len(aa_fileio.KPROBE_TARGETS) == 14
try:
    m.poll()
except RuntimeError as error:
    assert "not attached" in str(error)
m.close()
"""


@pytest.mark.parametrize(
    ("platform", "message"),
    [("darwin", "kprobe attachment requires Linux"), ("aarch64", "no backend for aarch64")],
)
def test_without_a_backend_all_works_but_attaching(
    platform: str, message: str, stub_build: Callable[[str], Run]
) -> None:
    assert stub_build(platform)(STUB).splitlines() == [message, message]


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="needs the build with a backend")
def test_a_missing_tool_is_one_clear_error(tmp_path: Path) -> None:
    for environment, message in [
        (
            {"PATH": str(tmp_path)},
            "clang is needed to build aa_fileio and was not found; on Debian: apt-get install clang",
        ),
        ({"AA_FILEIO_CLANG": "no-such-clang"}, "AA_FILEIO_CLANG is 'no-such-clang', which cannot be executed"),
    ]:
        done = subprocess.run(
            [
                sys.executable,
                "setup.py",
                "-q",
                "build_ext",
                "--build-lib",
                str(tmp_path),
                "--build-temp",
                str(tmp_path),
            ],
            cwd=ROOT,
            env={**os.environ, "AA_FILEIO_BUILD_STUB": "", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode != 0
        assert done.stderr.strip() == f"error: {message}"


def other_interpreters() -> list[str]:
    """Newer CPythons, where a version manager has put them beside this one."""
    versions = Path(sys.base_prefix).parent
    return sorted(
        str(path)
        for minor in range(sys.version_info.minor + 1, 15)
        for path in versions.glob(f"3.{minor}.*/bin/python3")
    )


SUBINTERPRETER = """
import sys
sys.path.insert(0, sys.argv[1])
import aa_fileio
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
# Nothing that needs datetime: CPython 3.12.1 itself crashes once several subinterpreters have imported that.
code = f"import sys; sys.path.insert(0, {sys.argv[1]!r}); import aa_fileio; " + '''
m = aa_fileio.KprobeManager(1)
event = aa_fileio.FileEvent(op="open", path="/x", path_source="file")
assert event.path == "/x" and repr(event) and repr(m) == "<KprobeManager pid=1 not attached>"
m.close()
'''
for _ in range(3):
    interpreter = interpreters.create()
    failure = interpreters.run_string(interpreter, code)
    assert failure is None, failure
    interpreters.destroy(interpreter)
assert aa_fileio.KprobeManager(2).pid == 2
"""


@pytest.mark.parametrize("python", [sys.executable, *other_interpreters()])
def test_one_build_serves_newer_versions_and_their_subinterpreters(python: str) -> None:
    package = Path(aa_fileio.__file__).parent.parent
    done = subprocess.run(
        [python, "-I", "-c", SUBINTERPRETER, str(package)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
