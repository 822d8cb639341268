# SPDX-License-Identifier: MIT
"""Folders that move while names are put together: a name without a flag was the name at some moment of the call."""

from __future__ import annotations

import bisect
import errno
import functools
import os
from collections import Counter
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import (
    as_passed,
    check_events,
    check_ledger,
    check_results,
    file,
    nameless,
    performed,
    relative,
    sightings,
)
from tests.native.ground import FIRST_OPS, scaled
from tests.native.row_lists import DIRECTORY, acts, now
from tests.native.script import AT_FDCWD, RENAME_EXCHANGE, Script, Steps
from tests.native.tracing import check_trace, read_to_end, trace

_ENDLESS = 1 << 60


def _move(area: Path, script: Script, by: Steps) -> int:
    """One folder is moved to and fro between two parents, under another name each time, until the flag is set."""
    stop = script.flag()
    body = script.list()
    one, two = area / "parent-x" / "first-name", area / "parent-y" / "another-and-longer-name-than-fits-into-a-dentry"
    body.call("rename", one, two, sees=as_passed(one, two))
    body.call("rename", two, one, sees=as_passed(two, one))
    by.repeat(body, _ENDLESS, until=stop)
    return stop


@pytest.mark.parametrize("mover", ["stranger", "child"])
def test_working_directory_is_moved(backend: str, area: Path, mover: str) -> None:
    """Both its name and its parent change in one rename: a name of the one below the other never was."""
    for parent in ("parent-x", "parent-y"):
        (area / parent).mkdir()
    here = area / "parent-x" / "first-name"
    there = area / "parent-y" / "another-and-longer-name-than-fits-into-a-dentry"
    (here / "deep" / "deeper").mkdir(parents=True)
    (here / "deep" / "deeper" / "file").write_bytes(b"")
    times = scaled(20_000, 2_000)
    script = Script()
    steps, body, child = script.main, script.list(), script.list()
    steps.call("chdir", here / "deep" / "deeper")
    handle = steps.call("openat", AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY, sees=file("/", kind="dir"))
    steps.hold()
    strange = Script()
    strange.main.hold()
    if mover == "stranger":
        stop = _move(area, strange, strange.main)
    else:
        begun = script.flag()
        steps.fork(child)
        child.add(begun, 1)
        steps.wait(begun, 1)
        stop = _move(area, script, child)
    body.call("unlink", "none", sees=relative("/", error=errno.ENOENT))
    body.call("renameat2", handle, "none", handle, "new", 0, sees=relative("/", "/", error=errno.ENOENT))
    fd = body.call("openat", handle, "file", os.O_RDONLY, sees=file("/"))
    body.call("read", fd, script.buffer(1), 1, sees=file("/"))
    body.call("close", fd)
    steps.repeat(body, times)
    if mover == "child":
        steps.add(stop, 1)
        steps.wait_children()
    steps.call("unlink", b"", sees=nameless(errno.ENOENT))
    with strange.start(area) as moving, script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
            moving.go()
            running.go()
            events = read_to_end(manager)
            running.finish()
        if mover == "stranger":
            strange.raise_flag(stop)
        moving.finish()
        moves = [event for event in events if event.pid != running.pid]
        events = [event for event in events if event.pid == running.pid]
        if mover == "child":
            # Nobody else moves anything: its own names are certain, each in its turn.
            ways = [(str(here), str(there), 0), (str(there), str(here), 0)]
            assert len(moves) > 10
            wanted = ways * (len(moves) // 2)
            assert [(event.path, event.new_path, event.errno) for event in moves] == wanted
            assert {str(event.path_source) for event in moves} <= {"as_passed", "dentry"}
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
        assert len(events) == 4 * times + 1
        if mover == "stranger":
            assert not moves
            assert strange.ordered()[-1].done > 10
            check_ledger(manager.stats, backend, performed=4 * times + 1, delivered=4 * times + 1)
        else:
            # The very first was before the attach.
            expected = performed(script) - 1
            assert len(events) + len(moves) == expected
            check_ledger(manager.stats, backend, performed=expected, delivered=expected)


@pytest.mark.parametrize("mover", ["stranger", "child"])
def test_folders_are_moved_between_calls(backend: str, area: Path, mover: str) -> None:
    """A parent, its parent, the folder itself and the file move in turn: each next call has the name of its moment."""
    script = Script()
    main, other = script.main, script.list()
    turn, moved = script.flag(), script.flag()
    main.hold()
    names = [
        (area / "a/b/c", "file"),
        (area / "A/b/c", "file"),
        (area / "A/B/c", "file"),
        (area / "B/c", "file"),
        (area / "c", "file"),
        (area / "x/deep/deeper/c", "file"),
        (area / "x/deep/deeper/c", "renamed"),
        (area / "x/deep/deeper/y", "renamed"),  # by an exchange
    ]
    moves = [
        (area / "a", area / "A", 0),
        (area / "A/b", area / "A/B", 0),
        (area / "A/B", area / "B", 0),
        (area / "B/c", area / "c", 0),
        (area / "c", area / "x/deep/deeper/c", 0),
        (names[6][0] / "file", names[6][0] / "renamed", 0),
        (names[6][0], names[7][0], RENAME_EXCHANGE),
    ]
    folder = names[0][0]
    folder.mkdir(parents=True)
    names[7][0].mkdir(parents=True)
    (folder / "file").write_bytes(b"0123456789")
    is_folder, is_file = now(folder), now(folder / "file")
    moved_is = [now(area / "a"), now(area / "a/b"), now(area / "a/b"), is_folder, is_folder, is_file, is_folder]
    place = main.call("openat", AT_FDCWD, folder, DIRECTORY, sees=file(folder, kind="dir", of=is_folder))
    fd = main.call("openat", AT_FDCWD, folder / "file", os.O_RDONLY, sees=file(folder / "file", of=is_file))
    main.call("chdir", folder)
    main.fork(other)
    within = functools.partial(relative, start=is_folder)
    absent = functools.partial(within, error=errno.ENOENT)
    for round_, (folder, name) in enumerate(names):
        path = folder / name
        main.call("read", fd, script.buffer(1), 1, sees=file(path, of=is_file, offset=round_, moved=1))
        for start in (AT_FDCWD, place):
            again = main.call("openat", start, name, os.O_RDONLY, sees=file(path, of=is_file))
            main.call("close", again)
            main.call("openat", start, ".", DIRECTORY, sees=file(folder, kind="dir", of=is_folder))
            main.call("unlinkat", start, "none", 0, sees=absent(folder / "none"))
        to, back = within(path, folder / "other"), within(folder / "other", path)
        main.call("renameat2", place, name, AT_FDCWD, "other", 0, sees=acts(to, is_file))
        main.call("rename", "other", name, sees=acts(back, is_file))
        if round_:
            before = names[round_ - 1][0] / names[round_ - 1][1]
            main.call("openat", AT_FDCWD, before, os.O_RDONLY, sees=as_passed(before, error=errno.ENOENT))
        if round_ < len(moves):
            old, new, flags = moves[round_]
            main.add(turn, 1)
            other.wait(turn, round_ + 1)
            seen = acts(as_passed(old, new), moved_is[round_], "file" if moved_is[round_] == is_file else "dir")
            other.call("renameat2", AT_FDCWD, old, AT_FDCWD, new, flags, sees=seen)
            other.add(moved, 1)
            main.wait(moved, round_ + 1)
    main.wait_children()
    if mover == "child":
        check_trace(script, area, backend)
        return
    # The process that moves them is not watched.
    result = trace(script, area, backend, follow=False)
    check_results(script)
    check_events(script, result.events, [main])
    expected = len(list(sightings(main)))
    check_ledger(result.stats, backend, performed=expected, delivered=expected)


@pytest.mark.parametrize("latency", [True, False], ids=["latency", "no-latency"])
@pytest.mark.parametrize("start", ["working-directory", "descriptor"])
def test_start_of_a_relative_name_is_changed(backend: str, area: Path, start: str, latency: bool) -> None:
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
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, latency=latency) as manager:
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


_MARGIN_NS = 100_000  # clocks of two processors differ by less


def test_name_told_before_a_storm_of_renames(backend: str, area: Path) -> None:
    """
    A folder far above an open file is renamed all the time by another process, and the file is read all the time.

    A read that no rename overlaps has the one name that was in force; any other has one of the two, or says raced.
    """
    names = [area / "one", area / "the-other-and-longer-name"]
    below = Path("folder/deeper/file")
    (names[0] / below).parent.mkdir(parents=True)
    (names[0] / below).write_bytes(bytes(16))
    script = Script(traced=())
    main, reads, child, renames = script.main, script.list(), script.list(), script.list()
    done = script.flag()
    main.hold()
    main.call("dup2", main.call("openat", AT_FDCWD, names[0] / below, os.O_RDONLY), 600)
    main.fork(child)
    renames.call("rename", names[0], names[1])
    for _ in range(20):
        renames.call("getppid")
    renames.call("rename", names[1], names[0])
    child.repeat(renames, scaled(5_000, 500))
    child.add(done, 1)
    reads.call("pread64", 600, script.buffer(8), 8, 0)
    main.repeat(reads, _ENDLESS, until=done)
    main.wait_children()
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=["read", "rename"], queue_bytes=256 << 20) as manager:
            running.go()
            events = read_to_end(manager)
        assert manager.stats.lost == 0
    moves = [event for event in events if event.op == "rename"]
    assert [move.return_code for move in moves] == [0] * scaled(10_000, 1_000)
    moves.sort(key=lambda move: move.timestamp_ns)
    begins = [move.timestamp_ns - move.duration_ns - _MARGIN_NS for move in moves]
    ends = [move.timestamp_ns + _MARGIN_NS for move in moves]
    told: Counter[str] = Counter()
    for event in events:
        if event.op != "read":
            continue
        assert event.path in {str(name / below) for name in names} or event.path_source == "raced", event
        finished = bisect.bisect_left(ends, event.timestamp_ns - event.duration_ns)
        # Those that began before the read returned are just those that had ended before it began.
        if finished == bisect.bisect_left(begins, event.timestamp_ns):
            told["alone"] += 1
            assert event.path_source == "file", event
            assert event.path == str(names[finished % 2] / below), (event, finished)
        told[event.path_source] += 1
    assert told["alone"] > scaled(1_000, 50), told
    assert told["file"] > told["raced"], told
