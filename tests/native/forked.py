# SPDX-License-Identifier: MIT
"""Runs a function in a forked child: a tracer that may be killed, be unprivileged, or watch itself, without the seconds
that a new interpreter takes in an emulated machine."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.native.ground import HANG_SECONDS


class Forked:
    """A child that runs function(tell, *arguments); tell(x) sends x to recv(), and so does its return."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._receive, send = os.pipe()
        self._buffer = b""
        self._reaped = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._receive)
            _run(function, arguments, send)
        os.close(send)

    def recv(self) -> Any:
        """The next thing told; the child's exception, if it ended with one."""
        end = time.monotonic() + HANG_SECONDS
        while True:
            if len(self._buffer) >= 8:
                size = int.from_bytes(self._buffer[:8], "little")
                if len(self._buffer) >= 8 + size:
                    kind, value = pickle.loads(self._buffer[8 : 8 + size])
                    self._buffer = self._buffer[8 + size :]
                    assert kind == "told", value
                    return value
            ready, _, _ = select.select([self._receive], [], [], max(0, end - time.monotonic()))
            assert ready, "the child says nothing"
            data = os.read(self._receive, 65536)
            assert data, "the child ended without a word"
            self._buffer += data

    def kill(self, number: int = signal.SIGKILL) -> None:
        if not self._reaped:
            os.kill(self.pid, number)

    def reap(self) -> int:
        """Waits for the end; the status as os.waitstatus_to_exitcode() has it."""
        _, status = os.waitpid(self.pid, 0)
        self._reaped = True
        return os.waitstatus_to_exitcode(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._receive)
        if not self._reaped:
            self.kill()
            self.reap()


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], send: int) -> None:
    def tell(value: Any, kind: str = "told") -> None:
        data = pickle.dumps((kind, value))
        data = len(data).to_bytes(8, "little") + data
        while data:
            data = data[os.write(send, data) :]

    status = 0
    try:
        tell(function(tell, *arguments))
    except BaseException:
        status = 1
        tell(traceback.format_exc(), "failed")
    finally:
        os._exit(status)


def forked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What function(tell, *arguments) returns in a child."""
    with Forked(function, *arguments) as child:
        value = child.recv()
        assert child.reap() == 0
        return value
