# SPDX-License-Identifier: MIT
"""What is written twice, once for each side, is the same on both."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aa_fileio
from aa_fileio import (
    BLIND_SPOTS,
    SYSCALLS,
    FileEvent,
    Kind,
    KprobeManager,
    Op,
    PathFlag,
    PathSource,
    Stats,
    Target,
    Via,
    _native,
)
from aa_fileio._native import aio_operations, ring_operations
from aa_fileio.integrations.options import KINDS_NOT_BY_DEFAULT, OPS_ALWAYS, OPS_NOT_BY_DEFAULT
from aa_fileio.verdict import SignKind

ROOT = Path(__file__).resolve().parents[2]
ABI = ROOT / "bpf/fileio_abi.h"
PROPERTIES = {"exact"}  # derived in Python


def rows(macro: str) -> list[str]:
    """The names of the X-macro table."""
    table = re.search(rf"#define {macro}\(X\)(.*?[^\\])\n", ABI.read_text(), re.DOTALL)
    assert table
    return re.findall(r"X\(\w+,\s*(\w+)", table[1])


def members(header: str, struct: str) -> list[str]:
    """The member names of a C struct, in order."""
    body = re.search(rf"struct {struct} {{(.*?)\n}};", (ROOT / "csrc/core" / header).read_text(), re.DOTALL)
    assert body
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return [name for line in text.split(";") for name in re.findall(r"(\w+)\s*(?:\[\w*\])?\s*(?:,|$)", line.strip())]


def known_names(option: str) -> list[str]:
    with pytest.raises(ValueError, match="known are") as caught:
        KprobeManager(**{option: "?"})  # type: ignore[arg-type]
    return str(caught.value).split("known are: ")[1].split(", ")


def test_operations() -> None:
    assert [str(op) for op in Op] == rows("AA_OPERATIONS")
    assert known_names("ops") == [*map(str, Op), "modify", "access", "writes"]
    assert [FileEvent(op=number).op for number in range(len(Op))] == list(Op)
    assert all(op.name == op.value.upper() for op in Op)


def test_each_blind_spot_says_what_it_means() -> None:
    calls = {row.name for row in SYSCALLS if row.op is Op.BLIND_SPOT}
    calls |= {"mmap", "ioctl"}  # of one kind, and with some arguments
    assert BLIND_SPOTS.keys() == calls | {name for name, _, op in ring_operations() if op is Op.BLIND_SPOT}


def test_ways_in() -> None:
    names = re.search(r"aa_via_names\[\] = {(.*?)}", (ROOT / "csrc/core/syscall_table.c").read_text(), re.DOTALL)
    openers = re.findall(r"X\([A-Z]+, (\w+), (\w+), (\w+)\)", (ROOT / "bpf/openers.h").read_text())
    assert names and re.findall(r'"(\w+)"', names[1]) == [str(via) for via in Via]
    for via in Via:
        assert FileEvent(op="read" if via is Via.AIO else "open", via=via).via is via
    assert FileEvent(op="read").syscall == "read"
    assert FileEvent(op="read", via="io_uring").syscall == "IORING_OP_READ"
    assert FileEvent(op="write", via="aio").syscall == "IOCB_CMD_PWRITE"
    told = [FileEvent(op=operation.lower(), via=via).syscall for _, via, operation in openers]
    assert told == [name for name, _, _ in openers]
    with pytest.raises(ValueError, match="contradicts"):
        FileEvent(op="read", via="exec")
    with pytest.raises(ValueError, match="contradicts"):
        FileEvent(op="read", via="io_uring", syscall="read")


def test_each_command_of_aio_has_the_number_of_the_kernels_header() -> None:
    header = Path("/usr/include/linux/aio_abi.h").read_text()
    numbers = dict(re.findall(r"(IOCB_CMD_\w+) = (\d+),", header))
    ours = {name: str(number) for name, number, _ in aio_operations()}
    assert {name for name in numbers if name not in ours} == {"IOCB_CMD_POLL", "IOCB_CMD_NOOP"}
    assert ours.items() <= numbers.items()


def test_each_operation_of_io_uring_has_a_number_of_its_own() -> None:
    numbers = [number for _, number, _ in ring_operations()]
    others = re.findall(r"X\((\w+), (\d+)\)", (ROOT / "bpf/ring_operations.h").read_text())
    numbers += [int(number) for _, number in others]
    assert len(set(numbers)) == len(numbers)
    # All that Linux 7.2 has, and one for what is not known.
    assert sorted(numbers) == [*range(65), 255]


def test_kinds() -> None:
    assert [str(kind) for kind in Kind] == rows("AA_KINDS")
    assert known_names("kinds") == [str(kind) for kind in Kind]
    for kind in Kind:
        assert FileEvent(op="open", kind=kind).kind is kind


def groups(macro: str) -> dict[str, str]:
    """Of each name in the X-macro table, what stands behind it."""
    table = re.search(rf"#define {macro}\(X\)(.*?[^\\])\n", ABI.read_text(), re.DOTALL)
    assert table
    return dict(re.findall(r"X\(\w+,\s*(\w+),\s*([^)]*)\)", table[1]))


def test_the_help_says_what_is_left_out_by_default() -> None:
    operations, kinds = groups("AA_OPERATIONS"), groups("AA_KINDS")
    assert list(operations) == [str(op) for op in Op]
    assert {name for name, text in operations.items() if "AA_GROUP_ALWAYS" in text} == OPS_ALWAYS
    assert {
        name for name, text in operations.items() if "AA_GROUP_DEFAULT" not in text
    } == OPS_NOT_BY_DEFAULT | OPS_ALWAYS
    assert {name for name, text in kinds.items() if text.strip() == "0"} == KINDS_NOT_BY_DEFAULT
    assert {name for name, text in operations.items() if "AA_GROUP_ACCESS" in text} == {"open", "read", "map", "exec"}


def test_path_sources() -> None:
    assert [str(source) for source in PathSource] == rows("AA_PATH_SOURCES")
    for source in PathSource:
        assert FileEvent(op="open", path_source=source).path_source is source


def test_path_flags() -> None:
    flags = dict(re.findall(r"#define AA_PATH_(\w+) (\d+)u", ABI.read_text()))
    assert {flag.name: str(flag.value) for flag in PathFlag} == flags


def test_stats_have_every_field_of_the_ledger() -> None:
    # What is known by name comes by a call of its own: struct aa_sign.
    assert set(members("session.h", "aa_stats")) == (set(Stats._fields) - {"signs"}) | PROPERTIES


def test_signs_have_the_core_s_numbers() -> None:
    table = re.search(r"enum aa_sign_what \{(.*?)\};", (ROOT / "csrc/core/session.h").read_text(), re.DOTALL)
    assert table
    names = re.findall(r"AA_SIGN_(\w+),", table[1])
    assert {kind.name: kind.value for kind in SignKind} == {name: number for number, name in enumerate(names)}


def test_targets_have_every_field_of_the_core() -> None:
    assert tuple(members("session.h", "aa_target")) == Target._fields


def test_events_have_every_field_of_the_core() -> None:
    carried = set(members("file_event.h", "aa_file_event"))
    shape = {"size", "present", "path_length", "new_path_length", "raw_path_length", "rule_files", "strings"}
    renamed = {"result": "return_code", "call": "syscall", "operation": "op"}
    derived = {"via", "time", "errno", "bytes", "path", "new_path", "raw_path"}
    assert {renamed.get(name, name) for name in carried - shape} | derived == set(FileEvent(op="open")._asdict())


def test_the_stub_is_the_binary() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "aa_fileio._native"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_extension_exports_its_init_function_only() -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(_native.__file__)], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert [line.split()[-1] for line in symbols if line] == ["PyInit__native"]


def test_the_extension_needs_the_stable_abi_only() -> None:
    if not str(_native.__file__).endswith(".abi3.so"):
        pytest.skip("free-threaded builds before 3.15 have no stable ABI")
    undefined = subprocess.run(
        ["nm", "-D", "--undefined-only", str(_native.__file__)], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1] for line in undefined.splitlines()}
    # Functions with an underscore are CPython's own, but for those its stable macros expand to.
    private = {name for name in names if name.startswith("_Py")}
    assert private <= {"_PyObject_New", "_PyObject_NewVar", "_Py_Dealloc", "_Py_NoneStruct", "_Py_TrueStruct"} | {
        "_Py_FalseStruct",
        "_Py_NotImplementedStruct",
    }


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["clang", "-target", "bpf"]], ids=["gcc", "bpf"])
@pytest.mark.parametrize("header", ["fileio_abi.h", "syscalls.h", "aio_operations.h", "ring_operations.h"])
def test_the_wire_compiles_alone_on_both_sides(header: str, compiler: list[str]) -> None:
    assert shutil.which(compiler[0]), f"{compiler[0]} is needed"
    subprocess.run(
        [
            *(*compiler, "-Wall", "-Wextra", "-Werror", "-Wpadded", "-fsyntax-only", "-I/usr/include/x86_64-linux-gnu"),
            *("-x", "c", "-include", str(ROOT / "bpf" / header), "/dev/null"),
        ],
        check=True,
    )


@pytest.mark.parametrize("header", ["session.h", "file_event.h", "fileio_error.h"])
def test_the_headers_of_the_core_compile_alone(header: str) -> None:
    subprocess.run(
        [
            *("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"),
            *("-x", "c", "-include", str(ROOT / "csrc/core" / header), "/dev/null"),
        ],
        check=True,
    )


def test_the_types_say_what_the_package_exports() -> None:
    assert sorted(aa_fileio.__all__, key=str.lower) == sorted(set(aa_fileio.__all__), key=str.lower)
    assert {"FileEvent", "KprobeManager", "KPROBE_TARGETS", "SYSCALLS", "Op", "Stats"} <= set(aa_fileio.__all__)
