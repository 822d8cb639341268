# SPDX-License-Identifier: MIT
"""Which of the signals that came to us the command is still to be sent.

Whoever means the command may send to it alone or to its whole process group, and then it has got the signal without us:
a terminal's keys, timeout(1), `kill 0`. siginfo(7) tells neither from the other. So a process of ours in the same group
counts what it gets (SpawnedProcess.group_signals()): what has come to it has come to the command. timeout(1) sends to
its child and then to the group, of which the second call may come a little later: each signal waits for that long.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from aa_fileio.integrations.signal_relay import ENDING

if TYPE_CHECKING:
    from aa_fileio import SpawnedProcess

#: Between two calls of kill(2) in a row by a sender that the scheduler takes off in between.
WINDOW_SECONDS = 0.05

_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class CommandSignals:
    """A receiver for SignalRelay, while a command runs and after it has ended, when `end` is called instead."""

    def __init__(self, process: SpawnedProcess, end: Callable[[int], None], early: Sequence[int] = ()) -> None:
        """early: those that came before the command ran, and will be received."""
        self._process = process
        self._end = end
        self._group = os.getpgrp()
        # Of the group's, how many are decided upon.
        self._counts = process.group_signals() or [0] * 65
        for number in early:
            self._counts[number] = 0
        self._due: dict[int, float] = {}
        self._from_kernel: set[int] = set()
        self.received: set[int] = set()

    def receive(self, number: int, from_kernel: bool) -> None:
        self.received.add(number)
        if number == signal.SIGCHLD:
            self._stop_with_command()
        elif self._process.poll() is not None:
            if number in ENDING:
                self._end(number)
        else:
            self._due.setdefault(number, time.monotonic() + WINDOW_SECONDS)
            if from_kernel:
                self._from_kernel.add(number)

    def receive_early(self, number: int) -> None:
        self.receive(number, False)
        if number in self._due:
            self._due[number] = 0.0
            self.decide()

    def wants_to_decide_in(self) -> float | None:
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - time.monotonic())

    def decide(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            has_got = self._has_got(number)
            self._from_kernel.discard(number)
            if not has_got:
                with suppress(OSError):
                    self._process.send_signal(number)

    def _has_got(self, number: int) -> bool:
        counts = self._process.group_signals()
        if counts is None:
            # Nobody of ours in the group: the terminal, at least, sends to the whole group.
            reached_group = number in self._from_kernel
        else:
            reached_group = counts[number] != self._counts[number]
            self._counts[number] = counts[number]
        return reached_group and _group_of(self._process.pid) == self._group

    def _stop_with_command(self) -> None:
        """Whoever waits for us sees the command stop, as a shell does to take its terminal back. What lets us go on has
        let the command go on, or is sent on to it."""
        number = self._process.stopped_by()
        if number is None:
            return
        if number in _STOPPING and signal.getsignal(number) is signal.SIG_DFL:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
            signal.pthread_kill(threading.get_ident(), number)
            signal.pthread_sigmask(signal.SIG_BLOCK, (number,))
        else:
            os.kill(os.getpid(), signal.SIGSTOP)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


class TraceSignals:
    """A receiver for SignalRelay where there is no command: every signal ends the trace."""

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end

    def receive(self, number: int, from_kernel: bool) -> None:
        self._end(number)

    def receive_early(self, number: int) -> None:
        self._end(number)

    def wants_to_decide_in(self) -> float | None:
        return None

    def decide(self) -> None:
        """There is never anything."""
