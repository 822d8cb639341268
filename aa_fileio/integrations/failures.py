# SPDX-License-Identifier: MIT
"""Why a trace did not begin, and the one thing that mends it."""

from __future__ import annotations

import errno
import os
import resource
import shlex
import shutil
import sys

from aa_fileio import FileIOError, PermissionDenied
from aa_fileio.integrations.messages import PROGRAM

# Python, the core and the probes' object, as address space with a 4 KiB ring: 64 MiB measured; rounded up.
_OWN_MIB = 100
_RING_BYTES = 16 << 20
_QUEUE_BYTES = 8 << 20
# Measured: 50 by tracepoint with the default operations; by kprobe one or two for each of up to 837 programs.
_DESCRIPTORS = 4096


def failure_text(error: BaseException, ring_bytes: int | None, queue_bytes: int | None) -> str:
    """Two lines: what failed, and the remedy."""
    code = getattr(error, "errno", None)
    remedy = getattr(error, "remedy", None)
    what = (str(error) if isinstance(error, FileIOError) else _words(error)).removesuffix(f"\n{remedy}")
    if isinstance(error, MemoryError) or code == errno.ENOMEM:
        remedy = _memory_remedy(ring_bytes or _RING_BYTES, queue_bytes or _QUEUE_BYTES)
    elif code in (errno.EMFILE, errno.ENFILE):
        remedy = _descriptor_remedy(code)
    elif code == errno.EAGAIN and not isinstance(error, FileIOError):
        remedy = (
            "no more processes are allowed: raise `ulimit -u` (it is "
            f"{_soft_limit(resource.RLIMIT_NPROC)}), or pids.max of the control group"
        )
    elif isinstance(error, PermissionDenied) and os.geteuid() != 0 and _may_sudo():
        remedy = f"run it by sudo: {_by_sudo()}"
    elif code == errno.ENOENT and isinstance(error, FileIOError) and not os.path.exists("/sys/kernel"):
        remedy = "mount /sys, which has the kernel's BTF: mount -t sysfs sysfs /sys"
    elif not remedy and isinstance(error, PermissionError):
        remedy = "run as root, or leave --user away: only root starts a command as another user"
    return f"cannot trace: {what}\n{PROGRAM}: remedy: {remedy or f'`{PROGRAM} doctor` tells what this machine allows'}"


def _words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return str(error) or "out of memory"
    return getattr(error, "strerror", None) or str(error)


def _soft_limit(which: int) -> str:
    soft = resource.getrlimit(which)[0]
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)


def _memory_remedy(ring_bytes: int, queue_bytes: int) -> str:
    needed = _OWN_MIB + (2 * ring_bytes + queue_bytes >> 20)
    smaller = _OWN_MIB + 2
    limits = [
        f"{words} {limit >> 10} KiB"
        for which, words in ((resource.RLIMIT_AS, "ulimit -v is"), (resource.RLIMIT_DATA, "ulimit -d is"))
        if (limit := resource.getrlimit(which)[0]) != resource.RLIM_INFINITY
    ]
    known = f" ({', '.join(limits)})" if limits else ""
    less = "" if ring_bytes <= 1 << 20 else f", or take less: --ring-bytes 256K --queue-bytes 256K needs {smaller} MiB"
    return f"give it {needed} MiB of address space{known}: ulimit -v {needed << 10}{less}"


def _descriptor_remedy(code: int) -> str:
    if code == errno.ENFILE:
        return "the whole system has no descriptor left: sysctl fs.file-max tells how many there may be"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        command = f"prlimit --pid $$ --nofile={_DESCRIPTORS} as root, in the shell before this command"
    else:
        command = f"ulimit -n {_DESCRIPTORS}"
    return (
        f"allow more descriptors ({soft} are allowed; a trace takes up to 64 by tracepoint, and {_DESCRIPTORS} by "
        f"kprobe and fentry): {command}"
    )


def _may_sudo() -> bool:
    return shutil.which("sudo") is not None


def _by_sudo() -> str:
    # sudo has a PATH of its own, in which a virtual environment's bin is not.
    return shlex.join(["sudo", own_path(), *sys.argv[1:]])


def own_path() -> str:
    return shutil.which(PROGRAM) or os.path.realpath(sys.argv[0]).removesuffix("-main")
