# SPDX-License-Identifier: MIT
"""Other builds of the package, each in a folder of its own, for tests that run it in a process of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line_fakes import FakeManager

import aa_fileio

# A shell's background jobs ignore it, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., str]
Begin = Callable[..., dict[str, Any]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """begin(manager) or begin(error): what KprobeManager gives or raises; the dict tells how it was asked."""

    def set_up(outcome: FakeManager | BaseException) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        class Manager:
            def __new__(cls, pid: int | None, **options: Any) -> FakeManager:  # type: ignore[misc]
                asked.update(pid=pid, **options)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

            @staticmethod
            def spawn(argv: list[str], **options: Any) -> FakeManager:
                asked.update(argv=argv, **options)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

        monkeypatch.setattr(aa_fileio, "KprobeManager", Manager)
        return asked

    return set_up


def copy_package(folder: Path) -> None:
    shutil.copytree(
        ROOT / "aa_fileio", folder / "aa_fileio", ignore=shutil.ignore_patterns("*.so", "__pycache__", ".*_cache")
    )


def runner(folder: Path) -> Run:
    """Runs Python code with that build; what it prints. Its failure is the test's."""

    def run(code: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", code, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.fixture(scope="session")
def stub_build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The package as setup.py builds it without a backend, speaking for the given platform."""
    made: dict[str, Run] = {}

    def build(platform: str) -> Run:
        if platform not in made:
            folder = tmp_path_factory.mktemp("stub")
            copy_package(folder)
            for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(ROOT / name, folder)
            for name in ("csrc", "bpf"):
                (folder / name).symlink_to(ROOT / name)
            subprocess.run(
                [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
                cwd=folder,
                env={**os.environ, "AA_FILEIO_BUILD_STUB": platform},
                check=True,
                timeout=300,
            )
            made[platform] = runner(folder)
        return made[platform]

    return build


@pytest.fixture(scope="session")
def fake_core(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The package over tests/python/fake_session.c, whose events come from the test: reading without any privilege."""
    folder = tmp_path_factory.mktemp("fake")
    copy_package(folder)
    sources = [
        *sorted((ROOT / "csrc/binding").glob("*.c")),
        *(
            ROOT / f"csrc/core/{name}.c"
            for name in (
                *("fileio_error", "held_process", "signal_witness", "syscall_table"),
                *("columns", "arrow_export", "path_rules", "rule_places"),
            )
        ),
        ROOT / "tests/python/fake_session.c",
    ]
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"),
            *shlex.split(os.environ.get("AA_FILEIO_TEST_CFLAGS", "")),  # scripts/sanitized.sh
            *("-D_GNU_SOURCE", "-DPy_LIMITED_API=0x030B0000", f"-I{ROOT}/csrc/core", f"-I{ROOT}/bpf"),
            f"-I{sysconfig.get_path('include')}",
            *map(str, sources),
            *("-o", str(folder / "aa_fileio/_native.abi3.so")),
        ],
        check=True,
        timeout=300,
    )
    return runner(folder)
