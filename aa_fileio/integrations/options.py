# SPDX-License-Identifier: MIT
"""The options of each subcommand: their words, their values and their help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from aa_fileio.integrations.messages import PROGRAM, UsageError
from aa_fileio.integrations.rule_words import Rule

_WITH_VALUE = frozenset(
    (
        *("-o", "--output", "--ops", "--kinds", "--min-duration", "--backend", "--ring-bytes", "--queue-bytes"),
        *("-p", "--pid", "--duration", "--user", "--by", "--sort", "--rows", "--interval", "--totals-rows"),
        *("--path", "--sensitive", "--ignore"),
    )
)


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


def manager_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for; the rest is left to the manager's own defaults."""
    names = (
        *("ops", "kinds", "errors_only", "min_duration_ns", "backend", "latency"),
        *("totals_rows", "ring_bytes", "queue_bytes", "watch", "sensitive", "ignore", "witness_io"),
    )
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def _once(action: argparse.Action, given: dict[str, str]) -> Callable[[str], Any]:
    parse = action.type if callable(action.type) else str

    def parse_once(text: str) -> Any:
        if action.dest in given:
            raise argparse.ArgumentTypeError(f"{given[action.dest]!r} and {text!r} are given: it takes one")
        given[action.dest] = text
        return parse(text)

    return parse_once


class Parser(argparse.ArgumentParser):
    """One line, and our own status, where argparse prints its usage and leaves with 2."""

    def __init__(self, command: str, usage: str, description: str) -> None:
        super().__init__(prog=f"{PROGRAM} {command}", usage=usage, description=description, allow_abbrev=False)

    def parse_args(self, words: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """An option that takes one value is given once: the earlier one is never dropped in silence."""
        given: dict[str, str] = {}
        for action in self._actions:
            if isinstance(action, argparse._StoreAction):
                action.type = _once(action, given)
        return super().parse_args(words)

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            known = ", ".join(max(action.option_strings, key=len) for action in self._actions)
            message += f"; allowed are {known}"
        raise UsageError(f"{message} (see {self.prog} --help)")


def run_parser() -> Parser:
    parser = Parser(
        "run",
        f"{PROGRAM} run [options] [--] COMMAND [ARG…]",
        "Trace a command and its children from the first instruction. Signals go to the command.",
    )
    _add_command(parser)
    _add_trace_options(parser, "standard error")
    return parser


def _add_command(parser: Parser) -> None:
    parser.add_argument(
        "--user",
        metavar="USER",
        help="run the command as this user, with the user's groups; without it, under sudo, as the user who called "
        "sudo. `--user root` keeps root",
    )
    parser.add_argument(
        "--keep-capabilities",
        action="store_true",
        help="leave CAP_BPF and CAP_PERFMON to the command where this program has them as ambient capabilities",
    )
    parser.add_argument(
        "--wait-tree",
        action="store_true",
        help="trace until the last descendant has exited, too; without it those still running are named at the end",
    )


def attach_parser() -> Parser:
    parser = Parser(
        "attach",
        f"{PROGRAM} attach [options] (-p PID | --system)",
        "Trace what runs already, until it has exited or a signal (SIGINT by Ctrl-C, SIGTERM, …) ends the trace.",
    )
    _add_running(parser)
    _add_trace_options(parser, "standard output")
    return parser


def _add_running(parser: Parser) -> None:
    parser.add_argument("-p", "--pid", type=_pid, metavar="PID", help="the process to trace")
    parser.add_argument("--system", action="store_true", help="trace every process but this one")
    parser.add_argument("--no-follow", action="store_true", help="this process alone, not its children")


def top_parser() -> Parser:
    from aa_fileio.integrations.top import GROUPS, ORDERS

    parser = Parser(
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
    _add_command(parser)
    _add_output_options(parser, "standard error, and for -p and --system standard output")
    _add_filter_options(parser)
    return parser


def _add_trace_options(parser: Parser, standard: str) -> None:
    _add_output_options(parser, standard)
    _add_filter_options(parser)
    add = parser.add_argument
    add("--ring-bytes", type=_size, metavar="N", help="size of the kernel's buffer, as 16M")
    add("--queue-bytes", type=_size, metavar="N", help="size of the queue behind it, as 8M")


def _add_output_options(parser: Parser, standard: str) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line; the last one is the summary")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"write the trace to FILE instead of {standard}; -: standard output. What FILE had stays until the trace "
        "begins; a new FILE is readable by its owner alone",
    )
    parser.add_argument(
        "--duration",
        type=_seconds,
        metavar="SECONDS",
        help="end the trace, with its verdict, after so many seconds; a command runs on, and is waited for",
    )


def _add_filter_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--ops", action="extend", type=_names, metavar="A,B", help=_ops_help())
    add("--kinds", action="extend", type=_names, metavar="A,B", help=_kinds_help())
    add("--errors-only", action="store_const", const=True, help="only calls that fail")
    add(
        "--min-duration",
        dest="min_duration_ns",
        type=_milliseconds,
        metavar="MS",
        help="only calls that take so many milliseconds or longer",
    )
    rule = "may be given again"
    add("--path", dest="watch", action=Rule, metavar="RULE", help=f"only events about this path; {rule}")
    add(
        "--sensitive",
        action=Rule,
        metavar="RULE",
        help=f"mark events about this path, and keep them in any case; `default`: a list of secrets; {rule}",
    )
    add("--ignore", action=Rule, metavar="RULE", help=f"no events about nothing but this path; {rule}")
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
        f"only these operations; without it: {usual}. Also: {others}; and the groups writes (what changes a "
        f"file or a name), modify (the operations that can) and access (open, read, map, exec). "
        f"Always: {', '.join(sorted(OPS_ALWAYS))}"
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
