# SPDX-License-Identifier: MIT
"""Opens, and reads and writes, that no call of the table and no request of a ring explains: counted and shown where
they are witnessed. What the table, a ring, an exec or a file system's own doings explain is none of them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import BackendUnavailable, KprobeManager
from tests.native.expected import (
    FS_IOC_UNRESVSP,
    calls_of,
    check_ledger,
    fields_of,
    file,
    opened_by_exec,
    sees_exec_opens,
)
from tests.native.ground import HANG_SECONDS
from tests.native.script import AT_FDCWD, Script, Steps
from tests.native.tracing import read_to_end, trace

_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_MOVES = ("read", "write")
_KINDS = ("file", "dir", "symlink", "memfd", "device", "tty", "pipe", "socket", "anon")


def _by_kernel(path: Path, steps: Steps, flags: int, **more: Any) -> dict[str, Any]:
    wanted = opened_by_exec(path, steps.pid, steps.tid, steps.ppid)
    return wanted | {"syscall": "security_file_open", "flags": flags, **more}


@pytest.mark.guest_only
@pytest.mark.parametrize(
    "options",
    [{}, {"errors_only": True, "min_duration_ns": 2**62, "watch": ["/nowhere/"]}, {"ignore": ["/"]}],
    ids=["all", "filtered", "ignored"],
)
def test_what_other_calls_open(backend: str, area: Path, options: dict[str, Any]) -> None:
    """Accounting is switched on and off; a file that is no swap is opened all the same. No filter keeps it back."""
    account, no_swap = area / "account", area / "no-swap"
    for path in (account, no_swap):
        path.write_bytes(bytes(10))
    script = Script(traced=calls_of(["open"]))
    main = script.main
    main.hold()
    main.call("acct", account)
    main.call("acct", 0)
    main.call("swapon", no_swap, 0)
    result = trace(script, area, backend, ops=["open"], **options)
    assert [step.result >= 0 for step in main.steps if step.name in ("acct", "swapon")] == [True, True, False]
    told = [fields_of(event) for event in result.events]
    if not sees_exec_opens(script):
        assert not told
        check_ledger(result.stats, backend, performed=0)
        return
    # 6.11 asks for O_EXCL.
    swap_flags = os.O_RDWR | told[1]["flags"] & os.O_EXCL
    wanted = [_by_kernel(account, main, os.O_WRONLY | os.O_APPEND), _by_kernel(no_swap, main, swap_flags)]
    assert told == wanted
    assert {str(event.via) for event in result.events} == {"kernel"}
    check_ledger(result.stats, backend, performed=2, delivered=2, bypass=2)


@pytest.mark.guest_only
@pytest.mark.parametrize("inside", [False, True], ids=["running", "inside-an-open"])
def test_a_core_dump(backend: str, area: Path, inside: bool) -> None:
    """Written by the kernel for the process that dies; also when it died inside an open, which it then is not any
    more."""
    core, fifo = area / "core", area / "fifo"
    os.mkfifo(fifo)
    script = Script(traced=calls_of(["open"]))
    main = script.main
    main.call("prlimit64", 0, resource.RLIMIT_CORE, script.buffer(b"\xff" * 16), 0)
    main.hold()
    if inside:
        # Until somebody writes to it.
        main.call("openat", AT_FDCWD, fifo, os.O_RDONLY, sees=file(fifo))
    else:
        main.sleep(60_000)
    before = _CORE_PATTERN.read_text()
    _CORE_PATTERN.write_text(f"{core}\n")
    try:
        with (
            script.start(area) as running,
            KprobeManager(running.pid, backend=backend, ops=["open"], kinds=["file", "pipe"]) as manager,
        ):
            running.go()
            if inside:
                running.wait_blocked_in("openat")
            else:
                time.sleep(0.1)
            os.kill(running.pid, signal.SIGSEGV)
            events = read_to_end(manager)
            assert running.process.wait(HANG_SECONDS) == -signal.SIGSEGV
    finally:
        _CORE_PATTERN.write_text(before)
    assert core.stat().st_size
    dumped = [event for event in events if event.via == "kernel"]
    is_witnessed = sees_exec_opens(script)
    assert [event.path for event in dumped] == [str(core)] * is_witnessed
    assert all(event.flags & os.O_CREAT and event.flags & os.O_ACCMODE for event in dumped)
    calls = len(events) - len(dumped)
    assert calls == inside
    assert manager.stats.bypass == is_witnessed
    assert manager.stats.performed == calls + is_witnessed


def _explained(script: Script, area: Path) -> None:
    main = script.main
    main.hold()
    buffer = script.buffer(4096)
    fd = main.call("openat", AT_FDCWD, area, os.O_RDONLY | os.O_DIRECTORY)
    main.call("getdents64", fd, buffer, 4096)
    main.call("openat", AT_FDCWD, area / "plain", os.O_PATH)
    main.call("openat", AT_FDCWD, area / "made", os.O_CREAT | os.O_WRONLY, 0o600)
    memory = main.call("memfd_create", b"memory", 0)
    main.call("write", memory, buffer, 100)
    main.call("socket", 1, 1, 0)
    main.call("eventfd2", 0, 0)
    main.call("pidfd_open", main.call("getpid"), 0)
    main.call("mq_open", b"aa-witness", os.O_CREAT | os.O_RDWR, 0o600, 0)
    main.call("mq_unlink", b"aa-witness")
    main.call("mmap", 0, 4096, 1, 2, main.call("openat", AT_FDCWD, "/etc/passwd", os.O_RDONLY), 0)


@pytest.mark.parametrize("kinds", [None, _KINDS], ids=["default", "all"])
def test_what_is_explained(backend: str, area: Path, kinds: tuple[str, ...] | None) -> None:
    """Opens by the table's own calls, and objects that are no files. The root of a guest is an overlay, which opens the
    files below itself, too."""
    (area / "plain").write_bytes(b"")
    script = Script(traced=())
    _explained(script, area)
    opens = sum(step.name == "openat" for step in script.main.steps)
    result = trace(script, area, backend, ops=["open"], kinds=kinds)
    assert [(event.syscall, str(event.via)) for event in result.events] == [("openat", "syscall")] * opens
    check_ledger(result.stats, backend, performed=opens, delivered=opens)


@pytest.mark.parametrize("kinds", [None, _KINDS], ids=["default", "all"])
def test_the_other_side_of_a_terminal(backend: str, area: Path, kinds: tuple[str, ...] | None) -> None:
    """Opened by an ioctl: it counts where terminals are asked for."""
    script = Script(traced=())
    main = script.main
    main.hold()
    fd = main.call("openat", AT_FDCWD, "/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    main.call("ioctl", fd, _TIOCSPTLCK, script.buffer(4))
    peer = main.call("ioctl", fd, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    result = trace(script, area, backend, ops=["open"], kinds=kinds)
    assert peer.result > fd.result
    is_asked = kinds is not None
    bypass = int(is_asked and sees_exec_opens(Script(traced=calls_of(["open"]))))
    assert [str(event.via) for event in result.events] == ["syscall"] * is_asked + ["kernel"] * bypass
    assert [str(event.kind) for event in result.events] == ["tty"] * (is_asked + bypass)
    check_ledger(
        result.stats,
        backend,
        performed=1 + bypass,
        delivered=is_asked + bypass,
        filtered=int(not is_asked),
        bypass=bypass,
    )


@pytest.mark.guest_only
def test_totals_have_it(backend: str, area: Path) -> None:
    account = area / "account"
    account.write_bytes(b"")
    script = Script(traced=calls_of(["open"]))
    script.main.hold()
    script.main.call("acct", account)
    script.main.call("acct", 0)
    result = trace(script, area, backend, ops=["open"], totals=True, events=False)
    bypass = int(sees_exec_opens(script))
    assert [(str(row.op), row.path, row.calls, row.errors) for row in result.totals] == [
        ("open", str(account), 1, 0)
    ] * bypass
    assert result.totals.complete == (result.stats.exact and not bypass)
    check_ledger(result.stats, backend, performed=bypass, counted=bypass, bypass=bypass)


def test_a_command_that_opens_much(backend: str, area: Path) -> None:
    """Everyday programs on an everyday file system: nothing is unexplained."""
    work = "cp -r /etc/apt copy; tar cf copy.tar copy; find copy -type f | sort | tail -n 1; rm -r copy"
    with KprobeManager.spawn(
        ["sh", "-c", work], backend=backend, cwd=area, stdout=subprocess.DEVNULL, ops=["open", "exec"]
    ) as manager:
        events = read_to_end(manager)
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
    stats = manager.stats
    assert (stats.bypass, stats.lost, stats.unseen) == (0, 0, 0)
    execs = [event for event in events if event.op == "exec" and event.errno == 0]
    opened = [event for event in events if event.via == "exec"]
    # Each is a program by ELF with its loader.
    told = 2 if sees_exec_opens(Script(traced=calls_of(["open"]))) else 0
    assert len(execs) >= 5 and len(opened) == told * len(execs)


def _cannot(backend: str) -> bool:
    """What reads and writes are witnessed by is a probe on a function; that it is missing is said."""
    if backend != "tracepoint":
        return False
    with pytest.raises(BackendUnavailable, match="witness_io needs probes on functions"):
        KprobeManager(os.getpid(), backend=backend, witness_io=True).attach()
    return True


@pytest.mark.parametrize(
    "options",
    [{}, {"errors_only": True, "min_duration_ns": 2**62, "watch": ["/nowhere/"]}, {"ops": ["write"]}],
    ids=["all", "filtered", "writes"],
)
def test_what_other_calls_read(backend: str, area: Path, options: dict[str, Any]) -> None:
    """A file that is no module is read all the same, to its end (kernel_read_file())."""
    if _cannot(backend):
        return
    no_module = area / "no-module"
    no_module.write_bytes(b"no module\n")
    script = Script(traced=())
    main = script.main
    fd = main.call("openat", AT_FDCWD, no_module, os.O_RDONLY)
    main.hold()
    refused = main.call("finit_module", fd, b"", 0)
    result = trace(script, area, backend, witness_io=True, **{"ops": _MOVES} | options)
    assert refused.result == -errno.ENOEXEC
    told = [(str(event.op), event.path, event.syscall, str(event.via)) for event in result.events]
    bypass = 2 * int("ops" not in options)
    assert told == [("read", str(no_module), "security_file_permission", "kernel")] * bypass
    for event in result.events:
        assert (event.fd, event.return_code, event.count, event.flags, event.duration_ns) == (None,) * 5
        assert (event.pid, str(event.kind), str(event.path_source)) == (result.pid, "file", "file")
    check_ledger(result.stats, backend, performed=bypass, delivered=bypass, bypass=bypass)


def _moves_explained(script: Script, area: Path) -> None:
    main = script.main
    main.hold()
    buffer, parts = script.buffer(4096), script.buffer(struct.pack("=QQ", 0, 0))
    fd = main.call("openat", AT_FDCWD, area / "plain", os.O_RDWR)
    other = main.call("openat", AT_FDCWD, area / "other", os.O_RDWR)
    folder = main.call("openat", AT_FDCWD, area, os.O_RDONLY | os.O_DIRECTORY)
    main.call("getdents64", folder, buffer, 4096)
    main.call("read", fd, buffer, 10)
    main.call("pwrite64", fd, buffer, 10, 0)
    main.call("preadv", fd, parts, 1, 0, 0)
    main.call("fallocate", fd, 0, 0, 100)
    main.call("ioctl", fd, FS_IOC_UNRESVSP, script.buffer(struct.pack("=hhiqqiI4i", 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)))
    main.call("ftruncate", fd, 50)
    main.call("copy_file_range", fd, 0, other, 0, 10, 0)
    main.call("sendfile", other, fd, 0, 10)
    main.call("memfd_create", b"memory", 0)
    main.call("fsync", fd)
    main.call("mmap", 0, 4096, 1, 2, fd, 0)


@pytest.mark.parametrize("ops", [_MOVES, ("write",), ("read", "write", "copy", "list", "allocate")], ids=len)
@pytest.mark.parametrize("kinds", [None, _KINDS], ids=["default", "all"])
def test_reads_and_writes_that_are_explained(
    backend: str, area: Path, ops: tuple[str, ...], kinds: tuple[str, ...] | None
) -> None:
    """By calls of the table, whether they were asked for or not."""
    if _cannot(backend):
        return
    for name in ("plain", "other"):
        (area / name).write_bytes(bytes(100))
    script = Script(traced=())
    _moves_explained(script, area)
    result = trace(script, area, backend, ops=ops, kinds=kinds, witness_io=True)
    assert {str(event.via) for event in result.events} == {"syscall"}
    assert {str(event.op) for event in result.events} == set(ops)
    assert result.stats.bypass == 0


def test_a_command_that_moves_much(backend: str, area: Path) -> None:
    """Everyday programs: each read and write of a file is a call's."""
    if _cannot(backend):
        return
    work = "cp -r /etc/apt copy; tar cf copy.tar copy; sort copy.tar > sorted; find copy | wc; rm -r copy"
    with KprobeManager.spawn(
        ["sh", "-c", work], backend=backend, cwd=area, stdout=subprocess.DEVNULL, witness_io=True
    ) as manager:
        events = read_to_end(manager)
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
    assert (manager.stats.bypass, manager.stats.lost, manager.stats.unseen) == (0, 0, 0)
    assert len([event for event in events if event.op == "write"]) > 10


def test_nothing_to_witness() -> None:
    with pytest.raises(ValueError, match="needs read or write among the ops"):
        KprobeManager(os.getpid(), ops=["open"], witness_io=True)
