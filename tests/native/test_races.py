# SPDX-License-Identifier: MIT
"""Folders that move while names are being put together: a name without a flag was the name at some moment of the call."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

from aa_fileio import KprobeManager
from tests.native.expected import as_passed, check_ledger, file, nameless, relative
from tests.native.ground import scaled
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import read_to_end

_ENDLESS = 1 << 60


def _movers(area: Path) -> tuple[Script, int]:
    """A process that moves one folder to and fro between two parents, under another name each time."""
    script = Script()
    stop = script.flag()
    main, body = script.main, script.list()
    main.hold()
    one, two = area / "parent-x" / "first-name", area / "parent-y" / "another-and-longer-name-than-fits-into-a-dentry"
    body.call("rename", one, two, sees=as_passed(one, two))
    body.call("rename", two, one, sees=as_passed(two, one))
    main.repeat(body, _ENDLESS, until=stop)
    return script, stop


def test_working_directory_is_moved(backend: str, area: Path) -> None:
    """Both its name and its parent change in one rename: a name of the one below the other never was."""
    for parent in ("parent-x", "parent-y"):
        (area / parent).mkdir()
    here = area / "parent-x" / "first-name"
    (here / "deep" / "deeper").mkdir(parents=True)
    (here / "deep" / "deeper" / "file").write_bytes(b"")
    there = area / "parent-y" / "another-and-longer-name-than-fits-into-a-dentry"
    times = scaled(20_000, 2_000)
    script = Script()
    steps, body = script.main, script.list()
    steps.call("chdir", here / "deep" / "deeper")
    handle = steps.call("openat", AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY, sees=file("/", kind="dir"))
    steps.hold()
    body.call("unlink", "none", sees=relative("/", error=errno.ENOENT))
    body.call("renameat2", handle, "none", handle, "new", 0, sees=relative("/", "/", error=errno.ENOENT))
    fd = body.call("openat", handle, "file", os.O_RDONLY, sees=file("/"))
    body.call("read", fd, script.buffer(1), 1, sees=file("/"))
    body.call("close", fd)
    steps.repeat(body, times)
    steps.call("unlink", b"", sees=nameless(errno.ENOENT))
    mover, stop = _movers(area)
    with mover.start(area) as moving, script.start(area) as running:
        with KprobeManager(running.pid, backend=backend) as manager:
            moving.go()
            running.go()
            events = read_to_end(manager)
            running.finish()
        mover.raise_flag(stop)
        moving.finish()
        assert mover.ordered()[-1].done > 10
        roots = [f"{folder}/deep/deeper" for folder in (here, there)]
        allowed = {
            "unlink": {f"{root}/none" for root in roots},
            "rename": {f"{root}/none" for root in roots},
            "open": {f"{root}/file" for root in roots},
            "read": {f"{root}/file" for root in roots},
        }
        sources: Counter[str] = Counter()
        wrong = []
        for event in events[:-1]:
            sources[str(event.path_source)] += 1
            if event.path_source == "raced":
                continue
            good = event.path in allowed[event.op]
            if event.op == "rename":
                good = good and event.new_path in {f"{root}/new" for root in roots}
            if not good:
                wrong.append(event)
        assert not wrong, f"{len(wrong)} of {len(events)} are misnamed ({sources}): {wrong[:3]}"
        # Both names were met, and not every name was given up.
        assert {event.path for event in events if event.op == "read"} >= allowed["read"]
        assert sources["file"] + sources["dir_and_name"] > times
        check_ledger(manager.stats, performed=4 * times + 1, delivered=4 * times + 1)


def test_working_directory_is_changed(backend: str, area: Path) -> None:
    """A thread changes the working directory that another one's names start from: told right, or flagged."""
    folders = [area / "first-folder", area / "the-second-folder"]
    for folder in folders:
        folder.mkdir()
    # What is found tells where the name did start from.
    (folders[0] / "which").write_bytes(b"1")
    (folders[1] / "which").write_bytes(b"22")
    script = Script()
    stop = script.flag()
    main, changer, body, changes = script.main, script.list(), script.list(), script.list()
    main.hold()
    main.call("chdir", folders[0])
    main.thread(changer)
    for folder in folders:
        changes.call("chdir", folder)
    changer.repeat(changes, _ENDLESS, until=stop)
    times = scaled(20_000, 2_000)
    fd = body.call("openat", AT_FDCWD, "which", os.O_RDONLY, sees=file("/"))
    body.call("read", fd, script.buffer(4), 4, sees=file("/"))
    body.call("close", fd)
    body.call("unlink", "none", sees=relative("/", error=errno.ENOENT))
    main.repeat(body, times)
    main.add(stop, 1)
    main.wait_thread(changer)
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        wrong = []
        inodes = {(folder / "which").stat().st_ino: folder / "which" for folder in folders}
        lengths = {1: folders[0] / "which", 2: folders[1] / "which"}
        met = Counter()
        for event in events:
            if event.op == "unlink":
                met[str(event.path_source)] += 1
                names = {str(folder / "none") for folder in folders}
                good = event.path in names or event.path_source == "raced"
            elif event.op == "open":
                good = event.path == str(inodes[event.inode])
            else:
                good = event.path == str(lengths[event.bytes])
            if not good:
                wrong.append(event)
        assert not wrong, f"{len(wrong)} of {len(events)} are misnamed: {wrong[:3]}"
        assert met["dir_and_name"] > 0, met
        check_ledger(manager.stats, performed=3 * times, delivered=3 * times)


def test_names_that_are_overwritten(backend: str, area: Path) -> None:
    """A thread writes over the name while the kernel and we read it: for a success the kernel's own copy counts."""
    for name in ("aaaaaaaa", "bbbbbbbb"):
        (area / name).write_bytes(name.encode())
    script = Script()
    stop = script.flag()
    main, writer, body, changes = script.main, script.list(), script.list(), script.list()
    main.hold()
    name = script.buffer(bytes(area) + b"/aaaaaaaa\0")
    tail = name + (len(bytes(area)) + 1)
    changes.poke(tail, int.from_bytes(b"bbbbbbbb", "little"))
    changes.poke(tail, int.from_bytes(b"aaaaaaaa", "little"))
    main.thread(writer)
    writer.repeat(changes, _ENDLESS, until=stop)
    times = scaled(30_000, 3_000)
    fd = body.call("openat", AT_FDCWD, name, os.O_RDONLY, sees=file("/"))
    body.call("close", fd)
    main.repeat(body, times)
    main.add(stop, 1)
    main.wait_thread(writer)
    inodes = {(area / each).stat().st_ino: str(area / each) for each in ("aaaaaaaa", "bbbbbbbb")}
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        wrong = [event for event in events if event.path != inodes.get(event.inode) or event.path_source != "file"]
        assert not wrong, f"{len(wrong)} of {len(events)} are misnamed: {wrong[:3]}"
        assert len({event.path for event in events}) == 2
        check_ledger(manager.stats, performed=times, delivered=times)
