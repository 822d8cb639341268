# SPDX-License-Identifier: MIT
"""The ``aa-fileio`` command: run a command under trace, attach to a running one, ask what this machine allows."""

from __future__ import annotations

# Only what reading the options needs; each subcommand imports the rest for itself, so that a mistake in the options and
# --help answer at once, and `run` begins its command as early as it can.
import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from aa_fileio.integrations.inherited import take_inherited
from aa_fileio.integrations.messages import (
    PROGRAM,
    STATUS_CANNOT_EXECUTE,
    STATUS_FAILED,
    STATUS_NOT_FOUND,
    Failure,
    UsageError,
    print_text,
    say,
)
from aa_fileio.integrations.options import (
    Parser,
    attach_parser,
    manager_options,
    run_parser,
    split_command,
    top_parser,
)

if TYPE_CHECKING:
    from aa_fileio import KprobeManager
    from aa_fileio.integrations.signal_relay import SignalRelay
    from aa_fileio.integrations.trace_course import Trace

HELP = f"""\
usage: {PROGRAM} run [options] [--] COMMAND [ARG…]   trace a command and its children from the first instruction
       {PROGRAM} attach [options] -p PID             trace a running process and its children
       {PROGRAM} attach [options] --system           trace every process but this one
       {PROGRAM} top [options] [--] COMMAND [ARG…]   count a command's calls by process, operation and file
       {PROGRAM} top [options] (-p PID | --system)   the same of what runs already
       {PROGRAM} doctor [--json]                     what this kernel and these privileges allow
       {PROGRAM} --version

Each has its own --help. The trace goes to stderr for run (the command owns stdout), to stdout for attach, to FILE with
-o FILE. It ends with a verdict: whether anything was lost, how much, and why. What top counts goes the same ways.

Exit status: of run, and of top with a command, the command's own, 128+n when signal n killed it, 126 when it could not
be executed, 127 when it was not found; of attach, and of top without one, 0, however it was ended; of doctor 0 where a
trace is possible, else 1. 125 for every failure of {PROGRAM} itself, mistakes in the options included.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    from aa_fileio.integrations.trace_writer import OutputFailed

    take_inherited()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except (UsageError, OutputFailed) as error:
        say(str(error))
        return STATUS_FAILED
    except Failure as failure:
        say(str(failure))
        return failure.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        # A mistake of ours. Python would leave with 1, which the command may leave with, too.
        import traceback

        traceback.print_exc()
        return STATUS_FAILED


def _dispatch(words: list[str]) -> int:
    commands = {"run": _run, "attach": _attach, "top": _top, "doctor": _doctor}
    if not words:
        raise UsageError(f"nothing to do: the first word is one of {', '.join(commands)} (see {PROGRAM} --help)")
    first, *rest = words
    if first in ("-h", "--help"):
        return print_text(HELP)
    if first == "--version":
        from importlib.metadata import version

        return print_text(f"{PROGRAM} {version('aa_fileio')}\n")
    if first not in commands:
        raise UsageError(f"{first!r} is not one of {', '.join(commands)} (see {PROGRAM} --help)")
    return commands[first](rest)


# --- run


def _run(words: list[str]) -> int:
    own, command = split_command(words)
    options = run_parser().parse_args(own)
    if not command:
        raise UsageError(f"no command given: {PROGRAM} run [options] -- COMMAND [ARG…]")
    from aa_fileio.integrations.trace_course import Trace

    return _trace_command(command, options, Trace)


def _trace_command(command: list[str], options: argparse.Namespace, kind: type[Trace]) -> int:
    from aa_fileio import FileIOError, KprobeManager
    from aa_fileio.integrations.command_signals import CommandSignals
    from aa_fileio.integrations.command_user import named_user, sudo_user
    from aa_fileio.integrations.notes import proc_note
    from aa_fileio.integrations.rule_words import rule_words
    from aa_fileio.integrations.signal_relay import SignalRelay
    from aa_fileio.integrations.trace_course import open_writer

    by_sudo = sudo_user()
    user = by_sudo if options.user is None else named_user(options.user)
    as_user: dict[str, Any] = {}
    if user is not None:
        user.adapt(os.environ)
        as_user = {"user": user.uid, "group": user.gid, "extra_groups": user.groups}

    def start() -> KprobeManager:
        try:
            return KprobeManager.spawn(
                command,
                until="tree" if options.wait_tree else "root",
                close_fds=False,
                ignored_signals=take_inherited().ignored,
                keep_capabilities=options.keep_capabilities,
                like_exec=True,
                **as_user,
                **kind.OPTIONS,
                **manager_options(options),
            )
        except OSError as error:
            if isinstance(error, FileIOError) or error.filename is None:
                raise  # not of the exec
            raise _exec_failed(command[0], error) from error

    writer = open_writer(options, standard=2, owner=None if by_sudo is None else (by_sudo.uid, by_sudo.gid))
    with closing(writer), SignalRelay(for_command=True) as signals:
        manager = _begin(signals, start, options)
        process = manager.process
        trace = kind(manager, writer, options)
        if user is not None and options.user is None:
            writer.write_note(f"the command runs as {user.name or user.uid}, who called sudo; --user root keeps root")
        receiver = CommandSignals(process, trace.end, signals.early)
        signals.start(receiver)
        for note in (proc_note(), *rule_words(manager, options)):
            if note is not None:
                writer.write_note(note)
        try:
            trace.follow()
        finally:
            status = process.wait()
        trace.close()
    if trace.failed:
        return STATUS_FAILED
    if status == -signal.SIGINT and signal.SIGINT in receiver.received:
        # A shell ends its script by Ctrl-C only where what it runs has died of it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 128 - status if status < 0 else status


def _exec_failed(name: str, error: OSError) -> Failure:
    status = STATUS_NOT_FOUND if isinstance(error, FileNotFoundError) else STATUS_CANNOT_EXECUTE
    return Failure(f"cannot run {name!r}: {error.strerror or error}", status)


# --- attach


def _attach(words: list[str]) -> int:
    options = attach_parser().parse_args(words)
    if (options.pid is None) != options.system:
        raise UsageError("attach takes exactly one of -p PID and --system")
    from aa_fileio.integrations.trace_course import Trace

    return _trace_running(options, Trace)


def _trace_running(options: argparse.Namespace, kind: type[Trace]) -> int:
    from aa_fileio import KprobeManager
    from aa_fileio.integrations.command_signals import TraceSignals
    from aa_fileio.integrations.notes import proc_note, reader_note
    from aa_fileio.integrations.rule_words import rule_words
    from aa_fileio.integrations.signal_relay import SignalRelay
    from aa_fileio.integrations.trace_course import open_writer

    def start() -> KprobeManager:
        try:
            manager = KprobeManager(
                options.pid, follow=not options.no_follow, **kind.OPTIONS, **manager_options(options)
            )
            manager.attach()
        except ProcessLookupError as error:
            raise Failure(f"cannot attach to process {options.pid}: {error.strerror or error}") from error
        return manager

    writer = open_writer(options, standard=1)
    with closing(writer), SignalRelay() as signals:
        manager = _begin(signals, start, options)
        trace = kind(manager, writer, options)
        for note in (proc_note(), reader_note(writer.descriptor, manager.pid), *rule_words(manager, options)):
            if note is not None:
                writer.write_note(note)
        signals.start(TraceSignals(trace.end))
        trace.follow()
        trace.close()
    return STATUS_FAILED if trace.failed else 0


# --- top


def _top(words: list[str]) -> int:
    own, command = split_command(words)
    options = top_parser().parse_args(own)
    if [bool(command), options.pid is not None, options.system].count(True) != 1:
        raise UsageError("top takes exactly one of -p PID, --system and a COMMAND")
    if options.json and options.interval is not None:
        raise UsageError("--json gives the totals at the end: it takes no --interval")
    from aa_fileio.integrations.trace_course import Top

    if command:
        if options.no_follow:
            raise UsageError("--no-follow is for -p PID: a command is counted with its children")
        return _trace_command(command, options, Top)
    for given, option in (
        (options.wait_tree, "--wait-tree"),
        (options.user, "--user"),
        (options.keep_capabilities, "--keep-capabilities"),
    ):
        if given:
            raise UsageError(f"{option} is for a COMMAND")
    return _trace_running(options, Top)


# --- doctor


def _doctor(words: list[str]) -> int:
    parser = Parser("doctor", f"{PROGRAM} doctor [--json]", "What this kernel and these privileges allow.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args(words)

    import aa_fileio
    from aa_fileio.integrations.doctor import doctor_lines, doctor_object, gather_facts, try_to_trace
    from aa_fileio.integrations.json_lines import encode_strings, json_line

    reports, facts = aa_fileio.backends(), gather_facts()
    if facts.proc != "own" or not any(report.usable for report in reports):
        facts = try_to_trace(facts)
    if options.json:
        print_text(json_line(encode_strings(doctor_object(reports, facts))).decode("utf-8"))
    else:
        print_text("".join(f"{line}\n" for line in doctor_lines(reports, facts)))
    return 0 if facts.refusal is None and any(report.usable for report in reports) else 1


# --- the trace, whichever way it began


def _begin(signals: SignalRelay, start: Callable[[], KprobeManager], options: argparse.Namespace) -> KprobeManager:
    from aa_fileio import FileIOError

    try:
        signals.prepare()
        return start()
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    except (FileIOError, OSError, MemoryError, Failure) as error:
        if signals.early and not isinstance(error, FileIOError):
            # A Ctrl-C while the probes went in ends a command that was still held: not its own fault, nor ours.
            number = signals.early[0]
            raise Failure("interrupted before the trace began", 128 + number) from error
        if isinstance(error, Failure):
            raise
        from aa_fileio.integrations.failures import failure_text

        sizes = (getattr(options, name, None) for name in ("ring_bytes", "queue_bytes"))
        raise Failure(failure_text(error, *sizes)) from error


if __name__ == "__main__":
    sys.exit(main())
