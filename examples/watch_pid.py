# SPDX-License-Identifier: MIT
"""Print what a running process and its children do with files: watch_pid.py PID. Ctrl-C ends it. Needs root."""

import sys

from aa_fileio import KprobeManager

if len(sys.argv) != 2:
    sys.exit(__doc__)
manager = KprobeManager(int(sys.argv[1]))
try:
    with manager:
        for event in manager:
            print(event.time.astimezone().time(), event.pid, event.comm, event.op, event.path, event.new_path or "")
except KeyboardInterrupt:
    pass

stats = manager.stats
print(f"{stats.delivered} events, {stats.lost} lost, complete: {stats.complete}", file=sys.stderr)
