# SPDX-License-Identifier: MIT
"""Options, exit status and the course of a trace, over a manager made up in Python."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line_fakes import AS_GIVEN, FakeManager, make_event
from conftest import Begin

import aa_fileio
from aa_fileio import Kind, Op
from aa_fileio.integrations.command_line import main
from aa_fileio.integrations.command_signals import CommandSignals
from aa_fileio.integrations.options import split_command
from aa_fileio.integrations.signal_relay import SignalRelay
from aa_fileio.integrations.trace_course import Trace
from aa_fileio.integrations.trace_writer import TraceWriter

# --- what may be asked for

# Nothing may take as long as this; no test passes or fails by being quicker or slower.
HANG_SECONDS = 60.0


@pytest.mark.parametrize(("option", "words"), [("--ops", [*Op, "modify", "access", "writes"]), ("--kinds", list(Kind))])
def test_help_names_all_that_may_be_asked_for(
    option: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10000")
    for command in ("run", "attach", "top"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        line = next(line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith(f"{option} "))
        assert set(words) <= set(re.findall(r"\w+", line))


@pytest.mark.parametrize(
    ("option", "known"), [("--ops", [*map(str, Op), "modify", "access", "writes"]), ("--kinds", list(map(str, Kind)))]
)
@pytest.mark.parametrize("given", ["rread", "read,opne", "READ", "file,opne"])
def test_an_unknown_name_is_refused_with_the_known_ones(
    option: str, known: list[str], given: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By the real manager, and before anything is run: the command would leave a mark."""
    for words in (["run", option, given, "--", "touch", str(tmp_path / "ran")], ["attach", option, given, "-p", "1"]):
        assert main(words) == 125
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        wrong = next(name for name in given.split(",") if name not in known)
        assert repr(wrong) in message
        assert message.split("known are: ")[1].strip().split(", ") == known
    assert not list(tmp_path.iterdir())


# --- which words are ours


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--", "ls", "-l"], ([], ["ls", "-l"])),
        (["ls", "-l"], ([], ["ls", "-l"])),
        (["--json", "ls", "--json"], (["--json"], ["ls", "--json"])),
        (["-o", "out", "ls"], (["-o", "out"], ["ls"])),
        (["-oout", "ls"], (["-oout"], ["ls"])),
        (["--ops=read", "--", "ls"], (["--ops=read"], ["ls"])),
        (["--ops", "read", "ls", "--", "x"], (["--ops", "read"], ["ls", "--", "x"])),
        (["--", "--", "x"], ([], ["--", "x"])),
        (["--json"], (["--json"], [])),
        (["-o"], (["-o"], [])),
        ([], ([], [])),
    ],
)
def test_an_option_of_the_command_is_never_taken_for_ours(words: list[str], expected: tuple[list[str], ...]) -> None:
    assert split_command(words) == expected


@pytest.mark.parametrize(
    ("words", "given", "allowed"),
    [
        ([], "nothing", "run, attach, top, doctor"),
        (["rnu"], "'rnu'", "run, attach, top, doctor"),
        (["run"], "no command given", "run [options]"),
        (["run", "--bogus", "--", "x"], "--bogus", "--wait-tree"),
        (["run", "--js", "--", "x"], "--js", "--json"),
        (["run", "--ring-bytes", "12X", "x"], "'12X'", "K, M or G"),
        (["run", "--ring-bytes", "-1", "x"], "--ring-bytes", "--help"),
        (["run", "--min-duration", "1e3", "x"], "'1e3'", "milliseconds"),
        (["run", "--min-duration", "-1", "x"], "--min-duration", "--help"),
        (["run", "--ops", "read,,write", "x"], "'read,,write'", "separated by commas"),
        (["run", "-o"], "-o", "--help"),
        (["attach"], "exactly one of", "-p PID and --system"),
        (["attach", "-p", "1", "--system"], "exactly one of", "-p PID and --system"),
        (["attach", "-p", "0"], "'0'", "positive whole number"),
        (["attach", "-p", "-3"], "-p", "--help"),
        (["attach", "-p", "abc"], "'abc'", "positive whole number"),
        (["attach", "-p", "1", "extra"], "extra", "--system"),
        (["doctor", "--bogus"], "--bogus", "--json"),
        (["top"], "exactly one of", "-p PID, --system and a COMMAND"),
        (["top", "-p", "1", "--system"], "exactly one of", "-p PID, --system and a COMMAND"),
        (["top", "-p", "1", "--", "x"], "exactly one of", "-p PID, --system and a COMMAND"),
        (["top", "--by", "op,flie", "x"], "'flie'", "process, op, file"),
        (["top", "--by", "", "x"], "''", "separated by commas"),
        (["top", "--sort", "size", "x"], "'size'", "calls', 'errors', 'bytes', 'time'"),
        (["top", "--rows", "-1", "x"], "--rows", "--help"),
        (["top", "--rows", "many", "x"], "'many'", "whole number"),
        (["top", "--interval", "0", "x"], "'0'", "from 0.1 to 86400"),
        (["top", "--interval", "1h", "x"], "'1h'", "from 0.1 to 86400"),
        (["top", "--interval", "1", "--json", "x"], "--json", "--interval"),
        (["top", "--no-follow", "x"], "--no-follow", "-p PID"),
        (["top", "--wait-tree", "-p", "1"], "--wait-tree", "COMMAND"),
        (["top", "--ring-bytes", "4K", "x"], "--ring-bytes", "--totals-rows"),
    ],
)
def test_a_mistake_is_one_line_with_what_was_given_and_what_is_allowed(
    words: list[str], given: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 125
    message = capsys.readouterr().err
    assert message.startswith("aa-fileio: ") and message.count("\n") == 1
    assert given in message and allowed in message


def test_a_word_that_would_move_the_terminal_is_escaped_in_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[2J\udcff"]) == 125
    assert capsys.readouterr().err[:-1].isprintable()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "125" in capsys.readouterr().out
    for command in ("run", "attach", "top", "doctor"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"aa-fileio {command}" in capsys.readouterr().out


def test_options_reach_the_manager(begin: Begin) -> None:
    asked = begin(FakeManager())
    words = "run --ops read,write --kinds pipe --backend tracepoint --no-latency --ring-bytes 4M --queue-bytes 64k "
    words += "--errors-only --min-duration 0.05"
    assert main([*words.split(), "--", "true", "-x"]) == 0
    assert asked == AS_GIVEN | {
        "argv": ["true", "-x"],
        "until": "root",
        "ops": ["read", "write"],
        "kinds": ["pipe"],
        "backend": "tracepoint",
        "latency": False,
        "ring_bytes": 4 << 20,
        "queue_bytes": 64 << 10,
        "errors_only": True,
        "min_duration_ns": 50_000,
    }


def test_what_rules_lead_to_is_said(begin: Begin, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A directory is what lies below it; of the offered list no word is said."""
    manager = FakeManager()
    manager.rule_notes = (
        aa_fileio.RuleNote("watch", "/bin", "/bin is a symbolic link to /usr/bin: that is watched, too"),
        aa_fileio.RuleNote("sensitive", "/etc/shadow", "/etc/shadow does not exist yet"),
        aa_fileio.RuleNote("sensitive", "/secret", "/secret does not exist yet"),
    )
    asked = begin(manager)
    words = ["run", "--path", "/bin/", "--ignore", str(tmp_path), "--sensitive", "default", "--sensitive", "/secret"]
    assert main([*words, "true"]) == 0
    assert asked["watch"] == ["/bin/"] and asked["ignore"] == [f"{tmp_path}/"]
    assert asked["sensitive"] == [*aa_fileio.DEFAULT_SENSITIVE, "/secret"]
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("aa-fileio: --")]
    assert said == [
        f"aa-fileio: --ignore {tmp_path}: {tmp_path} is a directory: all below it is ignored, too",
        "aa-fileio: --path /bin: /bin is a symbolic link to /usr/bin: that is watched, too",
        "aa-fileio: --sensitive /secret: /secret does not exist yet",
    ]


def test_what_is_not_asked_for_is_left_to_the_managers_defaults(begin: Begin) -> None:
    asked = begin(FakeManager())
    assert main(["run", "--wait-tree", "true"]) == 0
    assert asked == AS_GIVEN | {"argv": ["true"], "until": "tree"}


def test_attach_options(begin: Begin) -> None:
    asked = begin(FakeManager())
    assert main(["attach", "-p", "17", "--no-follow"]) == 0
    assert asked == {"pid": 17, "follow": False}
    asked = begin(FakeManager())
    assert main(["attach", "--system"]) == 0
    assert asked == {"pid": None, "follow": True}


# --- exit status


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (3, 3), (125, 125), (-9, 137), (-15, 143)])
def test_the_status_is_the_commands_own(begin: Begin, returncode: int, status: int) -> None:
    manager = FakeManager()
    manager.process.status = returncode
    begin(manager)
    assert main(["run", "x"]) == status
    assert manager.done[-1] == "close"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 127),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 126),
        (OSError(errno.ENOEXEC, "Exec format error", "x"), 126),
    ],
)
def test_a_command_that_cannot_run_has_the_status_of_env(
    begin: Begin, error: OSError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(error)
    assert main(["run", "x"]) == status
    assert capsys.readouterr().err == f"aa-fileio: cannot run 'x': {error.strerror}\n"


@pytest.mark.parametrize("words", [["run", "x"], ["attach", "-p", "1"]])
def test_a_failed_attach_says_what_failed_and_the_remedy(
    begin: Begin, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(aa_fileio.PermissionDenied(errno.EPERM, "may not load", remedy="run it as root"))
    assert main(words) == 125
    message = capsys.readouterr().err
    assert "cannot trace: " in message and "may not load" in message
    assert message.endswith("aa-fileio: remedy: run it as root\n")


def test_without_a_known_remedy_doctor_is_named(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    begin(aa_fileio.BackendUnavailable(errno.ENOENT, "nothing here"))
    assert main(["attach", "--system"]) == 125
    assert "`aa-fileio doctor`" in capsys.readouterr().err


def test_a_value_the_manager_refuses_is_a_mistake_in_the_options(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(ValueError("ops: 'rread' is none of open, read"))
    assert main(["run", "--ops", "rread", "x"]) == 125
    assert capsys.readouterr().err == "aa-fileio: ops: 'rread' is none of open, read\n"


def test_a_process_that_is_not_there(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    begin(ProcessLookupError(errno.ESRCH, "No such process"))
    assert main(["attach", "-p", "99"]) == 125
    assert capsys.readouterr().err == "aa-fileio: cannot attach to process 99: No such process\n"


def test_a_mistake_of_our_own_is_125_and_not_the_commands_1(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    begin(RuntimeError("unforeseen"))
    assert main(["attach", "--system"]) == 125
    assert "RuntimeError: unforeseen" in capsys.readouterr().err


# --- where the trace goes


def test_run_writes_to_standard_error_and_attach_to_standard_output(
    begin: Begin, capfd: pytest.CaptureFixture[str]
) -> None:
    begin(FakeManager([[make_event()], [make_event(path="/second")]]))
    assert main(["run", "x"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("TIME") and "/etc/hosts" in lines[1] and "/second" in lines[2]
    assert lines[3] == "trace complete: 2 events, nothing lost (kprobe)"

    begin(FakeManager([[make_event()]]))
    assert main(["attach", "-p", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and out.endswith("trace complete: 1 event, nothing lost (kprobe)\n")


def test_json_ends_with_the_summary(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    begin(FakeManager([[make_event(), make_event()]], delivered=2, performed=2))
    assert main(["attach", "--json", "-p", "1"]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record["record"] for record in records] == ["event", "event", "summary"]
    assert records[-1]["events"] == 2 and records[-1]["complete"] is True
    assert records[-1]["passed_over"] == [{"backend": "fentry", "reason": "no trampolines"}]


def test_a_file_takes_the_trace_and_a_bad_verdict_is_said_aloud_too(
    begin: Begin, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    path.write_text("what was there before\n" * 100)
    begin(FakeManager([[make_event()]], ring_full=1))
    assert main(["run", "-o", str(path), "x"]) == 0
    assert path.read_text().splitlines()[-1] == "trace INCOMPLETE: 1 of 2 events lost: ring_full 1 (kprobe)"
    assert len(path.read_text().splitlines()) == 3
    assert capfd.readouterr() == ("", "aa-fileio: trace INCOMPLETE: 1 of 2 events lost: ring_full 1 (kprobe)\n")


def test_a_file_that_cannot_be_opened_stops_everything_before_it_begins(
    begin: Begin, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = begin(FakeManager())
    assert main(["run", "-o", str(tmp_path / "no" / "trace"), "x"]) == 125
    assert asked == {}
    assert "No such file or directory" in capsys.readouterr().err


def test_a_full_disk_is_our_failure_and_the_command_is_still_waited_for(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = FakeManager([[make_event()]])
    begin(manager)
    assert main(["run", "-o", "/dev/full", "x"]) == 125
    assert "cannot write the trace to /dev/full: No space left on device" in capsys.readouterr().err
    assert "detach" in manager.done


def test_a_reader_that_has_gone_ends_the_trace_quietly(
    begin: Begin, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    manager = FakeManager([[make_event()]])
    begin(manager)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    manager.on_poll = _once(lambda: os.close(reader))
    manager.process.status = 4
    assert main(["run", "-o", str(fifo), "x"]) == 4
    assert capfd.readouterr() == ("", "")
    assert "detach" in manager.done


def _once(action: Callable[[], None]) -> Callable[[], None]:
    pending = [action]
    return lambda: pending.pop()() if pending else None


def test_standard_output_that_is_closed_is_refused() -> None:
    code = "import sys; from aa_fileio.integrations.command_line import main; sys.exit(main(['attach', '--system']))"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert done.stderr == "aa-fileio: standard output is closed: give -o FILE for the trace\n"


# --- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_goes_to_a_command_that_runs(begin: Begin, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = FakeManager([[make_event()]])
    arrived = threading.Event()
    send = manager.process.send_signal

    def noted_send(number: int) -> None:
        send(number)
        arrived.set()

    monkeypatch.setattr(manager.process, "send_signal", noted_send)

    def interrupt() -> None:
        os.kill(os.getpid(), number)
        assert arrived.wait(HANG_SECONDS)

    manager.on_poll = _once(interrupt)
    begin(manager)
    # One that is ignored when the command line starts, as by nohup, stays so.
    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        assert main(["run", "x"]) == 0
    finally:
        signal.signal(number, before)
    assert manager.process.signals == [number]


def test_a_signal_during_the_attach_reaches_the_command_afterwards(begin: Begin) -> None:
    manager = FakeManager()
    begin(manager)
    spawn = aa_fileio.KprobeManager.spawn

    def slow_spawn(argv: list[str], **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return spawn(argv, **options)

    aa_fileio.KprobeManager.spawn = staticmethod(slow_spawn)  # type: ignore[method-assign,assignment]
    assert main(["run", "x"]) == 0
    assert manager.process.signals == [signal.SIGINT]


def test_a_command_that_dies_of_ctrl_c_while_held_is_no_failure_of_the_command(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(OSError(errno.ESRCH, "gone"))
    spawn = aa_fileio.KprobeManager.spawn

    def interrupted_spawn(argv: list[str], **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return spawn(argv, **options)

    aa_fileio.KprobeManager.spawn = staticmethod(interrupted_spawn)  # type: ignore[method-assign,assignment]
    assert main(["run", "x"]) == 130
    assert capsys.readouterr().err == "aa-fileio: interrupted before the trace began\n"


def test_a_signal_ends_an_attach_with_its_summary(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    manager = FakeManager([[make_event()]])
    detached = threading.Event()
    detach = manager.detach

    def noted_detach(*, wait: bool = True) -> None:
        detach(wait=wait)
        detached.set()

    manager.detach = noted_detach  # type: ignore[method-assign]

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert detached.wait(HANG_SECONDS)

    manager.on_poll = _once(interrupt)
    begin(manager)
    assert main(["attach", "-p", "1"]) == 0
    assert capfd.readouterr().out.endswith("trace complete: 1 event, nothing lost (kprobe)\n")


class Signals:
    """A receiver that notes what it receives."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.has_one = threading.Event()

    def receive(self, number: int, from_kernel: bool) -> None:
        self.got.append(number)
        self.has_one.set()

    def receive_early(self, number: int) -> None:
        self.receive(number, False)

    def wants_to_decide_in(self) -> float | None:
        return None

    def decide(self) -> None:
        raise AssertionError("there is nothing to decide")


def ending_trace(monkeypatch: pytest.MonkeyPatch) -> tuple[Trace, TraceWriter, FakeManager, list[int]]:
    """A trace that a first signal is ending, and what it leaves the process with, if it does."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    manager, writer = FakeManager(), TraceWriter(2, "standard error", as_json=False)
    trace = Trace(manager, writer, argparse.Namespace())  # type: ignore[arg-type]
    trace.end(signal.SIGTERM)
    assert trace._ended_at is not None
    return trace, writer, manager, statuses


def test_one_wish_that_arrives_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As timeout(1) sends it: to us, and to our group."""
    trace, writer, _manager, statuses = ending_trace(monkeypatch)
    writer._writing_since = 0.0
    trace.end(signal.SIGTERM)
    assert statuses == []


def test_a_second_wish_ends_at_once_what_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, writer, _manager, statuses = ending_trace(monkeypatch)
    trace._ended_at = time.monotonic() - 2
    trace.end(signal.SIGTERM)
    assert statuses == []  # what is written is taken: the verdict comes
    writer._writing_since = time.monotonic() - 2
    trace.end(signal.SIGTERM)
    assert statuses == [143]


def test_a_second_wish_ends_a_detach_that_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, _writer, _manager, statuses = ending_trace(monkeypatch)
    trace._ended_at = time.monotonic() - 60
    trace.end(signal.SIGINT)
    assert statuses == [130]


def test_a_duration_ends_the_trace_with_its_verdict(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    manager = FakeManager([[make_event()]])
    detached = threading.Event()
    detach = manager.detach

    def noted_detach(*, wait: bool = True) -> None:
        detach(wait=wait)
        detached.set()

    manager.detach = noted_detach  # type: ignore[method-assign]
    manager.on_poll = _once(lambda: check(detached.wait(HANG_SECONDS)))
    begin(manager)
    assert main(["attach", "--duration", "0.1", "-p", "1"]) == 0
    assert capfd.readouterr().out.endswith("trace complete: 1 event, nothing lost (kprobe)\n")


def check(good: bool) -> None:
    assert good


def test_the_relay_leaves_handlers_and_mask_as_they_were() -> None:
    numbers = sorted(signal.valid_signals())
    handlers = [signal.getsignal(number) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    for for_command in (False, True):
        with SignalRelay(for_command=for_command) as relay:
            relay.prepare()
            relay.start(Signals())
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert [signal.getsignal(number) for number in numbers] == handlers
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        assert "aa-fileio-signals" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_an_ignored_signal_of_the_terminal_stays_ignored_until_the_command_runs(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with SignalRelay() as relay:
            assert signal.getsignal(number) is signal.SIG_IGN
            signals = Signals()
            relay.prepare()
            relay.start(signals)
            os.kill(os.getpid(), number)
            assert signals.has_one.wait(HANG_SECONDS)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_an_ignored_sighup_is_left_alone_by_a_trace_and_goes_to_a_command() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for for_command in (False, True):
            with SignalRelay(for_command=for_command) as relay:
                relay.prepare()
                relay.start(Signals())
                assert (signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, [])) is for_command
    finally:
        signal.signal(signal.SIGHUP, before)


# --- which signals the command is still to be sent


class Group:
    """A command of our own process group, and how often each signal came to the group."""

    def __init__(self, counts: list[int] | None) -> None:
        self.pid = os.getpid()
        self.counts = counts
        self.sent: list[int] = []
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def group_signals(self) -> list[int] | None:
        return None if self.counts is None else list(self.counts)

    def send_signal(self, number: int) -> None:
        self.sent.append(number)


def decided(group: Group, *arrivals: tuple[int, bool], to_group: int = 0, ended: Any = None) -> list[int]:
    signals = CommandSignals(group, ended or (lambda number: None))  # type: ignore[arg-type]
    for number, from_kernel in arrivals:
        signals.receive(number, from_kernel)
        if group.counts is not None:
            group.counts[number] += to_group
    while (seconds := signals.wants_to_decide_in()) is not None:
        time.sleep(seconds)
        signals.decide()
    return group.sent


def test_a_signal_to_us_alone_is_sent_on_once() -> None:
    assert decided(Group([0] * 65), (signal.SIGTERM, False), (signal.SIGTERM, False)) == [signal.SIGTERM]
    assert decided(Group([0] * 65), (signal.SIGUSR1, False)) == [signal.SIGUSR1]
    assert decided(Group([0] * 65), (signal.SIGRTMIN, False)) == [signal.SIGRTMIN]


def test_a_signal_to_the_group_is_not_sent_on() -> None:
    assert decided(Group([0] * 65), (signal.SIGTERM, False), to_group=1) == []
    assert decided(Group([0] * 65), (signal.SIGINT, True), to_group=1) == []


def test_a_hangup_that_the_kernel_sends_to_the_leader_of_the_session_alone_is_sent_on() -> None:
    assert decided(Group([0] * 65), (signal.SIGHUP, True)) == [signal.SIGHUP]


def test_a_command_that_has_left_the_group_is_sent_what_came_to_the_group() -> None:
    group = Group([0] * 65)
    group.pid = 2**22 + 1
    assert decided(group, (signal.SIGINT, True), to_group=1) == [signal.SIGINT]


def test_where_nobody_counts_only_the_terminal_is_trusted_to_reach_the_group() -> None:
    assert decided(Group(None), (signal.SIGINT, True), (signal.SIGTERM, False)) == [signal.SIGTERM]


def test_after_the_command_a_signal_is_for_the_trace() -> None:
    group, ended = Group([0] * 65), []
    group.returncode = 0
    assert decided(group, (signal.SIGTERM, False), (signal.SIGWINCH, False), ended=ended.append) == []
    assert ended == [signal.SIGTERM]
