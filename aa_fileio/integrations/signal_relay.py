# SPDX-License-Identifier: MIT
"""SIGINT, SIGTERM and SIGHUP, taken off the thread that reads events and given to a function of ours.

A thread of its own waits for them, for two reasons. The reading thread is then never interrupted between taking events
and writing them. And ``sigwaitinfo`` tells who sent the signal, which a handler is not told: Ctrl-C goes from the
terminal to the command as well as to us, and forwarding it would interrupt the command twice, once in its own clean-up.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SI_KERNEL = 0x80  # include/uapi/asm-generic/siginfo.h: how the terminal's signals are marked

#: Called with the signal's number and whether the terminal sent it (to its whole foreground group).
Receive = Callable[[int, bool], None]


class SignalRelay:
    """From ``__enter__`` on the signals do nothing but be remembered; from :meth:`start` on they go to ``receive``.

    The command is started in between, so that it inherits neither a blocked nor an ignored signal from us.
    """

    def __init__(self) -> None:
        self.early: list[int] = []
        self._handlers: dict[int, Any] = {}
        self._signals: set[int] = set()
        self._mask: set[Any] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if number == signal.SIGHUP and handler is signal.SIG_IGN:
                continue  # nohup
            self._handlers[number] = handler
            self._signals.add(number)
            # A shell without job control starts `aa-fileio … &` with SIGINT ignored. The command has to inherit that,
            # so it stays until the command runs; then `kill -INT` works on us all the same, as it does on tcpdump.
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._remember)
        return self

    def start(self, receive: Receive) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for number in self._signals:
            signal.signal(number, self._remember)
        early, self.early = self.early, []
        for number in early:
            receive(number, False)  # before its exec the command could not act upon it, whoever sent it
        self._thread = threading.Thread(target=self._wait, args=(receive,), name="aa-fileio-signals", daemon=True)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None and self._thread.ident is not None:
            self._stopping = True
            signal.pthread_kill(self._thread.ident, signal.SIGTERM)
            self._thread.join()
        if self._mask is not None:
            while signal.sigtimedwait(self._signals, 0) is not None:
                pass  # too late to mean anything: the trace has ended
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.early.append(number)

    def _wait(self, receive: Receive) -> None:
        while True:
            info = signal.sigwaitinfo(self._signals)
            if self._stopping:
                return
            receive(info.si_signo, info.si_code == SI_KERNEL)
