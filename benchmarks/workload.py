# SPDX-License-Identifier: MIT
"""What is traced while it is measured: loops of one kind of call, and whole commands."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PREAD64 = 17  # x86_64, what the storm of kind "read" calls
HANG_SECONDS = 120


def build(folder: Path) -> None:
    """Compiles the storm and the floor."""
    clang = next(filter(None, map(shutil.which, ("clang", *(f"clang-{n}" for n in range(30, 11, -1))))))
    includes = f"-I/usr/include/{platform.machine()}-linux-gnu"
    kernel_side = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", includes, "-c"]
    for name, compiler, libraries in (
        ("floor.bpf.c", [clang, *kernel_side, "-o", f"{folder}/floor.o"], []),
        ("floor.c", ["gcc", "-O2", "-o", f"{folder}/floor"], ["-lbpf", "-lelf", "-lz"]),
        ("storm.c", ["gcc", "-O2", "-o", f"{folder}/storm"], ["-lpthread"]),
    ):
        subprocess.run([*compiler, f"{HERE}/{name}", *libraries], check=True)


@dataclass(frozen=True)
class Shape:
    """Of a storm: storm.c's kind, how often in each thread, and how many events of it the default operations take."""

    kind: str
    calls: int
    events_each: int = 1
    threads: int = 1

    @property
    def events(self) -> int:
        """With each thread's open and write before its loop."""
        return (self.calls * self.events_each + 2) * self.threads


@dataclass(frozen=True)
class Cost:
    """Of one call, in nanoseconds, over all threads."""

    wall_ns: float
    cpu_ns: float


class Storm:
    """storm.c, ready and waiting.

    `built`: the folder that build() has filled; `processors`: those it may use; `prefix`: the command that starts it.
    """

    def __init__(
        self, built: Path, shape: Shape, area: Path, processors: str | None = None, prefix: tuple[str, ...] = ()
    ) -> None:
        command = [str(built / "storm"), shape.kind, str(shape.calls), str(area), str(shape.threads)]
        self.process = subprocess.Popen(
            [*prefix, *(["taskset", "-c", processors] if processors else []), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self) -> Cost:
        """To its end."""
        out, _ = self.process.communicate("g", timeout=HANG_SECONDS)
        assert self.process.returncode == 0
        wall, cpu = map(float, out.split())
        return Cost(wall, cpu)

    def dismiss(self) -> None:
        """Without a call."""
        self.process.communicate("", timeout=HANG_SECONDS)


@dataclass
class Floor:
    """What floor.c tells at the end."""

    records: int = 0
    full: int = 0
    instructions: tuple[int, ...] = ()


@contextmanager
def floor(built: Path, pid: int, programs: tuple[str, ...], processors: str | None = None) -> Iterator[Floor]:
    """The least that a tracer of pread64() could do: these programs of floor.bpf.c. What it gives is filled at the end.

    RuntimeError where the kernel does not take them.
    """
    command = [str(built / "floor"), str(built / "floor.o"), str(pid), str(PREAD64), *programs]
    told = Floor()
    with subprocess.Popen(
        [*(["taskset", "-c", processors] if processors else []), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        if reader.stdout.readline() != "ready\n":
            _, messages = reader.communicate(timeout=HANG_SECONDS)
            # The first line is the cause, the others what libbpf did about it.
            why = next(iter(messages.splitlines()), "").removeprefix("libbpf: ")
            raise RuntimeError(f"the floor's {' and '.join(programs)} cannot be attached: {why}")
        try:
            yield told
        finally:
            out, _ = reader.communicate(timeout=HANG_SECONDS)
    words = out.split()
    told.records, told.full, told.instructions = int(words[1]), int(words[3]), tuple(map(int, words[5:]))


def commands(folder: Path) -> dict[str, list[str]]:
    """Whole commands and what they work on."""
    tree = folder / "tree"
    tree.mkdir()
    for number in range(300):
        sub = tree / f"d{number % 20}"
        sub.mkdir(exist_ok=True)
        (sub / f"f{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n" * 40)
    git = ["git", "-C", str(tree)]
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@c", "commit", "-qm", "b"]):
        subprocess.run([*git, *command], check=True)
    main = folder / "main.c"
    main.write_text('#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { puts("x"); }\n')
    tests = folder / "test_many.py"
    tests.write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(200))\ndef test(n, tmp_path):\n"
        "    (tmp_path / 'f').write_text(str(n))\n    assert (tmp_path / 'f').read_text() == str(n)\n"
    )
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    found = {
        # To /dev/null tar would not read the files.
        "tar": ["tar", "-cf", str(folder / "out.tar"), "/usr/include", "/usr/share/perl"],
        "find": ["find", "/usr/share", "-name", "*.nothing"],
        "git status": [*git, "status", "--porcelain"],
        "gcc": ["gcc", "-O1", "-o", str(folder / "main"), str(main)],
        "pytest": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        "pip": [*pip, "--upgrade", "--target", str(folder / "installed"), str(wheel(folder))],
    }
    if shutil.which("fio"):
        job = ["--name=job", "--rw=randrw", "--bs=4k", "--size=32m", "--ioengine=psync", f"--directory={folder}"]
        found["fio"] = ["fio", "--output=/dev/null", "--loops=2", *job]
    return found


def wheel(folder: Path) -> Path:
    """Of 100 modules."""
    path = folder / "many-1-py3-none-any.whl"
    info = "many-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100):
            archive.writestr(f"many/m{number}.py", f"def f():\n    return {number}\n" * 20)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: many\nVersion: 1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: b\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path
