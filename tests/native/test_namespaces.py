# SPDX-License-Identifier: MIT
"""Pids are those of the reader's pid namespace: the one given, and the ones told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.native.expected import file
from tests.native.ground import HANG_SECONDS
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import check_trace

_CLONE_NEWPID = 0x20000000


def test_tracer_in_a_namespace_of_its_own(backend: str, area: Path, compiled: Path) -> None:
    """`unshare -pf --mount-proc`: the caller's number for a process is the one that is watched and told."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m"]
    command += ["tests.native.in_namespace", str(compiled / "steps"), str(area), backend]
    run = subprocess.run(
        command,
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "passed\n"), run.stdout


def test_child_in_a_namespace_of_its_own(backend: str, area: Path) -> None:
    """A child that calls itself 1 is told by the number that the tracer has for it."""
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    main.call("unshare", _CLONE_NEWPID)
    main.fork(child)
    own = child.call("getpid")
    child.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    main.wait_children()
    main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    check_trace(script, area, backend)
    assert own.result == 1
    assert child.pid > 1
