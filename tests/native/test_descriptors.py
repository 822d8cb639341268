# SPDX-License-Identifier: MIT
"""However a process came by a descriptor, and whatever becomes of it: each call is named for the file it is of then."""

from __future__ import annotations

import array
import dataclasses
import errno
import os
import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.native.expected import (
    FILTERED,
    UNSEEN,
    Filtered,
    Identity,
    Seen,
    as_passed,
    calls_of,
    check_script_ledger,
    file,
    nameless,
    relative,
    unreachable,
)
from tests.native.ground import DESCRIPTORS, FIRST_OPS, scaled
from tests.native.row_lists import DELETED, DIRECTORY, NO_FD, O_PATH, acts, kernel_is, later, now
from tests.native.script import AT_FDCWD, AT_REMOVEDIR, Script, Step, Steps, Stored
from tests.native.themes import Named, Performed, Themes, checked_each, performed_once, stat_of, told
from tests.native.tracing import check_trace

_OPS = (*FIRST_OPS, "dup", "close", "chdir", "link")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
_F_DUPFD = 0
_F_DUPFD_CLOEXEC = 1030
_CLOSE_RANGE_UNSHARE = 2
_CLOSE_RANGE_CLOEXEC = 4
_AT_SYMLINK_FOLLOW = 0x400
_AT_EMPTY_PATH = 0x1000
_MSG_CMSG_CLOEXEC = 0x40000000
_NAMELESS = Seen("none")  # close_range names nothing

THEMES = Themes()


def _identity(fd: int) -> Identity:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _of(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


class _Message:
    """A struct msghdr of one byte, with room for descriptors."""

    def __init__(self, steps: Steps, count: int) -> None:
        script = steps.script
        part, self.head = script.buffer(16), script.buffer(56)
        rights = struct.pack("=Qii", 16 + 4 * count, socket.SOL_SOCKET, socket.SCM_RIGHTS)
        self.control = script.buffer(rights + bytes(4 * count + 4 * count % 8))
        for place, value in (
            (part, script.buffer(1)),
            (part + 8, 1),
            (self.head + 16, part),
            (self.head + 24, 1),
            (self.head + 32, self.control),
            (self.head + 40, self.control.size),
        ):
            steps.poke(place, value)

    def fd(self, index: int) -> Stored:
        """Which number it got."""
        return Stored(self.control + 16 + 4 * index)


def _post(script: Script, *fds: int) -> int:
    """
    Sends descriptors of this very process, which is outside the watched tree, and closes them: from now on they are
    in the message alone. The number of the socket where it waits.
    """
    ours, theirs = socket.socketpair()
    with ours:
        rights = array.array("i", fds)
        assert ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]) == 1
    for fd in fds:
        os.close(fd)
    script.inherited.append(theirs)
    return theirs.fileno()


@THEMES.add
def received_from_outside(script: Script, steps: Steps, home: Path) -> None:
    """By SCM_RIGHTS, opened before attach by a process that is not watched."""
    sent, gone, folder, moved = home / "sent", home / "gone", home / "folder", home / "moved"
    sent.write_bytes(b"0123456789")
    moved.write_bytes(b"moved")
    folder.mkdir()
    for name in ("inner", "second"):
        (folder / name).write_bytes(b"inner")
    fds = [os.open(sent, os.O_RDWR), os.open(gone, _CREATE), os.open(folder, DIRECTORY), os.open(moved, os.O_RDONLY)]
    gone.unlink()
    moved.rename(home / "at-last")
    fds += [os.memfd_create("from outside"), os.open(sent, O_PATH), os.open("/dev/null", os.O_RDWR), *os.pipe()]
    gone_is, memory_is, mailbox_names = _identity(fds[1]), _identity(fds[4]), len(fds)
    mailbox = _post(script, *fds)
    message, buffer = _Message(steps, mailbox_names), script.buffer(64)
    steps.call("recvmsg", mailbox, message.head, 0, sees=file(sent, fd=message.fd(0)))
    whole, unlinked, place, renamed, memory, link, null, reader, writer = (message.fd(i) for i in range(mailbox_names))

    steps.call("read", whole, buffer, 3, sees=file(sent, offset=0, moved=3))
    steps.call("write", whole, buffer, 2, sees=file(sent, offset=3, moved=2))
    steps.call("write", unlinked, buffer, 4, sees=file(gone, of=gone_is, path_flags=DELETED, offset=0, moved=4))
    steps.call("read", renamed, buffer, 64, sees=file(home / "at-last", offset=0, moved=5))
    in_memory = {"kind": "memfd", "of": memory_is}
    steps.call("write", memory, buffer, 4, sees=file("/memfd:from outside", **in_memory, offset=0, moved=4))
    steps.call("read", link, buffer, 4, sees=file(sent, error=errno.EBADF))
    steps.call("write", null, buffer, 5, sees=file("/dev/null", kind="device", offset=0, moved=5))
    steps.call("write", writer, buffer, 6, sees=FILTERED)
    steps.call("read", reader, buffer, 64, sees=FILTERED)
    here = file(folder, kind="dir", of=home / "renamed")
    steps.call("read", place, buffer, 4, sees=dataclasses.replace(here, offset=0, error=errno.EISDIR))

    steps.call("openat", place, "inner", os.O_RDONLY, sees=file(folder / "inner", of=home / "renamed/inner"))
    steps.call("openat", place, "none", os.O_RDONLY, sees=relative(folder / "none", error=errno.ENOENT))
    steps.call("unlinkat", place, "second", 0, sees=acts(relative(folder / "second"), now(folder / "second")))
    steps.call("fchdir", place, sees=here)
    opened = steps.call(
        "openat", AT_FDCWD, "inner", os.O_RDONLY, sees=file(folder / "inner", of=home / "renamed/inner")
    )
    seen = acts(as_passed(folder, home / "renamed"), now(folder), "dir")
    steps.call("rename", folder, home / "renamed", sees=seen)
    steps.call("openat", place, "inner", os.O_RDONLY, sees=file(home / "renamed/inner"))
    steps.call("read", opened, buffer, 1, sees=file(home / "renamed/inner", offset=0, moved=1))
    steps.call("openat", AT_FDCWD, "none", os.O_RDONLY, sees=relative(home / "renamed/none", error=errno.ENOENT))
    twin = steps.call("dup", whole, sees=file(sent))
    steps.call("close", whole, sees=file(sent))
    steps.call("read", twin, buffer, 64, sees=file(sent, offset=5, moved=5))
    steps.call("read", whole, buffer, 64, sees=nameless(errno.EBADF))
    steps.call("close", mailbox, sees=FILTERED)


@THEMES.add
def received_in_place_of_another(script: Script, steps: Steps, home: Path) -> None:
    """What is received takes the lowest free number: the number of a file that was read before."""
    old, new = home / "old", home / "new"
    for path in (old, new):
        path.write_bytes(bytes(path))
    buffer = script.buffer(8)
    mailbox = _post(script, os.open(new, os.O_RDONLY))
    message = _Message(steps, 1)
    fd = steps.call("openat", AT_FDCWD, old, os.O_RDONLY, sees=file(old))
    steps.call("read", fd, buffer, 4, sees=file(old, offset=0, moved=4))
    steps.call("close", fd, sees=file(old))
    steps.call("recvmsg", mailbox, message.head, _MSG_CMSG_CLOEXEC, sees=file(new, fd=message.fd(0)))
    steps.call("read", fd, buffer, 5, sees=file(new, offset=0, moved=5))
    steps.call("read", message.fd(0), buffer, 6, sees=file(new, offset=5, moved=6))
    steps.call("close", fd, sees=file(new))


@THEMES.add
def received_from_a_child(script: Script, steps: Steps, home: Path) -> None:
    """Sender and receiver are both watched, so neither call is a blind spot; they share the position."""
    path = home / "file"
    path.write_bytes(b"0123456789")
    buffer, ends = script.buffer(8), script.buffer(8)
    steps.call("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, ends)
    child = script.list()
    steps.fork(child)
    out, into = _Message(child, 1), _Message(steps, 1)
    fd = child.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    child.call("read", fd, buffer, 3, sees=file(path, offset=0, moved=3))
    child.poke(out.control + 16, fd)
    child.call("sendmsg", Stored(ends), out.head, 0, sees=UNSEEN)
    child.call("close", fd, sees=file(path))
    steps.wait_children()
    steps.call("recvmsg", Stored(ends + 4), into.head, 0, sees=UNSEEN)
    steps.call("read", into.fd(0), buffer, 4, sees=file(path, offset=3, moved=4))
    steps.call("close", into.fd(0), sees=file(path))


@THEMES.add
def taken(script: Script, steps: Steps, home: Path) -> None:
    """By pidfd_getfd, from a process outside the tree and from one in it."""
    ours, theirs, gone = home / "ours", home / "theirs", home / "gone"
    ours.write_bytes(b"0123456789")
    theirs.write_bytes(b"abcdefghij")
    # A socket that stays open here as long as the script is: the number stays taken, by what is put over it.
    kept = [socket.socket(), socket.socket()]
    script.inherited += kept
    for holder, flags, path in zip(kept, (os.O_RDONLY, _CREATE), (ours, gone), strict=True):
        fd = os.open(path, flags)
        os.dup2(fd, holder.fileno(), inheritable=False)
        os.close(fd)
    gone_is = _identity(kept[1].fileno())
    gone.unlink()
    buffer = script.buffer(16)
    pidfd = steps.call("pidfd_open", os.getpid(), 0)
    first = steps.call("pidfd_getfd", pidfd, kept[0].fileno(), 0, sees=file(ours))
    steps.call("read", first, buffer, 4, sees=file(ours, offset=0, moved=4))
    unlinked = file(gone, of=gone_is, path_flags=DELETED)
    second = steps.call("pidfd_getfd", pidfd, kept[1].fileno(), 0, sees=unlinked)
    steps.call("write", second, buffer, 2, sees=file(gone, of=gone_is, path_flags=DELETED, offset=0, moved=2))
    steps.call("close", second, sees=file(gone, of=gone_is, path_flags=DELETED))

    child, opened, done = script.list(), script.flag(), script.flag()
    number = steps.fork(child)
    theirs_fd = child.call("openat", AT_FDCWD, theirs, os.O_RDWR, sees=file(theirs))
    child.add(opened, 1)
    child.wait(done, 1)
    child.call("read", theirs_fd, buffer, 16, sees=file(theirs, offset=3, moved=7))
    steps.wait(opened, 1)
    pidfd = steps.call("pidfd_open", number, 0)
    third = steps.call("pidfd_getfd", pidfd, theirs_fd, 0, sees=file(theirs))
    steps.call("read", third, buffer, 3, sees=file(theirs, offset=0, moved=3))
    steps.call("close", third, sees=file(theirs))
    steps.add(done, 1)
    steps.wait_children()


@THEMES.add
def put_over_another(script: Script, steps: Steps, home: Path) -> None:
    """dup2 and dup3 onto a number that is in use."""
    names = [home / name for name in "abc"]
    for path in names:
        path.write_bytes(b"0123456789")
    buffer = script.buffer(16)
    a, b, c = names
    first, second, third = (steps.call("openat", AT_FDCWD, path, os.O_RDWR, sees=file(path)) for path in names)
    steps.call("read", first, buffer, 3, sees=file(a, offset=0, moved=3))
    steps.call("dup2", second, first, sees=file(b))
    steps.call("read", first, buffer, 2, sees=file(b, offset=0, moved=2))
    steps.call("write", second, buffer, 1, sees=file(b, offset=2, moved=1))
    steps.call("dup3", third, second, os.O_CLOEXEC, sees=file(c))
    steps.call("read", second, buffer, 5, sees=file(c, offset=0, moved=5))
    steps.call("read", first, buffer, 1, sees=file(b, offset=3, moved=1))
    steps.call("dup2", NO_FD, first, sees=nameless(errno.EBADF))
    steps.call("read", first, buffer, 1, sees=file(b, offset=4, moved=1))
    steps.call("close", first, sees=file(b))
    steps.call("read", first, buffer, 1, sees=nameless(errno.EBADF))
    steps.call("openat", AT_FDCWD, a, os.O_RDONLY, sees=file(a))
    steps.call("read", first, buffer, 4, sees=file(a, offset=0, moved=4))
    far = steps.call("fcntl", first, _F_DUPFD, 800, sees=file(a))
    steps.call("dup2", third, far, sees=file(c))
    steps.call("read", 800, buffer, 16, sees=file(c, offset=5, moved=5))
    # A directory in the place of another: where relative names start from.
    for name in ("one", "two"):
        (home / name).mkdir()
        (home / name / "thing").write_bytes(b"")
    one, two = (
        steps.call("openat", AT_FDCWD, home / name, DIRECTORY, sees=file(home / name, kind="dir"))
        for name in ("one", "two")
    )
    steps.call("openat", one, "thing", os.O_RDONLY, sees=file(home / "one/thing"))
    steps.call("dup2", two, one, sees=file(home / "two", kind="dir"))
    steps.call("openat", one, "thing", os.O_RDONLY, sees=file(home / "two/thing", of=home / "two/renamed"))
    seen = acts(relative(home / "two/thing", home / "two/renamed"), now(home / "two/thing"))
    steps.call("renameat2", one, "thing", two, "renamed", 0, sees=seen)
    steps.call("openat", one, "none", os.O_RDONLY, sees=relative(home / "two/none", error=errno.ENOENT))


@THEMES.add
def closed_by_the_range(script: Script, steps: Steps, home: Path) -> None:
    buffer = script.buffer(16)
    names = {number: home / f"at-{number}" for number in range(700, 706)}
    for number, path in names.items():
        path.write_bytes(b"0123456789")
        fd = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        steps.call("dup3", fd, number, 0, sees=file(path))
        steps.call("close", fd, sees=file(path))

    def read(by: Steps, number: int, offset: int | None) -> None:
        """At that offset; or it is closed."""
        seen = nameless(errno.EBADF) if offset is None else file(names[number], offset=offset, moved=1)
        by.call("read", number, buffer, 1, sees=seen)

    steps.call("close_range", 701, 703, 0, sees=_NAMELESS)
    for number in names:
        read(steps, number, None if 701 <= number <= 703 else 0)
    # A thread that unshares the table closes its own.
    other = script.list()
    steps.thread(other)
    other.call("close_range", 704, 800, _CLOSE_RANGE_UNSHARE, sees=_NAMELESS)
    read(other, 700, 1)
    read(other, 704, None)
    other.call("dup2", 700, 704, sees=file(names[700]))
    other.call("read", 704, buffer, 1, sees=file(names[700], offset=2, moved=1))
    steps.wait_thread(other)
    read(steps, 704, 1)
    read(steps, 705, 1)
    read(steps, 700, 3)
    steps.call("close_range", 3, 0xFFFFFFFF, 0, sees=_NAMELESS)
    for number in names:
        read(steps, number, None)
    fd = steps.call("openat", AT_FDCWD, names[701], os.O_RDONLY, sees=file(names[701]))
    steps.call("read", fd, buffer, 1, sees=file(names[701], offset=0, moved=1))


@THEMES.add
def inherited_by_programs(script: Script, steps: Steps, home: Path) -> None:
    """What is open without O_CLOEXEC is the same file after an exec; what was open with it is none, or another."""
    kept, shut, folder = home / "kept", home / "shut", home / "folder"
    for path in (kept, shut):
        path.write_bytes(b"0123456789")
    folder.mkdir()
    (folder / "inner").write_bytes(b"")
    buffer = script.buffer(16)
    keep = steps.call("openat", AT_FDCWD, kept, os.O_RDONLY, sees=file(kept))
    close = steps.call("openat", AT_FDCWD, shut, os.O_RDONLY | os.O_CLOEXEC, sees=file(shut))
    place = steps.call("openat", AT_FDCWD, folder, DIRECTORY, sees=file(folder, kind="dir"))
    steps.call("fchdir", place, sees=file(folder, kind="dir"))
    steps.call("dup3", keep, 710, os.O_CLOEXEC, sees=file(kept))
    steps.call("fcntl", keep, _F_DUPFD_CLOEXEC, 711, sees=file(kept))
    steps.call("dup2", close, 712, sees=file(shut))
    steps.call("dup2", keep, 713, sees=file(kept))
    ranged = kernel_is(5, 11)
    seen = Seen("none", error=0 if ranged else errno.EINVAL)
    steps.call("close_range", 713, 713, _CLOSE_RANGE_CLOEXEC, sees=seen)
    steps.call("read", keep, buffer, 1, sees=file(kept, offset=0, moved=1))
    steps.call("read", close, buffer, 1, sees=file(shut, offset=0, moved=1))
    at = 1

    def inherited(by: Steps) -> None:
        nonlocal at
        by.call("read", keep, buffer, 1, sees=file(kept, offset=at, moved=1))
        by.call("read", 712, buffer, 1, sees=file(shut, offset=at, moved=1))
        for number in (close, 710, 711):
            by.call("read", number, buffer, 1, sees=nameless(errno.EBADF))
        seen = nameless(errno.EBADF) if ranged else file(kept, offset=at + 1, moved=0)
        by.call("read", 713, buffer, 0, sees=seen)
        by.call("openat", place, "inner", os.O_RDONLY | os.O_CLOEXEC, sees=file(folder / "inner"))
        by.call("read", close, buffer, 1, sees=file(folder / "inner", offset=0, moved=0))
        by.call("openat", AT_FDCWD, "none", os.O_RDONLY, sees=relative(folder / "none", error=errno.ENOENT))
        at += 1

    spawned, became, again = script.list(), script.list(), script.list()
    steps.spawn(spawned)
    inherited(spawned)
    # It was another process: here everything is as before.
    steps.call("read", 713, buffer, 0, sees=file(kept, offset=2, moved=0))
    steps.call("read", close, buffer, 0, sees=file(shut, offset=2, moved=0))
    steps.exec(became)
    inherited(became)
    became.exec(again)
    inherited(again)


@THEMES.add
def names_after_fchdir(script: Script, steps: Steps, home: Path) -> None:
    one, two, dead = home / "one", home / "two", home / "dead"
    for folder in (one, two, dead):
        folder.mkdir()
    for path in (one / "a", one / "b", two / "a"):
        path.write_bytes(b"")
    last = home / "three"  # what `one` is called at last

    def opened(path: Path, flags: int, of: Path | None = None) -> Step:
        return steps.call("openat", AT_FDCWD, path, flags, sees=file(path, kind="dir", of=of or path))

    def opens(name: str, path: Path, of: Path | None = None) -> None:
        steps.call("openat", AT_FDCWD, name, os.O_RDONLY, sees=file(path, of=of or path))

    first, second = opened(one, DIRECTORY, last), opened(two, O_PATH)
    steps.call("fchdir", first, sees=file(one, kind="dir", of=last))
    opens("a", one / "a", last / "c")
    opens("../two/a", two / "a")
    steps.call("unlink", "b", sees=acts(relative(one / "b"), now(one / "b")))
    steps.call("unlink", "b", sees=relative(one / "b", error=errno.ENOENT))
    steps.call("rename", "a", "c", sees=acts(relative(one / "a", one / "c"), now(one / "a")))
    steps.call("rename", one, last, sees=acts(as_passed(one, last), now(one), "dir"))
    opens("c", last / "c")
    steps.call("openat", AT_FDCWD, "b", os.O_RDONLY, sees=relative(last / "b", error=errno.ENOENT))
    steps.call("fchdir", second, sees=file(two, kind="dir"))
    opens("a", two / "a")
    steps.call("openat", first, "a", os.O_RDONLY, sees=relative(last / "a", error=errno.ENOENT))
    # The other threads of a process go where one goes; a child goes its own way.
    thread, child = script.list(), script.list()
    steps.thread(thread)
    thread.call("fchdir", first, sees=file(last, kind="dir"))
    steps.wait_thread(thread)
    opens("c", last / "c")
    steps.fork(child)
    child.call("fchdir", second, sees=file(two, kind="dir"))
    child.call("openat", AT_FDCWD, "a", os.O_RDONLY, sees=file(two / "a"))
    steps.wait_children()
    opens("c", last / "c")
    steps.call("fchdir", first, sees=file(last, kind="dir"))
    opens("c", last / "c")
    # Into a folder that is there no more: nothing can be found in it but itself.
    nowhere = steps.call("openat", AT_FDCWD, dead, DIRECTORY, sees=lambda _: file(dead, kind="dir", of=held))
    held = stat_of(steps, nowhere)
    dead_is = now(dead)
    steps.call("unlinkat", AT_FDCWD, dead, AT_REMOVEDIR, sees=acts(as_passed(dead), dead_is, "dir"))
    steps.call("fchdir", nowhere, sees=file(dead, kind="dir", of=dead_is, path_flags=DELETED))
    steps.call("openat", AT_FDCWD, ".", DIRECTORY, sees=file(dead, kind="dir", of=dead_is, path_flags=DELETED))
    gone = unreachable(relative(dead / "x", error=errno.ENOENT), *DELETED)
    steps.call("openat", AT_FDCWD, "x", os.O_RDONLY, sees=gone)


@THEMES.add
def names_that_are_gone(script: Script, steps: Steps, home: Path) -> None:
    """Deleted files and memory files, opened again by /proc/self/fd/N."""
    path, folder = home / "gone", home / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"")
    buffer = script.buffer(16)
    status: list[Step] = []
    first = lambda **more: lambda _: file(path, of=status[0], **more)  # noqa: E731
    fd = steps.call("openat", AT_FDCWD, path, _CREATE, 0o600, sees=first())
    status.append(stat_of(steps, fd))
    steps.call("dup2", fd, 600, sees=first())
    steps.call("write", 600, buffer, 4, sees=first(offset=0, moved=4))
    steps.call("unlink", path, sees=acts(as_passed(path), lambda: told(status[0])))
    gone = Named(steps, 600)
    steps.call("write", fd, buffer, 4, sees=gone(offset=4, moved=4))
    # Another file by the same name: each is told as what it is.
    second = lambda **more: lambda _: file(path, of=status[1], **more)  # noqa: E731
    heir = steps.call("openat", AT_FDCWD, path, _CREATE, 0o600, sees=second())
    status.append(stat_of(steps, heir))
    steps.call("write", heir, buffer, 2, sees=second(offset=0, moved=2))
    again = steps.call("openat", AT_FDCWD, "/proc/self/fd/600", os.O_RDONLY, 0, sees=gone())
    steps.call("read", again, buffer, 16, sees=gone(offset=0, moved=8))
    steps.call("close", fd, sees=gone())
    steps.call("close", 600, sees=gone())
    steps.call("read", again, buffer, 16, sees=gone(offset=8, moved=0))
    steps.call("unlink", path, sees=acts(as_passed(path), lambda: told(status[1])))
    failed = as_passed("/proc/self/fd/600", error=errno.ENOENT)
    steps.call("openat", AT_FDCWD, "/proc/self/fd/600", os.O_RDONLY, sees=failed)

    memory = steps.call("memfd_create", b"some memory", 0)
    held = stat_of(steps, memory)
    in_memory = lambda **more: lambda _: file("/memfd:some memory", kind="memfd", of=held, **more)  # noqa: E731
    steps.call("dup2", memory, 601, sees=in_memory())
    steps.call("write", 601, buffer, 5, sees=in_memory(offset=0, moved=5))
    again = steps.call("openat", AT_FDCWD, "/proc/self/fd/601", os.O_RDONLY, sees=in_memory())
    steps.call("read", again, buffer, 16, sees=in_memory(offset=0, moved=5))
    steps.call("write", again, buffer, 1, sees=in_memory(offset=5, error=errno.EBADF))
    steps.call("close", again, sees=in_memory())

    # A folder through its descriptor; what a name led to is told by kprobe and fentry, whatever way it took.
    steps.call("openat", AT_FDCWD, folder, O_PATH, sees=file(folder, kind="dir"))
    # The number it got is not known here; this one is.
    place = steps.call("openat", AT_FDCWD, folder, DIRECTORY, sees=file(folder, kind="dir"))
    steps.call("dup2", place, 602, sees=file(folder, kind="dir"))
    by_fd = "/proc/self/fd/602"
    steps.call("openat", AT_FDCWD, f"{by_fd}/a", os.O_RDONLY, sees=file(folder / "a", of=folder / "c"))
    steps.call("openat", AT_FDCWD, by_fd, DIRECTORY, sees=file(folder, kind="dir"))
    seen = acts(as_passed(f"{by_fd}/b"), now(folder / "b"), entry=folder / "b")
    steps.call("unlink", f"{by_fd}/b", sees=seen)
    seen = acts(as_passed(f"{by_fd}/a", f"{by_fd}/c"), now(folder / "a"), "file", folder / "a", folder / "c")
    steps.call("rename", f"{by_fd}/a", f"{by_fd}/c", sees=seen)
    # A file that was opened as a mere place is opened in earnest.
    link = steps.call("openat", AT_FDCWD, folder / "c", O_PATH, sees=file(folder / "c"))
    steps.call("dup2", link, 603, sees=file(folder / "c"))
    steps.call("read", 603, buffer, 1, sees=file(folder / "c", error=errno.EBADF))
    earnest = steps.call("openat", AT_FDCWD, "/proc/self/fd/603", os.O_RDWR, sees=file(folder / "c"))
    steps.call("write", earnest, buffer, 3, sees=file(folder / "c", offset=0, moved=3))
    ends = script.buffer(8)
    steps.call("pipe", ends)
    steps.call("dup2", Stored(ends + 4), 604, sees=FILTERED)
    steps.call("openat", AT_FDCWD, "/proc/self/fd/604", os.O_WRONLY, sees=FILTERED)


@THEMES.add
def names_given_late(script: Script, steps: Steps, home: Path) -> None:
    """O_TMPFILE, with a name by linkat: through /proc/self/fd, and from the descriptor itself."""
    buffer = script.buffer(16)
    for number, way in ((610, "proc"), (611, "descriptor")):
        new = home / f"by-{way}"
        sees: list[Named] = []
        fd = steps.call(
            "openat", AT_FDCWD, home, os.O_TMPFILE | os.O_RDWR, 0o600, sees=lambda i, sees=sees: sees[0]()(i)
        )
        steps.call("fcntl", fd, _F_DUPFD, number, sees=lambda i, sees=sees: sees[0]()(i))
        sees.append(Named(steps, number))
        steps.call("write", fd, buffer, 4, sees=sees[0](offset=0, moved=4))
        old = f"/proc/self/fd/{number}"
        if way == "proc":
            seen = Seen("as_passed", old, str(new))
            steps.call("linkat", AT_FDCWD, old, AT_FDCWD, new, _AT_SYMLINK_FOLLOW, sees=linked(seen, sees[0], new))
        else:
            steps.call("linkat", fd, b"", AT_FDCWD, new, _AT_EMPTY_PATH, sees=linked(None, sees[0], new))
        # The open file has the name it had: so says the kernel, too.
        after = Named(steps, number)
        steps.call("write", fd, buffer, 4, sees=after(offset=4, moved=4))
        steps.call("openat", AT_FDCWD, new, os.O_RDONLY, sees=file(new))
        steps.call("unlinkat", AT_FDCWD, old, 0, sees=as_passed(old, error=errno.EPERM))
        steps.call("openat", AT_FDCWD, old, os.O_RDONLY, sees=after())


@THEMES.add
def named_as_it_is_by_then(script: Script, steps: Steps, home: Path) -> None:
    """A file that a thread has told travels as a number, until anything that its name is made of has changed."""
    top, moved = home / "top", home / "moved"
    (top / "deep").mkdir(parents=True)
    (top / "deep/file").write_bytes(bytes(64))
    (home / "many").mkdir()
    folder_is, file_is, deep_is = _of(top), _of(top / "deep/file"), _of(top / "deep")
    buffer = script.buffer(16)

    def reads(by: Steps, path: Path, **more: object) -> None:
        for _ in range(3):
            by.call("pread64", 620, buffer, 4, 8, sees=file(path, of=file_is, offset=8, moved=4, **more))

    fd = steps.call("openat", AT_FDCWD, top / "deep/file", os.O_RDWR, sees=file(top / "deep/file", of=file_is))
    steps.call("dup2", fd, 620, sees=file(top / "deep/file", of=file_is))
    reads(steps, top / "deep/file")
    for old, new in ((top, moved), (moved, top), (top, moved)):
        steps.call("rename", old, new, sees=acts(as_passed(old, new), lambda: folder_is, "dir"))
        reads(steps, new / "deep/file")
    other = moved / "else"
    steps.call("rename", moved / "deep", other, sees=acts(as_passed(moved / "deep", other), lambda: deep_is, "dir"))
    reads(steps, other / "file")
    # A process that knows the file by another thread's telling has none of its numbers.
    child, thread = script.list(), script.list()
    steps.fork(child)
    reads(child, other / "file")
    steps.wait_children()
    steps.thread(thread)
    reads(thread, other / "file")
    steps.wait_thread(thread)
    seen = acts(as_passed(other / "file", other / "leaf"), lambda: file_is, "file", other / "file", other / "leaf")
    steps.call("rename", other / "file", other / "leaf", sees=seen)
    reads(steps, other / "leaf")
    steps.call(
        "link", other / "leaf", other / "twin", sees=acts(as_passed(other / "leaf", other / "twin"), lambda: file_is)
    )
    reads(steps, other / "leaf")
    steps.call("unlink", other / "leaf", sees=acts(as_passed(other / "leaf"), lambda: file_is))
    reads(steps, other / "leaf", path_flags=DELETED)
    # The same file by its other name is another one to tell.
    twin = steps.call("openat", AT_FDCWD, other / "twin", os.O_RDWR, sees=file(other / "twin", of=file_is))
    steps.call("dup2", twin, 620, sees=file(other / "twin", of=file_is))
    reads(steps, other / "twin")

    # More than a thread has numbers for, in turns.
    paths = [home / "many" / str(number) for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number + 1))
        fd = steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        steps.call("dup2", fd, 630 + number, sees=file(path))
    for _ in range(3):
        for number, path in enumerate(paths):
            seen = file(path, offset=number, moved=1)
            steps.call("pread64", 630 + number, buffer, 16, number, sees=seen)


def linked(seen: Seen | None, old: Named, new: Path) -> Callable[[int], Seen]:
    """By kprobe and fentry it is told what was linked: a file of no name yet."""

    def sees(index: int) -> Seen:
        named = old()(index)
        told = seen or Seen("as_passed", named.path, str(new), of=named.of, kind="file", path_flags=DELETED)
        return acts(told, later(new), "file", named.path, new)

    return sees


performed = performed_once(THEMES, calls_of(_OPS), ops=_OPS)
test_theme = checked_each(THEMES)


def test_ledger(backend: str, performed: Performed) -> None:
    performed.check_no_stranger()
    assert any(isinstance(step.sees, Filtered) for step in performed.script.ordered())
    check_script_ledger(performed.script, performed.result.stats, backend)


def test_very_many(backend: str, area: Path) -> None:
    """As many as a process may have: the table of them grows under a thread that reads, and is told to the end."""
    script = Script()
    main, thread, child, program = script.main, script.list(), script.list(), script.list()
    buffer = script.buffer(16)
    main.hold()
    main.call("prlimit64", 0, resource.RLIMIT_NOFILE, script.buffer(struct.pack("=QQ", DESCRIPTORS, DESCRIPTORS)), 0)
    steady = area / "steady"
    steady.write_bytes(b"steady")
    first = main.call("openat", AT_FDCWD, steady, os.O_RDONLY, sees=file(steady))
    main.thread(thread)
    # From 64 on its table is made anew each time that it is too small.
    thread.call("read", first, buffer, 0, sees=file(steady, offset=0, moved=0), repeat=scaled(50_000, 3_000))
    groups = 40
    each = (DESCRIPTORS - 4) // groups
    opened, twins = [], []
    for number in range(groups):
        path = area / f"file-{number}"
        path.write_bytes(b"0123456789")
        opened.append(main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path)))
        more = each - 1 + ((DESCRIPTORS - 4) % groups if number == groups - 1 else 0)
        twins.append(main.call("dup", opened[-1], repeat=more))
        main.call("read", twins[-1], buffer, 3, sees=file(path, offset=0, moved=3))
    # There is no room for one more.
    main.call("openat", AT_FDCWD, steady, os.O_RDONLY, sees=as_passed(steady, error=errno.EMFILE))
    main.wait_thread(thread)

    def work(by: Steps, offset: int) -> None:
        for number in range(groups):
            path = area / f"file-{number}"
            for index, fd in enumerate((opened[number], twins[number])):
                by.call("read", fd, buffer, 1, sees=file(path, offset=offset + index, moved=1))
        by.call("read", DESCRIPTORS - 1, buffer, 0, sees=file(path, offset=offset + 2, moved=0))
        by.call("read", DESCRIPTORS, buffer, 0, sees=nameless(errno.EBADF))

    work(main, 3)
    main.fork(child)
    work(child, 5)
    child.call("close_range", first, 0xFFFFFFFF, 0)
    child.call("read", DESCRIPTORS - 1, buffer, 0, sees=nameless(errno.EBADF))
    again = child.call("openat", AT_FDCWD, steady, os.O_RDONLY, sees=file(steady))
    main.wait_children()
    main.exec(program)
    work(program, 7)
    check_trace(script, area, backend)
    assert first.result == again.result == 3
    assert [step.result for step in opened] == [4 + each * number for number in range(groups)]
    assert twins[-1].result == DESCRIPTORS - 1
