# SPDX-License-Identifier: MIT
"""What a call was asked to do, in words: flags and modes by the names that Python's own modules have for them, and as
numbers where they have none."""

from __future__ import annotations

import mmap
import os
import stat
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from aa_fileio import BLIND_SPOTS

if TYPE_CHECKING:
    from aa_fileio import FileEvent

_Bits = tuple[tuple[str, int], ...]


def _bits(module: ModuleType, *names: str) -> _Bits:
    # Off Linux some are not there.
    return tuple((name, bit) for name in names if (bit := getattr(module, name, 0)))


_ACCESS = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}
# Those that say what the open may do to the file. O_CLOEXEC stands on nearly every line and says nothing about it.
_OPEN = _bits(os, "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH")
_O_TMPFILE = getattr(os, "O_TMPFILE", 0)

_PROTECTION = _bits(mmap, "PROT_READ", "PROT_WRITE", "PROT_EXEC")
_MAP_TYPE = 0x0F  # a number, not bits: 3 is MAP_SHARED_VALIDATE
_MAP_TYPES = {bit: name for name, bit in _bits(mmap, "MAP_SHARED", "MAP_PRIVATE")}
_MAP = _bits(mmap, "MAP_DENYWRITE", "MAP_EXECUTABLE", "MAP_POPULATE", "MAP_STACK")
_ADVICE = {bit: name for name, bit in _bits(mmap, "MADV_REMOVE")}
_ACCESS_ASKED = _bits(os, "R_OK", "W_OK", "X_OK")
_TYPES = {bit: name for name, bit in _bits(stat, "S_IFREG", "S_IFCHR", "S_IFBLK", "S_IFIFO", "S_IFSOCK")}

_SPLICE = _bits(os, "SPLICE_F_MOVE", "SPLICE_F_NONBLOCK", "SPLICE_F_MORE")
_ONE_WRITE = _bits(os, "RWF_HIPRI", "RWF_DSYNC", "RWF_SYNC", "RWF_NOWAIT", "RWF_APPEND")
_XATTR = _bits(os, "XATTR_CREATE", "XATTR_REPLACE")
# A flag is what its call says it is: the same bit is another thing elsewhere.
_FLAGS: dict[str, _Bits] = {
    "dup3": _bits(os, "O_CLOEXEC"),
    "memfd_create": _bits(os, "MFD_CLOEXEC", "MFD_ALLOW_SEALING", "MFD_HUGETLB"),
    "preadv2": _ONE_WRITE,
    "pwritev2": _ONE_WRITE,
    "setxattr": _XATTR,
    "lsetxattr": _XATTR,
    "fsetxattr": _XATTR,
    "splice": _SPLICE,
    "tee": _SPLICE,
    "vmsplice": _SPLICE,
    **dict.fromkeys((f"IORING_OP_{read}" for read in ("READ", "READV", "READ_FIXED", "READV_FIXED")), _ONE_WRITE),
    **dict.fromkeys((f"IORING_OP_{write}" for write in ("WRITE", "WRITEV", "WRITE_FIXED", "WRITEV_FIXED")), _ONE_WRITE),
    "IORING_OP_SETXATTR": _XATTR,
    "IORING_OP_FSETXATTR": _XATTR,
    "IORING_OP_SPLICE": _SPLICE,
    "IORING_OP_TEE": _SPLICE,
}


def argument_words(event: FileEvent) -> list[str]:
    """What stands behind the names: mode, flags, and the bytes that are meant."""
    op = str(event.op)
    words: list[str] = []
    if op == "blind_spot":
        return [f"{event.syscall}: {BLIND_SPOTS.get(event.syscall, 'what it does is not seen')}"]
    if event.mode is not None:
        words += _mode_words(op, event.mode)
    if event.flags is not None:
        words += _flag_words(op, event.syscall, event.flags)
    if (
        event.count is not None
        and event.bytes is None
        and not (op == "sync" and event.via != "syscall" and not event.count)
    ):
        # Of a call that moves bytes the result tells them.
        words.append(f"to {_bytes(event.count)}" if op == "truncate" else _bytes(event.count))
        if event.offset is not None:
            words.append(f"at {event.offset}")
    return words


@lru_cache(maxsize=256)
def _mode_words(op: str, mode: int) -> tuple[str, ...]:
    match op:
        case "mkdir" | "chmod":
            return (f"mode 0{mode:03o}",)
        case "mknod":
            name = _TYPES.get(stat.S_IFMT(mode) if mode < 1 << 16 else 0)
            return (name, f"mode 0{stat.S_IMODE(mode):03o}") if name else (f"mode 0{mode:03o}",)
        case "map":
            return (_joined(_PROTECTION, mode) or "PROT_NONE",)
        case "stat":
            return (_joined(_ACCESS_ASKED, mode) or "F_OK",)
    return ()  # of an open: what a new file gets


@lru_cache(maxsize=256)
def _flag_words(op: str, syscall: str, flags: int) -> tuple[str, ...]:
    if op == "open":
        return (_open_flags(flags),)
    if op == "rmdir" or not flags:  # by unlinkat, whose one flag makes it a rmdir
        return ()
    if op == "map":
        kind = _MAP_TYPES.get(flags & _MAP_TYPE)
        if kind is not None:
            rest = _joined(_MAP, flags & ~_MAP_TYPE)
            return (f"{kind}|{rest}" if rest else kind,)
    if syscall in ("madvise", "IORING_OP_MADVISE") and flags in _ADVICE:
        return (_ADVICE[flags],)
    known = _FLAGS.get(syscall, ())
    if any(flags & bit for _, bit in known):
        return (_joined(known, flags),)
    return (f"flags {flags:#x}",)


def _joined(known: _Bits, value: int) -> str:
    """NAME|NAME|0x10: what has no name stays a number."""
    words = []
    for name, bit in known:
        if value & bit:
            words.append(name)
            value &= ~bit
    if value:
        words.append(f"{value:#x}")
    return "|".join(words)


def _open_flags(flags: int) -> str:
    names = [_ACCESS.get(flags & os.O_ACCMODE, "O_ACCMODE")]
    names += [name for name, bit in _OPEN if flags & bit]
    if _O_TMPFILE and flags & _O_TMPFILE == _O_TMPFILE:
        names.append("O_TMPFILE")
        names.remove("O_DIRECTORY")
    return "|".join(names)


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
