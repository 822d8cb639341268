# SPDX-License-Identifier: MIT
"""docs/coverage.md: what is traced, what each call is reported with, and which kernels have it.

    python -m scripts.coverage --write             make the document anew
    python -m scripts.coverage --check             it is what --write would make
    python -m scripts.coverage --record KERNEL     note the calls of a kernel, from its /proc/kallsyms on stdin

The rows and where their names come from are read from bpf/, the kernels from docs/kernels.json, which has
every system call of each, so that a new row finds its kernels there. A test holds that file to the kernels themselves.
What it cannot see is from tests/native/evasions.py, which a test performs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.native.evasions import EVASIONS, Evasion

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = Path("docs/coverage.md")
KERNELS = Path("docs/kernels.json")
_COMPAT = re.compile(r"X\((\d+), (\w+), \w+, (\w+)\)")
_AIO = re.compile(r"AA_AIO\((\w+),\s*(\d+),\s*(\w+),\s*([^()]*)\)")
_RING = re.compile(r"AA_RING\((\w+),\s*(\w+),\s*(\w+),\s*(\w+),\s*([^()]*)\)")
# IORING_OP_LAST: the kernel has the opcodes below.
_OPCODES = {"6.1": 49, "6.12": 58, "6.18": 63, "7.2": 65}
_CALL = re.compile(r"AA_CALL\((\w+),\s*(\w+),\s*(\w+),\s*(\d+),\s*(\w+),\s*([01]),\s*([^()]*)\)")

FILE = "file"
DENTRY = "dentry"
PASSED = "dir_and_name, as_passed"
NONE = "none"
KEPT = ("bind", "execve", "execveat")  # the kernel keeps what they acted on
# Afterwards the process has another root, and these names mean something else; or no security function is told.
NOT_TOLD = ("pivot_root", "chroot", "open_tree", "open_tree_attr", "mount_setattr", "fspick")


@dataclass(frozen=True)
class Operation:
    name: str
    groups: frozenset[str]


@dataclass(frozen=True)
class Row:
    """One call of bpf/syscalls.h."""

    name: str
    function: str
    number: int
    operation: str
    arguments: dict[str, str]
    """As the table has them: {"fd": "1", "when": "AA_WHEN_BLOCKS"}."""
    condition: str
    """Which of its calls are meant, in words; '' for all."""
    compat: tuple[int, ...]
    """Its numbers in the table of 32-bit calls."""

    def argument(self, what: str) -> int:
        return int(self.arguments.get(what, "0"))


@dataclass(frozen=True)
class Table:
    operations: list[Operation]
    rows: list[Row]
    rings: list[Row]
    """Operations of io_uring: bpf/ring_operations.h."""
    aio: list[Row]
    """Commands of Linux AIO: bpf/aio_operations.h."""
    openers: list[tuple[str, str, str, str]]
    """Who is at work inside the kernel, by bpf/openers.h: `via`, `syscall`, the operation, and what it is, in words."""
    witness: str
    """The function that every open passes."""
    told_below: frozenset[str]
    """Operations whose entry of a directory is told below the call, to those that can probe functions."""


def read_table(root: Path = ROOT) -> Table:
    """The tables of operations, of calls, and of the functions below them, from bpf/."""
    calls = (root / "bpf/syscalls.h").read_text()
    abi = (root / "bpf/fileio_abi.h").read_text()
    below = (root / "bpf/below.h").read_text()
    rings = (root / "bpf/ring_operations.h").read_text().partition("#define AA_RINGS")[2]
    aio = (root / "bpf/aio_operations.h").read_text().partition("#define AA_AIOS")[2]
    conditions = dict(re.findall(r"(AA_WHEN_\w+),\s*/\* (.*?) \*/", calls))
    compat = (root / "bpf/compat.h").read_text()
    unified = re.search(r"#define AA_COMPAT_UNIFIED (\d+)", compat)
    if unified is None:
        raise ValueError("AA_COMPAT_UNIFIED not found")
    numbers: dict[str, list[int]] = {}
    multiplexed = re.findall(r"first == SYS_(\w+)", (root / "bpf/operation.bpf.h").read_text())
    for number, call, shape in _COMPAT.findall(compat):
        if shape == "SOCKETCALL":
            for each in multiplexed:
                numbers.setdefault(each.lower(), []).append(int(number))
        elif shape != "UNFOLLOWED":
            numbers.setdefault(call, []).append(int(number))
    return Table(
        [
            Operation(name, frozenset(re.findall(r"AA_GROUP_(\w+)", groups)))
            for name, groups in _entries(abi, "AA_OPERATIONS")
        ],
        [
            _row(match, conditions, numbers, int(unified[1]))
            for match in _CALL.findall(calls.partition("#define AA_CALLS")[2].replace("\\\n", " "))
        ],
        [_ring_row(match) for match in _RING.findall(rings.replace("\\\n", " "))],
        [_aio_row(match) for match in _AIO.findall(aio.replace("\\\n", " "))],
        [
            (via, name, operation.lower(), words)
            for name, via, operation, words in re.findall(
                r"X\([A-Z]+, (\w+), (\w+), (\w+)\) /\* (.*?) \*/", (root / "bpf/openers.h").read_text()
            )
        ],
        "".join(re.findall(r"X\(witnessed, (\w+),", below)),
        frozenset(
            operation.lower()
            for operations in re.findall(r"X\(\w+, (?:security_\w+|vfs_utimes), \d,(.*?), 0\)", below)
            for operation in re.findall(r"AA_DOES\((\w+)\)", operations)
        ),
    )


def _entries(text: str, macro: str) -> list[tuple[str, str]]:
    body = re.search(rf"#define {macro}\(X\)(.*?[^\\])\n", text, re.DOTALL)
    if body is None:
        raise ValueError(f"{macro} not found")
    return re.findall(r"X\(\w+,\s*(\w+),\s*([^)]*)\)", body[1])


def _row(fields: tuple[str, ...], conditions: dict[str, str], compat: dict[str, list[int]], unified: int) -> Row:
    _program, name, function, number, operation, _origin, rest = fields
    arguments = dict(re.findall(r"\.(\w+)\s*=\s*(\w+)", rest))
    condition = conditions[arguments["when"]] if "when" in arguments else ""
    numbers = [int(number)] if int(number) >= unified else compat.get(name, [])
    return Row(name, function, int(number), operation.lower(), arguments, condition, tuple(numbers))


def _ring_row(fields: tuple[str, ...]) -> Row:
    opcode, number, operation, _shape, rest = fields
    numbers = {"AA_RING_UNKNOWN": "255"}
    return Row(
        f"IORING_OP_{opcode}",
        "",
        int(numbers.get(number, number)),
        operation.lower(),
        dict(re.findall(r"\.(\w+)\s*=\s*(\w+)", rest)),
        "",
        (),
    )


def _aio_row(fields: tuple[str, ...]) -> Row:
    command, number, operation, rest = fields
    arguments = dict(re.findall(r"\.(\w+)\s*=\s*(\w+)", rest))
    return Row(f"IOCB_CMD_{command}", "", int(number), operation.lower(), arguments, "", ())


# --- what a row means, in words


def argument_words(row: Row) -> str:
    """Which argument is what, in the order of the arguments."""
    two_files = "fd2" in row.arguments
    two_names = "path2" in row.arguments
    words = {
        "fd": "source" if two_files else "first descriptor" if row.argument("closes") > 1 else "descriptor",
        "fd2": "destination",
        "dirfd": "directory" if "path" in row.arguments else "mount",
        "path": "address" if row.name in ("bind", "connect") else "name",
        "dirfd2": "second directory",
        "path2": "second name",
        "flags": {"ioctl": "request", "ptrace": "request", "madvise": "advice", "inotify_add_watch": "mask"}.get(
            row.name, "flags"
        ),
        "mode": {"map": "protection", "stat": "access"}.get(row.operation, "mode"),
        "count": "parts" if "iovec" in row.arguments else "length" if row.operation == "truncate" else "count",
        "offset": "position",
        "offset_at": "pointer to the position",
        "iovec": "iovec",
        "how": "struct open_how",
    }
    if row.arguments.get("when") == "AA_WHEN_BLOCKS":
        words |= {"fd": "descriptor", "fd2": "descriptor or structure"}
    if two_names:
        words |= {"path": "first name", "dirfd": "first directory"}
    found = sorted((row.argument(what), word) for what, word in words.items() if what in row.arguments)
    text = ", ".join(f"{number} {word}" for number, word in found)
    if "then_operation" in row.arguments:
        text += f"; with {row.arguments['if_flag'].removeprefix('AA_')} it is {_operation(row)}"
    if "announces" in row.arguments:
        text += "; with USERFAULTFD_IOC_NEW or SECCOMP_IOCTL_NOTIF_ADDFD it is blind_spot"
    if row.condition:
        text += f"; only {row.condition}"
    return text


def _operation(row: Row) -> str:
    return row.arguments["then_operation"].removeprefix("AA_OPERATION_").lower()


def names_told(row: Row, *, below: Iterable[str] = ()) -> str:
    """`path_source` of a call that succeeds. below: operations whose entry a probe below the call tells."""
    if row.argument("closes") > 1:
        return NONE
    if "returns_fd" in row.arguments or row.arguments.get("when") in ("AA_WHEN_RECEIVES", "AA_WHEN_GIVES"):
        return FILE
    if "sets_pwd" in row.arguments:
        return DENTRY
    if "path" not in row.arguments:
        return FILE if "fd" in row.arguments else NONE
    told = DENTRY if (row.operation in below and row.name not in NOT_TOLD) or row.name in KEPT else PASSED
    if "path2" in row.arguments:  # of two names the less certain source is told
        return told
    by_descriptor = [word for word in ("empty", "null") if word in row.arguments]
    if by_descriptor:
        names = " or ".join({"empty": "an empty", "null": "no"}[word] for word in by_descriptor)
        told += f"; {FILE} with {names} name"
    return told


# --- the kernels


def read_kernels(root: Path = ROOT) -> dict[str, list[str]]:
    """Function → kernels that have it, oldest first; "" → all kernels."""
    return json.loads((root / KERNELS).read_text())  # type: ignore[no-any-return]


def calls_of(kallsyms: str) -> set[str]:
    """The system calls a kernel implements. A weak function only stands in for one that was left out (COND_SYSCALL)."""
    return set(re.findall(r" [tT] __x64_sys_(\w+)$", kallsyms, re.MULTILINE)) - {"ni_syscall"}


def _record(kernel: str, kallsyms: str) -> None:
    known = read_kernels() if (ROOT / KERNELS).exists() else {"": []}
    have = calls_of(kallsyms)
    kernels = sorted({*known[""], kernel}, key=lambda name: [int(part) for part in name.split(".")])
    record = {"": kernels}
    for function in sorted({*known, *have} - {""}):
        found = [name for name in kernels if (function in have if name == kernel else name in known.get(function, []))]
        if found:
            record[function] = found
    lines = ",\n".join(f"{json.dumps(function)}: {json.dumps(names)}" for function, names in record.items())
    (ROOT / KERNELS).write_text(f"{{\n{lines}\n}}\n")


# --- the document

_HEAD = """\
# What is traced

Made by `python -m scripts.coverage --write` from `bpf/syscalls.h`, `bpf/ring_operations.h`, `bpf/aio_operations.h` and
`bpf/openers.h`; do not edit.

{calls} system calls on x86_64 do {operations} operations, by the table of 64-bit calls and by that of 32-bit ones
(`int 0x80`, 32-bit programs), and so do {rings} requests of io_uring and {aio} of Linux AIO. What is not in these
tables is not seen; the README tells what that means.

## Operations

An operation is what `ops` and `--ops` take, and so are the groups. `default`: traced when nothing is asked for.

{operation_table}
## Calls

`number` is that of 64-bit calls, `32-bit` those by which a 32-bit program does the same; such a call has the name and
arguments of the 64-bit one. Two old forms that are only there, `uselib` and `readdir`, are counted (`compat_calls`).

Arguments count from 1. The columns *by …* tell the `path_source` of a call that succeeds:

- `file`: the kernel's own name of the open file. With `latency=False` a descriptor is looked at only when the call
  returns (by kprobe and fentry from Linux 5.17 on), and that is said: `fd_at_return`.
- `dentry`: the kernel's own name of the directory and the entry that it acted on, told by a probe on a function below
  the call, most often one of its security hooks (CONFIG_SECURITY_PATH; without it as by tracepoint); of chdir, the
  kernel's own name of the new current directory; of bind, of the file that the socket made; of an exec, of the program
  (of a script by tracepoint the name as passed).
- `dir_and_name`: the kernel's name of the directory, and the name as passed: of a relative name.
- `as_passed`: an absolute name as passed; symbolic links in it were not followed.
- `none`: no name.

A call by name that fails is told as passed by both. Of two names the less certain source is told. `raced` and
`fd_changed` stand where a name or a descriptor was changed during the call.

Kernels: Debian's 5.10, 6.1, 6.12 and 7.2, and a 6.18 without kprobes. ✓: the kernel has the call; –: it has not, so
that nothing is missed.

{call_table}
## io_uring

Requests of a ring, which `via` tells from calls, where the kernel's tracepoints show them: from Linux 6.1 on, by every
backend alike. What is only announced is a `blind_spot` when it succeeds.

{ring_table}
## Linux AIO

Requests that `io_submit` took, told when it returns, on all these kernels and by every backend alike. Whether they
succeeded is not known: `return_code` is None. The call itself is no event. The commands that are not here, POLL and
NOOP, touch no file.

{aio_table}
## Inside the kernel

Where `open` is asked for, kprobe and fentry witness every open of a file a second time, at `{witness}`; with
`witness_io` every read and write, too. What a call or a request above explains is told by that alone; the rest is an
event, too:

{opener_table}
## What it cannot see

Ways to touch a file without being noticed, and what becomes of each: `tests/native/evasions.py`, which
`tests/native/test_evasion.py` and the tests named there go, by every backend on every kernel that is tested.
*Reported*: the operations that are told of that very file, by its true name or under a `path_source` that says how
far it is one; what is not in the default set must be asked for. *Announced*: the calls of the events of `blind_spot`,
or that it is counted in `blind_spots` when the trace begins; the trace is not complete then. *Silent*: of this nothing
is said, and the trace may be called complete all the same.

{evasion_table}

## Whether a mapped file was written to

`Stats.verdict` names each file that was mapped so that it can be written to, and the range that was mapped. Whether it
was written to (`dirtied`) stays None, for nothing that is cheap can answer it on every file system:

- A probe on page faults sees a write only where it faults. Measured on 6.18, of a page that had been read through the
  same mapping: on ext4 the first write after it faults, and again after each fsync(2); on tmpfs (`/dev/shm`) none does,
  nor does the file's mtime change. Such a probe would also run at each page fault of every process.
- Soft-dirty bits (`/proc/PID/pagemap`) need CONFIG_MEM_SOFT_DIRTY, which not every kernel has, and to be cleared
  first, by which the tracer would make each page of the program fault once more. What `smaps` counts as dirty is gone
  when the kernel has written it back, and may be from a write(2).
- What writeback's tracepoint tells as dirtied is not told of tmpfs, nor of a page that a write(2) had made dirty
  before.
"""


def document(table: Table, kernels: dict[str, list[str]]) -> str:
    """The whole page."""
    return _HEAD.format(
        calls=len(table.rows),
        rings=sum(row.operation != "blind_spot" for row in table.rings),
        operations=len(table.operations),
        operation_table=_operation_table(table),
        call_table=_call_table(table, kernels),
        ring_table=_ring_table(table, kernels[""]),
        opener_table=_opener_table(table),
        witness=table.witness,
        aio=len(table.aio),
        aio_table=_aio_table(table),
        evasion_table=_evasion_table(),
    )


def _mark(operation: Operation, group: str) -> str:
    return "✓" if group in operation.groups else "always" if "ALWAYS" in operation.groups else ""


def _operation_table(table: Table) -> str:
    lines = ["| operation | default | modify | access | calls |", "|---|---|---|---|---|"]
    for operation in table.operations:
        groups = " | ".join(_mark(operation, group) for group in ("DEFAULT", "MODIFY", "ACCESS"))
        calls = [f"`{row.name}`" for row in table.rows if row.operation == operation.name]
        calls += [
            f"`{row.name}`"
            for row in table.rows
            if ("then_operation" in row.arguments and _operation(row) == operation.name)
            or ("announces" in row.arguments and operation.name == "blind_spot")
        ]
        lines.append(f"| {operation.name} | {groups} | {', '.join(calls)} |")
    return "\n".join(lines) + "\n"


def _call_table(table: Table, kernels: dict[str, list[str]]) -> str:
    names = kernels[""]
    default = {operation.name: _mark(operation, "DEFAULT") for operation in table.operations}
    order = [operation.name for operation in table.operations]
    lines = [
        (
            "| call | number | 32-bit | operation | default | arguments | by kprobe, fentry | by tracepoint | "
            f"{' | '.join(names)} |"
        ),
        "|---|---|---|---|---|---|---|---|" + "---|" * len(names),
    ]
    for row in sorted(table.rows, key=lambda row: order.index(row.operation)):
        has = kernels.get(row.function, [])
        cells = (
            f"`{row.name}`",
            str(row.number),
            ", ".join(map(str, row.compat)),
            row.operation,
            default[row.operation],
            argument_words(row),
            names_told(row, below=table.told_below),
            names_told(row),
            *("✓" if name in has else "–" for name in names),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ring_table(table: Table, kernels: Sequence[str]) -> str:
    order = [operation.name for operation in table.operations]
    lines = [
        f"| opcode | number | operation | path_source | {' | '.join(kernels)} |",
        "|---|---|---|---|" + "---|" * len(kernels),
    ]
    for row in sorted(table.rings, key=lambda row: order.index(row.operation)):
        operation = row.operation
        if "then_operation" in row.arguments:
            operation += f"; with {row.arguments['if_flag'].removeprefix('AA_')} {_operation(row)}"
        if "when" in row.arguments:
            operation += "; only MADV_REMOVE"
        is_known = row.number != 255
        marks = ("✓" if not is_known or row.number < _OPCODES.get(name, 0) else "–" for name in kernels)
        cells = (
            f"`{row.name}`" if is_known else "any other",
            str(row.number) if is_known else "",
            operation,
            names_told(row),
            *(mark if name in _OPCODES else "–" for name, mark in zip(kernels, marks, strict=True)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _aio_table(table: Table) -> str:
    lines = ["| command | number | operation | path_source |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.number} | {row.operation} | {names_told(row)} |" for row in table.aio]
    return "\n".join(lines) + "\n"


def _opener_table(table: Table) -> str:
    lines = [
        "| operation | `via` | `syscall` | done by | by kprobe, fentry | by tracepoint |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {operation} | {via} | `{name}` | {words} | witnessed | blind |"
        for via, name, operation, words in table.openers
    ]
    return "\n".join(lines) + "\n"


def _evasion_table() -> str:
    """What is silent comes last."""
    lines = ["| way | reported | announced by | silent | remark |", "|---|---|---|---|---|"]
    for evasion in sorted(EVASIONS, key=lambda evasion: bool(evasion.silent)):
        announced = _quoted(evasion.announced.split()) or ("counted when the trace begins" if evasion.before else "")
        told = _reported(evasion), announced
        lines.append(f"| {' | '.join((evasion.way, *told, evasion.silent, evasion.remark))} |")
    return "\n".join(lines) + "\n"


def _reported(evasion: Evasion) -> str:
    told = ", ".join(evasion.told.split())
    if evasion.below is not None:
        told += f"{'; ' if told else ''}by kprobe, fentry: {', '.join(evasion.below.split())}"
    return told


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.coverage", description=(__doc__ or "").split("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    action.add_argument("--record", metavar="KERNEL", help="as 6.12")
    options = parser.parse_args(arguments)
    if options.record:
        _record(options.record, sys.stdin.read())
        return 0
    text = document(read_table(), read_kernels())
    if options.write:
        (ROOT / DOCUMENT).write_text(text)
        return 0
    if (ROOT / DOCUMENT).read_text() == text:
        return 0
    print(f"{DOCUMENT} is out of date: python -m scripts.coverage --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
