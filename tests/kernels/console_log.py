"""Finds what a kernel complained about in its console log.

A probe that makes the kernel warn is a failed test even if every assertion held. What the kernel says before the
command starts is its own affair (emulated hardware makes some kernels grumble at boot), so only what follows START is
looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

START = "aa_fileio guest: command starts"
BOOT_FAILED = "aa_fileio guest: boot failed"

# On an emulated CPU that shares two cores with others a stall is ordinary; it is ours only if our code is on the stack.
_STALL = re.compile(
    r"rcu.*(?:stall|starved)|soft lockup|hard LOCKUP|hung task|workqueue lockup|blocked for more than \d+ seconds",
    re.IGNORECASE,
)
_OURS = re.compile(r"bpf_|kprobe|kretprobe|fprobe|rethook|(?<![a-z])aa_")
_SPLAT = re.compile(
    r"\bWARNING\b"
    r"|\bBUG\b"
    r"|\bOops\b"
    r"|general protection|protection fault"
    r"|possible circular locking|possible recursive locking|possible irq lock inversion"
    r"|suspicious RCU usage|inconsistent lock state"
    r"|kernel panic|stack guard page was hit|double fault"
    r"|refcount_t: |list_(?:add|del) corruption"
    r"|-\[ cut here \]-",
    re.IGNORECASE,
)
# Said by kernels that are in good health: a remark on the sysctl, not on what anybody's program did.
_HARMLESS = re.compile(r"Unprivileged eBPF is enabled|^\S*\s*WARNING: [^/]*deprecated", re.IGNORECASE)
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[[^\]]*\])?\s?")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")

_MOST_LINES = 120


@dataclass(frozen=True)
class Splat:
    """One complaint: the line that raised it and the lines that belong to it."""

    title: str
    text: str


def after_start(log: str) -> str:
    """The part of a console log that follows the command's start; all of it if the start was never reached."""
    _, found, rest = log.partition(START)
    return rest if found else log


def find_splats(log: str) -> list[Splat]:
    """Every complaint of the kernel in this (part of a) console log, in order."""
    lines = [line.rstrip("\r") for line in log.split("\n")]
    bare = [_STAMP.sub("", line) for line in lines]
    splats: list[Splat] = []
    at = 0
    while at < len(lines):
        line = bare[at]
        stall = _STALL.search(line)
        if not stall and (not _SPLAT.search(line) or _HARMLESS.search(line)):
            at += 1
            continue
        end = _end_of_splat(bare, at)
        block = lines[at:end]
        if not stall or any(_OURS.search(each) for each in bare[at:end]):
            splats.append(Splat(_title(bare[at:end]), "\n".join(block)))
        at = end
    return splats


def _end_of_splat(bare: list[str], at: int) -> int:
    """One past the last line that belongs to the complaint starting at `at`."""
    limit = min(len(bare), at + _MOST_LINES)
    marked = "[ cut here ]" in bare[at]
    number = at + 1
    # Between its two marks all is the complaint's; without them, what looks like a stack and registers.
    while number < limit and (marked or _looks_like_trace(bare[number])):
        number += 1
        if _END.search(bare[number - 1]):
            break
    return number


def _looks_like_trace(line: str) -> bool:
    return bool(
        line.startswith((" ", "\t"))
        or re.match(
            r"(?:rcu:|Call Trace|Sending NMI|NMI backtrace|CPU:|Hardware name|RIP:|RSP:|R[A-D1]|RBP|Code:|FS:|CS:|CR2|"
            r"Modules linked|DR|PKRU|<|task:|Workqueue:|Tainted|PGD|#PF|Oops|Showing|irq event|softirqs|hardirqs|"
            r"pool |workqueue |---\[ end|$)",
            line,
        )
    )


def _title(block: list[str]) -> str:
    for line in block:
        if "cut here" not in line:
            return line.strip()
    return block[0].strip()
