# SPDX-License-Identifier: MIT
"""Adding a system call is one row in bpf/syscalls.h: no second edit. That it is seen is tested in tests/native."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.one_row import NEW_ROWS, ROOT, NewRow, built_copy, run

_ROWS = pytest.mark.parametrize("row", NEW_ROWS, ids=[row.name for row in NEW_ROWS])


@pytest.fixture(scope="module")
def tree() -> Path:
    return built_copy()


@pytest.fixture(scope="module")
def syscalls(tree: Path) -> dict[str, list[object]]:
    """SYSCALLS of the copy."""
    code = "import aa_fileio, json; print(json.dumps([aa_fileio.__file__, aa_fileio.SYSCALLS]))"
    file, calls = json.loads(run(tree, "-c", code))
    assert Path(file).is_relative_to(tree)
    return {call[0]: call for call in calls}


def test_nothing_but_the_table_differs(tree: Path) -> None:
    names = [
        path.relative_to(ROOT) for part in ("aa_fileio", "bpf", "csrc") for path in (ROOT / part).rglob("*.[chp]*")
    ]
    sources = [name for name in names if name.suffix in (".c", ".h", ".py", ".pyi")]
    assert len(sources) > 40
    assert [str(name) for name in sources if (ROOT / name).read_bytes() != (tree / name).read_bytes()] == [
        "bpf/syscalls.h"
    ]


@_ROWS
def test_a_row_is_a_system_call(syscalls: dict[str, list[object]], row: NewRow) -> None:
    assert syscalls[row.name] == [row.name, row.number, row.operation, row.program, f"__x64_sys_{row.name}"]


def test_the_other_rows_are_as_they_were(syscalls: dict[str, list[object]]) -> None:
    from aa_fileio import KPROBE_TARGETS, SYSCALLS

    new = {row.name for row in NEW_ROWS}
    assert [call for name, call in syscalls.items() if name not in new] == [list(call) for call in SYSCALLS]
    assert not {row.program for row in NEW_ROWS} & {program for program, _ in KPROBE_TARGETS}


@_ROWS
def test_a_row_has_its_two_programs(tree: Path, row: NewRow) -> None:
    compiled = next((tree / "build").rglob("fileio.bpf.o")).read_bytes()
    for program in (row.program, f"{row.program}_ret"):
        assert f"\0{program}\0".encode() in compiled


@_ROWS
def test_a_row_makes_events(tree: Path, syscalls: dict[str, list[object]], row: NewRow) -> None:
    code = f"from aa_fileio import FileEvent; print(FileEvent(op={row.operation!r}, syscall={row.name!r}).syscall)"
    assert run(tree, "-c", code) == f"{row.name}\n"


def test_a_row_is_in_the_document_with_its_kernels(tree: Path) -> None:
    run(tree, "-m", "scripts.coverage", "--write")
    lines = (tree / "docs/coverage.md").read_text().splitlines()
    before = (ROOT / "docs/coverage.md").read_text().splitlines()
    everywhere = "| ✓ | ✓ | ✓ | ✓ | ✓ |"
    passed = "dir_and_name, as_passed"
    expected = [
        f"| `fadvise64` | 221 |  | sync |  | 1 descriptor, 2 position, 3 count, 4 flags | file | file {everywhere}",
        f"| `swapoff` | 168 |  | stat |  | 1 name | {passed} | {passed} {everywhere}",
        (
            f"| `file_getattr` | 468 | 468 | stat |  | 1 directory, 2 name, 5 flags "
            f"| {passed}; file with an empty name | {passed}; file with an empty name | – | – | – | ✓ | ✓ |"
        ),
        f"| `fsopen` | 430 | 430 | open | ✓ | 1 name, 2 flags | file | file {everywhere}",
        f"| `request_key` | 249 |  | link | ✓ | 1 first name, 2 second name | dentry | {passed} {everywhere}",
    ]
    assert [line for line in expected if line not in lines] == []
    assert len(lines) == len(before) + len(NEW_ROWS)
