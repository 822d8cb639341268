# SPDX-License-Identifier: MIT
"""The kernel side by other compilers than this build's: each kernel's verifier takes it, and it sees the same.

`make build-compilers` makes the builds; what is loaded here runs in a Python of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.native import outside
from tests.native.expected import check_ledger
from tests.native.ground import COMPILERS, HANG_SECONDS, HERE, unable
from tests.native.script import AT_FDCWD, Script

_BUILD = Path(__file__).resolve().parents[2] / "build"
_CONTENT = b"12345"

# Attaches to the waiting process with every operation there is, reads to the end, tells what it saw.
_TRACER = """
import json, sys
import aa_fileio
from aa_fileio import _native

pid, options = json.loads(sys.argv[1])
manager = aa_fileio.KprobeManager(pid, ops=list(aa_fileio.Op), **options)
try:
    manager.attach()
except aa_fileio.ProbeAttachError as error:
    sys.exit(f"{error}\\n{(error.libbpf_log or '')[-4000:]}")
with manager:
    print(json.dumps([_native.__file__, manager.backend]), flush=True)
    events = [[e.op, e.syscall, e.path, e.new_path, e.bytes, e.errno, e.duration_ns is None] for e in manager]
stats = manager.stats
numbers = {name: getattr(stats, name) for name in dir(stats) if isinstance(getattr(stats, name), int)}
print(json.dumps([events, numbers]))
"""


def _build_by(compiler: str, tmp_path: Path) -> Path:
    """The folder of that compiler's build, once it is certain that what is inside the extension came from it."""
    build = _BUILD / compiler
    if not (build / ".built").exists():
        unable(f"there is no build by {compiler}: make build-compilers, which needs {compiler} installed")
    compiled, linked = build / "temp/bpf/fileio.bpf.o", tmp_path / "fileio.o"
    # The debug information names the producer, but bpftool leaves it out of what it links: so that is done once more.
    producers = {part.split(b".")[0] for part in compiled.read_bytes().split(b"clang version ")[1:]}
    assert producers == {compiler.removeprefix("clang-").encode()}
    subprocess.run([outside.BPFTOOL, "gen", "object", linked, compiled], check=True, timeout=HANG_SECONDS)
    assert linked.read_bytes() in (build / "lib/aa_fileio/_native.abi3.so").read_bytes()
    return build / "lib"


def _options(backend: str) -> list[dict[str, Any]]:
    """Each loads other programs, or the verifier finds other parts of them alive."""
    one_each = [{"multi": False}] if backend == "kprobe" and HERE.multi else []
    return [{}, {"latency": False}, *one_each]


def _file_calls(area: Path) -> Script:
    """One of each that matters, by names without links: every backend tells them alike."""
    script = Script(traced=())
    steps = script.main
    steps.hold()
    first, second = area / "first", area / "second"
    fd = steps.call("openat", AT_FDCWD, first, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    steps.call("write", fd, script.buffer(_CONTENT), len(_CONTENT))
    steps.call("pread64", fd, script.buffer(64), 64, 1)
    steps.call("rename", first, second)
    steps.call("unlink", second)
    return script


@pytest.mark.parametrize("compiler", COMPILERS)
def test_build_by_another_compiler(backend: str, compiler: str, area: Path, tmp_path: Path) -> None:
    library = _build_by(compiler, tmp_path)
    first, second = str(area / "first"), str(area / "second")
    before = outside.look()
    for options in _options(backend):
        without = "latency" in options
        with _file_calls(area).start(area) as running:
            given = json.dumps([running.pid, {"backend": backend} | options])
            with subprocess.Popen(
                [sys.executable, "-P", "-c", _TRACER, given],
                cwd=area,
                env=dict(os.environ, PYTHONPATH=str(library), PYTHONDONTWRITEBYTECODE="1"),
                stdout=subprocess.PIPE,
                text=True,
            ) as tracer:
                assert tracer.stdout
                said = tracer.stdout.readline()
                assert said, f"{options}: not attached, see stderr"
                assert json.loads(said) == [str(library / "aa_fileio/_native.abi3.so"), backend]
                running.go()
                running.finish()
                events, numbers = json.loads(tracer.stdout.readline())
                assert tracer.wait(HANG_SECONDS) == 0
        assert events == [
            ["open", "openat", first, None, None, 0, without],
            ["write", "write", first, None, len(_CONTENT), 0, without],
            ["read", "pread64", first, None, len(_CONTENT) - 1, 0, without],
            ["rename", "rename", first, second, None, 0, without],
            ["unlink", "unlink", second, None, None, 0, without],
        ], options
        check_ledger(SimpleNamespace(**numbers), backend, performed=5, delivered=5)
        outside.wait_gone(before)
