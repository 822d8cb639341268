# SPDX-License-Identifier: MIT
"""What tracing costs the traced: ours, the least that could be done, and peers, in turn in one run.

    sudo python benchmarks/bench.py [--rounds 15] [--peers-seconds 120] [--write benchmarks/RESULTS.md]

Every number is a median over rounds in which the tracers take turns, with a 95 % bootstrap interval; what is claimed is
ratios within one run. The workload counts its own calls; a tracer that delivers fewer is shown with its loss and has no
rank. The workload runs on the first processor, its tracer on the second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aa_fileio import KprobeManager

HERE = Path(__file__).resolve().parent
PREAD64 = 17
#: Calls in a round, and how many of them the default operations take.
STORMS = {
    "read": (300_000, 1),
    "write": (200_000, 1),
    "open": (60_000, 1),
    "enoent": (100_000, 1),
    "rename": (40_000, 1),
    "unlink": (10_000, 4),
    "getppid": (500_000, 0),
}
PEER_CALLS = {"strace": 1_500, "strace-seccomp": 1_500, "perf-trace": 10_000, "bpftrace": 30_000}
OURS = {"aa_fileio": {}, "aa_fileio latency=False": {"latency": False}}


@dataclass
class Cell:
    """The rounds of one tracer on one workload."""

    values: list[float] = field(default_factory=list)  # nanoseconds a call, or seconds a command
    made: int = 0
    seen: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def interval(self) -> tuple[float, float]:
        draw = random.Random(1)
        medians = sorted(statistics.median(draw.choices(self.values, k=len(self.values))) for _ in range(400))
        return medians[10], medians[389]


class Storm:
    """The workload, ready and waiting."""

    def __init__(self, program: Path, kind: str, calls: int, folder: Path, threads: int = 1) -> None:
        command = ["taskset", "-c", "0", str(program), kind, str(calls), str(folder), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self) -> float:
        """Nanoseconds a call."""
        out, _ = self.process.communicate("g")
        assert self.process.returncode == 0
        return float(out.split()[0])


Run = Callable[[str, int], tuple[float, int | None]]


def ours(storm: Callable[[str, int], Storm], options: dict[str, object]) -> Run:
    def run(kind: str, calls: int) -> tuple[float, int | None]:
        workload = storm(kind, calls)
        with KprobeManager(workload.process.pid, queue_bytes=256 << 20, **options) as manager:  # type: ignore[arg-type]
            seen: list[int] = []
            reader = threading.Thread(target=lambda: seen.append(sum(map(len, iter(manager.read_batch, None)))))
            reader.start()
            value = workload.run()
            reader.join()
            # The open and the write before the storm are seen too.
            return value, seen[0]

    return run


def foreign(storm: Callable[[str, int], Storm]) -> Run:
    """Ours is attached, to somebody else."""

    def run(kind: str, calls: int) -> tuple[float, int | None]:
        workload = storm(kind, calls)
        with subprocess.Popen(["sleep", "1000"]) as idle:
            with KprobeManager(idle.pid):
                value = workload.run()
            idle.kill()
        return value, None

    return run


def floor(storm: Callable[[str, int], Storm], folder: Path, programs: list[str], notes: dict[str, str]) -> Run:
    def run(kind: str, calls: int) -> tuple[float, int | None]:
        if kind != "read":
            raise NotImplementedError
        workload = storm(kind, calls)
        command = ["taskset", "-c", "1", str(folder / "floor"), str(folder / "floor.o")]
        command += [str(workload.process.pid), str(PREAD64), *programs]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        value = workload.run()
        out, _ = reader.communicate("e")
        words = out.split()
        notes[" + ".join(programs)] = " + ".join(words[5:])
        return value, int(words[1])

    return run


def peer(storm: Callable[[str, int], Storm], command: Callable[[int, str], list[str]], ready: float) -> Run:
    """A tool that attaches to the waiting workload and prints each call to a file; its lines are not parsed."""

    def run(kind: str, calls: int) -> tuple[float, int | None]:
        workload = storm(kind, calls)
        tool = subprocess.Popen(
            ["taskset", "-c", "1", *command(workload.process.pid, kind)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(ready)
        assert tool.poll() is None, "the tool ended before the workload began"
        value = workload.run()
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.wait(5)
        tool.kill()
        tool.wait()
        return value, None

    return run


_CALLS_OF = {"read": ["pread64"], "write": ["pwrite64"], "open": ["openat"], "enoent": ["openat"], "rename": ["rename"]}


def peers(storm: Callable[[str, int], Storm], folder: Path) -> Iterator[tuple[str, Run]]:
    """Those that this machine has. Each follows the workload alone, for the storm's own call alone, into a file."""
    out = str(folder / "peer.out")
    if shutil.which("strace"):

        def strace(pid: int, kind: str) -> list[str]:
            return ["strace", "-f", "-o", out, "-e", ",".join(_CALLS_OF[kind]), "-p", str(pid)]

        yield "strace", peer(storm, strace, 1)
    if shutil.which("perf"):

        def perf(pid: int, kind: str) -> list[str]:
            return ["perf", "trace", "-o", out, "-e", ",".join(_CALLS_OF[kind]), "-p", str(pid)]

        yield "perf-trace", peer(storm, perf, 2)
    if shutil.which("bpftrace"):

        def bpftrace(pid: int, kind: str) -> list[str]:
            call = _CALLS_OF[kind][0]
            action = 'printf("%d %d %d\\n", pid, args->ret, nsecs);'
            return ["bpftrace", "-o", out, "-e", f"tracepoint:syscalls:sys_exit_{call} /pid == {pid}/ {{ {action} }}"]

        yield "bpftrace", peer(storm, bpftrace, 4)


def everyday(folder: Path) -> dict[str, list[str]]:
    """Whole commands, by wall time from their first instruction."""
    tree = folder / "tree"
    tree.mkdir()
    for number in range(300):
        sub = tree / f"d{number % 20}"
        sub.mkdir(exist_ok=True)
        (sub / f"f{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n" * 40)
    git = ["git", "-C", str(tree)]
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@c", "commit", "-qm", "b"]):
        subprocess.run([*git, *command], check=True)
    main = folder / "main.c"
    main.write_text('#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { puts("x"); }\n')
    tests = folder / "test_many.py"
    tests.write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(200))\ndef test(n, tmp_path):\n"
        "    (tmp_path / 'f').write_text(str(n))\n    assert (tmp_path / 'f').read_text() == str(n)\n"
    )
    return {
        # To /dev/null tar would not read the files.
        "tar": ["tar", "-cf", str(folder / "out.tar"), "/usr/include", "/usr/share/perl"],
        "find": ["find", "/usr/share", "-name", "*.nothing"],
        "git status": [*git, "status", "--porcelain"],
        "gcc": ["gcc", "-O1", "-o", str(folder / "main"), str(main)],
        "pytest": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
    }


def command_seconds(command: list[str], traced: bool) -> float:
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
        manager = KprobeManager.spawn(words, until="root", stdout=send)
        reader = threading.Thread(target=lambda: list(map(len, iter(manager.read_batch, None))))
        reader.start()
        assert manager.process is not None
        assert manager.process.wait() == 0
        reader.join()
        assert manager.stats.lost == 0
        manager.close()
    else:
        subprocess.run(words, check=True, stdout=send)
    os.close(send)
    with os.fdopen(receive) as figure:
        return float(figure.read())


def start_and_stop(rounds: int) -> dict[str, list[float]]:
    """Milliseconds."""
    found: dict[str, list[float]] = defaultdict(list)
    with subprocess.Popen(["sleep", "1000"]) as idle:
        for _ in range(rounds):
            code = "import time; a=time.perf_counter(); import aa_fileio; print((time.perf_counter()-a)*1e3)"
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            found["import"].append(float(done.stdout))
            manager = KprobeManager(idle.pid)
            for name in ("first attach of a manager", "second attach"):
                started = time.perf_counter()
                manager.attach()
                found[name].append((time.perf_counter() - started) * 1e3)
                started = time.perf_counter()
                manager.detach(wait=False)
                found["detach(wait=False)"].append((time.perf_counter() - started) * 1e3)
                manager.detach()
            manager.close()
        idle.kill()
    return found


def build(folder: Path) -> None:
    clang = next(filter(None, map(shutil.which, ("clang", *(f"clang-{n}" for n in range(30, 11, -1))))))
    includes = f"-I/usr/include/{platform.machine()}-linux-gnu"
    kernel_side = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", includes, "-c"]
    for command in (
        [clang, *kernel_side, HERE / "floor.bpf.c", "-o", folder / "floor.o"],
        ["gcc", "-O2", "-o", folder / "floor", HERE / "floor.c", "-lbpf", "-lelf", "-lz"],
        ["gcc", "-O2", "-o", folder / "storm", HERE / "storm.c", "-lpthread"],
    ):
        subprocess.run(command, check=True)


def storms(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, dict[str, Cell]], dict[str, str]]:
    notes: dict[str, str] = {}
    place = Path(tempfile.mkdtemp(dir=folder))

    def storm(kind: str, calls: int) -> Storm:
        return Storm(folder / "storm", kind, calls, place)

    steady: dict[str, Run] = {"untraced": lambda kind, calls: (storm(kind, calls).run(), None)}
    steady["floor: entry and return"] = floor(storm, folder, ["tracepoint_enter", "tracepoint_exit"], notes)
    steady["floor: return alone"] = floor(storm, folder, ["tracepoint_exit_only"], notes)
    steady |= {name: ours(storm, options) for name, options in OURS.items()}
    steady["aa_fileio, of another process"] = foreign(storm)
    table: dict[str, dict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
    for _ in range(arguments.rounds):
        for kind, (calls, events) in STORMS.items():
            for name, run in steady.items():
                with contextlib.suppress(NotImplementedError):
                    value, seen = run(kind, calls)
                    cell = table[kind][name]
                    cell.values.append(value)
                    cell.made += calls * events
                    cell.seen = None if seen is None else (cell.seen or 0) + seen
    end = time.monotonic() + arguments.peers_seconds
    tools = dict(peers(storm, folder))
    while tools and time.monotonic() < end:
        for name, run in list(tools.items()):
            try:
                value, _ = run("read", PEER_CALLS[name])
            except AssertionError as error:
                notes[name] = f"not run: {error}"
                del tools[name]
                continue
            table["read"][name].values.append(value)
    return table, notes


def machine() -> str:
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return f"{model.partition(':')[2].strip()}, {os.cpu_count()} processors, Linux {platform.release()}"


def report(
    table: dict[str, dict[str, Cell]],
    notes: dict[str, str],
    commands: dict[str, dict[str, Cell]],
    times: dict[str, list[float]],
    rounds: int,
) -> str:
    lines = [
        "# What tracing costs",
        "",
        f"`make bench`, {rounds} rounds in turn, on: {machine()}; backend tracepoint.",
        "Medians, 95 % bootstrap intervals. Compare within this page only. What the other tools print goes to a file;",
        "whether they print every call is not checked.",
        "",
        "## Storms: nanoseconds a call",
        "",
        "| storm | tracer | ns a call | interval | × untraced | added ns | events seen of made |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in table.items():
        base = row["untraced"].median
        for name, cell in row.items():
            low, high = cell.interval()
            cells = [kind, name, f"{cell.median:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{cell.median / base:.2f}"]
            cells += [f"{cell.median - base:,.0f}", "" if cell.seen is None else f"{cell.seen:,} of {cell.made:,}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Added to a read (# is 100 ns):", "", "```"]
    base = table["read"]["untraced"].median
    for name, cell in table["read"].items():
        length = round((cell.median - base) / 100)
        lines.append(f"{name:32} {'#' * min(length, 80)}{f' … {length * 100:,} ns' if length > 80 else ''}")
    floors = "; ".join(f"{name}: {note}" for name, note in notes.items() if not note.startswith("not"))
    lines += ["```", "", f"Instructions of the floor's programs (benchmarks/floor.bpf.c): {floors}."]
    lines += [f"{name}: {note}." for name, note in notes.items() if note.startswith("not")]
    lines += ["", "## Commands: seconds from first instruction to exit", ""]
    lines += ["| command | untraced | traced | ratio |", "|---|---|---|---|"]
    for name, row in commands.items():
        bare, traced = row["untraced"].median, row["traced"].median
        lines.append(f"| {name} | {bare:.3f} | {traced:.3f} | {traced / bare:.3f} |")
    lines += ["", "## Start and stop: milliseconds", "", "| what | median |", "|---|---|"]
    lines += [f"| {name} | {statistics.median(values):.2f} |" for name, values in times.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers-seconds", type=float, default=120)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="only compile the floor and the workload, there")
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        os.sched_setaffinity(0, {1})
        table, notes = storms(arguments, folder)
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        commands: dict[str, dict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
        for name_of, command in everyday(folder).items():
            for _ in range(arguments.rounds):
                for traced in (False, True):
                    cell = commands[name_of]["traced" if traced else "untraced"]
                    cell.values.append(command_seconds(command, traced))
        text = report(table, notes, commands, start_and_stop(arguments.rounds), arguments.rounds)
    if arguments.write:
        arguments.write.write_text(text)
    print(text)
    print(json.dumps({kind: {name: cell.median for name, cell in row.items()} for kind, row in table.items()}))


if __name__ == "__main__":
    main()
