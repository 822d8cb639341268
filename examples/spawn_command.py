# SPDX-License-Identifier: MIT
"""Run a command and list the files it changed: spawn_command.py COMMAND [ARG…]. Needs root.

The list is worth something only if the trace is complete, so that is checked before the list is printed.
"""

import mmap
import os
import sys

from aa_fileio import FileEvent, KprobeManager

FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def names_changed(event: FileEvent) -> list[str | None]:
    """What this call may have changed. A shared mapping may be made writable later."""
    if event.op == "open" and not (event.flags or 0) & FOR_WRITING:
        return []
    if event.op == "map" and not (event.flags or 0) & mmap.MAP_SHARED:
        return []
    return [event.new_path] if event.op == "copy" else [event.path, event.new_path or event.path]


if len(sys.argv) < 2:
    sys.exit(__doc__)
changed: set[str] = set()
with KprobeManager.spawn(sys.argv[1:], ops=["modify"]) as manager:
    for event in manager:
        if event.errno == 0:
            changed.update(
                name if name is not None else f"[a file without a name: {event.op}]" for name in names_changed(event)
            )

if not manager.stats.complete:
    sys.exit(f"the trace is not complete, the list would prove nothing: {manager.stats}")
print(*sorted(changed), sep="\n")
sys.exit(manager.process.wait())
