# SPDX-License-Identifier: MIT
"""No room to watch one more process: the attach fails, or the ledger counts it. Nothing is left out in silence."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aa_fileio import KprobeManager, Verdict
from tests.native.expected import UNSEEN, as_passed
from tests.native.script import Script
from tests.native.tracing import read_to_end

_BPF, _MAP_UPDATE, _INFO = 321, 2, 15
_libc = ctypes.CDLL(None, use_errno=True)

# As the map does when it is full: from a given insertion of the core's on, which it makes with BPF_NOEXIST.
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    static int count;
    union bpf_attr *with;
    long at[6];
    va_list all;

    va_start(all, number);
    for (int i = 0; i < 6; i++)
        at[i] = va_arg(all, long);
    va_end(all);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    with = (void *)at[1];
    if (number == SYS_bpf && at[0] == BPF_MAP_UPDATE_ELEM && with->flags == BPF_NOEXIST &&
        ++count >= atoi(getenv("FULL_FROM"))) {
        errno = atoi(getenv("FULL_ERRNO"));
        return -1;
    }
    return real(number, at[0], at[1], at[2], at[3], at[4], at[5]);
}
"""
_ATTACH = r"""
import json, sys
from aa_fileio import KprobeManager
manager = KprobeManager(int(sys.argv[1]), ops=["rmdir"])
try:
    manager.attach()
except OSError as error:
    print(json.dumps([error.errno, str(error), manager.is_attached, manager.stats.complete]))
else:
    print(json.dumps("attached"))
manager.close()
"""


def _bpf(command: int, attributes: bytes, size: int = 120) -> None:
    room = ctypes.create_string_buffer(attributes.ljust(size, b"\0"), size)
    if _libc.syscall(_BPF, command, room, size) < 0:
        raise OSError(ctypes.get_errno(), "bpf")


def _own_map(name: bytes) -> int:
    """This process's own descriptor of its map of that name: others may have such maps, too."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:bpf-map":
                continue
        except FileNotFoundError:
            continue
        info = ctypes.create_string_buffer(88)
        _bpf(_INFO, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
        if info.raw[24:40].rstrip(b"\0") == name:
            return fd
    raise AssertionError(f"no map {name!r}")


@contextmanager
def _filled(name: bytes) -> Iterator[None]:
    """With keys of no process, until the kernel takes no more."""
    fd = _own_map(name)
    key, value = ctypes.c_uint32(), ctypes.c_uint32()
    attributes = struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 1)
    full = 0
    for number in range(1 << 30, 1 << 31):
        key.value = number
        try:
            _bpf(_MAP_UPDATE, attributes)
        except OSError as error:
            full = error.errno
            break
    assert full == errno.E2BIG
    yield


def test_forks_without_room_are_counted(backend: str, area: Path) -> None:
    """The kernel's own map is filled up: each fork that finds no room is counted, and such a child makes no event."""
    forks = 3
    script = Script(traced=("rmdir",))
    main = script.main
    main.hold()
    main.call("rmdir", area / "before", sees=as_passed(area / "before", error=errno.ENOENT))
    for i in range(forks):
        child = script.list()
        main.fork(child)
        child.call("rmdir", area / f"unseen{i}", sees=UNSEEN)
    main.wait_children()
    main.call("rmdir", area / "after", sees=as_passed(area / "after", error=errno.ENOENT))
    with (
        script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=["rmdir"]) as manager,
        _filled(b"aa_watched"),
    ):
        running.go()
        events = read_to_end(manager)
        running.finish()
    stats = manager.stats
    assert [event.path for event in events] == [str(area / "before"), str(area / "after")]
    assert (stats.fork_map_full, stats.lost, stats.complete) == (forks, forks, False)
    assert stats.verdict.form is Verdict.INCOMPLETE
    assert ("fork_map_full", forks) in [(reason.cause, reason.count) for reason in stats.verdict.reasons]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shim") / "full.so"
    source = made.with_suffix(".c")
    source.write_text(_SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


@pytest.mark.native_only
@pytest.mark.parametrize("number", [errno.E2BIG, errno.ENOMEM], ids=["full", "memory"])
@pytest.mark.parametrize("first", [1, 2, 3], ids=["root", "child", "grandchild"])
def test_no_attach_without_room(area: Path, shim: Path, first: int, number: int) -> None:
    """For the process itself, or for one of its tree: the attach fails and says so."""
    script = Script(traced=())
    child, grandchild = script.list(), script.list()
    script.main.fork(child)
    child.fork(grandchild)
    for steps in (grandchild, child, script.main):
        steps.hold()
    with script.start(area) as running:
        environment = os.environ | {"LD_PRELOAD": str(shim), "FULL_FROM": str(first), "FULL_ERRNO": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", _ATTACH, str(running.pid)],
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        running.go()
        running.finish()
    code, text, is_attached, complete = json.loads(done.stdout)
    assert (code, is_attached, complete) == (number, False, False)
    assert ("at most 32768 processes" if number == errno.E2BIG else os.strerror(number)) in text
