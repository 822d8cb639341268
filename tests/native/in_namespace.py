# SPDX-License-Identifier: MIT
"""Run inside `unshare -pf --mount-proc`: traces by the pids of that namespace, and says "passed" if all was right.

python -m tests.native.in_namespace PROGRAM AREA BACKEND
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from aa_fileio import KprobeManager
from tests.native.expected import as_passed, check_events, check_ledger, check_results, delivered, file
from tests.native.ground import FIRST_OPS, HANG_SECONDS
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import check_trace, read_to_end


def _script(area: Path, hold: bool) -> Script:
    """A process, a thread of it and a child."""
    path = area / "file"
    path.write_bytes(b"data")
    script = Script()
    main, thread, child = script.main, script.list(), script.list()
    if hold:
        main.hold()
    main.thread(thread)
    main.fork(child)
    for steps in script.lists:
        fd = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        steps.call("read", fd, script.buffer(8), 8, sees=file(path, offset=0, moved=4))
        steps.call("unlink", area / "none", sees=as_passed(area / "none", error=errno.ENOENT))
    main.wait_thread(thread)
    main.wait_children()
    return script


def main() -> None:
    program, area, backend = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    assert os.getpid() == 1, "not the first process of a namespace"
    Script.program = program
    # A running process, by its number here; the events' numbers are compared with what the workload calls itself.
    script = _script(area, hold=True)
    result = check_trace(script, area, backend)
    assert {event.pid for event in result.events} == {script.main.pid, script.lists[2].pid}
    assert max(event.pid for event in result.events) < 100, "numbers of a young namespace are small"

    script = _script(area, hold=False)
    descriptor = script.write()
    with KprobeManager.spawn([program, "0"], cwd=area, stdin=descriptor, backend=backend, ops=FIRST_OPS) as manager:
        os.close(descriptor)
        events = read_to_end(manager)
        assert manager.process.wait(HANG_SECONDS) == 0
        assert manager.pid == manager.process.pid == script.main.pid
    check_results(script)
    check_events(script, events)
    check_ledger(manager.stats, backend, performed=delivered(script), delivered=delivered(script))
    manager.close()

    # Nobody here has the number that the tracer's parent has outside.
    for pid in (1 << 21, 300):
        try:
            KprobeManager(pid, backend=backend, ops=FIRST_OPS).attach()
        except ProcessLookupError:
            continue
        raise AssertionError(f"pid {pid} exists in a namespace of three processes")
    print("passed")


if __name__ == "__main__":
    main()
