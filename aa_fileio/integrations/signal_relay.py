# SPDX-License-Identifier: MIT
"""Signals, taken off the thread that reads events and given to a receiver of ours.

A thread of its own waits for them: the reading thread is then never interrupted between taking events and writing them,
and ``sigwaitinfo`` tells more than a handler is told.
"""

from __future__ import annotations

import errno
import resource
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

SI_KERNEL = 0x80  # include/uapi/asm-generic/siginfo.h: how the terminal's signals are marked

# Those of the terminal and of job control, which do not end a process by default.
_JOB = frozenset((signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGWINCH, signal.SIGCHLD))
# Never taken: two cannot be, one says nothing, and two tell of what we ourselves write.
_LEFT = frozenset((signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGPIPE, signal.SIGXFSZ))
# A fault of our own has to end us, whatever is blocked. Sent by somebody else they are signals as any other.
_FAULTS = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT)
)

#: All that end a process by default.
ENDING = frozenset(int(number) for number in signal.valid_signals() - _JOB - _LEFT)
#: A shell without job control starts `aa-fileio … &` with the first two ignored; they work on us all the same, as they
#: do on tcpdump.
_NEVER_IGNORED = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))

_STACK_BYTES = 1 << 20


class Receiver(Protocol):
    """Whom the signals go to, in the relay's own thread."""

    def receive(self, number: int, from_kernel: bool) -> None: ...

    def receive_early(self, number: int) -> None:
        """One that came between __enter__ and start."""

    def wants_to_decide_in(self) -> float | None:
        """Seconds; None: there is nothing to decide."""

    def decide(self) -> None: ...


def _start_thread(thread: threading.Thread) -> None:
    """Starts it with a small stack: the stack limit may be larger than the address space that is left."""
    threading.stack_size(_STACK_BYTES)  # for later threads, too
    try:
        thread.start()
    except RuntimeError as error:  # Python drops the reason
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        raise OSError(errno.ENOMEM if is_limited else errno.EAGAIN, str(error)) from None


class SignalRelay:
    """From ``__enter__`` on the signals do nothing but be remembered; from :meth:`start` on they go to a receiver.

    The command is started in between, so that it inherits neither a blocked nor an ignored signal from us.

    for_command  every signal is taken, those of job control included, for a command that is to get them; without it
                 those that end a process by default and are not ignored.
    """

    def __init__(self, *, for_command: bool = False) -> None:
        self.early: list[int] = []
        self._for_command = for_command
        self._handlers: dict[int, Any] = {}
        self._signals: set[int] = set()
        self._mask: set[Any] | None = None
        self._thread: threading.Thread | None = None
        self._receiver: Receiver | None = None
        self._is_started = threading.Event()
        self._stopping = False

    def __enter__(self) -> Self:
        for number in sorted(ENDING):
            handler = signal.getsignal(number)
            is_ignored = handler is signal.SIG_IGN
            if is_ignored and not self._for_command and number not in _NEVER_IGNORED:
                continue  # nohup
            self._signals.add(number)
            # What is ignored stays so until the command runs, which has to inherit it.
            if not is_ignored and number not in _FAULTS:
                self._handlers[number] = handler
                signal.signal(number, self._remember)
        if self._for_command:
            self._signals |= {int(number) for number in _JOB}
        return self

    def prepare(self) -> None:
        """Starts the thread, which then waits for :meth:`start`: what can fail comes before the command runs.

        Raises OSError: no thread can be started.
        """
        thread = threading.Thread(target=self._run, name="aa-fileio-signals", daemon=True)
        _start_thread(thread)
        self._thread = thread

    def start(self, receiver: Receiver) -> None:
        # One that is blocked is kept for us, also where it is ignored.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        early, self.early = self.early, []
        if self._for_command:
            early.append(signal.SIGCHLD)  # the command may have stopped already, which nothing was waiting for
        for number in early:
            receiver.receive_early(number)
        self._receiver = receiver
        self._is_started.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None and self._thread.ident is not None:
            self._stopping = True
            self._is_started.set()
            if self._receiver is not None:
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

    def _next(self, seconds: float | None) -> signal.struct_siginfo | None:
        return signal.sigwaitinfo(self._signals) if seconds is None else signal.sigtimedwait(self._signals, seconds)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._is_started.wait()
        if self._receiver is not None:
            self._wait(self._receiver)

    def _wait(self, receiver: Receiver) -> None:
        while True:
            info = self._next(receiver.wants_to_decide_in())
            if self._stopping:
                return
            if info is None:
                # Only where no other waits: what came meanwhile belongs to what is decided.
                receiver.decide()
            else:
                receiver.receive(info.si_signo, info.si_code == SI_KERNEL)
