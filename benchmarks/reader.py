# SPDX-License-Identifier: MIT
"""A reader with default sizes in a process of its own, to be stalled and weighed from outside.

    python -m benchmarks.reader PID

says "ready" when it is attached, reads columns to the end, and prints a line of JSON: the ledger, and how many bytes it
held at each of several moments beyond what the interpreter had before the import.
"""

from __future__ import annotations

import json
import sys
import time


def resident() -> int:
    """Bytes."""
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:")) * 1024


def main() -> None:
    before = resident()
    from aa_fileio import KprobeManager

    held: list[int] = []
    weighed = 0.0
    with KprobeManager(int(sys.argv[1])) as manager:
        print("ready", flush=True)
        while (batch := manager.read_batch()) is not None:
            del batch
            if time.monotonic() - weighed > 1:
                weighed = time.monotonic()
                held.append(resident() - before)
        stats = manager.stats
    told = {name: getattr(stats, name) for name in ("performed", "delivered", "lost", "ring_full", "queue_full")}
    print(json.dumps({**told, "held": held}))


if __name__ == "__main__":
    main()
