# SPDX-License-Identifier: MIT
"""kinds: which objects behind a descriptor are asked for; the rest is counted as filtered, in the kernel."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.native.expected import FILTERED, Seen, as_passed, check_results, check_script_ledger, fields_of, identity
from tests.native.script import AT_FDCWD, Script, Step, Stored
from tests.native.tracing import trace

ALL = ("file", "dir", "symlink", "memfd", "device", "tty", "pipe", "socket", "anon")


def _write(script: Script, area: Path, asked: Iterable[str]) -> list[tuple[str, Step, Step | None]]:
    """One or more calls on each kind of object; of each its kind and the fstat step of the object."""
    (area / "file").write_bytes(b"12345678")
    (area / "link").symlink_to("file")
    os.mkfifo(area / "fifo")
    steps = script.main
    steps.hold()
    buffer = script.buffer(64)
    calls: list[tuple[str, Step, Step | None]] = []

    def sees(kind: str) -> object:
        return Seen("file", kind=kind) if kind in asked else FILTERED

    def add(kind: str, step: Step, stat: Step | None) -> None:
        calls.append((kind, step, stat))

    for kind, path, flags in (
        ("file", area / "file", os.O_RDWR),
        ("dir", area, os.O_RDONLY | os.O_DIRECTORY),
        ("symlink", area / "link", os.O_PATH | os.O_NOFOLLOW),
        ("device", Path("/dev/zero"), os.O_RDWR),
        ("tty", Path("/dev/ptmx"), os.O_RDWR | os.O_NOCTTY),
        ("pipe", area / "fifo", os.O_RDWR),
    ):
        fd = steps.call("openat", AT_FDCWD, path, flags, sees=sees(kind))
        stat = steps.call("fstat", fd, script.buffer(144))
        add(kind, fd, stat)
        if kind in ("file", "device", "pipe"):
            add(kind, steps.call("write", fd, buffer, 4, sees=sees(kind)), stat)
            add(kind, steps.call("read", fd, buffer, 4, sees=sees(kind)), stat)
    memory = steps.call("memfd_create", b"memory", 0)
    stat = steps.call("fstat", memory, script.buffer(144))
    add("memfd", steps.call("write", memory, buffer, 4, sees=sees("memfd")), stat)
    for kind, name, arguments in (
        ("pipe", "pipe", ()),
        ("socket", "socketpair", (socket.AF_UNIX, socket.SOCK_STREAM, 0)),
    ):
        ends = script.buffer(8)
        steps.call(name, *arguments, ends)
        reader, writer = Stored(ends), Stored(ends + 4)
        for end, call in ((writer, "write"), (reader, "read")):
            stat = steps.call("fstat", end, script.buffer(144))
            add(kind, steps.call(call, end, buffer, 4, sees=sees(kind)), stat)
    event = steps.call("eventfd2", 1, 0)
    stat = steps.call("fstat", event, script.buffer(144))
    add("anon", steps.call("read", event, buffer, 8, sees=sees("anon")), stat)
    # By a name nothing was opened: of no kind, and never filtered.
    failed = as_passed(area / "none", error=errno.ENOENT)
    add("", steps.call("openat", AT_FDCWD, area / "none", os.O_RDONLY, sees=failed), None)
    return calls


@pytest.mark.parametrize("asked", [ALL, ("pipe",), ("file", "anon")], ids=["all", "pipe", "file-anon"])
def test_kinds(backend: str, area: Path, asked: tuple[str, ...]) -> None:
    script = Script()
    calls = _write(script, area, asked)
    result = trace(script, area, backend, kinds=asked)
    check_results(script)
    wanted = [(kind, step, stat) for kind, step, stat in calls if kind in asked or not kind]
    assert len(result.events) == len(wanted)
    for event, (kind, step, stat) in zip(result.events, wanted, strict=True):
        fields = fields_of(event)
        device_inode = identity(stat) if stat else (None, None)
        assert (fields["kind"], fields["device"], fields["inode"]) == (kind or None, *device_inode), (event, step)
        assert (fields["syscall"], fields["return_code"]) == (step.name, step.result), (event, step)
        # Only what has a place in a file has a position; lseek() on an eventfd succeeds, so it has one or has none.
        if kind != "anon":
            seekable = kind in ("file", "dir", "memfd", "device") and step.name != "openat"
            assert (event.offset is not None) == seekable, event
        assert event.path != ""
        if step.name == "openat":
            assert event.path == os.fsdecode(step.arguments[1])
            assert event.path_source == ("file" if kind else "as_passed")
    check_script_ledger(script, result.stats, backend)
