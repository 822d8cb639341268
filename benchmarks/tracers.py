# SPDX-License-Identifier: MIT
"""Who traces while a storm is measured: nobody, the floor, this package, other tools."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aa_fileio import KprobeManager
from benchmarks.workload import HANG_SECONDS, Cost, Shape, Storm, floor


class NotRunError(Exception):
    """This tracer cannot do that here; the message says why."""


@dataclass(frozen=True)
class Ground:
    """Where a storm runs. One of one thread has the first processor and its tracer the second."""

    built: Path
    area: Path

    def storm(self, shape: Shape, prefix: tuple[str, ...] = ()) -> Storm:
        return Storm(self.built, shape, self.area, "0" if shape.threads == 1 else None, prefix)


@dataclass(frozen=True)
class Round:
    cost: Cost
    made: int = 0
    seen: int | None = None  # of those made; None where nothing is to be seen
    instructions: tuple[int, ...] = ()  # of each of the tracer's programs, where that is known


Tracer = Callable[[Ground, Shape], Round]


def untraced(ground: Ground, shape: Shape) -> Round:
    return Round(ground.storm(shape).run())


def ours(**options: object) -> Tracer:
    def run(ground: Ground, shape: Shape) -> Round:
        storm = ground.storm(shape)
        with KprobeManager(storm.process.pid, queue_bytes=256 << 20, **options) as manager:  # type: ignore[arg-type]
            columns: list[int] = []
            reader = threading.Thread(target=lambda: columns.append(sum(map(len, iter(manager.read_batch, None)))))
            reader.start()
            cost = storm.run()
            reader.join()
            seen = columns[0] if options.get("events", True) else sum(row.calls for row in manager.totals())
        return Round(cost, shape.events, seen)

    return run


def of_another(**options: object) -> Tracer:
    """Ours is attached, to somebody else."""

    def run(ground: Ground, shape: Shape) -> Round:
        storm = ground.storm(shape)
        with subprocess.Popen(["sleep", "1000"]) as idle:
            with KprobeManager(idle.pid, **options):  # type: ignore[arg-type]
                cost = storm.run()
            idle.kill()
        return Round(cost)

    return run


def the_floor(*programs: str) -> Tracer:
    def run(ground: Ground, shape: Shape) -> Round:
        assert shape.kind == "read", "the floor takes pread64() alone"
        storm = ground.storm(shape)
        with floor(ground.built, storm.process.pid, programs, "1" if shape.threads == 1 else None) as records:
            cost = storm.run()
        return Round(cost, shape.calls * shape.threads, records.records, records.instructions)

    return run


@dataclass(frozen=True)
class Peer:
    """A tool that prints each call into a file, for one process, for the storm's own call alone."""

    name: str
    program: str
    calls: dict[str, int]
    """How often a storm of that kind calls under it: what it does in a second or so."""
    command: Callable[[str, str, str], list[str]]
    """From the pid, the call's name and the file."""
    line: str
    """A line about one call, as a regular expression; {pid} and {call} stand for themselves."""
    starts: bool = False
    """It runs the storm itself, rather than attach to one that waits."""
    ready_seconds: float = 1
    """It does not say when it has attached."""

    def run(self, ground: Ground, shape: Shape) -> Round:
        call = {"read": "pread64", "open": "openat"}[shape.kind]
        out = ground.area.parent / "peer.out"
        out.write_bytes(b"")
        if self.starts:
            storm, tool = ground.storm(shape, ("taskset", "-c", "0,1", *self.command("", call, str(out)))), None
        else:
            storm = ground.storm(shape)
            command = ["taskset", "-c", "1", *self.command(str(storm.process.pid), call, str(out))]
            with out.open("wb") as lines:
                tool = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.DEVNULL, cwd=ground.area
                )
            time.sleep(self.ready_seconds)
            if tool.poll() is not None:
                storm.dismiss()
                raise NotRunError(f"it ends before the workload begins, with status {tool.returncode}")
        cost = storm.run()
        if tool:
            self._stop(tool)
        pattern = re.compile(self.line.format(pid=storm.process.pid, call=call).encode())
        with out.open("rb") as lines:
            seen = sum(bool(pattern.search(line)) for line in lines)
        return Round(cost, shape.calls, min(seen, shape.calls))

    @staticmethod
    def _stop(tool: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.wait(1)
        if tool.poll() is None:
            tool.send_signal(signal.SIGINT)
        # One that does not end has written what it wrote, and is counted by that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.wait(HANG_SECONDS)
        tool.kill()
        tool.wait()


def _bpftrace(pid: str, call: str, out: str) -> list[str]:
    action = 'printf("%d %d %d\\n", pid, args->ret, nsecs);'
    return ["bpftrace", "-o", out, "-e", f"tracepoint:syscalls:sys_exit_{call} /pid == {pid}/ {{ {action} }}"]


PEERS = (
    Peer(
        "strace -f",
        "strace",
        {"read": 3_000, "open": 3_000},
        lambda pid, call, out: ["strace", "-f", "-o", out, "-e", call, "-p", pid],
        r"\b{call}\(",
    ),
    Peer(
        "strace -f --seccomp-bpf",
        "strace",
        {"read": 3_000, "open": 3_000},
        lambda _pid, call, out: ["strace", "-f", "--seccomp-bpf", "-o", out, "-e", call],
        r"\b{call}\(",
        starts=True,
    ),
    Peer(
        "perf trace",
        "perf",
        {"read": 20_000, "open": 20_000},
        lambda pid, call, out: ["perf", "trace", "-o", out, "-e", call, "-p", pid],
        r"\b{call}\(",
        ready_seconds=2,
    ),
    Peer("bpftrace", "bpftrace", {"read": 50_000, "open": 50_000}, _bpftrace, r"^{pid} ", ready_seconds=4),
    Peer(
        "opensnoop (libbpf-tools)",
        "opensnoop",
        {"open": 50_000},
        lambda pid, _call, _out: ["opensnoop", "-p", pid],
        r"^{pid} ",
        ready_seconds=2,
    ),
    Peer(
        # By mount, not by process: the storm's folder is a mount of its own.
        "fatrace -c",
        "fatrace",
        {"read": 50_000, "open": 50_000},
        lambda _pid, _call, _out: ["fatrace", "-c"],
        r"\({pid}\): \w*[RO]",
    ),
)


def peers() -> Iterator[Peer]:
    """Those that this machine has."""
    return (peer for peer in PEERS if shutil.which(peer.program))
