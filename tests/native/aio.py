# SPDX-License-Identifier: MIT
"""Plans for workloads/aio.c: what it submits to Linux AIO, and what must be told of each request, written beforehand.

plan = Plan()
plan.hold()
plan.submit(plan.request(PREAD, fd=fd, buffer=plan.room(8), length=8, sees=told(...)))
plan.reap(1)
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

# include/uapi/linux/aio_abi.h
PREAD, PWRITE, FSYNC, FDSYNC, POLL, NOOP, PREADV, PWRITEV = 0, 1, 2, 3, 5, 6, 7, 8

_BASE = 0x90000000
_STEP = struct.Struct("=7Qq")
_IOCB = struct.Struct("=QIIHhIQQqQII")
_HEAD = struct.Struct("=IIQQ")
_DATA = 1 << 19  # behind the steps
_BYTES = 4 << 20
_WIDE = (1 << 64) - 1


@dataclass
class Request:
    at: int
    sees: Any
    result_at: int


@dataclass
class Step:
    number: int
    kind: int
    arguments: tuple[int, ...]
    requests: tuple[Request, ...] = ()
    accepts: int = 0
    result: int = 0


@dataclass
class Plan:
    """Steps of one process, and the memory that they speak of."""

    places: int = 64
    steps: list[Step] = field(default_factory=list)
    _data: bytearray = field(default_factory=bytearray)

    def _step(self, kind: int, *arguments: int, requests: tuple[Request, ...] = (), accepts: int = 0) -> Step:
        step = Step(len(self.steps), kind, arguments, requests, accepts)
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

    def parts(self, *parts: tuple[int, int], by_compat: bool = False) -> int:
        return self.data(b"".join(struct.pack("=II" if by_compat else "=QQ", *part) for part in parts))

    def request(
        self,
        command: int,
        *,
        fd: int,
        buffer: int = 0,
        length: int = 0,
        offset: int = 0,
        rw_flags: int = 0,
        flags: int = 0,
        resfd: int = 0,
        reserved: int = 0,
        sees: Any = None,
    ) -> Request:
        """`sees`: the expected event of it, or None where it must not be seen."""
        result_at = self.room(8)
        packed = _IOCB.pack(
            result_at, 0, rw_flags, command, 0, fd & 0xFFFFFFFF, buffer, length, offset, reserved, flags, resfd
        )
        return Request(self.data(packed), sees, result_at)

    def submit(
        self,
        *requests: Request,
        accepts: int | None = None,
        by_compat: bool = False,
        number: int | None = None,
        array: int | None = None,
        context: int | None = None,
    ) -> Step:
        """`accepts`: what io_submit() returns, all of them if not said."""
        if array is None:
            array = self.data(b"".join(struct.pack("=I" if by_compat else "=Q", request.at) for request in requests))
        return self._step(
            1,
            (len(requests) if number is None else number) & _WIDE,
            array,
            by_compat,
            context is not None,
            context or 0,
            requests=requests,
            accepts=len(requests) if accepts is None else accepts,
        )

    def reap(self, count: int) -> Step:
        return self._step(2, count)

    def call(self, number: int, *arguments: int) -> Step:
        return self._step(3, number, *(argument & _WIDE for argument in arguments))

    def hold(self) -> Step:
        return self._step(4)

    def fork(self) -> Step:
        return self._step(5)

    def duplicate(self, one: int, other: int, over: int) -> Step:
        """A thread puts the one and the other there in turn, without end from now on."""
        return self._step(6, one, other, over)

    def expected(self) -> list[Any]:
        """Of what is accepted, and of what is refused as the first."""
        seen: list[Any] = []
        for step in self.steps:
            if step.kind == 1:
                taken = step.requests[: step.accepts] if step.accepts >= 0 else step.requests[:1]
                seen += [request.sees for request in taken if request.sees is not None]
        return seen

    def _content(self) -> bytes:
        packed = b"".join(
            _STEP.pack(step.kind, *step.arguments, *(0,) * (6 - len(step.arguments)), 0) for step in self.steps
        )
        content = _HEAD.pack(0, 0, self.places, 0) + packed
        assert len(content) + _STEP.size < _DATA
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
    results: dict[int, int] = field(default_factory=dict)
    """By the address of a request: what it was completed with."""

    def byte(self, address: int) -> bytes:
        return self.memory[address - _BASE : address - _BASE + 1]

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
            step.result = _STEP.unpack_from(self.memory, _HEAD.size + step.number * _STEP.size)[-1]
            if step.kind == 1:
                assert step.result == step.accepts, (step.number, os.strerror(abs(step.result)))
            if step.kind == 2:
                assert step.result == step.arguments[0]
            for request in step.requests:
                [self.results[request.at]] = struct.unpack_from("=q", self.memory, request.result_at - _BASE)
