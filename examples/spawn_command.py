# SPDX-License-Identifier: MIT
"""Run a command and list the files it changed: spawn_command.py COMMAND [ARG…]. Needs root.

The list is worth something only if the trace is complete, so that is checked before the list is printed.
"""

import sys

from aa_fileio import KprobeManager

if len(sys.argv) < 2:
    sys.exit(__doc__)
changed: set[str] = set()
with KprobeManager.spawn(sys.argv[1:], ops=["write", "unlink", "rmdir", "rename"]) as manager:
    for event in manager:
        if event.errno == 0:
            changed.update(name for name in (event.path, event.new_path) if name)

if not manager.stats.complete:
    sys.exit(f"the trace is not complete, the list would prove nothing: {manager.stats}")
print(*sorted(changed), sep="\n")
sys.exit(manager.process.wait())
