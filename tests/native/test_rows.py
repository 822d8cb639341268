# SPDX-License-Identifier: MIT
"""Every row of the table of calls, with success and with failure: one trace of them all, for each backend."""

from __future__ import annotations

from collections import defaultdict

from aa_fileio import SYSCALLS, Kind, Op
from tests.native.expected import Filtered, Seen, Unseen, check_script_ledger, flag_names
from tests.native.ground import HERE
from tests.native.row_lists import LISTS, MAYBE_MISSING, kernel_has
from tests.native.script import NUMBERS
from tests.native.themes import Performed, checked_each, performed_once

ROWS = {row.name for row in SYSCALLS}
# Rows that no list can drive with success, or with failure, on any of the kernels; each with its reason.
NEVER_SUCCEEDS: dict[str, str] = {}
NEVER_FAILS = dict.fromkeys(
    ("recvmsg", "recvmmsg", "sendmsg", "sendmmsg", "seccomp"), "known for what it is when it succeeds only"
)


performed = performed_once(LISTS, ROWS, look=lambda manager: manager.targets, ops=list(Op), kinds=list(Kind))
test_theme = checked_each(LISTS)


def test_nobody_else_is_seen(performed: Performed) -> None:
    performed.check_no_stranger()


def test_ledger(backend: str, performed: Performed) -> None:
    """What is not the row's kind of call is not counted either."""
    assert any(isinstance(step.sees, Unseen) for step in performed.script.ordered())
    # Which names could not be read is each list's own matter; here, that they are counted.
    unreadable = sum("unreadable" in flag_names(event) for event in performed.result.events)
    check_script_ledger(performed.script, performed.result.stats, backend, path_unreadable=unreadable)


def test_every_row_is_driven(performed: Performed) -> None:
    """With success and with failure, by what the kernel told the workload."""
    succeeded: dict[str, int] = defaultdict(int)
    failed: dict[str, int] = defaultdict(int)
    for step in performed.script.ordered():
        if step.name in ROWS and not isinstance(step.sees, Unseen):
            assert isinstance(step.sees, (Seen, Filtered)) or callable(step.sees)
            (failed if step.result < 0 else succeeded)[step.name] += step.done
    rows = {name for name in ROWS if name not in MAYBE_MISSING or kernel_has(name)}
    assert rows <= NUMBERS.keys()
    if HERE.ring_opcodes:  # a ring's requests are seen, and it is no blind spot: test_io_uring.py
        rows.discard("io_uring_setup")
    rows.discard("connect")  # it needs somebody to speak to: test_blind_spots.py
    rows.discard("io_submit")  # so are its requests: test_aio.py
    assert rows - {name for name, times in succeeded.items() if times} == NEVER_SUCCEEDS.keys()
    assert rows - {name for name, times in failed.items() if times} == NEVER_FAILS.keys()


def test_a_row_that_the_kernel_lacks_is_absent(backend: str, performed: Performed) -> None:
    """By kprobe and by trampoline each row has its function; only these may be missing."""
    present = {target.function: target.present for target in performed.result.looked}
    functions = {row.name: row.function for row in SYSCALLS}
    if backend == "tracepoint":
        assert not set(functions.values()) & present.keys()
        return
    if HERE.ring_opcodes:  # not announced there, and not attached
        del functions["io_uring_setup"]
    for name, function in functions.items():
        assert present[function] == kernel_has(function.removeprefix("__x64_sys_")), name
        assert present[function] or name in MAYBE_MISSING, name
