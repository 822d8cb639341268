# SPDX-License-Identifier: MIT
"""Events of our own making and a manager in Python, so that the command line is tested without a kernel."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aa_fileio import FileEvent, RuleNote, Stats, Totals


def _ignored_signals() -> frozenset[int]:
    """By the kernel's word, but for the two that Python ignores itself; under nohup there are some."""
    bits = int(re.search(r"^SigIgn:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1], 16)  # type: ignore[index]
    given = {number for number in signal.valid_signals() if bits >> (number - 1) & 1}  # the C library keeps two
    return frozenset(given - {signal.SIGPIPE, signal.SIGXFSZ})


#: How a command begins, in whatever way it is traced: with what the shell gave.
AS_GIVEN: dict[str, Any] = {
    "close_fds": False,
    "ignored_signals": _ignored_signals(),
    "keep_capabilities": False,
    "like_exec": True,
}


def make_event(op: str | int = "read", **given: Any) -> FileEvent:
    """A successful read of /etc/hosts, but for what is given."""
    usual: dict[str, Any] = {
        "timestamp_ns": 5_000_000_000,
        "time": datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC),
        "pid": 4242,
        "comm": "cat",
        "path": "/etc/hosts",
        "path_source": "file",
    }
    if op == "read":
        usual.update(fd=3, count=4096, bytes=12, kind="file", duration_ns=1500)
    return FileEvent(op=op, **(usual | given))


def make_stats(**counters: Any) -> Stats:
    """A ledger of nothing, but for what is given."""
    usual: dict[str, Any] = dict.fromkeys(Stats._fields, 0)
    return Stats(**(usual | {"inexact_reason": None} | counters))


@dataclass
class FakeProcess:
    pid: int = 2**22 + 1  # above what the kernel gives out
    status: int = 0
    returncode: int | None = None
    signals: list[int] = field(default_factory=list)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self.returncode = self.status
        return self.status

    def group_signals(self) -> list[int] | None:
        return None

    def stopped_by(self) -> int | None:
        return None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class FakeManager:
    """Hands out `batches` one by one, then the end; remembers what was done with it."""

    def __init__(self, batches: list[list[FileEvent]] | None = None, **counters: Any) -> None:
        self.batches = list(batches or [])
        self.process = FakeProcess()
        self.backend = "kprobe"
        self.rule_notes: tuple[RuleNote, ...] = ()
        self.passed_over: tuple[tuple[str, str], ...] = (("fentry", "no trampolines"),)
        self.pid: int | None = self.process.pid
        self.done: list[str] = []
        self.on_poll: Callable[[], None] = lambda: None
        self.stats = make_stats(**counters)
        self.counted: list[Totals] = []

    def attach(self) -> None:
        self.done.append("attach")

    def poll(self, timeout: float | None = None, max_events: int | None = None) -> list[FileEvent] | None:
        self.on_poll()
        return self.batches.pop(0) if self.batches else None

    def totals(self) -> Totals:
        """What `counted` has, one after the other, and then the last again."""
        return self.counted.pop(0) if len(self.counted) > 1 else self.counted[0]

    def detach(self, *, wait: bool = True) -> None:
        self.done.append("detach")

    def close(self) -> None:
        self.done.append("close")
