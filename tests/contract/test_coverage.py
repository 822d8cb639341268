# SPDX-License-Identifier: MIT
"""docs/coverage.md says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aa_fileio import SYSCALLS, Op
from scripts import coverage

KERNELS = ["5.10", "6.1", "6.12", "6.18", "7.2"]


@pytest.fixture(scope="module")
def table() -> coverage.Table:
    return coverage.read_table()


def test_the_document_is_what_the_generator_makes(table: coverage.Table) -> None:
    written = (coverage.ROOT / coverage.DOCUMENT).read_text()
    assert written == coverage.document(table, coverage.read_kernels()), "python -m scripts.coverage --write"


def test_a_document_that_is_out_of_date_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert coverage.main(["--check"]) == 0
    monkeypatch.setattr(coverage, "document", lambda *_: "another one")
    assert coverage.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err


def test_the_generator_reads_the_table_as_the_compiler_does(table: coverage.Table) -> None:
    assert [(row.name, row.number, row.operation, f"__x64_sys_{row.function}") for row in table.rows] == [
        (call.name, call.number, str(call.op), call.function) for call in SYSCALLS
    ]
    assert [operation.name for operation in table.operations] == [str(op) for op in Op]


def test_every_call_has_its_line(table: coverage.Table) -> None:
    document = (coverage.ROOT / coverage.DOCUMENT).read_text()
    for call in SYSCALLS:
        line = re.compile(rf"^\| `{call.name}` \| {call.number} \| [\d, ]+ \| {call.op} \|", re.MULTILINE)
        assert len(line.findall(document)) == 1


def test_every_call_has_its_32_bit_numbers(table: coverage.Table) -> None:
    """By the kernel's own header: that number is that call, or an older form of it."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_32.h").read_text()
    names = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", header, re.MULTILINE)}
    others = {
        "mmap2": "mmap",
        "umount": "umount2",
        "fstatat64": "newfstatat",
        "utimensat_time64": "utimensat",
    }
    for row in table.rows:
        assert row.compat, row.name
        for number in row.compat:
            if number in names:  # the header may be older than the call
                name = names[number].removeprefix("old")
                known = {name, re.sub(r"(_time64|64|32)$", "", name), others.get(name)}
                if name == "socketcall":  # one number for all of them
                    known = {"bind", "connect", "sendmsg", "sendmmsg", "recvmsg", "recvmmsg"}
                assert row.name in known, (row.name, number, name)


def test_every_argument_of_the_table_has_a_word(table: coverage.Table) -> None:
    """A kind of argument that is new in syscalls.h is told, or said to be none."""
    no_argument = {"returns_fd", "moves", "implied", "if_flag", "then_operation", "empty", "null", "closes", "when"} | {
        *("sets_pwd", "announces")
    }
    for row in table.rows:
        told = coverage.argument_words(row).partition(";")[0].split(", ")
        assert len([word for word in told if word]) == len(set(row.arguments) - no_argument), row


# Written out, so that no rule of the generator is held to itself only.
@pytest.mark.parametrize(
    ("name", "arguments", "kprobe", "tracepoint"),
    [
        ("openat", "1 directory, 2 name, 3 flags, 4 mode", "file", "file"),
        ("read", "1 descriptor, 3 count", "file", "file"),
        ("unlink", "1 name", "dentry", "dir_and_name, as_passed"),
        ("rename", "1 first name, 2 second name", "dentry", "dir_and_name, as_passed"),
        ("symlinkat", "2 directory, 3 name", "dentry", "dir_and_name, as_passed"),
        ("truncate", "1 name, 2 length", "dentry", "dir_and_name, as_passed"),
        ("sendfile", "1 destination, 2 source, 3 pointer to the position, 4 count", "file", "file"),
        ("close", "1 descriptor", "file", "file"),
        ("close_range", "1 first descriptor, 3 flags", "none", "none"),
        ("msync", "2 count, 3 flags", "none", "none"),
        ("chdir", "1 name", "dentry", "dentry"),
        ("chroot", "1 name", "dir_and_name, as_passed", "dir_and_name, as_passed"),
        ("execve", "1 name", "dentry", "dentry"),
        ("setxattr", "1 name, 4 count, 5 flags", "dentry", "dir_and_name, as_passed"),
        ("pivot_root", "1 first name, 2 second name", "dir_and_name, as_passed", "dir_and_name, as_passed"),
        (
            "fchownat",
            "1 directory, 2 name, 5 flags",
            "dentry; file with an empty name",
            "dir_and_name, as_passed; file with an empty name",
        ),
    ],
)
def test_a_row_in_words(table: coverage.Table, name: str, arguments: str, kprobe: str, tracepoint: str) -> None:
    row = next(row for row in table.rows if row.name == name)
    assert coverage.argument_words(row) == arguments
    assert coverage.names_told(row, below=table.told_below) == kprobe
    assert coverage.names_told(row) == tracepoint


def test_the_kernels_are_those_that_are_tested_on() -> None:
    kernels = coverage.read_kernels()
    assert kernels[""] == KERNELS
    assert all(kernels.values())
    assert all(set(names) <= set(KERNELS) for names in kernels.values())
    # They came with 6.6 (fchmodat2) and 6.13 (setxattrat).
    assert kernels["fchmodat2"] == ["6.12", "6.18", "7.2"]
    assert kernels["setxattrat"] == ["6.18", "7.2"]
    assert kernels["openat"] == KERNELS
    # The kernel's stand-in for calls that it was built without is none.
    assert "vm86old" not in kernels


def test_only_what_a_kernel_implements_counts() -> None:
    text = (
        "0 T __x64_sys_read\n0 t __x64_sys_write\n0 W __x64_sys_uselib\n0 T __pfx___x64_sys_open\n0 T __ia32_sys_dup\n"
    )
    assert coverage.calls_of(text) == {"read", "write"}
