# SPDX-License-Identifier: MIT
"""How often a name is flagged as changed (`raced`, `fd_changed`) in programs that many threads and processes do.

    sudo python -m benchmarks.false_alarms [--backend tracepoint] [--events 200000] [PROGRAM…]

Each program is run again until it has made so many events. What is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from aa_fileio import KprobeManager

FLAGGED = ("raced", "fd_changed")
OPS = ["open", "read", "write", "close", "dup", "stat", "rename", "unlink", "list", "map"]
UNITS = 32


def _search(work: Path) -> list[str]:
    return ["rg", "-j8", "a name that no header has", "/usr/include"]


def _git(work: Path) -> list[str]:
    source = Path(__file__).resolve().parents[1]
    script = (
        f"rm -rf copy && git clone -q --no-hardlinks {source} copy && cd copy && git grep -q --threads 8 nothing;"
        " git repack -q -a -d -f --threads=8; git status >/dev/null"
    )
    return ["sh", "-c", script]


def _npm(work: Path) -> list[str]:
    (work / "package.json").write_text('{"name": "one", "version": "1.0.0", "dependencies": {"two": "file:two"}}')
    (work / "two").mkdir(exist_ok=True)
    (work / "two" / "package.json").write_text('{"name": "two", "version": "1.0.0"}')
    return ["npm", "install", "--offline", "--no-audit", "--no-fund", "--no-update-notifier", f"--cache={work}/cache"]


def _make(work: Path) -> list[str]:
    names = [f"unit{number}" for number in range(UNITS)]
    for name in names:
        (work / f"{name}.c").write_text(f"#include <stdio.h>\nint {name}(void) {{ return puts(__FILE__); }}\n")
    objects = " ".join(f"{name}.o" for name in names)
    (work / "Makefile").write_text(f"all: {objects}\n\tar rcs all.a {objects}\nclean:\n\trm -f *.o all.a\n")
    return ["sh", "-c", "make -s clean && make -s -j8 CC=gcc"]


def _browser(work: Path) -> list[str]:
    page = work / "page.html"
    page.write_text("<title>x</title><script>document.title = 'y'</script>")
    return [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={work}/profile", "--dump-dom"),
        page.as_uri(),
    ]


PROGRAMS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "rg -j8": ("rg", _search),
    "git": ("git", _git),
    "npm": ("npm", _npm),
    "make -j8": ("make", _make),
    "chromium": ("chromium", _browser),
}


def measure(program: str, backend: str, events: int) -> tuple[int, int, int, Counter[tuple[str, str]]]:
    """Runs, events, lost, and how many of which operation were flagged how."""
    seen = runs = lost = 0
    flagged: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        while seen < events:
            command = PROGRAMS[program][1](Path(folder))
            with KprobeManager.spawn(
                command, cwd=folder, backend=backend, ops=OPS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                ring_bytes=64 << 20, queue_bytes=512 << 20,
            ) as manager:  # fmt: skip
                for event in manager:
                    seen += 1
                    if event.path_source in FLAGGED:
                        flagged[str(event.op), str(event.path_source)] += 1
            runs += 1
            lost += manager.stats.lost
    return runs, seen, lost, flagged


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="tracepoint", choices=["kprobe", "tracepoint", "fentry"])
    parser.add_argument("--events", type=int, default=200_000, help="of each program, at least")
    parser.add_argument("programs", nargs="*", choices=[[], *PROGRAMS], metavar="PROGRAM", help=", ".join(PROGRAMS))
    options = parser.parse_args(arguments)
    print("| program | runs | events | flagged | lost | which |")
    print("|---|---|---|---|---|---|")
    for program in options.programs or PROGRAMS:
        if not shutil.which(PROGRAMS[program][0]):
            print(f"{PROGRAMS[program][0]} is not installed", file=sys.stderr)
            continue
        runs, seen, lost, flagged = measure(program, options.backend, options.events)
        which = ", ".join(f"{op} {source} {count}" for (op, source), count in sorted(flagged.items()))
        print(f"| {program} | {runs} | {seen:,} | {sum(flagged.values())} | {lost} | {which} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
