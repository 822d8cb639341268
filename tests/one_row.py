# SPDX-License-Identifier: MIT
"""A copy of the project with a few more system calls: rows added to bpf/syscalls.h, and nothing else changed."""

from __future__ import annotations

import fcntl
import hashlib
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


_IGNORED = ("*.so", "*.o", "__pycache__")


def built_copy() -> Path:
    """The copy, built: one build of a minute and a half serves all tests, until a source changes."""
    tree = ROOT / "build/one-row"
    tree.parent.mkdir(exist_ok=True)
    with tree.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, sources = tree / ".sources", _digest()
        if not stamp.exists() or stamp.read_text() != sources:
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir()
            _copy_with_rows(tree)
            run(tree, "setup.py", "-q", "build_ext", "--inplace")
            stamp.write_text(sources)
    return tree


def _digest() -> str:
    """Of all that the copy is made of."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for part in (*_PARTS, _DOCUMENTED):
        path = ROOT / part
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and not any(one.match(pattern) for one in (each, each.parent) for pattern in _IGNORED):
                digest.update(str(each).encode() + b"\0" + each.read_bytes())
    return digest.hexdigest()


def _copy_with_rows(tree: Path) -> None:
    """The project as it is in the checkout, unbuilt, with the new rows at the table's end."""
    ignored = shutil.ignore_patterns(*_IGNORED)
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


def run(tree: Path, *arguments: str) -> str:
    """This Python with the copy's package before the checkout's; what it prints."""
    environment = dict(os.environ, PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
