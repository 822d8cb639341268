# SPDX-License-Identifier: MIT
"""Threads whose numbers end alike, and more than there is room for: each call is its own thread's, or counted."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.forked import Forked
from tests.native.tracing import read_to_end

_HEADER = Path(__file__).parents[2] / "bpf" / "fileio_abi.h"
SEATS = int(re.findall(r"^#define AA_SEATS (\d+)$", _HEADER.read_text(), re.MULTILINE)[0])
ALIKE = 3
READS = 200
_CLONE3 = 435
_libc = ctypes.CDLL(None, use_errno=True)


def _clone(number: int) -> int:
    """A fork whose child has this process number: clone3(2), set_tid."""
    wanted = (ctypes.c_int * 1)(number)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size
    arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    pid = _libc.syscall(_CLONE3, arguments, ctypes.sizeof(arguments))
    if pid < 0:
        raise OSError(ctypes.get_errno(), f"clone3 of {number}")
    return int(pid)


def _free_numbers() -> list[int]:
    """Of processes that are not there, and have one seat."""
    limit = int(Path("/proc/sys/kernel/pid_max").read_text())
    for first in range(SEATS - 1, 300, -1):
        numbers = [first + i * SEATS for i in range(ALIKE)]
        if numbers[-1] < limit and not any(Path(f"/proc/{number}").exists() for number in numbers):
            return numbers
    raise AssertionError("no free numbers")


def _family(tell: Callable[[Any], None], area: Path, go: int) -> None:
    numbers = _free_numbers()
    for number in numbers:
        (area / str(number)).write_bytes(bytes(READS))
    tell(numbers)
    os.read(go, 1)
    # All are there before one begins, and stay until all are done.
    start, say_start = os.pipe()
    done, say_done = os.pipe()
    end, say_end = os.pipe()
    for number in numbers:
        if _clone(number) == 0:
            os.close(say_start)
            os.close(say_end)
            os.read(start, 1)
            fd = os.open(area / str(number), os.O_RDONLY)
            for i in range(READS):
                os.pread(fd, 1, i)
            os.write(say_done, b"d")
            os.read(end, 1)
            os._exit(0)
    os.close(say_start)
    for _ in numbers:
        os.read(done, 1)
    os.close(say_end)
    for _ in numbers:
        os.wait()


def test_numbers_that_end_alike(backend: str, area: Path) -> None:
    go, say_go = os.pipe()
    with Forked(_family, area, go) as family:
        numbers = family.recv()
        with KprobeManager(family.pid, backend=backend, ops=["read"], kinds=["file"]) as manager:
            os.write(say_go, b"g")
            events = read_to_end(manager)
    os.close(go)
    os.close(say_go)
    found = Counter((event.pid, event.path, event.offset, event.path_source) for event in events)
    assert found == Counter((number, str(area / str(number)), i, "file") for number in numbers for i in range(READS))
    assert (manager.stats.lost, manager.stats.in_flight, manager.stats.delivered) == (0, 0, ALIKE * READS)


def _crowd(tell: Callable[[Any], None], path: Path, go: int, threads: int) -> None:
    threading.stack_size(64 << 10)
    tell("ready")
    os.read(go, 1)
    end = threading.Event()

    def each() -> None:
        with suppress(FileNotFoundError):
            path.unlink()
        end.wait()

    crowd = [threading.Thread(target=each) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    end.set()
    for thread in crowd:
        thread.join()


@pytest.mark.native_only
def test_more_threads_than_seats(area: Path) -> None:
    """What there was no room for is counted as lost. The last seats are hard to find: each tries a few."""
    threads = SEATS + 500
    path = area / "nothing"
    go, say_go = os.pipe()
    with Forked(_crowd, path, go, threads) as crowd:
        crowd.recv()
        with KprobeManager(crowd.pid, ops=["unlink"]) as manager:
            os.write(say_go, b"g")
            seen = sum(1 for event in read_to_end(manager) if event.path == str(path))
    os.close(go)
    os.close(say_go)
    stats = manager.stats
    unseen = threads - seen
    assert threads - SEATS <= unseen < threads - SEATS + SEATS // 20
    # An anonymous mapping, which the interpreter makes in each thread, is taken for one of a file where none can look.
    assert unseen <= stats.state_full <= 2 * unseen + 2
    assert (stats.lost, stats.in_flight) == (stats.state_full, 0)
    assert stats.performed == stats.delivered + stats.lost
