# SPDX-License-Identifier: MIT
"""Signals: the command gets each once, whoever sends it to whom, and every trace ends with its verdict."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.test_command_line import PATIENCE, wait_for
from tests.native.test_wrapper import AA_FILEIO

pytestmark = pytest.mark.native_only

# Notes each signal that it gets as a line, and ends by SIGUSR2.
COUNTER = """
import os, signal, sys
def note(number, frame):
    os.write(out, b"%d\\n" % number)
    if number == signal.SIGUSR2:
        sys.exit(5)
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, note)
os.write(out, b"ready\\n")
while True:
    signal.pause()
"""

# Longer than a signal is looked at; no test passes by being quicker.
SETTLED_SECONDS = 0.6


class Counted:
    """A command that counts its signals, under us, in a session of its own."""

    def __init__(self, area: Path, *launcher: str) -> None:
        self.trace, self._notes = area / "trace", area / "notes"
        command = [sys.executable, "-I", "-c", COUNTER, str(self._notes)]
        self.process = subprocess.Popen(
            [*launcher, AA_FILEIO, "run", "-o", self.trace, "--", *command], start_new_session=True
        )
        wait_for(lambda: self._notes.exists() and "ready" in self._notes.read_text(), "the command")

    def got(self) -> list[int]:
        time.sleep(SETTLED_SECONDS)
        return [int(line) for line in self._notes.read_text().split() if line != "ready"]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def counted(area: Path) -> Iterator[Counted]:
    command = Counted(area)
    yield command
    command.end()


def verdict(trace: Path) -> str:
    return trace.read_text().splitlines()[-1]


SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGABRT]
SIGNALS += [signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGPWR, signal.SIGRTMIN + 1, signal.SIGSEGV]


def test_each_signal_arrives_once_however_it_is_sent(counted: Counted) -> None:
    pid = counted.process.pid
    sent = []
    for number in SIGNALS:
        for send in (
            lambda number: os.kill(pid, number),
            lambda number: os.killpg(pid, number),
            # As timeout(1) does.
            lambda number: (os.kill(pid, number), os.killpg(pid, number)),
        ):
            send(number)
            sent.append(int(number))
            assert counted.got() == sent
    os.kill(pid, signal.SIGUSR2)
    assert counted.process.wait(PATIENCE) == 5
    assert verdict(counted.trace).startswith("trace ")


def test_a_sender_in_the_group_that_means_us_alone_reaches_the_command(area: Path) -> None:
    """sudo would not send it on: a supervisor that never left its child's group."""
    command = ["sh", "-c", 'echo ready >ready; trap "exit 9" TERM; while :; do sleep 0.1; done']
    process = subprocess.Popen([AA_FILEIO, "run", "-o", area / "trace", "--", *command], cwd=area)
    wait_for((area / "ready").exists, "the command")
    assert os.getpgid(process.pid) == os.getpgrp()
    process.terminate()
    assert process.wait(PATIENCE) == 9


@pytest.mark.parametrize(
    "launcher", [("timeout", "3"), ("timeout", "--foreground", "3"), ("timeout", "-s", "USR1", "3")]
)
def test_timeout_is_felt_once(area: Path, launcher: tuple[str, ...]) -> None:
    command = Counted(area, *launcher)
    try:
        number = signal.SIGUSR1 if "USR1" in launcher else signal.SIGTERM
        wait_for(lambda: command.got(), "the signal")
        got = command.got()
        # A second one of timeout's wakes what it may have stopped.
        assert [each for each in got if each != signal.SIGCONT] == [number]
        assert got.count(signal.SIGCONT) <= 1
    finally:
        for line in Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children").read_text().split():
            os.kill(int(line), signal.SIGUSR2)
        command.process.wait(PATIENCE)
        command.end()


@pytest.mark.parametrize(
    "launcher", ["timeout 1", "timeout -s INT 1", "timeout --foreground -s INT 1", "timeout -s QUIT 1"]
)
def test_a_trace_that_timeout_ends_has_its_verdict(area: Path, launcher: str) -> None:
    target = subprocess.Popen(["sh", "-c", "while :; do cat /etc/hostname >/dev/null; sleep 0.05; done"])
    try:
        for round_number in range(5):
            trace = area / f"trace-{round_number}"
            words = [*launcher.split(), AA_FILEIO, "attach", "-p", str(target.pid), "-o", trace]
            subprocess.run(words, timeout=PATIENCE, check=False, start_new_session=True)
            if trace.exists():  # else it was ended before the trace began
                assert verdict(trace).startswith("trace ")
    finally:
        target.kill()
        target.wait()


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMAX, signal.SIGABRT])
def test_every_signal_ends_a_trace_with_its_verdict(area: Path, number: int) -> None:
    target = subprocess.Popen(["sleep", "600"])
    trace = subprocess.Popen([AA_FILEIO, "attach", "-p", str(target.pid), "-o", area / "trace"])
    try:
        wait_for((area / "trace").exists, "the header")
        trace.send_signal(number)
        assert trace.wait(PATIENCE) == 0
        assert verdict(area / "trace").startswith("trace ")
    finally:
        target.kill()
        target.wait()


def test_a_duration_ends_the_trace_and_not_the_command(area: Path) -> None:
    done = subprocess.run(
        [AA_FILEIO, "run", "--duration", "0.5", "-o", "trace", "--", "sh", "-c", "sleep 2; echo x >late; exit 4"],
        cwd=area,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 4 and (area / "late").exists()
    text = (area / "trace").read_text()
    assert text.splitlines()[-1].startswith("trace ") and "late" not in text


# --- job control


def stopped(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    def is_stopped() -> bool:
        result = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)
        return result is not None

    return is_stopped


@pytest.mark.parametrize("how", ["kill -STOP $$", "kill -TSTP $$", "kill -TTIN $$"])
def test_we_stop_with_the_command_and_go_on_with_it(area: Path, how: str) -> None:
    words = [AA_FILEIO, "run", "-o", area / "trace", "--", "sh", "-c", f"{how}; echo x >after; exit 3"]
    # A group of its own in this session: where that is orphaned, as under setsid(1), the kernel stops nobody in ours.
    process = subprocess.Popen(words, cwd=area, process_group=0)
    wait_for(stopped(process), "us to stop")
    assert not (area / "after").exists()
    process.send_signal(signal.SIGCONT)  # to us alone
    assert process.wait(PATIENCE) == 3
    assert verdict(area / "trace").startswith("trace ")


def test_a_stop_that_is_sent_to_us_stops_the_command(area: Path) -> None:
    script = "echo x >ready; while :; do date +%s%N >>ticks; sleep 0.05; done"
    words = [AA_FILEIO, "run", "-o", area / "trace", "--", "sh", "-c", script]
    process = subprocess.Popen(words, cwd=area, start_new_session=True)
    try:
        wait_for((area / "ready").exists, "the command")
        # Of an orphaned process group the kernel stops nobody by this signal: SIGSTOP of the command is another test's.
        process.send_signal(signal.SIGTTOU if os.getpgid(process.pid) != process.pid else signal.SIGTSTP)
        time.sleep(SETTLED_SECONDS)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- a terminal


def on_terminal(area: Path, command: list[str], act: Callable[[int], None]) -> tuple[int, bytes]:
    """Status and output of us and the command on a terminal of their own; `act` gets the terminal when it is ready."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(AA_FILEIO, [str(AA_FILEIO), "run", "-o", str(area / "trace"), "--", *command])
    seen, acted = b"", False
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the last one has closed it; EBADF: we have
            break
        seen += data
        if b"ready" in seen and not acted:
            acted = True
            act(terminal)
    return os.waitpid(child, 0)[1], seen


@pytest.mark.parametrize(("key", "name"), [(b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT")])
def test_a_key_reaches_the_command_once_and_we_go_on(area: Path, key: bytes, name: str) -> None:
    script = (
        "import os, signal, time\n"
        f"signal.signal(signal.{name}, lambda number, frame: os.write(1, b'caught\\n'))\n"
        "os.write(1, b'ready\\n')\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end: time.sleep(0.1)\n"
        "open('/etc/hostname').read()\n"
    )
    status, seen = on_terminal(area, [sys.executable, "-I", "-c", script], lambda terminal: _write(terminal, key))
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert seen.count(b"caught") == 1, seen
    text = (area / "trace").read_text()
    assert "/etc/hostname" in text and text.splitlines()[-1].startswith("trace ")


def test_a_command_that_dies_of_ctrl_c_takes_its_script_along(area: Path) -> None:
    """A shell ends its loop only where what it ran has died of SIGINT itself."""
    status, _seen = on_terminal(area, ["sh", "-c", "echo ready; sleep 60"], lambda terminal: _write(terminal, b"\x03"))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert verdict(area / "trace").startswith("trace ")


def test_a_terminal_that_goes_away_hangs_up_the_command(area: Path) -> None:
    """The kernel sends SIGHUP to the leader of the session alone, which is us."""
    script = 'trap "echo x >hung-up; exit 1" HUP; echo ready; while :; do sleep 0.1; done'
    command = ["sh", "-c", f"cd {area}; {script}"]
    on_terminal(area, command, os.close)
    wait_for((area / "hung-up").exists, "the command")


def _write(terminal: int, key: bytes) -> None:
    os.write(terminal, key)
