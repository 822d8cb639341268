# SPDX-License-Identifier: MIT
"""
Failures of what the product stands on, made by shims/fail.c under LD_PRELOAD: bpf(2), perf_event_open(2), mmap(2),
epoll, eventfd(2), threads and memory, each call by its number. Only calls out of the extension and of libbpf count.

A test has the rest of it in a process of its own: `run_failing(preload, function, …)` runs a function of the module
tests.native.failing_cases there, and returns what it returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.native.ground import HANG_SECONDS

SHIM = Path(__file__).with_name("shims") / "fail.c"
PROJECT = Path(__file__).resolve().parents[2]

# As in shims/fail.c.
WHATS = ("nothing", "bpf", "perf_event_open", "pidfd_open", "mmap", "epoll", "eventfd", "thread", "memory")
BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_LINK_CREATE = 0, 5, 28
BPF_TRACE_RAW_TP = 23
_RANGES = 8
_ALWAYS = 1 << 40


def build_shim(folder: Path) -> Path:
    """The library for LD_PRELOAD."""
    built = folder / "fail.so"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-D_GNU_SOURCE"]
    subprocess.run(["gcc", *flags, "-o", str(built), str(SHIM), "-ldl", "-pthread"], check=True, timeout=120)
    return built


def run_failing(shim: Path, case: str, *arguments: Any, seconds: float = HANG_SECONDS * 4) -> Any:
    """What the function of tests.native.failing_cases returns in a process with the shim. Its death is a failure."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "tests.native.failing_cases", case, *map(json.dumps, arguments)],
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONMALLOC": "malloc"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    assert not done.stderr, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


class Shim:
    """The shim's words, in the process that has it preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        _from = (ctypes.c_size_t * _RANGES).in_dll(self._library, "fail_from")
        to = (ctypes.c_size_t * _RANGES).in_dll(self._library, "fail_to")
        for index, (start, end) in enumerate(_code_of("_native", "libbpf.so")):
            to[index] = end
            _from[index] = start

    def _int(self, name: str) -> Any:
        return ctypes.c_int.in_dll(self._library, name)

    def _long(self, name: str) -> Any:
        return ctypes.c_long.in_dll(self._library, name)

    @property
    def seen(self) -> int:
        """How many of the calls meant there were."""
        return int(self._long("fail_seen").value)

    @property
    def done(self) -> int:
        """How many of them failed."""
        return int(self._long("fail_done").value)

    def set(
        self,
        what: str,
        first: int = 1,
        last: int | None = None,
        number: int = errno.ENOMEM,
        *,
        command: int = -1,
        name: bytes = b"",
        attach_type: int = -1,
        at_least: int = 0,
        held: bool = False,
    ) -> None:
        """From the first to the last of these calls fail; `last` None: only the first; 0: all from there on."""
        self.clear()
        self._long("fail_first").value = first
        self._long("fail_last").value = first if last is None else last or _ALWAYS
        self._int("fail_errno").value = number
        self._int("fail_command").value = command
        self._int("fail_attach_type").value = attach_type
        (ctypes.c_char * 16).in_dll(self._library, "fail_name").value = name
        self._long("fail_bytes").value = at_least
        self._int("fail_is_held").value = int(held)
        self._int("fail_what").value = WHATS.index(what)

    def clear(self) -> None:
        self._int("fail_what").value = 0
        self._int("fail_is_held").value = 0
        self._long("fail_seen").value = self._long("fail_done").value = 0

    @contextlib.contextmanager
    def failing(self, what: str, *arguments: Any, **options: Any) -> Iterator[None]:
        self.set(what, *arguments, **options)
        try:
            yield
        finally:
            # What was counted stays to be read.
            self._int("fail_what").value = 0


def _code_of(*names: str) -> Iterator[tuple[int, int]]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split()
        if len(words) > 5 and "x" in words[1] and any(name in words[5] for name in names):
            start, _, end = words[0].partition("-")
            yield int(start, 16), int(end, 16)
