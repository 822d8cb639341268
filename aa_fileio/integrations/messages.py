# SPDX-License-Identifier: MIT
"""What this program says by itself: its name, its failures and their exit status."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

PROGRAM = "aa-fileio"
STATUS_FAILED = 125
STATUS_CANNOT_EXECUTE = 126
STATUS_NOT_FOUND = 127


class UsageError(Exception):
    """What was given and what is allowed, in one line."""


class Failure(Exception):
    """A failure to report: what failed, and the remedy where one is known."""

    def __init__(self, message: str, status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.status = status


def print_text(text: str) -> int:
    if sys.stdout is None:
        raise Failure("standard output is closed: nothing can be printed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def say(message: str, *, wait: bool = True) -> None:
    """On standard error; without `wait` only where that takes it at once."""
    import select

    from aa_fileio.integrations.text_lines import printable

    with suppress(OSError, ValueError):
        if not wait and not select.select((), (2,), (), 0)[1]:
            return
    with suppress(OSError, AttributeError, ValueError):  # stderr may be closed; there is no third place to complain to
        sys.stderr.write("".join(f"{printable(line)}\n" for line in f"{PROGRAM}: {message}".split("\n")))
        sys.stderr.flush()
