# SPDX-License-Identifier: MIT
"""SpawnedProcess: the command of KprobeManager.spawn(), as much like subprocess.Popen as it can be."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TypeAlias

from aa_fileio import _native

# subprocess, select and signal are imported where they are used: importing this package shall stay cheap.

__all__ = ["SpawnedProcess"]

_log = logging.getLogger("aa_fileio")

StrOrBytesPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Command: TypeAlias = Sequence[StrOrBytesPath]
Stream: TypeAlias = int | IO[bytes] | IO[str] | None

# Of all that is done before the exec only chdir() fails like this.
_CHDIR_ERRORS = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG)

_FD_MAX = 2**31 - 1
_ID_MAX = 2**32 - 2  # the next one means "leave it as it is"
_WAIT_SECONDS = 0.02  # between two looks at a process that no descriptor tells of
_UNKNOWN_RETURN_CODE = 255  # what asyncio reports too when somebody else has reaped the child


def _encode_argv(argv: Command) -> list[bytes]:
    if isinstance(argv, str | bytes | os.PathLike):
        raise TypeError(
            f"argv must be a list of the command and its arguments, not {argv!r}; "
            "for a line of shell: ['/bin/sh', '-c', line]"
        )
    encoded = [os.fsencode(word) for word in argv]
    if not encoded:
        raise ValueError("argv is empty")
    for word in encoded:
        if b"\0" in word:
            raise ValueError(f"embedded null byte in argv: {word!r}")
    if not encoded[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    return encoded


def _encode_env(env: Mapping[str, str] | Mapping[bytes, bytes] | None) -> list[bytes] | None:
    if env is None:
        return None
    encoded = []
    for name, value in env.items():
        key = os.fsencode(name)
        if not key or b"=" in key:
            raise ValueError(f"illegal environment variable name: {name!r}")
        encoded.append(key + b"=" + os.fsencode(value))
    return encoded


def _executables(command: bytes, env: Mapping[str, str] | Mapping[bytes, bytes] | None) -> list[bytes]:
    """Where to look for the command, as Popen does: a name without a slash along the PATH it is given."""
    if os.path.dirname(command):
        return [command]
    folders = os.get_exec_path(env)  # type: ignore[arg-type]  # it takes bytes too
    return [os.path.join(os.fsencode(folder), command) for folder in folders]


def _user_id(user: str | int | None) -> int | None:
    if isinstance(user, str):
        import pwd

        return pwd.getpwnam(user).pw_uid
    return _checked_id("user", user)


def _group_id(group: str | int | None) -> int | None:
    if isinstance(group, str):
        import grp

        return grp.getgrnam(group).gr_gid
    return _checked_id("group", group)


def _group_ids(groups: Iterable[str | int] | None) -> list[int] | None:
    if groups is None:
        return None
    if isinstance(groups, str | bytes):
        raise TypeError(f"extra_groups must be a list of groups, not {groups!r}")
    return [gid for group in groups if (gid := _group_id(group)) is not None]


def _checked_fds(pass_fds: Iterable[int]) -> list[int]:
    fds = list(pass_fds)
    for fd in fds:
        if isinstance(fd, bool) or not isinstance(fd, int):
            raise TypeError(f"pass_fds must be descriptors, not {fd!r}")
        if not 0 <= fd <= _FD_MAX:
            raise ValueError(f"pass_fds: {fd} is no descriptor")
        os.fstat(fd)  # one that is not open is an error here, and not a command without it
    return fds


def _signal_bits(numbers: Iterable[int] | None) -> int | None:
    if numbers is None:
        return None
    bits = 0
    for number in numbers:
        if not 1 <= number <= 64:
            raise ValueError(f"ignored_signals: {number} is no signal, which are from 1 to 64")
        bits |= 1 << (number - 1)
    return bits


def raise_soft_limits() -> None:
    """A limit on the command does not keep the tracer from its work: as many descriptors, as much memory and time,
    and as large a file as the hard limits allow."""
    import resource

    for which in (
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_CPU,
        resource.RLIMIT_AS,
        resource.RLIMIT_DATA,
    ):
        hard = resource.getrlimit(which)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (hard, hard))


def _checked_id(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a str or an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} is negative: {value}")
    if value > _ID_MAX:
        raise ValueError(f"{name} is too large: {value}, and at most {_ID_MAX} can be one")
    return value


class _Pipes:
    """The child's ends of the three streams, and ours."""

    def __init__(self) -> None:
        self.child = [-1, -1, -1]
        self.ours = [-1, -1, -1]
        self._to_close: list[int] = []

    def set(self, index: int, stream: Stream) -> None:
        import subprocess

        name = ("stdin", "stdout", "stderr")[index]
        if stream is None:
            return
        if not isinstance(stream, int):
            self.child[index] = stream.fileno()
        elif isinstance(stream, bool):
            raise TypeError(f"{name} must be None, PIPE, DEVNULL, a descriptor or a file, not a bool")
        elif stream == subprocess.PIPE:
            reading, writing = os.pipe()
            self.child[index], self.ours[index] = (reading, writing) if index == 0 else (writing, reading)
            self._to_close.append(self.child[index])
        elif stream == subprocess.DEVNULL:
            self.child[index] = os.open(os.devnull, os.O_RDWR)
            self._to_close.append(self.child[index])
        elif stream == subprocess.STDOUT:
            if index != 2:
                raise ValueError(f"{name}: STDOUT can only be used for stderr")
            self.child[2] = self.child[1] if self.child[1] != -1 else 1
        elif not 0 <= stream <= _FD_MAX:
            raise ValueError(f"{name} is no descriptor: {stream}")
        else:
            self.child[index] = stream

    def close_child(self) -> None:
        while self._to_close:
            os.close(self._to_close.pop())

    def close(self) -> None:
        self.close_child()
        for index, fd in enumerate(self.ours):
            if fd != -1:
                os.close(fd)
                self.ours[index] = -1

    def open(self, index: int) -> IO[bytes] | None:
        """Our end as a binary file, which owns it from here on."""
        fd = self.ours[index]
        if fd == -1:
            return None
        file = os.fdopen(fd, "wb" if index == 0 else "rb")
        self.ours[index] = -1
        return file


class SpawnedProcess:
    """A command started by KprobeManager.spawn(); not made otherwise."""

    args: Command
    pid: int
    returncode: int | None
    """Exit status; -n when signal n killed it; None while it runs or nobody has waited. 255 when another part of this
    process has reaped it, so that the status is lost."""
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    # What __del__ asks, also of one whose __init__ was not come to its end.
    _pidfd = -1
    _waited: tuple[int, int] | None = None
    """How it is waited for: by a descriptor, so that a number which somebody else has reaped and the kernel given out
    again is not taken; by its number where pidfd_open(2) is refused. None once it is reaped."""
    _witness: _native.SignalWitness | None = None

    def __init__(
        self,
        args: Command,
        *,
        cwd: StrOrBytesPath | None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None,
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
        start_new_session: bool,
        user: str | int | None,
        group: str | int | None,
        extra_groups: Iterable[str | int] | None,
        close_fds: bool,
        pass_fds: Iterable[int],
        ignored_signals: Iterable[int] | None,
        keep_capabilities: bool,
        like_exec: bool,
    ) -> None:
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._lock = threading.Lock()
        argv = _encode_argv(args)
        executables = _executables(argv[0], env)
        environment = _encode_env(env)
        uid, gid, groups = _user_id(user), _group_id(group), _group_ids(extra_groups)
        passed, ignored = _checked_fds(pass_fds), _signal_bits(ignored_signals)
        self.args = args
        self._command = args[0]
        pipes = _Pipes()
        try:
            for index, stream in enumerate((stdin, stdout, stderr)):
                pipes.set(index, stream)
            if like_exec and not start_new_session:
                with contextlib.suppress(OSError):  # group_signals() is None then
                    self._witness = _native.SignalWitness()
            try:
                self._held = _native.HeldProcess(
                    executables=executables,
                    argv=argv,
                    env=environment,
                    cwd=None if cwd is None else os.fsencode(cwd),
                    stdio=(pipes.child[0], pipes.child[1], pipes.child[2]),
                    start_new_session=start_new_session,
                    uid=uid,
                    gid=gid,
                    close_fds=bool(close_fds or passed),
                    pass_fds=passed,
                    groups=groups,
                    ignored=ignored,
                    keep_capabilities=keep_capabilities,
                    keep_death_signal=like_exec,
                    uses_shell=like_exec,
                )
            except OSError as error:
                if cwd is None or error.errno not in _CHDIR_ERRORS:
                    raise
                raise OSError(error.errno, os.strerror(error.errno), cwd) from None
            pipes.close_child()
            self.pid = self._held.pid
            try:
                self._waited = self._open(self.pid)
                self.stdin, self.stdout, self.stderr = (pipes.open(index) for index in range(3))
            except BaseException:
                self._abandon()
                raise
        except BaseException:
            pipes.close()
            self._close_witness()
            raise

    def __repr__(self) -> str:
        return f"<SpawnedProcess pid={self.pid} returncode={self.returncode} args={self.args!r}>"

    def _open(self, pid: int) -> tuple[int, int]:
        # Nobody but us can reap it yet, so that the number still means our child.
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                raise
            return os.P_PID, pid
        return os.P_PIDFD, self._pidfd

    def __del__(self) -> None:
        # poll() reaps a child that nobody waited for, if it has ended.
        with contextlib.suppress(Exception):
            self.poll()
        self._close_pidfd()
        self._close_witness()

    def poll(self) -> int | None:
        """The returncode if the process has ended, else None."""
        with self._lock:
            if self.returncode is None and self._waited is not None:
                self._reap(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and returns the returncode; subprocess.TimeoutExpired when it takes longer than `timeout`
        seconds."""
        import select
        import subprocess
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise subprocess.TimeoutExpired(self._shown_args(), timeout or 0)
            # Own descriptor: another thread may reap the process and close ours meanwhile.
            with self._lock:
                if self._waited is None:
                    continue
                pidfd = -1 if self._pidfd == -1 else os.dup(self._pidfd)
            if pidfd == -1:
                time.sleep(_WAIT_SECONDS if remaining is None else min(remaining, _WAIT_SECONDS))
                continue
            try:
                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                # poll(2) takes at most 2^31 - 1 ms.
                poller.poll(None if remaining is None else min(remaining * 1000 + 1, 2**31 - 1))
            finally:
                os.close(pidfd)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Sends a signal; does nothing once the process has ended."""
        with self._lock:
            if self.returncode is None and self._waited is not None:
                self._reap(os.WNOHANG)
            if self.returncode is None and self._waited is not None:
                self._send(signum)

    def terminate(self) -> None:
        """SIGTERM."""
        import signal

        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        import signal

        self.send_signal(signal.SIGKILL)

    def group_signals(self) -> list[int] | None:
        """How often each signal, by its number, has been sent to the whole process group that this process and the
        command begin in, or to more than the group. None without ``like_exec``, and where it cannot be known.

        Of a signal that came to this process it tells whether the command has got it as well: siginfo(7) does not.
        """
        witness = self._witness
        if witness is None:
            return None
        try:
            return witness.counts()
        except (OSError, ValueError):
            return None

    def stopped_by(self) -> int | None:
        """The signal by which the process has been stopped since this was asked last; None when it was not."""
        with self._lock:
            if self.returncode is not None or self._waited is None:
                return None
            try:
                stopped = os.waitid(*self._waited, os.WSTOPPED | os.WNOHANG)
            except ChildProcessError:
                return None
        return None if stopped is None else stopped.si_status

    def _release(self) -> None:
        """Lets the command begin. Raises what Popen raises when it cannot be executed; the child is reaped then."""
        try:
            self._held.release()
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), self._command) from None

    def _abandon(self) -> None:
        """Leaves nothing behind: child killed and reaped, pipes closed."""
        import signal

        self._held.close()
        self._close_witness()
        with self._lock:
            if self._waited is not None:
                # Only a command that was released already is still there to be killed.
                with contextlib.suppress(ChildProcessError):
                    self._send(signal.SIGKILL)
                    os.waitid(*self._waited, os.WEXITED)
                self._close_pidfd()
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()

    def _send(self, signum: int) -> None:
        import signal

        with contextlib.suppress(ProcessLookupError):
            if self._pidfd != -1:
                signal.pidfd_send_signal(self._pidfd, signum)
            else:
                # Raises when it is our child no more, so that the number may be another's.
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                os.kill(self.pid, signum)

    def _reap(self, options: int) -> None:
        assert self._waited is not None
        try:
            ended = os.waitid(*self._waited, os.WEXITED | options)
        except ChildProcessError:
            _log.warning("the exit status of process %d was taken by someone else", self.pid)
            self.returncode = _UNKNOWN_RETURN_CODE
        else:
            if ended is None:
                return
            self.returncode = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self._close_pidfd()
        self._close_witness()

    def _close_witness(self) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            witness.close()

    def _close_pidfd(self) -> None:
        if self._pidfd != -1:
            os.close(self._pidfd)
            self._pidfd = -1
        self._waited = None

    def _shown_args(self) -> list[str]:
        return [os.fsdecode(word) for word in self.args]
