# SPDX-License-Identifier: MIT
"""Calls by the 32-bit table: numbers as linux-libc-dev has them, arguments as syscall(2) and the calls' pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.native.script import Steps

NUMBERS = {
    name: int(number)
    for name, number in re.findall(
        r"#define __NR_(\w+) (\d+)$", Path("/usr/include/x86_64-linux-gnu/asm/unistd_32.h").read_text(), re.MULTILINE
    )
}
# Which of several does what the 64-bit call of that name does, as far as it can.
_NAMES = {
    "chown": "chown32",
    "fchown": "fchown32",
    "fcntl": "fcntl64",
    "ftruncate": "ftruncate64",
    "lchown": "lchown32",
    "mmap": "mmap2",
    "newfstatat": "fstatat64",
    "sendfile": "sendfile64",
    "truncate": "truncate64",
}
# The workload's own questions: what they answer has another layout by the 32-bit table.
ASKING = frozenset({"stat", "fstat", "lstat", "newfstatat"})
# Of 64 bits, in two halves.
_WIDE = frozenset({"truncate", "ftruncate", "fallocate", "sync_file_range"})
_PAGE = 4096
_ALIKE = 424  # from here on the numbers of both tables are the same


def count_bits(name: str) -> int:
    """Of the number of bytes that the call is given."""
    return 64 if name in _WIDE else 32


def _halves(value: Any) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF


def _with_halves(*at: int) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    def fold(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        folded: list[Any] = []
        for index, argument in enumerate(arguments):
            folded += _halves(argument) if index in at else (argument,)
        return tuple(folded)

    return fold


_FOLDS = {
    "pread64": _with_halves(3),
    "pwrite64": _with_halves(3),
    "truncate": _with_halves(1),
    "ftruncate": _with_halves(1),
    "fallocate": _with_halves(2, 3),
    "sync_file_range": _with_halves(1, 2),
    "fanotify_mark": _with_halves(2),
}


def fold(steps: Steps, name: str, native: int, arguments: tuple[Any, ...]) -> tuple[int, tuple[Any, ...]]:
    """The number and arguments by which a 32-bit program makes this call; native: its number for 64-bit programs."""
    number = native if native >= _ALIKE else NUMBERS[_NAMES.get(name, name)]
    if name in _FOLDS:
        return number, _FOLDS[name](arguments)
    if name in ("preadv", "pwritev", "preadv2", "pwritev2"):
        position, _high, *flags = arguments[3:]
        return number, (*arguments[:3], *_halves(position), *flags)
    if name == "mmap":
        *others, position = arguments
        if position % _PAGE == 0:
            return number, (*others, position // _PAGE)
        # mmap2 counts pages; the older one has its arguments in memory.
        place = steps.script.buffer(24)
        for index, argument in enumerate(arguments):
            steps.poke(place + 4 * index, argument, 4)
        return NUMBERS["mmap"], (place,)
    return number, arguments
