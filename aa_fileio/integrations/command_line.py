# SPDX-License-Identifier: MIT
"""The ``aa-fileio`` command: run a command under trace, attach to a running one, ask what this machine allows."""

from __future__ import annotations

# Only what reading the options needs; each subcommand imports the rest for itself, so that a mistake in the options and
# --help answer at once, and `run` begins its command as early as it can.
import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from aa_fileio import FileIOError, KprobeManager, Totals
    from aa_fileio.integrations.closing import Survivors
    from aa_fileio.integrations.signal_relay import SignalRelay
    from aa_fileio.integrations.trace_writer import TraceWriter

PROGRAM = "aa-fileio"
STATUS_FAILED = 125
STATUS_CANNOT_EXECUTE = 126
STATUS_NOT_FOUND = 127

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

# Bounds what is held as objects at a time, and how long a line waits for the ones formatted with it.
EVENTS_PER_READ = 2048


class UsageError(Exception):
    """What was given and what is allowed, in one line."""


class Failure(Exception):
    """A failure to report: what failed, and the remedy where one is known."""

    def __init__(self, message: str, status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    from aa_fileio.integrations.trace_writer import OutputFailed

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except (UsageError, OutputFailed) as error:
        _say(str(error))
        return STATUS_FAILED
    except Failure as failure:
        _say(str(failure))
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
        return _print(HELP)
    if first == "--version":
        from importlib.metadata import version

        return _print(f"{PROGRAM} {version('aa_fileio')}\n")
    if first not in commands:
        raise UsageError(f"{first!r} is not one of {', '.join(commands)} (see {PROGRAM} --help)")
    return commands[first](rest)


# --- run


def _run(words: list[str]) -> int:
    own, command = split_command(words)
    options = _run_parser().parse_args(own)
    if not command:
        raise UsageError(f"no command given: {PROGRAM} run [options] -- COMMAND [ARG…]")
    return _trace_command(command, options, _Trace)


def _trace_command(command: list[str], options: argparse.Namespace, kind: type[_Trace]) -> int:
    from aa_fileio import KprobeManager
    from aa_fileio.integrations.signal_relay import SignalRelay

    def start() -> KprobeManager:
        try:
            return KprobeManager.spawn(
                command, until="tree" if options.wait_tree else "root", **kind.OPTIONS, **_manager_options(options)
            )
        except OSError as error:
            if _is_ours(error):
                raise
            raise _exec_failed(command[0], error) from error

    writer = _open_writer(options, standard=2)
    with SignalRelay() as signals:
        manager = _begin(signals, start)
        process = manager.process
        trace = kind(manager, writer, options)
        group = os.getpgrp()

        def receive(number: int, from_terminal: bool) -> None:
            if process.poll() is not None:
                trace.end(number)
            # The terminal sends to its whole foreground group, in which the command is unless it has left ours.
            elif not (from_terminal and _group_of(process.pid) == group):
                with suppress(OSError):
                    process.send_signal(number)

        signals.start(receive)
        try:
            trace.follow()
        finally:
            status = process.wait()
        trace.close()
    if trace.failed:
        return STATUS_FAILED
    return 128 - status if status < 0 else status


def split_command(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the command: what follows the first ``--`` or begins with the first word that is no option,
    as env(1) and strace have it. No option of the command's is ever taken for one of ours."""
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            return list(words[:index]), list(words[index + 1 :])
        if not word.startswith("-"):
            return list(words[:index]), list(words[index:])
        index += 2 if word in _WITH_VALUE else 1
    return list(words), []


def _exec_failed(name: str, error: OSError) -> Failure:
    status = STATUS_NOT_FOUND if isinstance(error, FileNotFoundError) else STATUS_CANNOT_EXECUTE
    return Failure(f"cannot run {name!r}: {error.strerror or error}", status)


# --- attach


def _attach(words: list[str]) -> int:
    options = _attach_parser().parse_args(words)
    if (options.pid is None) != options.system:
        raise UsageError("attach takes exactly one of -p PID and --system")
    return _trace_running(options, _Trace)


def _trace_running(options: argparse.Namespace, kind: type[_Trace]) -> int:
    from aa_fileio import KprobeManager
    from aa_fileio.integrations.signal_relay import SignalRelay

    def start() -> KprobeManager:
        try:
            manager = KprobeManager(
                options.pid, follow=not options.no_follow, **kind.OPTIONS, **_manager_options(options)
            )
            manager.attach()
        except ProcessLookupError as error:
            raise Failure(f"cannot attach to process {options.pid}: {error.strerror or error}") from error
        return manager

    writer = _open_writer(options, standard=1)
    with SignalRelay() as signals:
        trace = kind(_begin(signals, start), writer, options)
        signals.start(lambda number, from_terminal: trace.end(number))
        trace.follow()
        trace.close()
    return STATUS_FAILED if trace.failed else 0


# --- top


def _top(words: list[str]) -> int:
    own, command = split_command(words)
    options = _top_parser().parse_args(own)
    if [bool(command), options.pid is not None, options.system].count(True) != 1:
        raise UsageError("top takes exactly one of -p PID, --system and a COMMAND")
    if options.json and options.interval is not None:
        raise UsageError("--json gives the totals at the end: it takes no --interval")
    if command:
        if options.no_follow:
            raise UsageError("--no-follow is for -p PID: a command is counted with its children")
        return _trace_command(command, options, _Top)
    if options.wait_tree:
        raise UsageError("--wait-tree is for a COMMAND")
    return _trace_running(options, _Top)


# --- doctor


def _doctor(words: list[str]) -> int:
    parser = _Parser("doctor", f"{PROGRAM} doctor [--json]", "What this kernel and these privileges allow.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args(words)

    import aa_fileio
    from aa_fileio.integrations.doctor import doctor_lines, doctor_object, gather_facts
    from aa_fileio.integrations.json_lines import encode_strings, json_line

    reports, facts = aa_fileio.backends(), gather_facts()
    if options.json:
        _print(json_line(encode_strings(doctor_object(reports, facts))).decode("utf-8"))
    else:
        _print("".join(f"{line}\n" for line in doctor_lines(reports, facts)))
    return 0 if any(report.usable for report in reports) else 1


# --- the trace, whichever way it began


def _begin(signals: SignalRelay, start: Callable[[], KprobeManager]) -> KprobeManager:
    from aa_fileio import FileIOError

    try:
        return start()
    except FileIOError as error:
        raise Failure(_attach_failed(error)) from error
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    except Failure as failure:
        if signals.early:
            # A Ctrl-C while the probes went in ends a command that was still held: not its own fault, nor ours.
            number = signals.early[0]
            raise Failure("interrupted before the trace began", 128 + number) from failure
        raise


class _Trace:
    """Events from an attached manager to a writer, and the closing words. Detaches on every way out."""

    #: Of the manager, beside those that the user gives.
    OPTIONS: ClassVar[dict[str, Any]] = {}

    def __init__(self, manager: KprobeManager, writer: TraceWriter, options: argparse.Namespace) -> None:
        self.failed = False
        self._manager = manager
        self._writer = writer
        self._options = options
        self._ending = False
        # Process → when it last made a call, to name those that are still running at the end.
        self._last_seen_ns: dict[int, int] = {}

    def follow(self) -> None:
        """Until the stream ends, or there is nobody left to tell."""
        from aa_fileio.integrations.trace_writer import OutputClosed, OutputFailed

        try:
            self._begin_output()
            self._copy_events()
            survivors = self._survivors()
            self._manager.detach()
            self._copy_events()  # what was captured between the end of the stream and the end of the probes
            self._write_end(survivors)
        except OutputClosed:
            pass
        except OutputFailed as error:
            self.failed = True
            _say(f"{error}; the trace ends here")  # now, and not when the command is done: it may run for days
        finally:
            self._manager.detach()

    def end(self, number: int) -> None:
        """Called for a signal. The first detaches, and the stream runs dry by itself. At the second the user has waited
        long enough, be it for the kernel to let go or for somebody to read our output."""
        if self._ending:
            os._exit(128 + number)  # takes every descriptor along, and with them the probes
        self._ending = True
        import threading

        # Detaching takes seconds with some backends, and the caller has to be free for the second signal.
        threading.Thread(target=self._manager.detach, name="aa-fileio-detach", daemon=True).start()

    def close(self) -> None:
        self._manager.close()
        self._writer.close()

    def _begin_output(self) -> None:
        self._writer.write_header()

    def _copy_events(self) -> None:
        seen = self._last_seen_ns
        while (events := self._manager.poll(max_events=EVENTS_PER_READ)) is not None:
            self._writer.write_events(events)
            for event in events:
                seen[event.pid] = event.timestamp_ns

    def _survivors(self) -> Survivors:
        from aa_fileio.integrations.closing import surviving

        if self._manager.pid is None:
            return surviving({}, 0)
        return surviving(self._last_seen_ns, self._manager.stats.watched)

    def _write_end(self, survivors: Survivors) -> None:
        from aa_fileio.integrations.closing import closing_lines, summary_object, verdict
        from aa_fileio.integrations.json_lines import encode_strings

        manager, writer, stats = self._manager, self._writer, self._manager.stats
        if writer.as_json:
            summary = summary_object(writer.events, stats, manager.backend, manager.passed_over, survivors)
            writer.write_records([encode_strings(summary)])
        else:
            writer.write_closing(closing_lines(writer.events, stats, manager.backend, survivors))
        if writer.is_file and not stats.complete:
            _say(verdict(writer.events, stats, manager.backend))  # what rests on this trace may not look into it


class _Top(_Trace):
    """The same without events: counts, now and then and at the end."""

    OPTIONS: ClassVar[dict[str, Any]] = {"totals": True, "events": False}

    def _begin_output(self) -> None:
        """Nothing has been counted yet."""

    def _copy_events(self) -> None:
        interval = self._options.interval
        if interval is None and self._writer.is_terminal and not self._writer.as_json:
            interval = 1.0
        before = self._manager.totals()
        while self._manager.poll(interval) is not None:
            now = self._manager.totals()
            self._write_table(now.since(before), clear=self._writer.is_terminal)
            before = now

    def _write_table(self, totals: Totals, *, clear: bool = False) -> None:
        from aa_fileio.integrations.top import table_lines

        options = self._options
        if clear:
            self._writer.clear_terminal()
        self._writer.write_closing(table_lines(totals, options.by, options.sort, options.rows))

    def _write_end(self, survivors: Survivors) -> None:
        from aa_fileio.integrations.closing import summary_object
        from aa_fileio.integrations.json_lines import encode_strings
        from aa_fileio.integrations.top import ending, grouped, ordered, total_object

        manager, writer, options = self._manager, self._writer, self._options
        totals = manager.totals()
        stats = totals.stats
        verdict = ending(totals, stats, manager.backend)
        if writer.as_json:
            rows = ordered(grouped(totals, options.by), options.sort)
            writer.write_records(total_object(row, options.by) for row in rows[: options.rows or None])
            summary = summary_object(0, stats, manager.backend, manager.passed_over, survivors)
            summary |= {
                "calls": sum(row.calls for row in totals),
                "rows": len(rows),
                "complete": totals.complete,
                "verdict": verdict,
            }
            writer.write_records([encode_strings(summary)])
        else:
            self._write_table(totals, clear=writer.is_terminal)
            writer.write_closing([verdict])
        if writer.is_file and not totals.complete:
            _say(verdict)


def _open_writer(options: argparse.Namespace, *, standard: int) -> TraceWriter:
    from aa_fileio.integrations.trace_writer import TraceWriter

    if options.output is not None:
        return TraceWriter.to_file(options.output, as_json=options.json)
    return TraceWriter.to_standard(standard, as_json=options.json)


def _manager_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for; the rest is left to the manager's own defaults."""
    names = (
        *("ops", "kinds", "errors_only", "min_duration_ns", "backend", "latency"),
        *("totals_rows", "ring_bytes", "queue_bytes", "watch", "sensitive", "ignore", "witness_io"),
    )
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def _attach_failed(error: FileIOError) -> str:
    remedy = getattr(error, "remedy", None)
    what = str(error).removesuffix(f"\n{remedy}")
    return f"cannot trace: {what}\n{PROGRAM}: remedy: {remedy or f'`{PROGRAM} doctor` tells what this machine allows'}"


def _is_ours(error: OSError) -> bool:
    from aa_fileio import FileIOError

    return isinstance(error, FileIOError)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _say(message: str) -> None:
    from aa_fileio.integrations.text_lines import printable

    with suppress(OSError, AttributeError, ValueError):  # stderr may be closed; there is no third place to complain to
        sys.stderr.write("".join(f"{printable(line)}\n" for line in f"{PROGRAM}: {message}".split("\n")))
        sys.stderr.flush()


# --- options

_WITH_VALUE = frozenset(
    (
        *("-o", "--output", "--ops", "--kinds", "--min-duration", "--backend", "--ring-bytes", "--queue-bytes"),
        *("-p", "--pid", "--by", "--sort", "--rows", "--interval", "--totals-rows"),
        *("--path", "--sensitive", "--ignore"),
    )
)


class _Parser(argparse.ArgumentParser):
    """One line, and our own status, where argparse prints its usage and leaves with 2."""

    def __init__(self, command: str, usage: str, description: str) -> None:
        super().__init__(prog=f"{PROGRAM} {command}", usage=usage, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            known = ", ".join(max(action.option_strings, key=len) for action in self._actions)
            message += f"; allowed are {known}"
        raise UsageError(f"{message} (see {self.prog} --help)")


def _run_parser() -> _Parser:
    parser = _Parser(
        "run",
        f"{PROGRAM} run [options] [--] COMMAND [ARG…]",
        "Trace a command and its children from the first instruction. SIGINT, SIGTERM and SIGHUP go to the command.",
    )
    _add_wait_tree(parser)
    _add_trace_options(parser, "standard error")
    return parser


def _add_wait_tree(parser: _Parser) -> None:
    parser.add_argument(
        "--wait-tree",
        action="store_true",
        help="trace until the last descendant has exited, too; without it those still running are named at the end",
    )


def _attach_parser() -> _Parser:
    parser = _Parser(
        "attach",
        f"{PROGRAM} attach [options] (-p PID | --system)",
        "Trace what runs already, until it has exited or SIGINT (Ctrl-C), SIGTERM or SIGHUP ends the trace.",
    )
    _add_running(parser)
    _add_trace_options(parser, "standard output")
    return parser


def _add_running(parser: _Parser) -> None:
    parser.add_argument("-p", "--pid", type=_pid, metavar="PID", help="the process to trace")
    parser.add_argument("--system", action="store_true", help="trace every process but this one")
    parser.add_argument("--no-follow", action="store_true", help="this process alone, not its children")


def _top_parser() -> _Parser:
    from aa_fileio.integrations.top import GROUPS, ORDERS

    parser = _Parser(
        "top",
        f"{PROGRAM} top [options] ([--] COMMAND [ARG…] | -p PID | --system)",
        "Count calls in the kernel by process, operation and file, exactly. On a terminal those of the last second are "
        "shown until the end, and then all of them.",
    )
    add = parser.add_argument
    add(
        "--by",
        type=_choices(GROUPS),
        default=list(GROUPS),
        metavar="A,B",
        help=f"what rows are kept apart by, of {', '.join(GROUPS)}; without it: all of them",
    )
    add("--sort", choices=ORDERS, default="calls", help="the largest first; without it: calls")
    add("--rows", type=_count, default=20, metavar="N", help="no more than N rows; 0: all. Without it: 20")
    add("--interval", type=_seconds, metavar="SECONDS", help="show what was counted in each interval")
    add("--totals-rows", type=_size, metavar="N", help="room for how many rows in the kernel, as 16K")
    _add_running(parser)
    _add_wait_tree(parser)
    _add_output_options(parser, "standard error, and for -p and --system standard output")
    _add_filter_options(parser)
    return parser


def _add_trace_options(parser: _Parser, standard: str) -> None:
    _add_output_options(parser, standard)
    _add_filter_options(parser)
    add = parser.add_argument
    add("--ring-bytes", type=_size, metavar="N", help="size of the kernel's buffer, as 16M")
    add("--queue-bytes", type=_size, metavar="N", help="size of the queue behind it, as 8M")


def _add_output_options(parser: _Parser, standard: str) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line; the last one is the summary")
    parser.add_argument("-o", "--output", metavar="FILE", help=f"write the trace to FILE instead of {standard}")


def _add_filter_options(parser: _Parser) -> None:
    add = parser.add_argument
    add("--ops", type=_names, metavar="A,B", help=_ops_help())
    add("--kinds", type=_names, metavar="A,B", help=_kinds_help())
    add("--errors-only", action="store_const", const=True, help="only calls that fail")
    add(
        "--min-duration",
        dest="min_duration_ns",
        type=_milliseconds,
        metavar="MS",
        help="only calls that take so many milliseconds or longer",
    )
    rule = "may be given again"
    add("--path", dest="watch", action="append", metavar="RULE", help=f"only events about this path; {rule}")
    add(
        "--sensitive",
        action=_Sensitive,
        metavar="RULE",
        help=f"mark events about this path, and keep them in any case; `default`: a list of secrets; {rule}",
    )
    add("--ignore", action="append", metavar="RULE", help=f"no events about nothing but this path; {rule}")
    add(
        "--witness-io",
        action="store_const",
        const=True,
        help="look once more at each read and write: what no traced call explains is told (kprobe and fentry)",
    )
    add("--backend", metavar="NAME", help="this backend or none (`aa-fileio doctor` lists them)")
    add(
        "--no-latency",
        dest="latency",
        action="store_const",
        const=False,
        help="no durations; costs the traced process less",
    )


class _Sensitive(argparse.Action):
    """`default` stands for a whole list; no rule is called so, for rules begin with a slash."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        from aa_fileio import DEFAULT_SENSITIVE

        rules = [*(getattr(namespace, self.dest) or []), *(DEFAULT_SENSITIVE if values == "default" else [values])]
        setattr(namespace, self.dest, rules)


# What is left out when nothing is asked for; a contract test holds them equal to the tables of the C core.
OPS_NOT_BY_DEFAULT = frozenset(
    ("chmod", "chown", "utime", "xattr", "sync", "close", "dup", "chdir", "memfd", "mount", "stat", "list")
)
OPS_ALWAYS = frozenset(("blind_spot",))
KINDS_NOT_BY_DEFAULT = frozenset(("tty", "pipe", "socket", "anon"))


def _ops_help() -> str:
    from aa_fileio import Op

    usual = ", ".join(op for op in Op if op not in OPS_NOT_BY_DEFAULT | OPS_ALWAYS)
    others = ", ".join(op for op in Op if op in OPS_NOT_BY_DEFAULT)
    return (
        f"only these operations; without it: {usual}. Also: {others}; and the groups modify (all that can change a "
        f"file or a name) and access (open, read, map, exec). Always: {', '.join(sorted(OPS_ALWAYS))}"
    )


def _kinds_help() -> str:
    from aa_fileio import Kind

    usual = ", ".join(kind for kind in Kind if kind not in KINDS_NOT_BY_DEFAULT)
    others = ", ".join(kind for kind in Kind if kind in KINDS_NOT_BY_DEFAULT)
    return f"only calls on these kinds of object; without it: {usual}. Also: {others}"


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names separated by commas")
    return names


_SIZE = re.compile(r"([0-9]{1,18})([kKmMgG]?)")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: a whole number, with K, M or G after it or not")
    return int(match[1]) * _UNITS[match[2].lower()]


def _milliseconds(text: str) -> int:
    """In nanoseconds."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds, as 10 or 0.5")
    whole, _, rest = text.partition(".")
    return int(whole) * 1_000_000 + int(rest.ljust(6, "0"))


def _choices(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = _names(text)
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) is None or not 0.1 <= float(text) <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return float(text)


def _pid(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text) is None or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a process id: a positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
