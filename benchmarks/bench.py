# SPDX-License-Identifier: MIT
"""What tracing costs the traced: ours, the least that could be done, and peers, in turn in one run.

    sudo python -m benchmarks.bench [--rounds 15] [--write benchmarks/RESULTS.md]      less than an hour

Every number is a median over rounds in which the tracers take turns, with a 95 % bootstrap interval; what is claimed is
ratios within one run. The workload counts its own calls; a tracer that delivers fewer is shown with its loss and has no
rank.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from aa_fileio import KprobeManager, keep_loaded
from benchmarks.instructions import OPTIONS, WAYS, Added
from benchmarks.profile import profile
from benchmarks.report import Found, text
from benchmarks.tracers import Ground, NotRunError, Peer, Tracer, of_another, ours, peers, the_floor, untraced
from benchmarks.workload import Shape, build, commands, floor

PROJECT = Path(__file__).resolve().parents[1]
STORMS = {
    "read": Shape("read", 300_000),
    "write": Shape("write", 200_000),
    "open": Shape("open", 60_000),
    "enoent": Shape("enoent", 100_000),
    "rename": Shape("rename", 40_000),
    "unlink": Shape("unlink", 10_000, events_each=4),
    "fork": Shape("fork", 2_000),
    "getppid": Shape("getppid", 500_000, events_each=0),
    **{f"read, {threads} threads": Shape("read", 300_000 // threads, threads=threads) for threads in (2, 4, 8, 16)},
}
BURST = {"read": Shape("read", 249_998), "open": Shape("open", 249_998)}
STALL_SECONDS = 0.1
PROFILED = Shape("read", 2_000_000)
GUESTS = {"bullseye": [*WAYS], "bookworm": [*WAYS, "bcc"], "trixie": [*WAYS, *OPTIONS], "sid": [*WAYS]}


TRACERS: dict[str, Tracer] = {
    "untraced": untraced,
    "floor: entry and return": the_floor("tracepoint_enter", "tracepoint_exit"),
    "floor: return alone": the_floor("tracepoint_exit_only"),
    "aa_fileio": ours(),
    "aa_fileio latency=False": ours(latency=False),
    "aa_fileio totals alone": ours(totals=True, events=False),
    "aa_fileio, of another process": of_another(),
}


class Bench:
    """The parts of one run, each by the name of its method."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.built = PROJECT / "build" / "floor"
        self.found = Found.load(_KEPT) if options.part else Found()

    def storms(self) -> None:
        self.found.storms.clear()
        with _mounted(self.folder) as area:
            ground = Ground(self.built, area)
            os.sched_setaffinity(0, {1})
            for _ in range(self.options.rounds):
                for name, shape in STORMS.items():
                    for tracer, run in TRACERS.items():
                        # Another's calls are those of one thread, whoever makes them.
                        if shape.kind == "read" or not tracer.startswith("floor"):
                            self.found.add(name, tracer, run(ground, shape))
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            self._peers(ground)

    def _peers(self, ground: Ground) -> None:
        """As many rounds as there is time for, and one at least."""
        tools: list[Peer] = [*peers()]
        end = time.monotonic() + self.options.peers_seconds
        while tools:
            for tool in list(tools):
                try:
                    for kind, calls in tool.calls.items():
                        self.found.add(kind, tool.name, tool.run(ground, Shape(kind, calls)))
                except NotRunError as error:
                    self.found.not_run[tool.name] = str(error)
                    tools.remove(tool)
            if time.monotonic() > end:
                return

    def profile(self) -> None:
        self.found.profile.clear()
        ground = Ground(self.built, self.folder)
        for name in ("untraced", "floor: entry and return", "aa_fileio"):
            try:
                self.found.profile[name] = profile(ground, TRACERS[name], PROFILED)
            except NotRunError as error:
                self.found.not_run["profile"] = str(error)
                return

    def commands(self) -> None:
        self.found.commands.clear()
        for name, command in commands(self.folder).items():
            _command_seconds(command, traced=False)  # what it reads is in memory from then on
            found = self.found.commands[name]
            for _ in range(self.options.rounds):
                found["untraced"].append(_command_seconds(command, traced=False))
                with self._floor_of_nobody():
                    found["floor"].append(_command_seconds(command, traced=False))
                found["traced"].append(_command_seconds(command, traced=True))

    @contextmanager
    def _floor_of_nobody(self) -> Iterator[None]:
        """The floor's programs run at each call, and find that it is not of their process."""
        with subprocess.Popen(["sleep", "1000"]) as idle:
            with floor(self.built, idle.pid, ("tracepoint_enter", "tracepoint_exit")):
                yield
            idle.kill()

    def start(self) -> None:
        self.found.start.clear()
        code = "import time; a=time.perf_counter(); import aa_fileio; print((time.perf_counter()-a)*1e3)"
        with subprocess.Popen(["sleep", "1000"]) as idle:
            for _ in range(self.options.rounds):
                done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
                self.found.start["import"].append(float(done.stdout))
                with KprobeManager(idle.pid) as manager:
                    manager.detach()
                    for _ in range(2):
                        with self._timed("attach"):
                            manager.attach()
                        with self._timed("detach(wait=False)"):
                            manager.detach(wait=False)
                        manager.detach()
                with keep_loaded():
                    for is_first in (True, False):
                        manager = KprobeManager(idle.pid)
                        with nullcontext() if is_first else self._timed("attach, in keep_loaded()"):
                            manager.attach()
                        manager.close()
            idle.kill()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.found.start[name].append((time.perf_counter() - began) * 1e3)

    def stalled(self) -> None:
        """A burst whose reader stands still from its beginning on, for STALL_SECONDS or to the burst's end."""
        ground = Ground(self.built, self.folder)
        self.found.stalled.clear()
        for _ in range(self.options.rounds):
            for kind, shape in BURST.items():
                for whole in (False, True):
                    storm = ground.storm(shape)
                    with _reader_of(storm.process.pid) as reader:
                        reader.send_signal(signal.SIGSTOP)
                        wake = threading.Timer(STALL_SECONDS, reader.send_signal, (signal.SIGCONT,))
                        if not whole:
                            wake.start()
                        storm.run()
                        wake.cancel()
                        reader.send_signal(signal.SIGCONT)
                        out, _ = reader.communicate()
                    told = json.loads(out)
                    name = f"{kind}, the reader stopped for {'the whole burst' if whole else '100 ms of it'}"
                    self.found.stalled[name].append((told["performed"], told["lost"]))

    def memory(self) -> None:
        """A reader of default sizes at full rate."""
        storm = Ground(self.built, self.folder).storm(Shape("read", 2_000_000_000))
        with _reader_of(storm.process.pid) as reader:
            assert storm.process.stdin is not None
            storm.process.stdin.write("g")
            storm.process.stdin.close()
            time.sleep(self.options.memory_seconds)
            storm.process.kill()
            storm.process.wait()
            out, _ = reader.communicate()
        self.found.memory = json.loads(out)

    def consumers(self) -> None:
        command = [sys.executable, "benchmarks/consumers.py", "--json", "--rounds", str(self.options.rounds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=PROJECT)
        self.found.consumers = json.loads(done.stdout)

    def guests(self) -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            self.found.guests = dict(zip(GUESTS, pool.map(self._guest, GUESTS), strict=True))

    def _guest(self, suite: str) -> list[Added]:
        results = PROJECT / "build" / "bench" / suite
        results.mkdir(parents=True, exist_ok=True)
        lines = results / "instructions.json"
        lines.unlink(missing_ok=True)
        guest = [sys.executable, "-m", "tests.kernels.guest", "run", "--icount", "--suite", suite, "--timeout", "900"]
        guest += ["--results", str(results), "--cwd", str(PROJECT), "--env", "PYTHONDONTWRITEBYTECODE=1", "--"]
        inside = [sys.executable, "-m", "benchmarks.instructions", str(self.built), "/run/aa-results/instructions.json"]
        with (results / "log.txt").open("wb") as log:
            subprocess.run([*guest, *inside, *GUESTS[suite]], stdout=log, stderr=log, cwd=PROJECT)
        if not lines.exists():
            self.found.not_run[f"guest {suite}"] = f"see {results}/log.txt"
            return []
        return [Added(**json.loads(line)) for line in lines.read_text().splitlines()]


_KEPT = PROJECT / "build" / "bench" / "found.json"
PARTS = ("storms", "profile", "commands", "start", "stalled", "memory", "consumers", "guests")


def _command_seconds(command: list[str], traced: bool) -> float:
    """By the command's own parent, which both have alike: from just before the exec to the exit."""
    code = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "start = time.monotonic()\n"
        "if pid == 0:\n"
        "    os.execvp(sys.argv[1], sys.argv[1:])\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "os.write(3, str(time.monotonic() - start).encode())\n"
    )
    receive, send = os.pipe()
    # Quiet, and the place for its figure.
    shell = ["sh", "-c", 'exec 3>&1 >/dev/null 2>&1 </dev/null; exec "$@"', "sh"]
    words = [*shell, sys.executable, "-S", "-c", code, *command]
    if traced:
        with KprobeManager.spawn(words, until="root", stdout=send) as manager:
            reader = threading.Thread(target=lambda: list(map(len, iter(manager.read_batch, None))))
            reader.start()
            assert manager.process is not None
            assert manager.process.wait() == 0
            reader.join()
            assert manager.stats.lost == 0
    else:
        subprocess.run(words, check=True, stdout=send)
    os.close(send)
    with os.fdopen(receive) as figure:
        return float(figure.read())


@contextmanager
def _reader_of(pid: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.reader", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        yield reader


@contextmanager
def _mounted(folder: Path) -> Iterator[Path]:
    """A file system in memory, and of its own: what fatrace watches, and nobody else's files with it."""
    area = folder / "area"
    area.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(area)], check=True)
    try:
        yield area
    finally:
        subprocess.run(["umount", "--lazy", str(area)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers-seconds", type=float, default=240)
    parser.add_argument("--memory-seconds", type=float, default=600)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one, the others as they were last")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="only compile the floor and the workload, there")
    options = parser.parse_args()
    if options.build:
        build(options.build)
        return
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options)
        bench.built.mkdir(parents=True, exist_ok=True)
        build(bench.built)
        for part in options.part or PARTS:
            began = time.monotonic()
            getattr(bench, part)()
            bench.found.keep(_KEPT)
            print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    told = text(bench.found)
    if options.write:
        options.write.write_text(told)
    print(told)


if __name__ == "__main__":
    main()
