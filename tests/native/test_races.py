# SPDX-License-Identifier: MIT
"""Folders that move while names are put together: a name without a flag was the name at some moment of the call."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import as_passed, check_ledger, file, nameless, relative
from tests.native.ground import FIRST_OPS, scaled
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
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
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
        check_ledger(manager.stats, backend, performed=4 * times + 1, delivered=4 * times + 1)


@pytest.mark.parametrize("start", ["working-directory", "descriptor"])
def test_start_of_a_relative_name_is_changed(backend: str, area: Path, start: str) -> None:
    """Another thread changes the folder that names start from, to and fro: the one the kernel took, or flagged."""
    folders = [area / "first-folder", area / "the-second-folder"]
    for folder in folders:
        folder.mkdir()
    # What becomes of the call tells where its name did start from.
    (folders[0] / "thing").mkdir()
    truth = {errno.EISDIR: str(folders[0] / "thing"), errno.ENOENT: str(folders[1] / "thing")}
    script = Script()
    stop = script.flag()
    main, changer, body, changes = script.main, script.list(), script.list(), script.list()
    directory = os.O_RDONLY | os.O_DIRECTORY
    handles = [main.call("openat", AT_FDCWD, folder, directory, sees=file(folder, kind="dir")) for folder in folders]
    main.call("fchdir", handles[0])
    target = main.call("dup", handles[0])
    main.hold()
    main.thread(changer)
    for handle in handles:
        if start == "descriptor":
            changes.call("dup2", handle, target)
        else:
            changes.call("fchdir", handle)
    changer.repeat(changes, _ENDLESS, until=stop)
    times = scaled(50_000, 5_000)
    here = target if start == "descriptor" else AT_FDCWD
    body.call("unlinkat", here, "thing", 0, sees=relative("/", error=errno.ENOENT))
    fd = body.call("openat", here, ".", directory, sees=file("/", kind="dir"))
    body.call("close", fd)
    body.call("renameat2", here, "thing", here, "thing/below", 0, sees=relative("/", "/", error=errno.EINVAL))
    main.repeat(body, times)
    main.add(stop, 1)
    main.wait_thread(changer)
    inodes = {folder.stat().st_ino: str(folder) for folder in folders}
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        wrong = []
        sources: Counter[tuple[str, str]] = Counter()
        for event in events:
            sources[str(event.op), str(event.path_source)] += 1
            if event.path_source == "raced":
                continue
            if event.op == "open":
                good = event.path == inodes[event.inode]
            elif event.op == "unlink":
                good = event.path == truth[event.errno]
            else:
                # Its two names may start from either folder each; only what both names are is known.
                good = event.path in truth.values() and event.new_path in {f"{name}/below" for name in truth.values()}
            if not good:
                wrong.append(event)
        assert not wrong, f"{len(wrong)} of {len(events)} are misnamed ({sources}): {wrong[:3]}"
        assert {event.errno for event in events if event.op == "unlink"} == set(truth)
        assert sources["unlink", "dir_and_name"] > 0, sources
        assert sources["open", "file"] > 0, sources
        check_ledger(manager.stats, backend, performed=3 * times, delivered=3 * times)


def test_names_that_are_overwritten(backend: str, area: Path) -> None:
    """A thread writes over the name while the kernel and we read it: for a success the kernel's own copy counts."""
    for name in ("aaaaaaaa", "bbbbbbbb"):
        (area / name).write_bytes(name.encode())
    script = Script()
    stop = script.flag()
    main, writer, body, changes = script.main, script.list(), script.list(), script.list()
    main.hold()
    # The part that changes is one aligned word, so that nobody can read half of each.
    folder = bytes(area) + b"/" * (8 - len(bytes(area)) % 8)
    name = script.buffer(folder + b"aaaaaaaa\0")
    tail = name + len(folder)
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
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        wrong = [event for event in events if event.path != inodes.get(event.inode) or event.path_source != "file"]
        assert not wrong, f"{len(wrong)} of {len(events)} are misnamed: {wrong[:3]}"
        assert len({event.path for event in events}) == 2
        check_ledger(manager.stats, backend, performed=times, delivered=times)
