# SPDX-License-Identifier: MIT
"""Plans for workloads/ring.c: what it submits to io_uring, and what must be told of each request, written beforehand.

plan = Plan()
plan.setup()
plan.hold()
plan.entry(READ, fd=fd, addr=plan.room(8), length=8, sees=Told(...))
plan.submit()
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.native.ground import HANG_SECONDS

# include/uapi/linux/io_uring.h
(READV, WRITEV, FSYNC, READ_FIXED, WRITE_FIXED) = (1, 2, 3, 4, 5)
PROVIDE_BUFFERS = 31
(NOP, SYNC_FILE_RANGE, TIMEOUT, FALLOCATE, OPENAT, CLOSE, STATX, READ, WRITE) = (0, 8, 11, 17, 18, 19, 21, 22, 23)
(FADVISE, MADVISE, SEND, RECV, OPENAT2, SPLICE, TEE) = (24, 25, 26, 27, 28, 30, 33)
(RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT) = (35, 36, 37, 38, 39)
(FSETXATTR, SETXATTR, FGETXATTR, GETXATTR, URING_CMD) = (41, 42, 43, 44, 46)
(READ_MULTISHOT, FIXED_FD_INSTALL, FTRUNCATE, BIND, READV_FIXED, WRITEV_FIXED) = (49, 54, 55, 56, 60, 61)

FIXED_FILE, LINK, ASYNC, BUFFER_SELECT, SKIP = 1, 4, 16, 32, 64  # IOSQE_*
IOPOLL, SQPOLL = 1, 2  # IORING_SETUP_*
DEFER_TASKRUN = 1 << 13 | 1 << 12  # with IORING_SETUP_SINGLE_ISSUER
SPLICE_FD_IN_FIXED = 1 << 31
CUR_POS = (1 << 64) - 1
AT_FDCWD = -100

IO_URING_REGISTER = 427
REGISTER_BUFFERS, REGISTER_FILES = 0, 2

RING_FD = 0x7FD00000  # of a call's argument: the descriptor of ring 0
_BASE = 0x90000000
_STEP = struct.Struct("=8Q64sqII")
_ENTRY = struct.Struct("=BBHiQQIIQHHiQQ")
_HEAD = 16
_DATA = 1 << 20  # behind the steps
_BYTES = 4 << 20


@dataclass
class Step:
    number: int
    kind: int
    arguments: tuple[int, ...]
    entry: bytes = b""
    sees: Any = None
    result: int = 0
    completions: int = 0


@dataclass
class Plan:
    """Steps of one process, and the memory that they speak of."""

    steps: list[Step] = field(default_factory=list)
    _data: bytearray = field(default_factory=bytearray)
    _waiting: int = 0
    _silent: int = 0

    def _step(self, kind: int, *arguments: int, entry: bytes = b"", sees: Any = None) -> Step:
        step = Step(len(self.steps), kind, arguments, entry, sees)
        self.steps.append(step)
        return step

    def data(self, content: bytes) -> int:
        """Its address in the workload."""
        self._data += bytes(-len(self._data) % 16)
        at = _BASE + _DATA + len(self._data)
        self._data += content
        return at

    def room(self, count: int) -> int:
        return self.data(bytes(count))

    def text(self, name: str | os.PathLike[str]) -> int:
        return self.data(os.fsencode(name) + b"\0")

    def parts(self, *parts: tuple[int, int], by_compat: bool = False) -> int:
        """A vector, of a 64-bit or of a 32-bit program."""
        return self.data(b"".join(struct.pack("=II" if by_compat else "=QQ", *part) for part in parts))

    def setup(self, ring: int = 0, entries: int = 64, flags: int = 0, by_compat: bool = False) -> Step:
        return self._step(1, ring, entries, flags, by_compat)

    def entry(
        self,
        opcode: int,
        *,
        fd: int = 0,
        flags: int = 0,
        off: int = 0,
        addr: int = 0,
        length: int = 0,
        op_flags: int = 0,
        buf_index: int = 0,
        file_index: int = 0,
        addr3: int = 0,
        ring: int = 0,
        completes: bool = True,
        sees: Any = None,
    ) -> Step:
        """The next request; `sees`: one or more expected events of it, or None where it must not be seen."""
        packed = _ENTRY.pack(
            opcode, flags, 0, fd, off & CUR_POS, addr, length, op_flags, 0, buf_index, 0, file_index, addr3, 0
        )
        self._waiting += 1
        self._silent += not completes
        return self._step(2, ring, entry=packed, sees=sees)

    def submit(self, ring: int = 0, wait: bool = True) -> Step:
        waiting, silent = self._waiting, self._silent
        self._waiting = self._silent = 0
        return self._step(3, ring, waiting, (waiting - silent) if wait else 0)

    def forget(self) -> None:
        """What was submitted by a call of its own, and is not waited for."""
        self._waiting = self._silent = 0

    def call(self, number: int, *arguments: int) -> Step:
        return self._step(4, number, *(argument & CUR_POS for argument in arguments))

    def hold(self) -> Step:
        return self._step(5)

    def fork(self) -> Step:
        return self._step(6)

    def _content(self) -> bytes:
        packed = b"".join(
            _STEP.pack(
                step.kind,
                *step.arguments,
                *(0,) * (7 - len(step.arguments)),
                step.entry,
                0,
                0,
                0,
            )
            for step in self.steps
        )
        content = bytes(_HEAD) + packed
        assert len(content) < _DATA
        content += bytes(_DATA - len(content)) + self._data
        assert len(content) < _BYTES
        return content + bytes(_BYTES - len(content))

    @contextlib.contextmanager
    def start(self, program: Path, area: Path, fds: tuple[int, ...] = ()) -> Iterator[Running]:
        # Memory: a file that is mapped to be written to would be a blind spot.
        plan = os.memfd_create("plan", os.MFD_CLOEXEC)
        os.write(plan, self._content())
        path = f"/proc/{os.getpid()}/fd/{plan}"
        process = subprocess.Popen([program, path], cwd=area, env={}, pass_fds=fds, stdin=subprocess.DEVNULL)
        with os.fdopen(plan, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            running = Running(self, process, memory)
            try:
                running.wait_ready()
                yield running
            finally:
                process.kill()
                process.wait()


@dataclass
class Running:
    plan: Plan
    process: subprocess.Popen[bytes]
    memory: mmap.mmap

    def wait_ready(self) -> None:
        end = time.monotonic() + HANG_SECONDS
        while not self.memory[0]:
            assert self.process.poll() is None and time.monotonic() < end
            time.sleep(0.001)

    def go(self) -> None:
        self.memory[4:8] = struct.pack("=I", 1)

    def finish(self) -> None:
        assert self.process.wait(HANG_SECONDS) == 0
        for step in self.plan.steps:
            values = _STEP.unpack_from(self.memory, _HEAD + step.number * _STEP.size)
            step.result, step.completions = values[9], values[10]
