# SPDX-License-Identifier: MIT
"""docs/coverage.md and docs/kernels.json, held to the kernel that this runs on."""

from __future__ import annotations

from pathlib import Path

from aa_fileio import SYSCALLS, KprobeManager, Op
from scripts import coverage
from tests.native.ground import unable
from tests.native.script import Script

_PREFIX = "__x64_sys_"


def _kernel() -> str:
    """As docs/kernels.json calls it."""
    kernel = ".".join(Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2])
    if kernel not in coverage.read_kernels()[""]:
        unable(f"docs/kernels.json does not tell of Linux {kernel}: python -m scripts.coverage --record {kernel}")
    return kernel


def _committed() -> set[str]:
    return {function for function, names in coverage.read_kernels().items() if function and _kernel() in names}


def _listed() -> dict[str, str]:
    """Function → its letter in the kernel's own list of symbols."""
    lines = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    return {words[2].removeprefix(_PREFIX): words[1] for words in lines if words[2].startswith(_PREFIX)}


def test_this_kernel_is_told_as_it_is() -> None:
    """All its calls, not only those of the table: so that a new row finds its kernels in the document."""
    # A weak function stands in for one that the kernel was built without (COND_SYSCALL); a dot is the compiler's.
    listed = {name for name, letter in _listed().items() if letter in "tT" and "." not in name}
    assert _committed() == listed - {"ni_syscall"}


def test_every_row_is_there_or_not_as_the_document_says(backend: str, area: Path) -> None:
    committed, listed = _committed(), _listed()
    for call in SYSCALLS:
        function = call.function.removeprefix(_PREFIX)
        # Nor may a row be of a call that is there by name only: its probe would see what does nothing.
        assert listed.get(function) in (("t", "T") if function in committed else (None,)), function
    script = Script()
    script.main.hold()
    for multi in (True, False) if backend == "kprobe" else (True,):
        options = {"backend": backend, "ops": list(Op), "multi": multi}
        with script.start(area) as running, KprobeManager(running.pid, **options) as manager:
            targets = manager.targets
        found: dict[str, list[bool]] = {}
        for target in targets:
            if target.function.startswith(_PREFIX):
                found.setdefault(target.function.removeprefix(_PREFIX), []).append(target.present)
        # At the entry and at the return.
        expected = {call.function.removeprefix(_PREFIX) for call in SYSCALLS} if backend != "tracepoint" else set()
        assert found == {function: [function in committed] * 2 for function in expected}
