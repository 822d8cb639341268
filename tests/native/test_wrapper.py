# SPDX-License-Identifier: MIT
"""`aa-fileio run X` is X: what the command is given and how it ends, under every way to start it, beside env(1)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.ground import HANG_SECONDS, unable
from tests.native.launchers import LAUNCHERS, SUPERVISOR, TWICE, Launcher

pytestmark = pytest.mark.native_only

#: The program itself: the launcher notes what Python changes.
AA_FILEIO = Path(sys.executable).with_name("aa-fileio")

CASES = [
    pytest.param(launcher, shell, id=f"{launcher.name} [{shell}]")
    for launcher in LAUNCHERS
    for shell in launcher.shells
]


@pytest.fixture(scope="session")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("helpers")))
    (folder / "supervisor.py").write_text(SUPERVISOR)
    (folder / "twice.c").write_text(TWICE)
    subprocess.run(["gcc", "-o", folder / "twice", folder / "twice.c"], check=True)
    return folder


def start(launcher: Launcher, shell: str, wrapper: str, command: str, helpers: Path, folder: Path) -> list[str]:
    """What the command was given, line by line, and then the shell's own status and output."""
    shutil.copytree(helpers, folder)
    facts = folder / "facts"
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/root", "INHERITED_STATUS": launcher.status}
    environment |= {"W": wrapper.replace("TRACE", str(folder / "trace")), "P": f"{command} {facts}", "D": str(folder)}
    if launcher.new_namespaces:
        environment["INHERITED_NEW_NAMESPACES"] = "1"
    done = subprocess.run(
        # With the exit bash does not become the last command, as it else does.
        [shell, "-c", f"{launcher.line}\nexit $?"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=HANG_SECONDS,
        check=False,
        start_new_session=True,  # whatever the launcher does to its group is not done to ours
    )
    lines = facts.read_text(errors="backslashreplace").splitlines() if facts.exists() else []
    lines = [line for line in lines if not line.startswith("variable: W=")]
    if launcher.several:
        lines.sort()
    lines += [f"status: {done.returncode}", f"stdout: {done.stdout!r}"]
    return [line.replace(str(folder), "FOLDER") for line in lines]


def without(lines: list[str], facts: frozenset[str]) -> list[str]:
    return [line for line in lines if line.split(":")[0] not in facts]


def only(lines: list[str], facts: frozenset[str]) -> list[str]:
    return [line for line in lines if line.split(":")[0] in facts]


@pytest.mark.parametrize(("launcher", "shell"), CASES)
def test_the_command_is_given_what_env_gives_it(
    launcher: Launcher, shell: str, compiled: Path, helpers: Path, area: Path
) -> None:
    for program in filter(None, (shell, launcher.program)):
        if shutil.which(program) is None:
            unable(f"this launcher needs {program}")
    command = str(compiled / "inherited")
    alone = start(launcher, shell, "/usr/bin/env", command, helpers, area / "env")
    traced = start(launcher, shell, f"{AA_FILEIO} run -o TRACE --", command, helpers, area / "traced")
    assert any(line.startswith("limit:") for line in alone), f"the command did not run: {alone}"
    assert without(traced, launcher.like_strace) == without(alone, launcher.like_strace)
    if launcher.like_strace:
        strace = start(launcher, shell, "strace -f -o TRACE -e trace=none --", command, helpers, area / "strace")
        assert only(traced, launcher.like_strace) == only(strace, launcher.like_strace)
    verdicts = (area / "traced" / "trace").read_text().splitlines()
    assert verdicts[-1].startswith("trace "), verdicts[-3:]
