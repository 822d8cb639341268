# SPDX-License-Identifier: MIT
"""errors_only and min_duration_ns: what was not asked for is counted as filtered, in the kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.native.expected import FILTERED, as_passed, check_results, file
from tests.native.script import AT_FDCWD, Script, Stored
from tests.native.tracing import check_trace, trace


def _write(script: Script, area: Path, *, shows_successes: bool) -> None:
    """Successes and failures of every shape, one of them with a name too long for the thread's own memory."""
    plain = area / "plain"
    plain.write_bytes(b"1234")
    steps = script.main
    steps.hold()
    buffer = script.buffer(64)

    def succeeds(call: str, *arguments: object, **more: object) -> object:
        sees = file(plain, **more) if shows_successes else FILTERED
        return steps.call(call, *arguments, sees=sees)

    fd = succeeds("openat", AT_FDCWD, plain, os.O_RDONLY)
    succeeds("read", fd, buffer, 64, offset=0, moved=4)
    long_name = os.fspath(area) + "/." * 300 + "/plain"
    succeeds("openat", AT_FDCWD, long_name, os.O_RDONLY)
    steps.call("openat", AT_FDCWD, long_name + "x", os.O_RDONLY, sees=as_passed(long_name + "x", error=errno.ENOENT))
    steps.call("write", fd, buffer, 4, sees=file(plain, offset=4, error=errno.EBADF))
    steps.call("unlink", area / "none", sees=as_passed(area / "none", error=errno.ENOENT))


def test_errors_only(backend: str, area: Path) -> None:
    script = Script()
    _write(script, area, shows_successes=False)
    check_trace(script, area, backend, errors_only=True)


def test_whatever_it_takes(backend: str, area: Path) -> None:
    """Every call takes a nanosecond."""
    script = Script()
    _write(script, area, shows_successes=True)
    check_trace(script, area, backend, min_duration_ns=1)


def test_none_takes_so_long(backend: str, area: Path) -> None:
    script = Script()
    _write(script, area, shows_successes=True)
    result = trace(script, area, backend, min_duration_ns=2**62)
    check_results(script)
    assert result.events == []
    assert result.stats.filtered == result.stats.performed == 6
    assert result.stats.lost == result.stats.in_flight == 0


def test_the_slow_ones(backend: str, area: Path) -> None:
    """A read that waits for a writer is told; the calls beside it only if they took so long by their own account."""
    script = Script()
    steps, writer = script.main, script.list()
    ends = script.buffer(8)
    buffer = script.buffer(8)
    steps.hold()
    steps.call("pipe", ends)
    steps.thread(writer)
    steps.call("read", Stored(ends), buffer, 8, sees=FILTERED)
    steps.wait_thread(writer)
    writer.sleep(300)
    writer.call("write", Stored(ends + 4), buffer, 8, sees=FILTERED)
    least = 100_000_000
    result = trace(script, area, backend, kinds=["pipe"], min_duration_ns=least)
    check_results(script)
    (read,) = [event for event in result.events if event.op == "read"]
    assert (read.tid, read.bytes) == (steps.tid, 8)
    assert all(event.duration_ns is not None and event.duration_ns >= least for event in result.events)
    assert result.stats.performed == 2
    assert result.stats.filtered == 2 - len(result.events)
