# SPDX-License-Identifier: MIT
"""Where the time of a traced call goes: samples of the thread that makes it, by function, of the floor and of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tracers import Ground, NotRunError, Tracer
from benchmarks.workload import Cost, Shape, Storm

_READY_SECONDS = 1.0


class _SampledStorm(Storm):
    samples: Path

    def run(self) -> Cost:
        """By perf, from when the tracer is there: it looks for the names of BPF programs as it begins."""
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-o", str(self.samples)]
        with subprocess.Popen([*command, "-p", str(self.process.pid)], stderr=subprocess.DEVNULL):
            time.sleep(_READY_SECONDS)
            return super().run()


@dataclass(frozen=True)
class _Sampled(Ground):
    samples: Path

    def storm(self, shape: Shape, prefix: tuple[str, ...] = ()) -> Storm:
        storm = _SampledStorm(self.built, shape, self.area, "0", prefix)
        storm.samples = self.samples
        return storm


def profile(ground: Ground, tracer: Tracer, shape: Shape) -> dict[str, float]:
    """Nanoseconds of a call in each function, a BPF program's under its name."""
    if not shutil.which("perf"):
        raise NotRunError("there is no perf")
    samples = ground.area.parent / "perf.data"
    samples.unlink(missing_ok=True)
    cost = tracer(_Sampled(ground.built, ground.area, samples), shape).cost
    command = ["perf", "report", "--stdio", "--no-children", "-q", "-F", "sample,symbol", "-i", str(samples)]
    report = subprocess.run(command, capture_output=True, text=True)
    found: Counter[str] = Counter()
    for line in report.stdout.splitlines():
        fields = re.match(r"\s*(\d+)\s+\[\S\]\s+(\S+)", line)
        if fields:
            found[re.sub(r"^bpf_prog_[0-9a-f]{16}_", "BPF: ", fields[2])] += int(fields[1])
    if not found:
        raise NotRunError(f"perf told nothing: {report.stderr.strip()}")
    return {name: cost.cpu_ns * count / found.total() for name, count in found.items()}
