# SPDX-License-Identifier: MIT
"""A copy of the project with a few more system calls: rows added to bpf/syscalls.h, and nothing else changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_PARTS = ("aa_fileio", "bpf", "csrc", "docs", "scripts", "setup.py", "pyproject.toml", "README.md", "LICENSE")
_DOCUMENTED = "tests/native/evasions.py"  # a part of docs/coverage.md


class NewRow(NamedTuple):
    name: str
    number: int
    operation: str
    arguments: str

    @property
    def program(self) -> str:
        return f"aa_sys_{self.name}"

    @property
    def text(self) -> str:
        operation = self.operation.upper()
        return f"AA_CALL({self.program}, {self.name}, {self.name}, {self.number}, {operation}, 0, {self.arguments})"


# One of each shape. request_key's strings are no file names, but no other call outside the table takes two; what
# swapoff is given is no swap.
NEW_ROWS = (
    NewRow("fadvise64", 221, "sync", ".fd = 1, .offset = 2, .count = 3, .flags = 4"),
    NewRow("swapoff", 168, "stat", ".path = 1"),
    NewRow("file_getattr", 468, "stat", ".dirfd = 1, .path = 2, .flags = 5, .empty = 1"),
    NewRow("fsopen", 430, "open", ".path = 1, .flags = 2, .returns_fd = 1"),
    NewRow("request_key", 249, "link", ".path = 1, .path2 = 2"),
)


def copy_with_rows(tree: Path) -> None:
    """The project as it is in the checkout, unbuilt, with the new rows at the table's end."""
    ignored = shutil.ignore_patterns("*.so", "*.o", "__pycache__")
    for part in _PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, tree / part)
    (tree / _DOCUMENTED).parent.mkdir(parents=True)
    shutil.copy2(ROOT / _DOCUMENTED, tree / _DOCUMENTED)
    table = tree / "bpf/syscalls.h"
    head, end, rest = table.read_text().partition("\n/* clang-format on */")
    assert end and head.rstrip().endswith(")")
    table.write_text(" \\\n\t".join([head, *(row.text for row in NEW_ROWS)]) + end + rest)


def build(tree: Path) -> None:
    run(tree, "setup.py", "-q", "build_ext", "--inplace")


def run(tree: Path, *arguments: str) -> str:
    """This Python with the copy's package before the checkout's; what it prints."""
    environment = dict(os.environ, PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
