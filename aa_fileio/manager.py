# SPDX-License-Identifier: MIT
"""KprobeManager: what the native one does, with the manners of Python around it: with, async for, logging, spawn."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from aa_fileio import _native
from aa_fileio.ledger import Health, SyscallInfo, Target
from aa_fileio.totals import totals_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from aa_fileio._native import FileEvent
    from aa_fileio.process import Command, SpawnedProcess, Stream, StrOrBytesPath
    from aa_fileio.totals import Totals

__all__ = ["KPROBE_TARGETS", "SYSCALLS", "UNSET", "KprobeManager", "ManagerOptions", "keep_loaded"]

_log = logging.getLogger("aa_fileio")

SYSCALLS: Final[tuple[SyscallInfo, ...]] = tuple(
    SyscallInfo(name, number, op, program, function) for name, number, op, program, function, _origin in _native.calls()
)
"""The whole table of system calls."""

KPROBE_TARGETS: Final[tuple[tuple[str, str], ...]] = tuple(
    (program + suffix, function)
    for _name, _number, _op, program, function, origin in _native.calls()
    if origin
    for suffix in ("", "_ret")
)
"""The fourteen (program, kernel function) pairs this package began with. The list never grows: see SYSCALLS."""

# An event that is there at once lets no other task run; after this many in a row the others get their turn.
_EVENTS_PER_TURN = 64


@contextlib.contextmanager
def keep_loaded() -> Iterator[None]:
    """
    What a trace has loaded stays in the kernel, attached nowhere, until the block ends, and the next manager with the
    same options takes it over: attaching then takes a few milliseconds. For programs that trace many things one after
    the other, as a test suite does::

        with keep_loaded():
            for command in commands:
                with KprobeManager.spawn(command) as m:
                    ...

    Nothing of one trace gets into the next. Up to four are kept, each with its ring (`ring_bytes`), when their managers
    are closed. By fentry, with path rules and where one processor is online all is unloaded as ever. Blocks may be
    nested, and begun in any thread.
    """
    _native._keep_loaded(True)
    try:
        yield
    finally:
        _native._keep_loaded(False)


class _Unset(enum.Enum):
    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset.UNSET
"""Stands for an argument that was not given, where None means something."""


class ManagerOptions(TypedDict, total=False):
    """The options of KprobeManager without its pid, for spawn()."""

    follow: bool
    until: Literal["tree", "root"]
    ops: Iterable[str] | None
    kinds: Iterable[str] | None
    errors_only: bool
    min_duration_ns: int
    backend: str | None
    latency: bool
    multi: bool
    totals: bool
    totals_rows: int
    events: bool
    max_delay_ms: int
    ring_bytes: int
    queue_bytes: int
    watch: Iterable[StrOrBytesPath] | None
    sensitive: Iterable[StrOrBytesPath] | None
    ignore: Iterable[StrOrBytesPath] | None
    witness_io: bool


class KprobeManager(_native.KprobeManager):
    """Watches the files a process tree touches: attach, read events, detach.

    pid          process to watch; None: the whole system, this process excluded
    follow       also its threads, children, their children and orphans; False: this one process, threads included
    until        "tree": the stream ends when the last watched process has exited; "root": when the given one has
    ops          operations to watch: Op, lower-case names, and groups; None: the default set; "blind_spot" is told in
                 any case. "writes": what changes a file or a name (`event.changes`); "modify": the operations that
                 can, read-only opens among them; "access": open, read, map, exec
    kinds        kinds of object a descriptor may name; None: file, dir, symlink, memfd, device. Others are filtered
    errors_only  only calls that fail; others are filtered
    min_duration_ns  only calls that take at least so long; others are filtered. Not with latency=False
    backend      None: the best this kernel allows; a name: that one or an error
    latency      False: no entry probe where the call's data can be had at its return; duration_ns is None then
    multi        kprobe: one link for many functions, where the kernel misses nothing by that; False: one probe for each
    totals       True: calls are counted in the kernel too, by process, operation and file: see totals()
    totals_rows  for how many of those there is room, a power of two from 64 to 1048576
    events       False: totals alone; the stream has no events, and ends as ever
    max_delay_ms how long an event may wait in the kernel before it is taken out with all others, from 1 to 20
    ring_bytes   room between kernel and core, a power of two
    queue_bytes  room between core and Python
    watch        only events about these paths; others are filtered. What a rule means: README, "Path rules"
    sensitive    events about these are kept whatever the other two say, and `event.sensitive` is True:
                 DEFAULT_SENSITIVE offers some
    ignore       events about nothing but these are filtered
    witness_io   True: not only opens but reads and writes, too, that nothing traced explains are told (Via.KERNEL) and
                 counted in `stats.bypass`; each read and write is looked at once more. By kprobe and fentry alone

    Wrong types are TypeError and wrong values ValueError, before anything is attached.
    """

    KPROBE_TARGETS: Final = KPROBE_TARGETS

    _process: SpawnedProcess | None = None
    _is_awaited = False
    _events_in_a_row = 0

    @classmethod
    def spawn(
        cls,
        argv: Command,
        *,
        cwd: StrOrBytesPath | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        start_new_session: bool = False,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Iterable[str | int] | None = None,
        close_fds: bool = True,
        pass_fds: Iterable[int] = (),
        ignored_signals: Iterable[int] | None = None,
        keep_capabilities: bool = False,
        like_exec: bool = False,
        **options: Unpack[ManagerOptions],
    ) -> Self:
        """Starts a command that is watched from its first instruction, and returns the attached manager.

        The command is held before its exec until the probes are attached. The arguments are those of subprocess.Popen;
        `process` of the manager has its pid, returncode, wait() and pipes. A failed exec raises what Popen raises, a
        failed attach what attach() raises: either way nothing is attached and no child is left.

        close_fds          as Popen: True: the command gets no descriptor but 0, 1, 2 and `pass_fds`; False: every
                           descriptor that is inheritable. With `pass_fds` it is True
        ignored_signals    the signals that the command begins with ignored, all others with their default; None: those
                           that are ignored here, but SIGPIPE and SIGXFSZ, which Python itself ignores. The mask of
                           blocked signals is the calling thread's
        keep_capabilities  False: a command that is not root's gets neither CAP_BPF nor CAP_PERFMON by the ambient or
                           the inheritable set of this process
        like_exec          True: as if this process had executed the command itself: a file that is no program goes to
                           /bin/sh, as execvp(3) does it; PR_SET_PDEATHSIG of this thread becomes the command's; and
                           process.group_signals() tells which signals the command got without us. The soft limits
                           on descriptors, file size, memory and time stay the command's: ours become the hard ones
        """
        from aa_fileio.process import SpawnedProcess, raise_soft_limits

        if "pid" in options:
            raise TypeError("spawn() takes no pid: it watches the command it starts")
        manager = cls(**options)  # first: a wrong option must not start anything
        process = SpawnedProcess(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=start_new_session,
            user=user,
            group=group,
            extra_groups=extra_groups,
            close_fds=close_fds,
            pass_fds=pass_fds,
            ignored_signals=ignored_signals,
            keep_capabilities=keep_capabilities,
            like_exec=like_exec,
        )
        try:
            if like_exec:
                raise_soft_limits()  # the command has its own by now
            manager._attach(process.pid, held=True)
            process._release()
        except BaseException:
            process._abandon()
            manager.close()
            raise
        manager._process = process
        return manager

    def totals(self) -> Totals:
        """What has been counted since attach, or had been at detach: calls, errors, bytes moved and how long they took,
        by process, operation and file.

        Counted in the kernel before any event is sent, so exact also where the ring or the queue overflows; what
        `kinds`, `errors_only` or `min_duration_ns` leaves out is not counted. A reading while calls go on may have a
        call's bytes and not yet its duration; after detach all is there. RuntimeError without totals=True or before
        attach().
        """
        return totals_of(self._total_rows(), self.stats)

    def health(self, timeout: float = 2.0) -> Health:
        """Looks whether the probes are still those that were attached, and still tell.

        The kernel is asked, by our own descriptors, about each link and its program, and whether kprobes and ftrace are
        switched on. Then a thread of our own makes one call of each asked operation's calls, which all fail at once
        and change nothing, and whether each came back through the ring is seen within the timeout (seconds). These
        are ``stats.canaries``, and no events. With ``totals=True`` no call is made: a row could not be told from the
        program's own. RuntimeError when not attached, ValueError when closed.
        """
        return Health(*self._health(timeout))

    @property
    def process(self) -> SpawnedProcess:
        """The command that spawn() started; AttributeError for a manager made otherwise."""
        if self._process is None:
            raise AttributeError("this KprobeManager has no process: it was not made by spawn()")
        return self._process

    def attach(self, pid: int | _Unset | None = UNSET) -> None:  # type: ignore[override]  # held is spawn()'s
        """Attaches the probes and starts a new ledger.

        pid: not given: the one of the constructor; None: the whole system; a number: replaces it.

        All or nothing. RuntimeError when attached already; ValueError for 0, a negative or too large number, a thread,
        a kernel thread; ProcessLookupError when the process is dead; else ProbeAttachError, PermissionDenied or
        BackendUnavailable.
        """
        self._attach(pid, held=False)

    def _attach(self, pid: int | _Unset | None, *, held: bool) -> None:
        try:
            if pid is UNSET:
                super().attach()
            else:
                super().attach(pid, held=held)
        except Exception as error:
            _log.error("attach failed: %s", error)
            raise
        try:
            self._log_probes("attached to", self._known_targets())
        except BaseException:
            # The caller is told that it failed, and will not detach.
            super().detach()
            raise

    def detach(self, *, wait: bool = True) -> None:
        """Detaches the probes; does nothing when none are attached.

        With wait it returns when nothing of ours is left in the kernel. What was captured can still be read.
        """
        targets = self._known_targets()
        super().detach(wait=wait)
        self._log_probes("detached from", targets)

    def close(self) -> None:
        """Detaches and discards what was not read. Afterwards only close, is_attached, stats and repr work."""
        targets = self._known_targets()
        super().close()
        self._log_probes("detached from", targets)

    def __enter__(self) -> Self:
        if not self.is_attached:
            self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_attached:
            return
        try:
            self.detach()
        except Exception as failure:
            if error is None:
                raise
            _log.exception("detach failed after an exception in the with statement")
            error.add_note(f"aa_fileio: detach failed as well: {failure!r}")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FileEvent:
        if self._events_in_a_row >= _EVENTS_PER_TURN:
            await self._let_others_run()
        events = self.poll(0, 1)
        while events == []:
            await self._wait_readable()
            try:
                events = self.poll(0, 1)
            except ValueError:  # closed while we waited, which ends a waiting `for` too
                raise StopAsyncIteration from None
        if events is None:
            raise StopAsyncIteration
        self._events_in_a_row += 1
        return events[0]

    async def _let_others_run(self) -> None:
        import asyncio

        self._running_loop()
        self._events_in_a_row = 0
        await asyncio.sleep(0)

    @staticmethod
    def _running_loop() -> AbstractEventLoop:
        import asyncio

        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "`async for` over a KprobeManager needs a running asyncio loop, and here is none; another framework "
                "waits in a thread for what poll() returns: under trio `await trio.to_thread.run_sync(m.poll)`"
            ) from None

    async def _wait_readable(self) -> None:
        import asyncio

        if self._is_awaited:
            raise RuntimeError("another task is reading this KprobeManager")
        self._events_in_a_row = 0
        loop = self._running_loop()
        # A descriptor of our own: it stays valid, and keeps the last wake-up, when close() closes the manager's.
        fd = os.dup(self.fileno())
        self._is_awaited = True
        try:
            readable = asyncio.Event()
            loop.add_reader(fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(fd)
        finally:
            self._is_awaited = False
            os.close(fd)

    def _known_targets(self) -> Sequence[Target] | None:
        """What is attached, for the log; None when there is nothing to say or nobody listens."""
        if not _log.isEnabledFor(logging.INFO) or not self.is_attached:
            return None
        try:
            return self.targets
        except (OSError, RuntimeError) as error:
            _log.warning("what is attached could not be read back: %s", error)
            return ()

    def _log_probes(self, what: str, targets: Sequence[Target] | None) -> None:
        if targets is None:
            return
        for target in targets:
            if target.present:
                _log.debug("%s %s: %s (%s)", what, target.function, target.program, target.backend)
            else:
                _log.debug("%s: this kernel has no %s", target.program, target.function)
        present = [target for target in targets if target.present]
        _log.info(
            "%s %d kernel functions with %d programs: %s",
            what,
            len({target.function for target in present}),
            len(present),
            ", ".join(f"{target.program} on {target.function}" for target in present) or "none",
        )
