# SPDX-License-Identifier: MIT
"""The trace as lines for people: one event a line, in columns, safe to print on a terminal."""

from __future__ import annotations

import errno
import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from aa_fileio.integrations.argument_words import argument_words
from aa_fileio.integrations.json_lines import flag_names

if TYPE_CHECKING:
    from aa_fileio import FileEvent

HEADER = f"{'TIME':<15} {'PID':>7} {'COMMAND':<15} {'CALL':<10} {'RESULT':<15} {'TOOK':>8}  PATH"

# Taken as they are; everything else is quoted, so that no name can pass for two columns, for " -> " or for a remark.
_PLAIN = re.compile(r"[^\s\"\\\[\]]+")
# cp asks for the largest number there is, and means the whole file.
_ALL = 1 << 62
_NAMED_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


@lru_cache(maxsize=8192)
def shown(name: str) -> str:
    """The name as it is, or in double quotes with C escapes: bytes that are not text and ASCII controls as \\xNN, what
    a terminal would act upon or not show as \\uNNNN."""
    if name.isprintable() and _PLAIN.fullmatch(name):
        return name
    return '"' + "".join(_escaped(character) for character in name) + '"'


def event_line(event: FileEvent) -> str:
    when = event.time.astimezone()
    return (
        f"{when:%H:%M:%S}.{when.microsecond:06d} {event.pid:>7} {shown(event.comm):<15} {event.op!s:<10} "
        f"{_result(event):<15} {duration_shown(event.duration_ns):>8}  {_names(event)}"
    )


def time_shown(when: datetime) -> str:
    return f"{when.astimezone():%H:%M:%S.%f}"


def printable(text: str) -> str:
    """A message with the names in it made safe to print."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    named = _NAMED_ESCAPES.get(character)
    if named is not None:
        return named
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how os.fsdecode carries a byte that is not text
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _result(event: FileEvent) -> str:
    if event.return_code is None:
        return "not told"
    if event.return_code < 0:
        # The kernel's own restart codes (-512 …) have no name outside it.
        return errno.errorcode.get(event.errno or 0, str(event.return_code))
    if event.bytes is not None:
        if event.count is None:
            return str(event.bytes)
        if event.op == "stat" and event.count == 0:  # how long it is was all that was asked
            return f"size {event.bytes}"
        if event.op == "copy" and event.count >= _ALL:
            return f"{event.bytes} of all"
        return f"{event.bytes} of {event.count}"
    match str(event.op):
        case "open" | "memfd":
            return "ok" if event.fd is None else f"fd {event.return_code}"
        case "dup":
            return f"fd {event.return_code}" if event.fd is None else f"fd {event.fd} -> {event.return_code}"
        case "close" if event.syscall != "close_range" and event.fd is not None:
            return f"fd {event.fd}"
    return "ok"


def duration_shown(duration_ns: int | None) -> str:
    """In at most eight characters."""
    if duration_ns is None:
        return "-"
    if duration_ns < 10_000:
        return f"{duration_ns} ns"
    if duration_ns < 10_000_000:
        return f"{duration_ns // 1_000} us"
    if duration_ns < 10_000_000_000:
        return f"{duration_ns // 1_000_000} ms"
    return f"{duration_ns // 1_000_000_000} s"


def _names(event: FileEvent) -> str:
    parts = [shown(event.path) if event.path is not None else _nameless(event)]
    if event.new_path is not None:
        parts += ["->", shown(event.new_path)]
    parts += argument_words(event)
    remarks = flag_names(event.path_flags)
    source = str(event.path_source)
    if source not in ("file", "dentry", "none"):
        remarks.insert(0, source.replace("_", " "))
    if event.via != "syscall":
        remarks.insert(0, str(event.via))
    if event.sensitive:
        remarks.insert(0, "sensitive")
    elif event.sensitive is None:
        remarks.insert(0, "sensitive?")
    if remarks:
        parts.append(f"[{', '.join(remarks)}]")
    return " ".join(parts)


def _nameless(event: FileEvent) -> str:
    if event.syscall == "close_range":
        return f"<from fd {event.fd} on>"
    what = str(event.kind) if event.kind is not None else "no name"
    return f"<fd {event.fd}: {what}>" if event.fd is not None else f"<{what}>"
