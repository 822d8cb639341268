# SPDX-License-Identifier: MIT
"""What was attached, what was passed over, and what the trace is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aa_fileio.verdict import LOSSES, Sign, Verdict, VerdictForm, verdict_of

if TYPE_CHECKING:
    from aa_fileio.events import Op

__all__ = ["BackendReport", "Health", "PassedOver", "RuleNote", "Stats", "SyscallInfo", "Target"]


class Target(NamedTuple):
    """One probe. ``verified``: read back from the kernel, not merely what was asked for."""

    program: str
    function: str
    backend: str
    link_id: int
    """0: this kernel gives such links no id."""
    prog_id: int
    """0: not attached, see ``present``."""
    present: bool
    """False: this kernel has no such call, so that nothing is missed."""
    verified: bool


class Health(NamedTuple):
    """What :meth:`KprobeManager.health` found. True in a condition if nothing is wrong."""

    links: int
    """Found as they were made."""
    canaries: int | None
    """Calls of our own that were tried; None: none could be."""
    problems: tuple[str, ...]
    """What is wrong, each in a sentence."""

    def __bool__(self) -> bool:
        return not self.problems


class RuleNote(NamedTuple):
    """What the user of a path rule should know of where its path led at attach."""

    option: str
    """watch, sensitive or ignore."""
    rule: str
    """The rule, without a slash at its end."""
    text: str
    """As "/bin is a symbolic link to /usr/bin: that is watched, too"."""


class PassedOver(NamedTuple):
    """A backend that stood before the one in use, and why it was not taken."""

    backend: str
    reason: str


class BackendReport(NamedTuple):
    """Whether a backend could be used here, with this kernel and these privileges."""

    name: str
    usable: bool
    reason: str | None
    """Why not; of a usable one, why it is used only when it is named; else None."""


class SyscallInfo(NamedTuple):
    """One row of the table of system calls."""

    name: str
    number: int
    """On x86_64."""
    op: Op
    program: str
    """The entry program; the return program has ``_ret`` behind it."""
    function: str


class Stats(NamedTuple):
    """The ledger, as it stood when it was asked for.

    ``performed`` = ``delivered`` + ``queued`` + ``in_flight`` + ``filtered`` + ``counted`` + ``canaries`` + ``lost``;
    every counter is counted where it happens and none is computed from the others, so the sum is a check, exact once
    detached.
    """

    performed: int
    """Calls of watched processes, of the asked operations, counted at their entry."""
    delivered: int
    """Handed to Python."""
    queued: int
    """Captured, not yet handed over."""
    in_flight: int
    """Entered, not returned."""
    filtered: int
    """Left out by ``kinds``, ``errors_only``, ``min_duration_ns``, ``watch`` or ``ignore``."""

    ring_full: int
    """Lost: the kernel's ring had no room."""
    state_full: int
    """Lost: no room to remember an entry."""
    no_entry: int
    """Lost: a return whose entry was not seen."""
    no_exit: int
    """Lost: an entry whose return was not seen."""
    probe_missed: int
    """How often the kernel says that one of our probes did not run, for watched or other processes. Not in ``lost``: a
    call whose one probe did not run is in ``no_entry`` or ``no_exit`` already, and one whose both did not in none of
    the numbers. It makes the trace not exact."""
    fork_map_full: int
    """Lost: no room to remember one more watched process."""
    queue_full: int
    """Lost: the queue had no room because nobody read."""
    decode_error: int
    """Lost: a record that could not be understood."""

    pre_attach: int
    """Entered before the attach: returned after it, or still under way when it began. No events; not complete."""
    denied: int
    """Not loss: left without entering (seccomp, ptrace)."""
    compat_calls: int
    """A blind spot: 32-bit calls that could not be followed."""
    path_truncated: int
    path_unreadable: int
    watched: int
    """Processes watched now; 0 for the whole system."""
    inexact_reason: str | None
    """Why the numbers may not be exact; None when they are."""
    boottime_to_realtime_ns: int
    """CLOCK_REALTIME - CLOCK_BOOTTIME at attach."""
    counted: int = 0
    """With ``events=False``: counted in the totals, and no event made of it."""
    canaries: int = 0
    """Calls that ``health()`` made itself; they become no events."""
    blind_spots: int = 0
    """Calls after which something may happen that is not seen (events of ``Op.BLIND_SPOT``); rings of io_uring that
    were there when the trace began; 32-bit programs where their calls cannot be followed."""
    bypass: int = 0
    """Opens by watched threads, and with ``witness_io`` reads and writes, that nothing traced explains (events of
    ``Via.KERNEL``), where a backend sees them."""
    no_trace_reason: str | None = None
    """Why there is no trace that the numbers could be of: before any attach, and in a forked child; None: there is."""
    signs: tuple[Sign, ...] = ()
    """What the core knows by name of ``blind_spots`` and ``in_flight``: what ``verdict`` is made of."""

    @property
    def exact(self) -> bool:
        """The kernel gave no sign of a miss that nobody counted."""
        return self.inexact_reason is None

    @property
    def lost(self) -> int:
        """Calls that were performed and will never be delivered, each counted once."""
        return sum(getattr(self, cause) for cause in LOSSES)

    @property
    def complete(self) -> bool:
        """Nothing lost, the numbers exact, no blind spot, nothing under way: only then does absence from the trace
        prove absence. True for the first form of the verdict alone."""
        return self.verdict.form is VerdictForm.COMPLETE

    @property
    def verdict(self) -> Verdict:
        """What the trace is worth: complete, complete but for what the reasons name, or incomplete."""
        return verdict_of(self)

    @property
    def unseen(self) -> int:
        """Signs that something was done in a way that is not traced."""
        return self.compat_calls + self.blind_spots + self.bypass
