"""What this kernel and these privileges allow: which backend would be used here, why not the others, and the remedy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    )


def remedy(report: BackendReport, facts: Facts) -> str | None:
    """What to do so that this backend can be used; None where it is usable or nothing short of another kernel helps."""
    if report.usable:
        return None
    if facts.system != "Linux":
        return "use a Linux machine: the probes are the kernel's own"
    if facts.may_load is False:
        return f"run it with CAP_BPF and CAP_PERFMON, or as root: sudo {shlex.quote(_own_path())} …"
    if facts.lockdown in ("integrity", "confidentiality"):
        return f"the kernel is locked down ({facts.lockdown}): boot it without lockdown="
    if (
        report.name == "kprobe"
        and facts.perf_event_paranoid is not None
        and facts.perf_event_paranoid > 2
        and facts.capabilities is not None
        and "CAP_SYS_ADMIN" not in facts.capabilities
    ):
        return (
            f"kernel.perf_event_paranoid is {facts.perf_event_paranoid}: run it as root, "
            "or set it to 2 (sudo sysctl kernel.perf_event_paranoid=2)"
        )
    if not facts.has_btf:
        return "a kernel with CONFIG_DEBUG_INFO_BTF=y (there is no /sys/kernel/btf/vmlinux)"
    return None


def doctor_object(reports: Sequence[BackendReport], facts: Facts) -> dict[str, Any]:
    return {
        "record": "doctor",
        "backend": _first_usable(reports),
        "backends": [
            {
                "name": report.name,
                "usable": report.usable,
                "reason": report.reason,
                "remedy": remedy(report, facts),
            }
            for report in reports
        ],
        "system": facts.system,
        "kernel": facts.kernel,
        "machine": facts.machine,
        "python": facts.python,
        "capabilities": None if facts.capabilities is None else sorted(facts.capabilities),
        "perf_event_paranoid": facts.perf_event_paranoid,
        "lockdown": facts.lockdown,
        "has_btf": facts.has_btf,
    }


def doctor_lines(reports: Sequence[BackendReport], facts: Facts) -> Iterable[str]:
    yield _row("kernel", f"{facts.system} {facts.kernel} {facts.machine}, BTF: {'yes' if facts.has_btf else 'no'}")
    yield _row("privileges", _privileges(facts))
    used = _first_usable(reports)
    for report in reports:
        if report.name == used:
            yield _row(report.name, "usable, would be used here")
        elif report.usable:
            yield _row(report.name, f"usable with --backend {report.name}")
        else:
            yield _row(report.name, f"not usable: {report.reason or 'no reason given'}")
            help_ = remedy(report, facts)
            if help_ is not None:
                yield _row("", f"remedy: {help_}")
    if used is None:
        yield "aa-fileio cannot trace here."
    else:
        yield f"aa-fileio can trace here, by {used}."


def _row(name: str, text: str) -> str:
    return f"{name:<11} {text}"


def _first_usable(reports: Iterable[BackendReport]) -> str | None:
    return next((report.name for report in reports if report.usable), None)


def _privileges(facts: Facts) -> str:
    if facts.capabilities is None:
        held = "unknown"
    else:
        held = ", ".join(sorted(facts.capabilities)) or "none of " + ", ".join(sorted(_CAPABILITIES))
    paranoid = "unknown" if facts.perf_event_paranoid is None else str(facts.perf_event_paranoid)
    lockdown = "" if facts.lockdown in (None, "none") else f"; lockdown {facts.lockdown}"
    return f"{held}; perf_event_paranoid {paranoid}{lockdown}"


def _own_path() -> str:
    # sudo has a PATH of its own, in which a virtual environment's bin is not.
    return shutil.which("aa-fileio") or os.path.abspath(sys.argv[0])


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
