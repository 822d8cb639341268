# SPDX-License-Identifier: MIT
"""What a trace is worth, as data: one of three forms, and its reasons."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from aa_fileio.events import BLIND_SPOTS

if TYPE_CHECKING:
    from aa_fileio.ledger import Stats

__all__ = ["Reason", "Sign", "SignKind", "Verdict", "VerdictForm"]


class VerdictForm(enum.StrEnum):
    """The three forms of a verdict."""

    COMPLETE = "complete"
    """Nothing was lost and nothing was done in a way that is not traced: absence from the trace proves absence."""
    COMPLETE_BUT = "complete_but"
    """The same but for what the reasons name: mapped files, calls under way, servers that were given work."""
    INCOMPLETE = "incomplete"
    """Something is missing, or may be, that cannot be named; or there is no trace."""


class SignKind(enum.IntEnum):
    """What a sign is of; the core's own numbers (enum aa_sign_what)."""

    CALL = 0
    UNDER_WAY = 1
    MAPPING = 2
    CONNECTION = 3
    RING = 4
    FAULTS = 5
    PROGRAM = 6
    HIDDEN = 7
    LISTENER = 8


class Sign(NamedTuple):
    """One thing that keeps a trace from being complete, as the core found it."""

    kind: int
    call: str | None
    count: int  # type: ignore[assignment]  # as tuple.count
    path: str | None
    is_named: bool
    """The path is the very file's or server's, and whole."""
    start: int
    end: int
    has_range: bool
    is_writable: bool
    pid: int
    """0: not known."""
    comm: str | None


class Reason(NamedTuple):
    """One reason of a verdict. A field that does not apply, or is not known, is None."""

    cause: str
    """A counter of `Stats` (`ring_full`, …), or `mapped_file`, `server`, `inexact`, `no_trace`; of another blind spot
    the call that it came of, or `unnamed_blind_spots`."""
    count: int  # type: ignore[assignment]  # as tuple.count
    text: str
    """In words, without the count."""
    is_named: bool = False
    """It bounds what may be missing: all such reasons together make a trace complete but for them."""
    path: str | None = None
    """The mapped file, or the name of the server's socket."""
    start: int | None = None
    """Of the mapped file, in bytes: the first that may have been written to …"""
    end: int | None = None
    """… and the one after the last."""
    writable: bool | None = None
    """The mapping was made writable; False: it could be made so."""
    dirtied: bool | None = None
    """The file was written to by the mapping; None: the kernel does not tell."""
    pid: int | None = None
    comm: str | None = None
    call: str | None = None
    """The system call, or the operation of io_uring."""


class _Verdict(NamedTuple):
    form: VerdictForm
    reasons: tuple[Reason, ...] = ()


class Verdict(_Verdict):
    """What a trace is worth. True if it is complete."""

    __slots__ = ()

    COMPLETE: ClassVar = VerdictForm.COMPLETE
    COMPLETE_BUT: ClassVar = VerdictForm.COMPLETE_BUT
    INCOMPLETE: ClassVar = VerdictForm.INCOMPLETE

    def __bool__(self) -> bool:
        return self.form is VerdictForm.COMPLETE

    def __str__(self) -> str:
        """In words: "complete", "complete but for …" or "INCOMPLETE: …"."""
        if self.form is VerdictForm.COMPLETE:
            return "complete"
        head = "complete but for" if self.form is VerdictForm.COMPLETE_BUT else "INCOMPLETE:"
        return f"{head} {'; '.join(self.words())}"

    def words(self) -> list[str]:
        """The reasons in words, those of one kind together."""
        return [words for group in _GROUPS if (words := group(self.reasons))]


#: Losses, in the order in which they are told. `probe_missed` is none of them: see Stats.
LOSSES = {
    "ring_full": "the kernel's ring had no room",
    "state_full": "there was no room to remember an entry",
    "no_entry": "the entry of a call was not seen",
    "no_exit": "the return of a call was not seen",
    "fork_map_full": "there was no room to watch one more process",
    "queue_full": "the queue had no room because nobody read",
    "decode_error": "a record could not be understood",
}
_SIGNS_BEFORE = {
    SignKind.RING: ("io_uring", "a ring of io_uring from before the trace: what is submitted through it is not seen"),
    SignKind.FAULTS: ("userfaultfd", "a userfaultfd from before the trace: page faults are held by the program"),
    SignKind.PROGRAM: ("compat_program", "a 32-bit program, whose calls are not followed"),
    SignKind.HIDDEN: ("hidden_process", "a process that may not be looked at"),
    SignKind.LISTENER: ("seccomp_listener", "a seccomp filter from before the trace: another process answers calls"),
}


def verdict_of(stats: Stats) -> Verdict:
    """The verdict that the numbers and signs of a ledger come to."""
    return verdict_by(_reasons(stats))


def verdict_by(reasons: Iterable[Reason]) -> Verdict:
    """The verdict that these reasons come to."""
    all_of_them = tuple(reasons)
    if not all_of_them:
        return Verdict(VerdictForm.COMPLETE)
    named = all(reason.is_named for reason in all_of_them)
    return Verdict(VerdictForm.COMPLETE_BUT if named else VerdictForm.INCOMPLETE, all_of_them)


def _reasons(stats: Stats) -> Iterator[Reason]:
    if stats.no_trace_reason:
        yield Reason("no_trace", 1, stats.no_trace_reason)
        return
    for cause, text in LOSSES.items():
        if count := getattr(stats, cause):
            yield Reason(cause, count, text)
    if stats.inexact_reason is not None or stats.probe_missed:
        why = stats.inexact_reason or f"the kernel skipped our probes {stats.probe_missed} times"
        yield Reason("inexact", stats.probe_missed or 1, f"the count is not exact: {why}")
    if stats.compat_calls:
        yield Reason("compat_calls", stats.compat_calls, "32-bit calls were not followed")
    if stats.bypass:
        yield Reason("bypass", stats.bypass, "files were opened by what no traced call explains")
    yield from _of_blind_spots(stats)
    yield from _under_way(stats)
    if stats.pre_attach:
        yield Reason("pre_attach", stats.pre_attach, "calls entered before the trace began", is_named=True)


def _of_blind_spots(stats: Stats) -> Iterator[Reason]:
    """Those that are known by name; and how many are not, because no event of them arrived or there were too many."""
    unnamed = stats.blind_spots
    for sign in map(Sign._make, stats.signs or ()):
        if sign.kind == SignKind.UNDER_WAY:
            continue
        unnamed -= sign.count
        yield _reason_of(sign)
    if unnamed > 0:
        yield Reason("unnamed_blind_spots", unnamed, "something may have been done in a way that is not traced")


def _reason_of(sign: Sign) -> Reason:
    pid = sign.pid or None
    if sign.kind == SignKind.MAPPING or (sign.kind == SignKind.CALL and sign.call == "mmap"):
        return Reason(
            "mapped_file",
            sign.count,
            f"writes into the mapped file {_name(sign)}{_range(sign)}",
            is_named=sign.is_named and sign.has_range,
            path=sign.path,
            start=sign.start if sign.has_range else None,
            end=sign.end if sign.has_range else None,
            writable=sign.is_writable,
            call=sign.call,
            pid=pid,
            comm=sign.comm,
        )
    if sign.kind == SignKind.CONNECTION or (sign.kind == SignKind.CALL and sign.call == "connect"):
        text = f"work handed to the server at {_name(sign)}"
        return Reason(
            "server", sign.count, text, sign.is_named, path=sign.path, call=sign.call, pid=pid, comm=sign.comm
        )
    if sign.kind == SignKind.CALL:
        call = sign.call or "?"
        text = BLIND_SPOTS.get(call, "something may have been done in a way that is not traced")
        return Reason(call, sign.count, text, path=sign.path, call=call, pid=pid, comm=sign.comm)
    cause, text = _SIGNS_BEFORE[SignKind(sign.kind)]
    return Reason(cause, sign.count, text, pid=pid, comm=sign.comm)


def _under_way(stats: Stats) -> Iterator[Reason]:
    """What has not returned: by call and process, and the rest (requests of a ring) as a number."""
    left = stats.in_flight
    for sign in map(Sign._make, stats.signs or ()):
        if sign.kind != SignKind.UNDER_WAY or left < sign.count:
            continue
        left -= sign.count
        text = f"calls of {sign.call} under way"
        yield Reason("in_flight", sign.count, text, True, pid=sign.pid or None, comm=sign.comm, call=sign.call)
    if left > 0:
        yield Reason("in_flight", left, "calls under way", True)


def _name(sign: Sign) -> str:
    return _shown(sign.path) if sign.path is not None else "whose name is not known"


def _range(sign: Sign) -> str:
    return f" [{sign.start}, {sign.end})" if sign.has_range else ""


# --- in words ---

#: So many of one kind are named in a sentence; all of them are in `reasons`.
_NAMED_MAX = 5


def _shown(name: str) -> str:
    """Fit for a line: what a terminal would act upon, or is no text, is escaped."""
    return name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode("ascii")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _losses(reasons: tuple[Reason, ...]) -> str:
    lost = [f"{reason.cause} {reason.count}" for reason in reasons if reason.cause in LOSSES]
    return f"lost: {', '.join(lost)}" if lost else ""


def _plain(*causes: str) -> Callable[[tuple[Reason, ...]], str]:
    return lambda reasons: "; ".join(reason.text for reason in reasons if reason.cause in causes)


def _counted(cause: str, words: str) -> Callable[[tuple[Reason, ...]], str]:
    def of(reasons: tuple[Reason, ...]) -> str:
        count = sum(reason.count for reason in reasons if reason.cause == cause)
        return f"{words}: {count}" if count else ""

    return of


def _files(reasons: tuple[Reason, ...]) -> str:
    """Each file once, with the range that all its mappings span."""
    ranges: dict[str | None, tuple[int, int] | None] = {}
    for reason in reasons:
        if reason.cause != "mapped_file":
            continue
        known = ranges.get(reason.path)
        if reason.start is None or reason.end is None:
            ranges.setdefault(reason.path, None)
        else:
            start, end = known or (reason.start, reason.end)
            ranges[reason.path] = min(start, reason.start), max(end, reason.end)
    if not ranges:
        return ""
    names = [
        ("(name not known)" if path is None else _shown(path)) + (f" [{span[0]}, {span[1]})" if span else "")
        for path, span in ranges.items()
    ]
    return f"writes into {_number(len(names), 'mapped file')}: {_some(names)}"


def _servers(reasons: tuple[Reason, ...]) -> str:
    names = {reason.path: None for reason in reasons if reason.cause == "server"}
    shown = ["(name not known)" if path is None else _shown(path) for path in names]
    return f"work handed to {_number(len(shown), 'server')}: {_some(shown)}" if shown else ""


def _others(reasons: tuple[Reason, ...]) -> str:
    """Blind spots of all other kinds."""
    counts: dict[str, int] = {}
    for reason in reasons:
        if reason.cause not in _TOLD_APART and reason.cause not in LOSSES:
            counts[reason.cause] = counts.get(reason.cause, 0) + reason.count
    if not counts:
        return ""
    named = [f"{cause} {count}" for cause, count in counts.items() if cause != "unnamed_blind_spots"]
    return f"blind spots: {sum(counts.values())}{f' ({_some(named)})' if named else ''}"


def _calls(reasons: tuple[Reason, ...]) -> str:
    under_way = [reason for reason in reasons if reason.cause == "in_flight"]
    if not under_way:
        return ""
    names = [
        f"{reason.call}{f' by {_shown(reason.comm)}' if reason.comm else ''}{f' ({reason.pid})' if reason.pid else ''}"
        for reason in under_way
        if reason.call
    ]
    return (
        f"{_number(sum(reason.count for reason in under_way), 'call')} under way{': ' if names else ''}{_some(names)}"
    )


def _before(reasons: tuple[Reason, ...]) -> str:
    count = sum(reason.count for reason in reasons if reason.cause == "pre_attach")
    return f"{_number(count, 'call')} entered before the trace began" if count else ""


_TOLD_APART = (*("no_trace", "inexact", "compat_calls", "bypass", "mapped_file", "server", "in_flight", "pre_attach"),)
_GROUPS: tuple[Callable[[tuple[Reason, ...]], str], ...] = (
    _losses,
    _plain("no_trace", "inexact"),
    _counted("compat_calls", "32-bit calls not followed"),
    _others,
    _counted("bypass", "opens that no traced call explains"),
    _files,
    _servers,
    _calls,
    _before,
)
