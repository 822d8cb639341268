# SPDX-License-Identifier: MIT
"""What this process was given by whoever started it, for the command: signals that are ignored, the environment, which
of the descriptors 0, 1 and 2 are open."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Set by the launcher (csrc/launcher/): the ignored signals as hexadecimal bits, and whether LC_CTYPE was set.
START = "AA_FILEIO_START"

# What CPython sets LC_CTYPE to by itself, in a C locale (PEP 538).
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
# Ignored by CPython itself.
_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Inherited(NamedTuple):
    ignored: frozenset[int]
    """Signals. Without the launcher SIGPIPE and SIGXFSZ are taken for not ignored: Python ignores both."""
    closed: frozenset[int]
    """Of the descriptors 0, 1 and 2."""


_taken: Inherited | None = None


def take_inherited() -> Inherited:
    """Looks, once in a process, and puts right what would keep the program from its work."""
    global _taken
    if _taken is None:
        _taken = Inherited(_ignored(), _fill_standard())
        if signal.SIGCHLD in _taken.ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the kernel would keep no exit status for us
    return _taken


def _ignored() -> frozenset[int]:
    start = os.environ.pop(START, "")
    with suppress(ValueError):
        bits, _, has_ctype = start.partition(",")
        ignored = frozenset(number for number in range(1, 65) if int(bits, 16) >> (number - 1) & 1)
        if has_ctype == "0":
            os.environ.pop("LC_CTYPE", None)
        return ignored
    _drop_coerced_locale()
    return frozenset(
        int(number) for number in signal.valid_signals() - set(_BY_PYTHON) if signal.getsignal(number) is signal.SIG_IGN
    )


def _drop_coerced_locale() -> None:
    if os.environ.get("LC_CTYPE") in _COERCED:
        with suppress(OSError):
            given = Path("/proc/self/environ").read_bytes()
            if not any(entry.startswith(b"LC_CTYPE=") for entry in given.split(b"\0")):
                del os.environ["LC_CTYPE"]


def _fill_standard() -> frozenset[int]:
    """What is opened next would get the number of one that is closed, and be written to as standard output. The command
    finds it closed all the same: these close themselves when it begins."""
    closed = []
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.append(descriptor)
    for descriptor in closed:
        with suppress(OSError):  # without /dev
            opened = os.open("/dev/null", os.O_RDWR)
            if opened != descriptor:
                os.close(opened)
    return frozenset(closed)
