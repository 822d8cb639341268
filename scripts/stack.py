# SPDX-License-Identifier: MIT
"""Checks how much stack the kernel side's programs use, as the strictest verifier counts it.

    python scripts/stack.py aa_fileio/_native.abi3.so     a line for each object in the extension, and what is too deep
    python scripts/stack.py --programs FILE…              a line for each program; a FILE may also be an object

A kernel up to 6.7 rounds each function of a chain of calls up to 32 bytes and refuses a chain over 512
(kernel/bpf/verifier.c, check_max_stack_depth()); newer kernels round less. The depth of one function is read from its
instructions: how far below r10 it goes. That is never less than what the verifier finds, which leaves out code that
cannot run.

Exit status: 1 if a chain is too deep, 2 if a file cannot be read.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STACK_LIMIT = 512  # MAX_BPF_STACK
FRAME_LIMIT = 8  # MAX_CALL_FRAMES
TAIL_CALL_LIMIT = 256  # of the callers of a function with a tail call
_ROUND = 32
_TAIL_CALL = 12  # BPF_FUNC_tail_call
_FRAME_POINTER = 10

_OBJECT = b"\x7fELF\x02\x01\x01"  # 64-bit, little-endian
_EM_BPF = b"\xf7\x00"
_SHT_SYMTAB, _SHT_REL = 2, 9
_SHF_EXECINSTR = 4
_STT_FUNC, _STT_SECTION = 2, 3
_CALL, _LOAD_WIDE, _MOVE, _ADD_NUMBER = 0x85, 0x18, 0xBF, 0x07
_LDX, _ST, _STX = 1, 2, 3
_ALU, _ALU64 = 4, 7


class ObjectError(Exception):
    """The file is not an object of BPF programs; the text says which and why."""


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


@dataclass
class Function:
    """A program, or a function that programs call."""

    name: str
    is_program: bool
    stack: int = 0
    has_tail_call: bool = False
    callees: list[Function] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """As the verifier rounds it."""
        return -(-max(self.stack, 1) // _ROUND) * _ROUND


class Chain(NamedTuple):
    """Functions that call one another, the program first."""

    depth: int
    functions: tuple[Function, ...]

    def problem(self) -> str | None:
        """What a kernel refuses of it; None: nothing."""
        if self.depth > STACK_LIMIT:
            return f"{self.depth} bytes of stack, {STACK_LIMIT} are allowed"
        if len(self.functions) > FRAME_LIMIT:
            return f"{len(self.functions)} functions, {FRAME_LIMIT} are allowed"
        return None

    def __str__(self) -> str:
        return f"{self.depth}: " + " → ".join(f"{each.name} ({each.stack})" for each in self.functions)


def objects_of(path: Path, *, required: bool = True) -> list[bytes]:
    """The BPF objects in a file: itself, or those that the extension has inside."""
    data = path.read_bytes()
    found = []
    at = data.find(_OBJECT)
    while at >= 0:
        if data[at + 18 : at + 20] == _EM_BPF:
            found.append(data[at:])
        at = data.find(_OBJECT, at + 1)
    if not found and required:
        raise ObjectError(f"{path} has no BPF object: name the extension or a .o file of the kernel side")
    return found


def read_functions(data: bytes) -> list[Function]:
    """All functions of an object as clang or bpftool writes it."""
    return _Reader(data).functions()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        (offset,) = struct.unpack_from("<Q", data, 40)
        size, count, _ = struct.unpack_from("<HHH", data, 58)
        self._sections = [_Section(*struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size)) for i in range(count)]
        self._symbols: list[tuple[int, int, int, int, int]] = []
        self._names = 0
        for section in self._sections:
            if section.kind == _SHT_SYMTAB:
                self._names = self._sections[section.link].offset
                body = data[section.offset : section.offset + section.size]
                self._symbols = [
                    (name, kind & 15, home, value, length)
                    for name, kind, _, home, value, length in struct.iter_unpack("<IBBHQQ", body)
                ]
        # By section and place.
        self._functions: dict[tuple[int, int], Function] = {}

    def functions(self) -> list[Function]:
        found = []
        for name, kind, home, value, length in self._symbols:
            if kind == _STT_FUNC and self._sections[home].flags & _SHF_EXECINSTR:
                text = self._text(self._names + name)
                function = Function(text, is_program=not self._is_text(home))
                self._functions[home, value] = function
                found.append((function, home, value, length))
        targets = self._targets()
        for function, home, value, length in found:
            self._look(function, home, value, length, targets)
        return [function for function, *_ in found]

    def _text(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode()

    def _is_text(self, home: int) -> bool:
        # The last section name table: e_shstrndx.
        (index,) = struct.unpack_from("<H", self._data, 62)
        return self._text(self._sections[index].offset + self._sections[home].name) == ".text"

    def _targets(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Of each relocated instruction: what its symbol is, the section and the value of that."""
        targets = {}
        for section in self._sections:
            if section.kind != _SHT_REL:
                continue
            body = self._data[section.offset : section.offset + section.size]
            for place, info in struct.iter_unpack("<QQ", body):
                _, kind, home, value, _ = self._symbols[info >> 32]
                targets[section.info, place] = (kind, home, value)
        return targets

    def _look(
        self,
        function: Function,
        home: int,
        start: int,
        length: int,
        targets: dict[tuple[int, int], tuple[int, int, int]],
    ) -> None:
        begin = self._sections[home].offset + start
        lowest = 0
        copies: set[int] = set()  # registers that were r10 an instruction before
        is_second_half = False
        for i, (code, registers, offset, number) in enumerate(
            struct.iter_unpack("<BBhi", self._data[begin : begin + length])
        ):
            if is_second_half:
                is_second_half = False
                continue
            target, source, kind = registers & 15, registers >> 4, code & 7
            place = start + i * 8
            if (kind == _LDX and source == _FRAME_POINTER) or (kind in (_ST, _STX) and target == _FRAME_POINTER):
                lowest = min(lowest, offset)
            if code == _MOVE and source == _FRAME_POINTER:
                copies.add(target)
                continue
            if code == _ADD_NUMBER and target in copies:
                lowest = min(lowest, number)
            if kind in (_LDX, _ALU, _ALU64) or code == _LOAD_WIDE:
                copies.discard(target)
            if code == _LOAD_WIDE:
                is_second_half = True
                relocated = targets.get((home, place))
                # A callback: the verifier takes what is called through it for a call.
                if relocated and self._sections[relocated[1]].flags & _SHF_EXECINSTR:
                    function.callees.append(self._called(relocated, number))
            elif code == _CALL and source == 1:
                relocated = targets.get((home, place))
                # Of a section's symbol the number is the place in it, counted from the instruction after.
                if relocated:
                    function.callees.append(self._called(relocated, (number + 1) * 8))
                else:
                    function.callees.append(self._functions[home, place + (number + 1) * 8])
            elif code == _CALL and source == 0 and number == _TAIL_CALL:
                function.has_tail_call = True
        function.stack = -lowest

    def _called(self, relocated: tuple[int, int, int], within: int) -> Function:
        kind, home, value = relocated
        return self._functions[home, value + (within if kind == _STT_SECTION else 0)]


def deepest(function: Function, known: dict[str, Chain]) -> Chain:
    """The chain from this function on that takes most. BPF knows no recursion."""
    if function.name not in known:
        below = max((deepest(each, known) for each in function.callees), key=lambda chain: chain.depth, default=None)
        known[function.name] = Chain(
            function.bytes + (below.depth if below else 0), (function, *(below.functions if below else ()))
        )
    return known[function.name]


def _longest(function: Function, known: dict[str, int]) -> int:
    if function.name not in known:
        known[function.name] = 1 + max((_longest(each, known) for each in function.callees), default=0)
    return known[function.name]


def _tail_calls(function: Function, above: int) -> Iterator[str]:
    """Functions that programs call, and that jump on from too deep a stack."""
    for each in function.callees:
        if each.has_tail_call and above + function.bytes >= TAIL_CALL_LIMIT:
            yield each.name
        yield from _tail_calls(each, above + function.bytes)


def check(data: bytes) -> tuple[list[Chain], list[str]]:
    """Each program's deepest chain, the deepest first, and what a kernel would refuse."""
    programs = [function for function in read_functions(data) if function.is_program]
    if not programs:
        raise ObjectError("the object has no program")
    known: dict[str, Chain] = {}
    lengths: dict[str, int] = {}
    chains = sorted((deepest(each, known) for each in programs), key=lambda chain: -chain.depth)
    problems = [f"{problem}: {chain}" for chain in chains if (problem := chain.problem())]
    for program in programs:
        if _longest(program, lengths) > FRAME_LIMIT:
            problems.append(f"{lengths[program.name]} functions in a chain, {FRAME_LIMIT} are allowed: {program.name}")
        if program.has_tail_call or any(each.has_tail_call for each in known[program.name].functions):
            problems += [
                f"a tail call from {TAIL_CALL_LIMIT} bytes or more: {program.name} → … → {name}"
                for name in sorted(set(_tail_calls(program, 0)))
            ]
    return chains, problems


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="stack.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--programs", action="store_true", help="a line for each program")
    parser.add_argument(
        "--if-any", action="store_true", help="a file without objects passes (a build without a backend)"
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.files:
        try:
            results = [check(data) for data in objects_of(path, required=not options.if_any)]
        except (OSError, ObjectError) as error:
            print(f"stack.py: {error}", file=sys.stderr)
            return 2
        for i, (chains, problems) in enumerate(results):
            deep = sum(chain.depth == chains[0].depth for chain in chains)
            print(
                f"{path}, object {i}: {len(chains)} programs, the deepest takes {chains[0].depth} of {STACK_LIMIT} "
                f"bytes of stack ({deep} do)"
            )
            for chain in chains if options.programs else ():
                print(f"  {chain}")
            for problem in problems:
                print(f"  too deep: {problem}")
            failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # The reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
