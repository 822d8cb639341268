# SPDX-License-Identifier: MIT
"""Where the tests run, and what must work there. Written down here, never asked of the product."""

from __future__ import annotations

import functools
import os
import resource
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest


class Ground(NamedTuple):
    """A kernel the tests run on."""

    name: str
    kernel: str
    backends: tuple[str, ...]
    inexact: tuple[str, ...] = ()  # backends whose own misses this kernel does not count
    multi: tuple[str, ...] = ()  # halves of kprobe that one link serves: entries, and returns where none can be missed
    # Of a backend: operations by name whose entry it cannot be told, though the function is there.
    untold: tuple[tuple[str, str], ...] = ()
    unnamed: tuple[str, ...] = ()  # backends whose links do not tell their function here
    no_compat: tuple[str, ...] = ()  # backends that cannot follow 32-bit calls here
    compat_at_once: bool = True  # all go through one function that can be probed
    ring_opcodes: int = 0  # IORING_OP_LAST; 0: what is done by rings is not shown by this kernel's tracepoints
    exit_only: tuple[str, ...] = ("kprobe", "fentry", "tracepoint")  # backends that latency=False spares entry probes
    components: int = 2_048  # a name of so many comes whole
    file_systems: tuple[str, ...] = ("tmpfs", "overlay", "9p")  # a guest's root is an overlay over the host's by 9p
    # Backends that are not taken by themselves, each with words of the reason. Those of `backends` can be named.
    refused: tuple[tuple[str, str], ...] = ()
    on_devices: tuple[str, ...] = ()  # file systems of block devices, by a loop device


_PREEMPTED = ("fentry", "preempts fentry programs")
_REAL_TIME = ("kprobe", r"real-time kernel \(PREEMPT_RT\) needs about \d+ s")

# Compilers of the kernel side, besides the one that the other tests' build is by: the Makefile's COMPILERS, in build/.
COMPILERS = ("clang-16", "clang-19", "clang-22")

# "1": all that there is for a guest; "rest": what `make test` leaves out.
EVERYTHING = os.environ.get("AA_FILEIO_EVERYTHING", "")

# The development machine's kernel has neither kprobes nor fprobes; Debian's have both ways in.
GROUNDS = (
    Ground(
        "native",
        "this machine's",
        ("tracepoint",),
        ring_opcodes=63,
        file_systems=("tmpfs", "overlay"),
        refused=(("kprobe", "no kprobes"), ("fentry", "preempts|let fentry programs be attached")),
        on_devices=("ext2", "ext3", "ext4", "xfs", "btrfs", "squashfs", "erofs"),
    ),
    # A BPF program that a kprobe finds busy is skipped; the count of that came with 6.7 (dd8657894c11).
    # Its trampolines do not pass structures on, and security_path_chown() takes two.
    Ground(
        "bullseye",
        "5.10",
        ("kprobe", "fentry", "tracepoint"),
        inexact=("kprobe",),
        unnamed=("fentry",),
        untold=(("fentry", "chown"),),
        # A trampoline's program is of one function, and ia32_sys_call() came later.
        no_compat=("fentry",),
        compat_at_once=False,
        # At a function's return the caller's registers are found by a helper of 5.15.
        exit_only=("tracepoint",),
        # bpf_loop() came with 5.17.
        components=256,
    ),
    Ground("bookworm", "6.1", ("kprobe", "fentry", "tracepoint"), inexact=("kprobe",), ring_opcodes=49),
    Ground("trixie", "6.12", ("kprobe", "fentry", "tracepoint"), multi=("entry",), ring_opcodes=58),
    # Trampolines are preempted there, and skip calls meanwhile: refused.
    # ia32_sys_call() is built without tracing there.
    Ground(
        "sid",
        "7.2",
        ("kprobe", "tracepoint"),
        multi=("entry", "return"),
        compat_at_once=False,
        ring_opcodes=65,
        refused=(_PREEMPTED,),
    ),
)

# Other kernels, in guests of tests/kernels/images.py: these run test_offered.py alone, in `make soak`.
OTHER_GROUNDS = (
    # Kprobes take 0.9 s each to go; the count of a kprobe that is skipped came with 6.7.
    Ground("bookworm-rt", "6.1-rt", ("tracepoint", "kprobe"), inexact=("kprobe",), refused=(_REAL_TIME, _PREEMPTED)),
    Ground("bookworm-full", "6.1", ("kprobe", "tracepoint"), inexact=("kprobe",), refused=(_PREEMPTED,)),
    Ground("trixie-rt", "6.12-rt", ("tracepoint", "kprobe"), refused=(_REAL_TIME, _PREEMPTED)),
    Ground("trixie-full", "6.12", ("kprobe", "tracepoint"), refused=(_PREEMPTED,)),
    *(
        Ground(f"backports-{version}", version, ("kprobe", "tracepoint"), refused=(_PREEMPTED,))
        for version in ("6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.3", "7.3-rt")
    ),
    Ground("backports-6.18-none", "6.18", ("kprobe", "fentry", "tracepoint")),
)

# What every guest runs in `make test`; `make soak` (AA_FILEIO_EVERYTHING) runs all of it. An emulated machine is ten to
# twenty times slower, an attach takes it seconds, and four of them have 20 minutes on two cores. Here is what differs
# with the kernel: its functions, its calls, its structures.
GUEST_TESTS = (
    "test_blind_spots.py::test_a_ring_from_before_is_found_in_the_whole_system[tracepoint]",
    "test_compat.py::test_a_32_bit_program[kprobe-sysinfo",
    "test_coverage.py::test_this_kernel_is_told_as_it_is",
    "test_coverage.py::test_every_row_is_there_or_not_as_the_document_says[tracepoint]",
    "test_depth.py::test_theme[kprobe",
    "test_descriptors.py::test_theme[kprobe",
    "test_exec_opens.py::test_every_file_of_an_exec[kprobe",
    "test_failures.py::test_the_fallback_is_a_trace_like_any_other[tracepoint",
    "test_gone.py::test_after_the_tracer_is_killed[kprobe-alone",
    "test_health.py::test_kprobes_that_are_switched_off",
    "test_io_uring.py::test_every_operation[tracepoint-inline",
    "test_io_uring.py::test_a_chain_whose_head_fails[tracepoint",
    "test_io_uring.py::test_completions_without_room[tracepoint",
    "test_load.py::test_losses_are_counted[kprobe-both",
    "test_rows.py",
    "test_swaps.py::test_opens_are_named_for_what_was_opened[kprobe-latency",
    "test_swaps.py::test_reads_are_named_for_what_was_read[kprobe-process",
    "test_system.py",
    "test_targets.py::test_backend_chosen_for_this_kernel",
    "test_targets.py::test_every_program_is_attached",
    "test_totals.py::test_more_files_than_rows[kprobe",
    "test_tree.py::test_first_call_of_a_child[kprobe",
    "test_unreachable.py::test_every_call_there_is_flagged[kprobe",
)

# Of one of them: what differs with the kernel least, and by tracepoint is tried on this machine's kernel too.
GUEST_TESTS_OF = {
    "bullseye": (
        "test_aio.py::test_every_command[tracepoint-at-once",
        "test_calls.py::test_four_threads_at_once[kprobe",
        "test_compat.py::test_theme[tracepoint",
        "test_ledger.py::test_without_latency[kprobe",
        "test_witness.py::test_a_command_that_opens_much[kprobe",
    ),
    "bookworm": (
        "test_gone.py::test_after_a_kernel_thread",
        "test_load.py::test_many_short_processes[kprobe",
        "test_namespaces.py::test_tracer_in_a_namespace_of_its_own[tracepoint",
        "test_unreachable.py::test_mounts_that_move_meanwhile[kprobe",
        "test_witness.py::test_what_other_calls_open[kprobe-all",
    ),
    "trixie": (
        # As unlike the others as can be: returns alone, next to nothing.
        "test_configurations.py::test_configuration[kprobe-one-op-no-latency-no-follow-default-kinds-process]",
        "test_aio.py::test_requests_that_are_refused[kprobe",
        "test_cost.py::test_bytes_of_a_read_and_a_write[kprobe",
        "test_depth.py::test_theme[tracepoint",
        "test_gone.py::test_after_detach[kprobe",
        "test_gone.py::test_after_the_tracer_is_killed[kprobe-with-children",
        "test_health.py::test_all_is_well[kprobe-default]",
        "test_kept.py::test_the_same_process_again[kprobe-default",
        "test_load.py::test_a_million_reads_while_nobody_reads[kprobe",
        "test_load.py::test_strangers_blocked_in_read[kprobe",
        "test_seats.py",
        "test_swaps.py::test_reads_are_named_for_what_was_read[kprobe-file",
        "test_totals.py::test_every_call_is_in_its_row[kprobe-overflowing",
        "test_tree.py::test_tree_from_the_start",
    ),
    "sid": (
        "test_aio.py::test_every_command[kprobe-at-once",
        "test_compat.py::test_ledger[tracepoint",
        "test_compat.py::test_theme[tracepoint",
        # Everything, of everybody.
        "test_configurations.py::test_configuration[tracepoint-all-ops-no-latency-follow-default-kinds-system]",
        "test_health.py::test_all_is_well[tracepoint-default]",
        "test_io_uring.py::test_requests_are_followed_whatever_is_asked_for[tracepoint",
        "test_load.py::test_losses_are_counted[kprobe-ring",
        "test_load.py::test_losses_are_counted[kprobe-queue",
        "test_swaps.py::test_reads_are_named_for_what_was_read[kprobe",
        "test_tree.py::test_first_call_of_a_child[tracepoint",
        "test_unreachable.py::test_every_call_there_is_flagged[tracepoint",
    ),
}

# What a guest runs of it by fentry, in `make test`: all but the way of attaching is kprobe's too.
GUEST_TESTS_BY_FENTRY = (
    "test_rows.py",
    "test_targets.py::test_every_program_is_attached",
    "test_tree.py::test_first_call_of_a_child",
)

# A guest of one processor, whose clock counts instructions.
ICOUNT = os.environ.get("AA_FILEIO_ICOUNT") == "1"

# The operations that most tests are about: attaching the probes of all takes an emulated machine seconds each time.
FIRST_OPS = ("open", "read", "write", "unlink", "rmdir", "rename")

GUEST = os.environ.get("AA_FILEIO_GUEST", "")
HERE = next(ground for ground in (*GROUNDS, *OTHER_GROUNDS) if ground.name == (GUEST or "native"))
REQUIRED = os.environ.get("AA_FILEIO_REQUIRE") == "1"

# Nothing may take as long as this; no test passes or fails by being quicker or slower.
HANG_SECONDS = 300.0 if GUEST else 60.0

# Open at once by one process. Natively no more than the hard limit, which root may not raise on every machine.
DESCRIPTORS = 60_000 if GUEST else min(60_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@functools.cache
def kernel_symbols() -> frozenset[str]:
    """The names of this kernel's own list of its symbols."""
    return frozenset(line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines())


def scaled(native: int, guest: int) -> int:
    """How often: an emulated machine is ten to twenty times slower."""
    return guest if GUEST else native


def unable(reason: str) -> NoReturn:
    """This machine lacks what a test needs: a skip, or a failure where all must run."""
    if REQUIRED:
        pytest.fail(f"required here, but {reason}")
    pytest.skip(reason)
