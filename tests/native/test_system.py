# SPDX-License-Identifier: MIT
"""pid=None: the whole system but the tracer. Only where nobody else works: in a guest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import check_events, file, relative
from tests.native.ground import FIRST_OPS, HANG_SECONDS, HERE
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import read_until


def _worker(area: Path, name: str) -> Script:
    path = area / name
    path.write_bytes(b"")
    script = Script()
    main, child = script.main, script.list()
    main.hold()
    main.fork(child)
    main.wait_children()
    for steps in (child, main):
        for _ in range(50):
            fd = steps.call("openat", AT_FDCWD, path, os.O_RDWR, sees=file(path))
            steps.call("read", fd, script.buffer(4), 4, sees=file(path, offset=0, moved=0))
            steps.call("close", fd)
    main.call("rename", name, f"{name}.end", sees=relative(path, area / f"{name}.end"))
    for steps in (child, main):
        for step in steps.steps:
            if step.name in ("openat", "read"):
                step.sees = file(
                    path, of=area / f"{name}.end", **({"offset": 0, "moved": 0} if step.name == "read" else {})
                )
    return script


@pytest.mark.guest_only
def test_everybody_but_the_tracer(backend: str, area: Path) -> None:
    """A process that was there before and one that comes later are seen whole; the tracer, busy meanwhile, is not."""
    early, late = _worker(area, "early"), _worker(area, "late")
    own = area / "own"
    ended: set[str] = set()

    def is_last(event: object) -> bool:
        if event.op == "rename":
            ended.add(event.path)
        return {str(area / "early"), str(area / "late")} <= ended

    with early.start(area) as first:
        with KprobeManager(backend=backend, ops=FIRST_OPS) as manager:
            assert manager.pid is None
            with late.start(area) as second:
                for _ in range(100):
                    own.write_bytes(b"the tracer's own")
                    own.read_bytes()
                subprocess.run(["cat", own], stdout=subprocess.DEVNULL, timeout=HANG_SECONDS, check=True)
                first.go()
                second.go()
                first.finish()
                second.finish()
            assert manager.stats.watched == 0
            events = read_until(manager, is_last)
        while (more := manager.poll(0)) is not None:
            events += more
        stats = manager.stats
        manager.close()
    for script in (early, late):
        own_threads = {steps.tid for steps in script.lists}
        # The workload's start, before it holds, is not in its lists.
        started = [
            event for event in events if event.tid in own_threads and event.path and event.path.startswith(str(area))
        ]
        check_events(script, started)
    assert os.getpid() not in {event.pid for event in events}
    # cat is somebody else, although the tracer started it.
    assert [event.op for event in events if event.path == str(own) and event.comm == "cat"] == ["open", "read", "read"]
    assert stats.performed == stats.delivered + stats.in_flight + stats.filtered + stats.lost
    assert (stats.lost, stats.delivered) == (0, len(events)), stats
    assert stats.exact == (backend not in HERE.inexact), stats
