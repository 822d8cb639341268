# SPDX-License-Identifier: MIT
"""Where the tests run, and what must work there. Written down here, never asked of the product."""

from __future__ import annotations

import os
from typing import NamedTuple, NoReturn

import pytest


class Ground(NamedTuple):
    """A kernel the tests run on."""

    name: str
    kernel: str
    backends: tuple[str, ...]
    inexact: tuple[str, ...] = ()  # backends whose own misses this kernel does not count


# The development machine's kernel has neither kprobes nor fprobes; Debian's have both ways in.
GROUNDS = (
    Ground("native", "this machine's", ("tracepoint",)),
    # A BPF program that a kprobe finds busy is skipped; the count of that came with 6.7 (dd8657894c11).
    Ground("bullseye", "5.10", ("kprobe", "tracepoint"), inexact=("kprobe",)),
    Ground("bookworm", "6.1", ("kprobe", "tracepoint"), inexact=("kprobe",)),
    Ground("trixie", "6.12", ("kprobe", "tracepoint")),
    Ground("sid", "7.2", ("kprobe", "tracepoint")),
)

GUEST = os.environ.get("AA_FILEIO_GUEST", "")
HERE = next(ground for ground in GROUNDS if ground.name == (GUEST or "native"))
REQUIRED = os.environ.get("AA_FILEIO_REQUIRE") == "1"

# Nothing may take as long as this; no test passes or fails by being quicker or slower.
HANG_SECONDS = 300.0 if GUEST else 60.0


def scaled(native: int, guest: int) -> int:
    """How often: an emulated machine is ten to twenty times slower."""
    return guest if GUEST else native


def unable(reason: str) -> NoReturn:
    """This machine lacks what a test needs: a skip, or a failure where all must run."""
    if REQUIRED:
        pytest.fail(f"required here, but {reason}")
    pytest.skip(reason)
