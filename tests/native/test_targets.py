# SPDX-License-Identifier: MIT
"""What is attached, by the product's word and by the kernel's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from aa_fileio import KPROBE_TARGETS, KprobeManager
from tests.native import outside
from tests.native.expected import as_passed, calls_of, check_events, check_ledger, check_results, file
from tests.native.ground import FIRST_OPS, HERE, kernel_symbols
from tests.native.script import AT_FDCWD, AT_REMOVEDIR, Script
from tests.native.tracing import read_to_end

# The set this project began with, from its design: written out, so that no edit of a table changes it.
ORIGIN = (
    ("aa_sys_openat", "__x64_sys_openat"),
    ("aa_sys_openat_ret", "__x64_sys_openat"),
    ("aa_sys_read", "__x64_sys_read"),
    ("aa_sys_read_ret", "__x64_sys_read"),
    ("aa_sys_write", "__x64_sys_write"),
    ("aa_sys_write_ret", "__x64_sys_write"),
    ("aa_sys_unlink", "__x64_sys_unlinkat"),
    ("aa_sys_unlink_ret", "__x64_sys_unlinkat"),
    ("aa_sys_unlink_legacy", "__x64_sys_unlink"),
    ("aa_sys_unlink_legacy_ret", "__x64_sys_unlink"),
    ("aa_sys_rename", "__x64_sys_renameat2"),
    ("aa_sys_rename_ret", "__x64_sys_renameat2"),
    ("aa_sys_rename_legacy", "__x64_sys_rename"),
    ("aa_sys_rename_legacy_ret", "__x64_sys_rename"),
)
_TRACEPOINTS = {"sys_enter", "sys_exit"}


def _idle() -> Script:
    script = Script()
    script.main.hold()
    return script


def test_every_program_is_attached(backend: str, area: Path) -> None:
    assert sorted(KPROBE_TARGETS) == sorted(KprobeManager.KPROBE_TARGETS) == sorted(ORIGIN)
    functions = kernel_symbols()
    for multi in (True, False) if backend == "kprobe" else (True,):
        before = outside.look()
        with _idle().start(area) as running:
            with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, multi=multi) as manager:
                assert manager.is_attached
                assert manager.backend == backend
                targets = manager.targets
                seen = outside.describe(outside.look().without(before))
                held = outside.held_by(os.getpid())
            outside.check_gone(before)
        assert manager.targets == ()
        absent = {target.function for target in targets if not target.present}
        # Functions and calls that not every kernel has: 6.8 split filp_flush() off filp_close().
        assert not absent & functions
        assert absent <= {"filp_flush", "__x64_sys_openat2", "security_path_chown"}
        attached = [target for target in targets if target.present]
        for target in attached:
            assert target.verified or backend in HERE.unnamed, target
            assert target.prog_id in held.programs, target
            # The kernel keeps 15 letters; a bpftool that reads BTF shows them all.
            assert seen.programs[target.prog_id] in (target.program, target.program[:15]), target
            if target.link_id:
                assert seen.links[target.link_id] == target.prog_id, target
        pairs = {(target.program, target.function) for target in attached}
        assert len(pairs) == len(attached)
        shared = HERE.multi if multi else ()
        if backend == "kprobe":
            wanted = {(program, function) for program, function in ORIGIN}
            if "entry" in shared:
                wanted = {pair if pair[0].endswith("_ret") else ("aa_multi_enter", pair[1]) for pair in wanted}
            if "return" in shared:
                wanted = {("aa_multi_return", pair[1]) if pair[0].endswith("_ret") else pair for pair in wanted}
            assert wanted | _compat_pairs(shared) <= pairs
            _check_probe_list(seen, shared)
        elif backend == "fentry":
            for program, function in ORIGIN:
                name = program.removesuffix("_ret")
                suffix = "_fexit" if program.endswith("_ret") else "_fentry"
                assert pairs & {(name + suffix, function), (name + suffix + "_other", function)}, program
            at_once = {("aa_compat_fentry", "ia32_sys_call"), ("aa_compat_fexit", "ia32_sys_call")}
            assert pairs & at_once == (set() if "fentry" in HERE.no_compat else at_once)
        else:
            assert {function for _, function in pairs} >= _TRACEPOINTS
        if backend != "kprobe":
            assert not seen.probes
            assert not seen.events
            # Programs of raw tracepoints and trampolines have links with ids since tp_btf has links.
            assert all(target.link_id for target in attached)
        if not shared:
            # Only for 32-bit calls a program may hang on several functions.
            own = [target for target in attached if not target.function.startswith("__ia32_")]
            assert len({target.prog_id for target in own}) == len(own)


def _compat_pairs(shared: tuple[str, ...]) -> set[tuple[str, str]]:
    """Where 32-bit calls are seen by kprobe: all at once, or each call by a function of its own."""
    twins = {
        "aa_sys_openat": "__ia32_compat_sys_openat",
        "aa_sys_read": "__ia32_sys_read",
        "aa_sys_write": "__ia32_sys_write",
        "aa_sys_unlink": "__ia32_sys_unlinkat",
        "aa_sys_rename": "__ia32_sys_renameat2",
        "aa_sys_pread64": "__ia32_sys_ia32_pread64",
    }
    pairs = set()
    for program, function in twins.items():
        for half, suffix, multi, at_once in (
            ("entry", "", "aa_multi_enter", "aa_compat_enter"),
            ("return", "_ret", "aa_multi_return", "aa_compat_return"),
        ):
            if half in shared:
                pairs.add((multi, function))
            elif HERE.compat_at_once:
                pairs.add((at_once, "ia32_sys_call"))
            else:
                pairs.add((program + suffix, function))
    return pairs


def _check_probe_list(seen: outside.Description, shared: tuple[str, ...]) -> None:
    """Each function has an entry probe and a return probe, armed, by the kernel's own list."""
    listed = {}
    for line in seen.probes:
        # At the very beginning, or behind the endbr64 that indirect branch tracking wants there.
        match = re.match(r"[0-9a-f]+\s+([kr])\s+(\w+)\+0x[04]\s*(.*)$", line)
        assert match, line
        assert "[DISABLED]" not in match[3], line
        assert "[GONE]" not in match[3], line
        listed[match[1], match[2]] = match[3]
    # What one link serves is no kprobe of its own.
    for _, function in ORIGIN:
        assert (("r", function) in listed) == ("return" not in shared), (function, listed)
        assert (("k", function) in listed) == ("entry" not in shared), (function, listed)


def test_backend_chosen_for_this_kernel(area: Path) -> None:
    """Without a name: the first that can work here, and why the ones before it cannot."""
    with _idle().start(area) as running, KprobeManager(running.pid) as manager:
        assert manager.backend == HERE.backends[0]
        passed_over = {each.backend: each.reason for each in manager.passed_over}
        assert ("kprobe" in passed_over) == (manager.backend != "kprobe")
        assert all(passed_over.values())


# Kernel functions by operation, where they are not called as the system call is.
_OPENS = {"open", "creat", "openat", "openat2", "open_by_handle_at"}
_READS = {"read", "pread64", "readv", "preadv", "preadv2"}
_MAPS = {"mmap"}
_CALLS = {
    "read": _READS,
    "unlink": {"unlink", "unlinkat"},
    "rmdir": {"unlinkat", "rmdir"},
    "modify": _OPENS
    | _MAPS
    | {"write", "pwrite64", "writev", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate", "madvise"}
    | {"unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"}
    | {"mkdir", "mkdirat", "mknod", "mknodat", "bind", "chmod", "fchmod", "fchmodat", "fchmodat2"}
    | {"chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat", "utimensat"}
    | {"setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr"}
    | {"removexattrat", "copy_file_range", "sendfile64", "splice", "tee", "vmsplice", "ioctl"}
    | {"mount", "umount", "move_mount", "pivot_root", "open_tree", "open_tree_attr", "mount_setattr", "fspick"},
    "access": _OPENS | _READS | _MAPS | {"execve", "execveat"},
}
_IN_GROUP = {"modify": {"open", "write", "unlink", "rmdir", "rename"}, "access": {"open", "read"}}


@pytest.mark.parametrize("asked", _CALLS)
def test_only_what_is_asked(backend: str, area: Path, asked: str) -> None:
    """ops: a call of no asked operation is neither seen nor counted, and has no probe."""
    (area / "a").write_bytes(b"x")
    (area / "b").write_bytes(b"x")
    (area / "folder").mkdir()
    script = Script()
    steps = script.main
    steps.hold()
    a, b, c = area / "a", area / "b", area / "c"
    fd = steps.call("openat", AT_FDCWD, a, 2, sees=file(a, of=c))
    steps.call("read", fd, script.buffer(4), 4, sees=file(a, of=c, offset=0, moved=1))
    steps.call("write", fd, script.buffer(b"y"), 1, sees=file(a, of=c, offset=1, moved=1))
    steps.call("rename", a, c, sees=as_passed(a, c))
    steps.call("renameat2", AT_FDCWD, c, AT_FDCWD, a, 0, sees=as_passed(c, a))
    steps.call("rename", a, c, sees=as_passed(a, c))
    steps.call("unlink", b, sees=as_passed(b))
    steps.call("unlinkat", AT_FDCWD, area / "folder", AT_REMOVEDIR, sees=as_passed(area / "folder"))
    wanted = _IN_GROUP.get(asked, {asked})
    for step in steps.steps:
        operation = {"openat": "open", "renameat2": "rename", "unlinkat": "rmdir"}.get(step.name, step.name)
        if step.sees and operation not in wanted:
            step.sees = None
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=[asked]) as manager:
            functions = {target.function for target in manager.targets if target.function.startswith("__x64_sys_")}
            if backend != "tracepoint":
                # … and what announces a blind spot, always: mmap, which may share a file's memory; no ring, where its
                # requests are seen. What AIO can do is seen by the call that submits it, if that was asked for.
                announced = {*calls_of(()), "mmap"} - ({"io_uring_setup"} if HERE.ring_opcodes else set())
                if not wanted & {"read", "write", "sync"}:
                    announced.remove("io_submit")
                assert functions == {f"__x64_sys_{call}" for call in {*_CALLS[asked], *announced}}
            else:
                assert not functions
            running.go()
            events = read_to_end(manager)
            running.finish()
        check_results(script)
        check_events(script, events)
        count = sum(step.done for step in steps.steps if step.sees)
        assert count > 0
        check_ledger(manager.stats, backend, performed=count, delivered=count)
