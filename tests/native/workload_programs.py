# SPDX-License-Identifier: MIT
"""The programs of workloads/, static: nothing but their own calls. They are compiled once for the same sources.

``python -m tests.native.workload_programs`` compiles them before guests start, which take a minute for it each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).with_name("workloads")
_KEPT = Path(__file__).resolve().parents[2] / "build" / "workloads"
_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-stack-protector", "-static", "-pthread")
_FLAGS_OF = {"m32": ("-m32", "-ffreestanding", "-nostdlib", "-fno-pic", "-no-pie"), "uring": ("-luring",)}


def _digest() -> str:
    digest = hashlib.sha256(repr((_FLAGS, sorted(_FLAGS_OF.items()))).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(f"\0{source.name}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def kept() -> Path:
    """Where they are, or would be, if they were compiled before."""
    return _KEPT / _digest()


def compile_into(folder: Path, seconds: float) -> None:
    """All of them, at once. Raises AssertionError: one could not be compiled."""
    builds = []
    for source in sorted(SOURCES.glob("*.c")):
        own = _FLAGS_OF.get(source.stem, ())
        builds.append(subprocess.Popen(["gcc", *_FLAGS, "-o", str(folder / source.stem), str(source), *own]))
    assert [build.wait(seconds) for build in builds] == [0] * len(builds)


def compile_and_keep(seconds: float) -> Path:
    """The folder that has them; older ones are deleted."""
    folder = kept()
    if folder.is_dir():
        return folder
    _KEPT.mkdir(parents=True, exist_ok=True)
    older = [path for path in _KEPT.iterdir() if path.is_dir() and not path.name.startswith("new-")]
    new = Path(tempfile.mkdtemp(prefix="new-", dir=_KEPT))
    new.chmod(0o755)
    compile_into(new, seconds)
    try:
        os.rename(new, folder)
    except OSError:  # somebody else was quicker
        shutil.rmtree(new)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    return folder


if __name__ == "__main__":
    compile_and_keep(300)
