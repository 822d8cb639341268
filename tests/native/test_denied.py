# SPDX-License-Identifier: MIT
"""Calls of ours that a list of allowed calls refuses, as a container's does: named, or done another way."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from aa_fileio import KprobeManager, ProbeAttachError
from tests.native.forked import forked
from tests.native.ground import HERE
from tests.native.tracing import read_to_end

_PIDFD_OPEN = 434
_LIBC = ctypes.CDLL(None, use_errno=True)
# <linux/prctl.h>, <linux/seccomp.h>, <linux/bpf_common.h>
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse(number: int, code: int) -> None:
    """From here on this process and its children get that errno for that call."""
    steps = [(_LOAD, 0, 0, 0), (_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | code), (_RETURN, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(program)))
    assert not _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    assert not _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head, 0, 0), os.strerror(ctypes.get_errno())


def _without_pidfd(tell: Callable[[Any], None], code: int, backend: str) -> dict[str, Any]:
    refuse(_PIDFD_OPEN, code)
    result: dict[str, Any] = {}
    with KprobeManager.spawn(["rmdir", "/nonexistent"], ops=["rmdir"], backend=backend, stderr=subprocess.PIPE) as m:
        result["paths"] = [event.path for event in read_to_end(m)]
        result["status"] = m.process.wait(30)
        result["again"] = m.process.poll()
    with KprobeManager.spawn(["sleep", "100"], ops=["rmdir"], backend=backend) as m:
        try:
            m.process.wait(0.1)
        except subprocess.TimeoutExpired:
            result["still there"] = True
        m.process.kill()
        result["killed"] = m.process.wait(30)
        m.process.kill()  # nothing more, and nobody else
    for name, pid in {"gone": m.process.pid, "thread": _thread()}.items():
        try:
            KprobeManager(pid, ops=["rmdir"], backend=backend).attach()
        except (ProcessLookupError, ValueError) as error:
            result[name] = type(error).__name__
    zombie = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    try:
        KprobeManager(zombie, ops=["rmdir"], backend=backend).attach()
    except ProcessLookupError as error:
        result["zombie"] = str(error).partition(" has ")[2]
    os.waitpid(zombie, 0)
    return result


def _thread() -> int:
    """A thread of another process: of one that has some and is not its first."""
    import threading

    started = threading.Event()
    tids: list[int] = []

    def run() -> None:
        tids.append(threading.get_native_id())
        started.set()
        time.sleep(100)

    threading.Thread(target=run, daemon=True).start()
    started.wait()
    return tids[0]


# EPERM: an older engine's list of calls; ENOSYS: what a newer one says of a call that it does not know.
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS], ids=["refused", "unknown"])
def test_without_pidfd_open(backend: str, code: int) -> None:
    """A command is traced, waited for and killed, and a process that cannot be attached to is refused as ever.

    The kprobe backend, whose reaper waits by such a descriptor, says what was refused."""
    if backend == "kprobe":
        with pytest.raises(AssertionError, match="pidfd_open"):
            forked(_without_pidfd, code, backend)
        return
    assert forked(_without_pidfd, code, backend) == {
        "paths": ["/nonexistent"],
        "status": 1,
        "again": 1,
        "still there": True,
        "killed": -signal.SIGKILL,
        "gone": "ProcessLookupError",
        "thread": "ValueError",
        "zombie": "exited and is a zombie",
    }


_FSOPEN = 430
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 16384, 1 << 18, 2


def _without_tracefs(tell: Callable[[Any], None], backend: str) -> tuple[str, str]:
    assert not _LIBC.unshare(_CLONE_NEWNS)
    assert not _LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    for place in (b"/sys/kernel/debug/tracing", b"/sys/kernel/tracing", b"/sys/kernel/debug"):
        _LIBC.umount2(place, _MNT_DETACH)
    refuse(_FSOPEN, errno.EPERM)
    manager = KprobeManager(os.getpid(), ops=["rmdir"], backend=backend)
    try:
        manager.attach()
    except ProbeAttachError as error:
        return type(error).__name__, str(error)
    manager.close()
    return "attached", ""


@pytest.mark.guest_only
def test_without_tracefs(backend: str) -> None:
    """A container that has none, and may not mount one: the error names it and what mends it."""
    name, words = forked(_without_tracefs, backend)
    # From 7.0 on raw tracepoints can be preempted, and the probes go by perf events whose numbers tracefs has.
    if backend == "kprobe" or (backend == "tracepoint" and "fentry" not in HERE.backends):
        assert name == "PermissionDenied"
        assert "tracefs is not at /sys/kernel/tracing" in words
        assert "mount -t tracefs" in words
    else:
        assert name == "attached"
