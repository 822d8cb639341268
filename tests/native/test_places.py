# SPDX-License-Identifier: MIT
"""Names and numbers where processes have mounts and pids of their own, and on each kind of file system."""

from __future__ import annotations

import array
import errno
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.native.expected import (
    Identity,
    Seen,
    as_passed,
    calls_of,
    check_script_ledger,
    file,
    relative,
    unreachable,
)
from tests.native.ground import FIRST_OPS, HERE
from tests.native.row_lists import CLONE_NEWNS, DELETED, DIRECTORY, acts
from tests.native.script import AT_FDCWD, AT_REMOVEDIR, Script, Step, Steps, Stored
from tests.native.themes import Named, Performed, Themes, checked_each, performed_once, stat_of, told

_OPS = (*FIRST_OPS, "truncate", "allocate", "link", "mkdir", "copy")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
_CLONE_NEWPID = 0x20000000
_MS_BIND = 0x1000
_MS_MOVE = 0x2000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MNT_DETACH = 2

THEMES = Themes()


def _unshare(steps: Steps, flags: int = CLONE_NEWNS) -> None:
    steps.call("unshare", flags)
    steps.call("mount", b"none", b"/", 0, _MS_REC_PRIVATE, 0)


@THEMES.add
def mounts_of_its_own(script: Script, steps: Steps, home: Path) -> None:
    """What one process mounts, others do not have: the same name is another file."""
    place, shown, real = home / "place", home / "shown", home / "real"
    for folder in (place, shown, real / "deep"):
        folder.mkdir(parents=True)
    for path in (place / "file", place / "only-outside", real / "inner", real / "deep/inner", home / "other"):
        path.write_bytes(bytes(path))
    buffer = script.buffer(16)
    mounted, child, later_child, own_way = script.flag(), script.list(), script.list(), script.list()

    def outside(by: Steps) -> None:
        by.call("openat", AT_FDCWD, place / "file", os.O_RDONLY, sees=file(place / "file"))
        by.call("openat", AT_FDCWD, place / "only-outside", os.O_RDONLY, sees=file(place / "only-outside"))
        none = as_passed(shown / "inner", error=errno.ENOENT)
        by.call("openat", AT_FDCWD, shown / "inner", os.O_RDONLY, sees=none)

    def inside(by: Steps) -> None:
        by.call("openat", AT_FDCWD, place / "file", os.O_RDONLY, sees=lambda _: file(place / "file", of=new))
        none = as_passed(place / "only-outside", error=errno.ENOENT)
        by.call("openat", AT_FDCWD, place / "only-outside", os.O_RDONLY, sees=none)
        for name in ("inner", "deep/inner"):
            by.call("openat", AT_FDCWD, shown / name, os.O_RDONLY, sees=file(shown / name, of=real / name))
        by.call("openat", AT_FDCWD, real / "inner", os.O_RDONLY, sees=file(real / "inner"))

    steps.fork(child)
    child.wait(mounted, 1)
    outside(child)
    before = steps.call("openat", AT_FDCWD, place / "file", os.O_RDONLY, sees=file(place / "file"))
    hidden = steps.call("openat", AT_FDCWD, place, DIRECTORY, sees=file(place, kind="dir"))
    _unshare(steps)
    steps.call("mount", b"none", place, b"tmpfs", 0, 0)
    steps.call("mount", real, shown, 0, _MS_BIND, 0)
    made = lambda **more: lambda _: file(place / "file", of=new, **more)  # noqa: E731
    fd = steps.call("openat", AT_FDCWD, place / "file", _CREATE, 0o600, sees=made())
    new = stat_of(steps, fd)
    steps.add(mounted, 1)
    steps.wait_children()
    inside(steps)
    steps.call("write", fd, buffer, 3, sees=made(offset=0, moved=3))
    # What was opened before lies in the mounts of before, where it has this name.
    steps.call("read", before, buffer, 2, sees=unreachable(file(place / "file", offset=0, moved=2)))
    steps.call("openat", hidden, "only-outside", os.O_RDONLY, sees=unreachable(file(place / "only-outside")))
    seen = unreachable(relative(place / "none", error=errno.ENOENT))
    steps.call("openat", hidden, "none", os.O_RDONLY, sees=seen)
    steps.fork(later_child)
    inside(later_child)
    steps.wait_children()
    steps.fork(own_way)
    _unshare(own_way)
    own_way.call("umount2", place, 0)
    own_way.call("umount2", shown, _MNT_DETACH)
    outside(own_way)
    steps.wait_children()
    inside(steps)

    # One file over another, and a second mount over the first.
    steps.call("mount", home / "other", real / "inner", 0, _MS_BIND, 0)
    over = file(real / "inner", of=home / "other")
    fd = steps.call("openat", AT_FDCWD, real / "inner", os.O_RDONLY, sees=over)
    steps.call("read", fd, buffer, 1, sees=file(real / "inner", of=home / "other", offset=0, moved=1))
    busy = as_passed(real / "inner", error=errno.EBUSY)
    steps.call("unlink", real / "inner", sees=busy)
    steps.call("mount", b"none", place, b"tmpfs", 0, 0)
    twice = lambda _: file(place / "second", of=second)  # noqa: E731
    second = stat_of(steps, steps.call("openat", AT_FDCWD, place / "second", _CREATE, 0o600, sees=twice))
    none = as_passed(place / "file", error=errno.ENOENT)
    steps.call("openat", AT_FDCWD, place / "file", os.O_RDONLY, sees=none)
    steps.call("unlink", place / "second", sees=acts(as_passed(place / "second"), lambda: told(second)))


@THEMES.add
def mounts_that_move(script: Script, steps: Steps, home: Path) -> None:
    """A mount is moved to another place, and taken away, while a file on it is open."""
    one, two = home / "one", home / "two"
    for folder in (one, two):
        folder.mkdir()
    buffer = script.buffer(16)
    _unshare(steps)
    steps.call("mount", b"none", one, b"tmpfs", 0, 0)
    steps.call("mkdir", one / "folder", 0o700, sees=_made(as_passed(one / "folder")))
    held: list[Step] = []
    name = one / "folder/file"
    seen = lambda **more: lambda _: file(name, of=held[0], **more)  # noqa: E731
    fd = steps.call("openat", AT_FDCWD, name, _CREATE, 0o600, sees=seen())
    held.append(stat_of(steps, fd))
    steps.call("write", fd, buffer, 2, sees=seen(offset=0, moved=2))
    steps.call("dup2", fd, 600)
    steps.call("mount", one, two, 0, _MS_MOVE, 0)
    moved = Named(steps, 600)
    steps.call("write", fd, buffer, 2, sees=moved(offset=2, moved=2))
    assert_named = file(two / "folder/file")
    steps.call("openat", AT_FDCWD, two / "folder/file", os.O_RDONLY, sees=lambda i: _same(moved(), assert_named)(i))
    steps.call("openat", AT_FDCWD, name, os.O_RDONLY, sees=as_passed(name, error=errno.ENOENT))
    # What is mounted nowhere has a name that starts where it was mounted.
    steps.call("umount2", two, _MNT_DETACH)
    loose = Named(steps, 600)
    steps.call("write", fd, buffer, 2, sees=lambda i: unreachable(loose(offset=4, moved=2)(i)))
    gone = as_passed(two / "folder/file", error=errno.ENOENT)
    steps.call("openat", AT_FDCWD, two / "folder/file", os.O_RDONLY, sees=gone)


def _same(seen: Callable[[int], Seen], as_written: Seen) -> Callable[[int], Seen]:
    """What the kernel was asked is what is written here."""

    def sees(index: int) -> Seen:
        assert seen(index).path == as_written.path
        return seen(index)

    return sees


def _made(seen: Seen) -> Seen:
    """What a mkdir makes has no inode yet when the kernel tells of it; which it got is seen at the return."""
    return acts(seen, None)


def _made_and_forgotten(seen: Seen) -> Seen:
    """At the return nobody holds it any more, and 9p without a cache keeps nothing: what it was is not known."""
    return acts(seen, lambda: (None, None), None)


@THEMES.add
def received_from_other_mounts(script: Script, steps: Steps, home: Path) -> None:
    """A descriptor of a file that the receiver's own mounts hide, or do not have: the kernel's own name of it."""
    place = home / "place"
    place.mkdir()
    (place / "file").write_bytes(b"0123456789")
    buffer = script.buffer(16)
    fd = os.open(place / "file", os.O_RDONLY)
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.close(fd)
    script.inherited.append(theirs)
    _unshare(steps)
    steps.call("mount", b"none", place, b"tmpfs", 0, 0)
    part, head, control = script.buffer(16), script.buffer(56), script.buffer(24)
    for at, value in ((part, buffer), (part + 8, 1), (head + 16, part), (head + 24, 1), (head + 32, control)):
        steps.poke(at, value)
    steps.poke(head + 40, 24)
    received = steps.call("openat", AT_FDCWD, "/", DIRECTORY, sees=file("/", kind="dir"))
    # The number that it will get.
    steps.call("close", received)
    named: list[Named] = []
    named_there = lambda i: unreachable(named[0](fd=Stored(control + 16))(i))  # noqa: E731
    steps.call("recvmsg", theirs.fileno(), head, 0, sees=named_there)
    steps.call("dup2", received, 600)
    named.append(Named(steps, 600))
    read = _same(named[0](offset=0, moved=4), file(place / "file"))
    steps.call("read", received, buffer, 4, sees=lambda i: unreachable(read(i)))
    none = as_passed(place / "file", error=errno.ENOENT)
    steps.call("openat", AT_FDCWD, place / "file", os.O_RDONLY, sees=none)


@THEMES.add
def pids_of_its_own(script: Script, steps: Steps, home: Path) -> None:
    """
    Names are those that the watched process has, in its own mount of /proc too; pids are the reader's.
    """
    (home / "proc").mkdir()
    (home / "file").write_bytes(b"data")
    buffer = script.buffer(16)
    _unshare(steps, CLONE_NEWNS | _CLONE_NEWPID)
    child, thread, grandchild, program = script.list(), script.list(), script.list(), script.list()
    steps.fork(child)

    def work(by: Steps, own: int) -> None:
        """`own` is what it calls itself."""
        text = script.buffer(64)
        by.told_apart = by.call("readlink", b"/proc/thread-self", text, 63)
        path = home / "file"
        fd = by.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        by.call("read", fd, buffer, 2, sees=file(path, offset=0, moved=2))
        by.call("openat", AT_FDCWD, home / "none", os.O_RDONLY, sees=as_passed(home / "none", error=errno.ENOENT))
        inner = home / "proc" / str(own) / "status"
        held: list[Step] = []
        sees = lambda **more: lambda _: file(inner, of=held[0], **more)  # noqa: E731
        fd = by.call("openat", AT_FDCWD, home / "proc/self/status", os.O_RDONLY, sees=sees())
        held.append(stat_of(by, fd))
        by.call("read", fd, buffer, 4, sees=sees(offset=0, moved=4))
        # By the /proc of those outside it has their number.
        outer: list[Step] = []
        sees_outer = lambda _: file(f"/proc/{by.pid}/status", of=outer[0])  # noqa: E731
        fd = by.call("openat", AT_FDCWD, b"/proc/self/status", os.O_RDONLY, sees=sees_outer)
        outer.append(stat_of(by, fd))

    child.call("mount", b"none", home / "proc", b"proc", 0, 0)
    work(child, 1)
    child.thread(thread)
    work(thread, 1)
    child.wait_thread(thread)
    child.fork(grandchild)
    # The thread had the 2.
    work(grandchild, 3)
    child.wait_children()
    child.spawn(program)
    work(program, 4)
    child.wait_children()
    steps.wait_children()
    steps.call("openat", AT_FDCWD, home / "file", os.O_RDONLY, sees=file(home / "file"))


def _work_on(
    script: Script,
    steps: Steps,
    top: Path,
    *,
    has_tmpfile: bool = True,
    device: int | None = None,
    made: Callable[[Seen], Seen] = _made,
) -> None:
    """
    All kinds of calls on new files of a file system; nothing of it is there before, nor after. `device` is the file
    system's, where fstat tells another of each layer.
    """

    def is_of(stat: Step) -> Identity:
        return (told(stat)[0] if device is None else device, told(stat)[1])

    # As long as it is open it is remembered: 9p without a cache forgets what nobody holds, and a name cannot be certain
    # any more when the call returns.
    steps.call("openat", AT_FDCWD, top, DIRECTORY, sees=lambda _: file(top, kind="dir", of=lambda: is_of(top_is)))
    top_is = stat_of(steps, steps.steps[-1])
    buffer = script.buffer(16)
    folder, path, new, twin, copy = (top / name for name in ("folder", "folder/file", "folder/new", "twin", "copy"))
    here = AT_FDCWD
    steps.call("mkdir", folder, 0o700, sees=made(as_passed(folder)))
    steps.call("mkdir", folder, 0o700, sees=as_passed(folder, error=errno.EEXIST))
    place = steps.call(
        "openat", here, folder, DIRECTORY, sees=lambda _: file(folder, kind="dir", of=lambda: is_of(place_is))
    )
    place_is = stat_of(steps, place)
    sees = lambda **more: lambda _: file(path, of=lambda: is_of(held), **more)  # noqa: E731
    fd = steps.call("openat", here, path, _CREATE, 0o600, sees=sees())
    held = stat_of(steps, fd)
    this = lambda: is_of(held)  # noqa: E731
    steps.call("write", fd, script.buffer(b"0123456789"), 10, sees=sees(offset=0, moved=10))
    steps.call("lseek", fd, 2, os.SEEK_SET)
    steps.call("read", fd, buffer, 4, sees=sees(offset=2, moved=4))
    steps.call("pread64", fd, buffer, 4, 8, sees=sees(moved=2))
    steps.call("pwrite64", fd, buffer, 2, 9, sees=sees(moved=2))
    steps.call("ftruncate", fd, 6, sees=sees())
    steps.call("truncate", path, 8, sees=acts(as_passed(path), this))
    again = steps.call("openat", place, "file", os.O_RDONLY, sees=sees())
    steps.call("read", again, buffer, 16, sees=sees(offset=0, moved=8))
    seen = lambda _: file(copy, of=lambda: is_of(copied))  # noqa: E731
    destination = steps.call("openat", here, copy, _CREATE, 0o600, sees=seen)
    copied = stat_of(steps, destination)
    both = lambda **more: lambda _: file(path, new_path=str(copy), of=lambda: is_of(held), **more)  # noqa: E731
    position = script.buffer(8)
    steps.call("sendfile", destination, fd, position, 5, sees=both(offset=0, moved=5))
    steps.call("link", path, twin, sees=acts(as_passed(path, twin), this))
    steps.call("renameat2", place, "file", here, new, 0, sees=acts(as_passed(path, new), this))
    after = lambda **more: lambda _: file(new, of=lambda: is_of(held), **more)  # noqa: E731
    steps.call("read", fd, buffer, 1, sees=after(offset=6, moved=1))
    steps.call("openat", place, "file", os.O_RDONLY, sees=relative(path, error=errno.ENOENT))
    steps.call("unlink", twin, sees=acts(as_passed(twin), this))
    steps.call("unlinkat", place, "new", 0, sees=acts(relative(new), this))
    steps.call("unlink", copy, sees=acts(as_passed(copy), lambda: is_of(copied)))
    gone = lambda **more: lambda _: file(new, of=lambda: is_of(held), path_flags=DELETED, **more)  # noqa: E731
    steps.call("write", fd, buffer, 3, sees=gone(offset=7, moved=3))
    moved = top / "moved"
    steps.call("rename", folder, moved, sees=acts(as_passed(folder, moved), lambda: is_of(place_is), "dir"))
    steps.call("openat", place, ".", DIRECTORY, sees=lambda _: file(moved, kind="dir", of=lambda: is_of(place_is)))
    seen = acts(as_passed(moved), lambda: is_of(place_is), "dir")
    steps.call("unlinkat", here, moved, AT_REMOVEDIR, sees=seen)
    if has_tmpfile:
        named: list[Named] = []
        fd = steps.call("openat", here, top, os.O_TMPFILE | os.O_RDWR, 0o600, sees=lambda i: named[0]()(i))
        steps.call("dup2", fd, 620)
        named.append(Named(steps, 620))
        steps.call("write", fd, buffer, 2, sees=named[0](offset=0, moved=2))


@THEMES.add
def on_tmpfs(script: Script, steps: Steps, home: Path) -> None:
    _unshare(steps)
    steps.call("mount", b"none", home, b"tmpfs", 0, 0)
    _work_on(script, steps, home)


@THEMES.add
def on_overlay(script: Script, steps: Steps, home: Path) -> None:
    """Files of the upper layer, of the lower one, and such as go up from there when they are opened for writing."""
    layers, merged = home / "layers", home / "merged"
    for folder in (layers, merged):
        folder.mkdir()
    buffer = script.buffer(16)
    _unshare(steps)
    steps.call("mount", b"none", layers, b"tmpfs", 0, 0)
    names = [f"layers/{name}" for name in ("lower", "upper", "work", "lower/inside")]
    for name in names:
        steps.call("mkdir", home / name, 0o700, sees=_made(as_passed(home / name)))
    for name in ("plain", "other", "third", "inside/inner"):
        path = layers / "lower" / name
        held: list[Step] = []
        sees = lambda path=path, held=held, **more: lambda _: file(path, of=held[0], **more)  # noqa: E731
        fd = steps.call("openat", AT_FDCWD, path, _CREATE, 0o600, sees=sees())
        held.append(stat_of(steps, fd))
        steps.call("write", fd, script.buffer(b"0123456789"), 10, sees=sees(offset=0, moved=10))
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    steps.call("mount", b"none", merged, b"overlay", 0, options)
    _work_on(script, steps, merged, has_tmpfile=False)

    plain, other, third, inner = (merged / name for name in ("plain", "other", "third", "inside/inner"))
    is_: dict[Path, Step] = {}

    def opened(path: Path, flags: int) -> Step:
        fd = steps.call("openat", AT_FDCWD, path, flags, 0, sees=lambda _: file(path, of=is_[path]))
        is_.setdefault(path, stat_of(steps, fd))
        return fd

    def seen(path: Path, **more: object) -> Callable[[int], Seen]:
        return lambda _: file(path, of=is_[path], **more)

    old = opened(plain, os.O_RDONLY)
    steps.call("read", old, buffer, 3, sees=seen(plain, offset=0, moved=3))
    fd = opened(plain, os.O_RDWR)  # now there is a copy of it in the upper layer
    steps.call("write", fd, buffer, 2, sees=seen(plain, offset=0, moved=2))
    steps.call("read", old, buffer, 3, sees=seen(plain, offset=3, moved=3))
    steps.call("truncate", other, 4, sees=acts(as_passed(other), lambda: told(is_[other])))
    fd = opened(other, os.O_RDONLY)
    steps.call("read", fd, buffer, 16, sees=seen(other, offset=0, moved=4))
    opened(third, os.O_RDONLY)
    new = merged / "new"
    steps.call("rename", third, new, sees=acts(as_passed(third, new), lambda: told(is_[third])))
    fd = opened(inner, os.O_RDONLY)
    steps.call("unlink", inner, sees=acts(as_passed(inner), lambda: told(is_[inner])))
    steps.call("read", fd, buffer, 4, sees=seen(inner, path_flags=DELETED, offset=0, moved=4))
    steps.call("openat", AT_FDCWD, inner, os.O_RDONLY, sees=as_passed(inner, error=errno.ENOENT))
    # In the lower layer it is as it was.
    path = layers / "lower/inside/inner"
    below: list[Step] = []
    fd = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=lambda _: file(path, of=below[0]))
    below.append(stat_of(steps, fd))
    steps.call("read", fd, buffer, 4, sees=lambda _: file(path, of=below[0], offset=0, moved=4))


if "9p" in HERE.file_systems:

    @THEMES.add
    def on_9p(script: Script, steps: Steps, home: Path) -> None:
        """What the host has, by its name here: where a guest leaves its results."""
        top = Path(tempfile.mkdtemp(dir="/run/aa-results"))
        _work_on(script, steps, top, has_tmpfile=False, made=_made_and_forgotten)

    @THEMES.add
    def on_overlay_over_9p(script: Script, steps: Steps, home: Path) -> None:
        """The guest's own root."""
        path = Path(__file__)
        is_ = (os.stat("/").st_dev, path.stat().st_ino)
        fd = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path, of=is_))
        steps.call("read", fd, script.buffer(16), 8, sees=file(path, of=is_, offset=0, moved=8))
        top = Path(tempfile.mkdtemp(dir=path.parent))
        _work_on(script, steps, top, has_tmpfile=False, device=is_[0])


performed = performed_once(THEMES, calls_of(_OPS), ops=_OPS)
test_theme = checked_each(THEMES)


def test_ledger(backend: str, performed: Performed) -> None:
    performed.check_no_stranger()
    check_script_ledger(performed.script, performed.result.stats, backend)
