# SPDX-License-Identifier: MIT
"""What this kernel and these privileges allow: which backend would be used here, why not the others, and the remedy."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aa_fileio.integrations.failures import own_path
from aa_fileio.integrations.notes import proc_is_ours

if TYPE_CHECKING:
    from aa_fileio import BackendReport

# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


class Facts(NamedTuple):
    """What the remedies depend on; None where it cannot be read."""

    system: str
    kernel: str
    machine: str
    python: str
    capabilities: frozenset[str] | None
    perf_event_paranoid: int | None
    lockdown: str | None
    has_btf: bool
    has_kprobes: bool
    proc: str = "own"
    """Or "of another pid namespace", or "not mounted"."""
    refusal: str | None = None
    """What a trace of this very process failed of, and the remedy, where it was tried."""
    refusal_remedy: str | None = None

    @property
    def may_load(self) -> bool | None:
        if self.capabilities is None:
            return None
        return "CAP_SYS_ADMIN" in self.capabilities or {"CAP_BPF", "CAP_PERFMON"} <= self.capabilities


def gather_facts(root: Path = Path("/")) -> Facts:
    name = os.uname()
    return Facts(
        system=name.sysname,
        kernel=name.release,
        machine=name.machine,
        python=sys.version.split()[0],
        capabilities=_capabilities(_read(root / "proc/self/status")),
        perf_event_paranoid=_number(_read(root / "proc/sys/kernel/perf_event_paranoid")),
        lockdown=_chosen(_read(root / "sys/kernel/security/lockdown")),
        has_btf=(root / "sys/kernel/btf/vmlinux").exists(),
        has_kprobes=(root / "sys/bus/event_source/devices/kprobe").exists(),
        proc=_proc(root / "proc"),
    )


def _proc(proc: Path) -> str:
    if proc_is_ours(proc):
        return "own"
    return "of another pid namespace" if (proc / "version").exists() else "not mounted"


def try_to_trace(facts: Facts) -> Facts:
    """The cause is found by trial: a seccomp filter, a user namespace or a security module is in no file of /proc."""
    import aa_fileio

    manager = aa_fileio.KprobeManager(os.getpid(), ops=["rmdir"])
    try:
        manager.attach()
    except (OSError, MemoryError) as error:
        remedy = getattr(error, "remedy", None)
        return facts._replace(refusal=str(error).removesuffix(f"\n{remedy}"), refusal_remedy=remedy)
    finally:
        manager.close()
    return facts


def remedies(reports: Iterable[BackendReport], facts: Facts) -> list[str]:
    """What would make more of the backends usable on this machine, beyond what their own reasons say."""
    unusable = {report.name for report in reports if not report.usable}
    if facts.system != "Linux":
        return []
    found = []
    if facts.proc != "own":
        found.append(f"/proc is {facts.proc}: mount -t proc proc /proc")
    if not unusable:
        return found
    if facts.may_load is False:
        found.append(f"run it as root, sudo {shlex.quote(own_path())} …, or with CAP_BPF and CAP_PERFMON")
    elif facts.refusal_remedy is not None and facts.proc == "own":
        found.append(f"{facts.refusal}: {facts.refusal_remedy}")
    if facts.lockdown in ("integrity", "confidentiality"):
        found.append(f"the kernel is locked down ({facts.lockdown}): boot it without lockdown=")
    if (
        "kprobe" in unusable
        and facts.has_kprobes
        and facts.may_load
        and "CAP_SYS_ADMIN" not in (facts.capabilities or ())
        and (facts.perf_event_paranoid or 0) > 2
    ):
        found.append(
            f"kprobe: kernel.perf_event_paranoid is {facts.perf_event_paranoid} and asks for root (CAP_SYS_ADMIN); "
            "with 2, CAP_BPF and CAP_PERFMON are enough"
        )
    return found


def doctor_object(reports: Sequence[BackendReport], facts: Facts) -> dict[str, Any]:
    return {
        "record": "doctor",
        "backend": None if facts.refusal is not None else _first_usable(reports),
        "backends": [report._asdict() for report in reports],
        "remedies": remedies(reports, facts),
        **facts._asdict(),
        "capabilities": None if facts.capabilities is None else sorted(facts.capabilities),
    }


def doctor_lines(reports: Sequence[BackendReport], facts: Facts) -> Iterable[str]:
    yield _row("kernel", f"{facts.system} {facts.kernel} {facts.machine}, BTF: {'yes' if facts.has_btf else 'no'}")
    yield _row("privileges", _privileges(facts))
    used = _first_usable(reports)
    for report in reports:
        if report.name == used and facts.refusal is not None:
            yield _row(report.name, f"not usable: {facts.refusal}")
        elif report.name == used:
            yield _row(report.name, "usable, would be used here")
        elif report.usable:
            because = f": {report.reason}" if report.reason else ""
            yield _row(report.name, f"usable with --backend {report.name}{because}")
        else:
            yield _row(report.name, f"not usable: {report.reason or 'no reason given'}")
    for remedy in remedies(reports, facts):
        yield _row("remedy", remedy)
    if used is None or facts.refusal is not None:
        yield "aa-fileio cannot trace here."
    else:
        yield f"aa-fileio can trace here, by {used}."


def _row(name: str, text: str) -> str:
    return f"{name:<11} {text}"


def _first_usable(reports: Iterable[BackendReport]) -> str | None:
    return next((report.name for report in reports if report.usable and not report.reason), None)


def _privileges(facts: Facts) -> str:
    if facts.capabilities is None:
        held = "unknown"
    else:
        held = ", ".join(sorted(facts.capabilities)) or "none of " + ", ".join(sorted(_CAPABILITIES))
    paranoid = "unknown" if facts.perf_event_paranoid is None else str(facts.perf_event_paranoid)
    lockdown = "" if facts.lockdown in (None, "none") else f"; lockdown {facts.lockdown}"
    return f"{held}; perf_event_paranoid {paranoid}{lockdown}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _capabilities(status: str | None) -> frozenset[str] | None:
    for line in (status or "").splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for name, bit in _CAPABILITIES.items() if bits >> bit & 1)
    return None


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _chosen(text: str | None) -> str | None:
    """`[none] integrity confidentiality` → none"""
    if text is None or "[" not in text:
        return None
    return text.split("[", 1)[1].split("]", 1)[0]
