# SPDX-License-Identifier: MIT
"""Ways to touch a file without being noticed: a trace says of each what evasions.py has, and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import pickle
import re
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, Op, Verdict
from tests.native import fuse
from tests.native.evasions import EVASIONS, Evasion
from tests.native.forked import Forked
from tests.native.ground import HANG_SECONDS, HERE
from tests.native.script import AT_FDCWD, NUMBERS
from tests.native.tracing import read_to_end

OPS = [op for op in Op if op not in (Op.CLOSE, Op.DUP, Op.BLIND_SPOT)]
# What the ways themselves ask of a file to know it again.
_ASKING = {"stat", "fstat", "newfstatat", "statx", "readlink", "access"}
_CERTAIN = {"file", "dentry"}
_PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = NUMBERS | {
    "clone": 56,
    "io_getevents": 208,
    "inotify_init": 253,
}
CLONE_NEWNS, CLONE_NEWUSER, CLONE_FILES, CLONE_PARENT, CLONE_UNTRACED = 0x20000, 0x10000000, 0x400, 0x8000, 0x800000


def call(name: str, *arguments: Any) -> int:
    """A system call, by its number."""
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _libc.syscall(ctypes.c_long(_NUMBERS[name]), *values)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


_libc.syscall.restype = ctypes.c_long


@dataclass
class Truth:
    """Which file it was, and by which names the kernel and the program call it."""

    identity: tuple[int, int]
    names: set[str] = field(default_factory=set)
    others: set[tuple[int, int]] = field(default_factory=set)
    """Files that have had one of its names, or take part in the same call."""
    strangers: set[int] = field(default_factory=set)
    """Processes that are not watched and may be told all the same."""


def _identity(of: int | Path) -> tuple[int, int]:
    stat = os.stat(of)
    return stat.st_dev, stat.st_ino


def _truth(of: int | Path, *names: str | Path) -> Truth:
    return Truth(_identity(of), {str(name) for name in names or (of,)})


Way = Callable[[Path], Iterator[None]]
WAYS: dict[str, Way] = {}


def way(function: Any) -> Any:
    """
    Goes one: a generator that prepares, yields once, goes, and returns the truth; in a process of its own, which is
    watched when it goes.
    """
    WAYS[function.__name__] = function
    return function


# --- what ways are made of


def _look(path: Any) -> None:
    fd = os.open(path, os.O_RDONLY)
    assert os.read(fd, 4) == b"0123"


def _made(home: Path, name: str = "target") -> Path:
    (home / name).write_bytes(b"0123456789")
    return home / name


def _mounts_of_its_own(at: Path | None = None) -> None:
    """With an empty file system there: one that knows all that the ways ask for."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, 0x4000 | 0x40000, None)
    if at is not None:
        call("mount", b"none", os.fsencode(at), b"tmpfs", 0, None)


class Stranger:
    """A process that is nobody's child, and so is not watched; it ends when nobody can ask it any more."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.socket, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                signal.alarm(int(HANG_SECONDS))
                with contextlib.suppress(BaseException):
                    os.setsid()
                    self.socket.close()
                    theirs.send(struct.pack("=i", os.getpid()))
                    serve(theirs)
            os._exit(0)
        theirs.close()
        os.waitpid(child, 0)
        self.pid = struct.unpack("=i", self.socket.recv(4))[0]

    def ask(self, what: bytes = b"go") -> bytes:
        """Waits for its answer."""
        self.socket.send(what)
        answer = self.socket.recv(64)
        assert answer, "the stranger has failed"
        return answer


def _child(work: Callable[[], None], flags: int = 0) -> None:
    """One by clone(2), to its end."""
    pid = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        _end(work)
    if not flags & CLONE_PARENT:
        assert os.waitpid(pid, 0)[1] == 0


def _end(work: Callable[[], None]) -> None:
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


# --- names that lead elsewhere


@way
def hard_link(home: Path) -> Any:
    target = _made(home)
    os.link(target, home / "other")
    yield
    _look(home / "other")
    return _truth(target, home / "other")


@way
def symlink(home: Path) -> Any:
    (home / "real").mkdir()
    (home / "shown").symlink_to("real")
    target = _made(home / "real")
    yield
    _look(home / "shown/target")
    return _truth(target)


@way
def symlink_swapped(home: Path) -> Any:
    """Either file is opened many times, and each time named for what it is."""
    files = []
    for name in ("real", "unreal"):
        (home / name).mkdir()
        files.append(_identity(_made(home / name)))
    (home / "shown").symlink_to("real")
    opened = dict.fromkeys(files, 0)

    def swap() -> None:
        while min(opened.values()) < 100:
            for name in ("unreal", "real"):
                os.symlink(name, home / "next")
                os.rename(home / "next", home / "shown")

    yield
    thread = threading.Thread(target=swap)
    thread.start()
    while min(opened.values()) < 100:
        fd = os.open(home / "shown/target", os.O_RDONLY)
        opened[_identity(fd)] += 1
        os.close(fd)
    thread.join()
    return _truth(home / "real/target")


@way
def proc_self_root(home: Path) -> Any:
    target = _made(home)
    yield
    _look(f"/proc/self/root{target}")
    return _truth(target)


@way
def proc_self_fd(home: Path) -> Any:
    target = _made(home)
    fd = os.open(target, os.O_PATH)
    yield
    _look(f"/proc/self/fd/{fd}")
    return _truth(target)


@way
def proc_pid_root(home: Path) -> Any:
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        os.chroot(home)
        asked.send(b"there")
        asked.recv(1)

    other = Stranger(serve)
    assert other.socket.recv(5) == b"there"
    yield
    _look(f"/proc/{other.pid}/root/target")
    return _truth(target)


@way
def proc_pid_fd(home: Path) -> Any:
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        fd = os.open(target, os.O_RDONLY)
        asked.send(struct.pack("=i", fd))
        asked.recv(1)

    other = Stranger(serve)
    fd = struct.unpack("=i", other.socket.recv(4))[0]
    yield
    _look(f"/proc/{other.pid}/fd/{fd}")
    return _truth(target)


@way
def map_files(home: Path) -> Any:
    target = _made(home)
    fd = os.open(target, os.O_RDONLY)
    mapping = mmap.mmap(fd, 10, prot=mmap.PROT_READ)
    os.close(fd)
    [line] = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(target))]
    span = line.split()[0]
    yield
    _look("/proc/self/map_files/" + "-".join(f"{int(part, 16):x}" for part in span.split("-")))
    mapping.close()
    return _truth(target)


@way
def open_by_handle(home: Path) -> Any:
    _mounts_of_its_own(home)
    target = _made(home)
    mount = os.open(home, os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    call("name_to_handle_at", AT_FDCWD, os.fsencode(target), handle, ctypes.byref(ctypes.c_int()), 0)
    yield
    fd = call("open_by_handle_at", mount, handle, os.O_RDONLY)
    os.read(fd, 4)
    return _truth(target)


@way
def changed_root(home: Path) -> Any:
    _made(home)
    yield
    os.chroot(home)
    _look("/target")
    return _truth(Path("/target"))


@way
def bind_mount(home: Path) -> Any:
    target, over = _made(home), _made(home, "over")
    others = {_identity(over)}
    _mounts_of_its_own()
    yield
    call("mount", os.fsencode(target), os.fsencode(over), None, 0x1000, None)
    _look(over)
    return Truth(_identity(over), {str(over)}, others)


@way
def user_namespace(home: Path) -> Any:
    target = _made(home)
    yield
    call("unshare", CLONE_NEWUSER)
    _look(target)
    return _truth(target)


@way
def temporary_linked(home: Path) -> Any:
    _mounts_of_its_own(home)
    yield
    fd = os.open(home, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"0123")
    call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(home / "target"), 0x400)
    return _truth(home / "target", home / "target", f"{home}/#{os.fstat(fd).st_ino}")


@way
def exchanged(home: Path) -> Any:
    target, other = _made(home), _made(home, "other")
    yield
    call("renameat2", AT_FDCWD, os.fsencode(other), AT_FDCWD, os.fsencode(target), 2)
    _look(other)
    return Truth(_identity(other), {str(target), str(other)}, {_identity(target)})


@way
def whiteout(home: Path) -> Any:
    _mounts_of_its_own(home)
    target = _made(home)
    identity = _identity(target)
    yield
    call("renameat2", AT_FDCWD, os.fsencode(target), AT_FDCWD, os.fsencode(home / "moved"), 4)
    assert (home / "target").is_char_device()
    return Truth(identity, {str(target), str(home / "moved")})


class _Fault:
    """Two pages of memory; the second is filled when somebody wants it, and the first is changed before that."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 2 * _PAGE)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def hold(self) -> int:
        held = call("userfaultfd", os.O_CLOEXEC)
        fcntl.ioctl(held, 0xC018AA3F, struct.pack("=QQQ", 0xAA, 0, 0))
        fcntl.ioctl(held, 0xC020AA00, struct.pack("=QQQQ", self.at + _PAGE, _PAGE, 1, 0))
        return held

    def fill(self, held: int, rest: bytes, change: Callable[[], None]) -> threading.Thread:
        """A thread that waits for the fault."""
        page = ctypes.create_string_buffer(rest, _PAGE)

        def serve() -> None:
            assert os.read(held, 32)[0] == 0x12
            change()
            fcntl.ioctl(held, 0xC028AA03, struct.pack("=QQQQq", self.at + _PAGE, ctypes.addressof(page), _PAGE, 0, 0))

        thread = threading.Thread(target=serve)
        thread.start()
        return thread

    def name(self, head: bytes) -> int:
        """Its address: its head ends with the first page."""
        self.memory[_PAGE - len(head) : _PAGE] = head
        return self.at + _PAGE - len(head)

    def change(self, head: bytes) -> None:
        self.memory[_PAGE - len(head) : _PAGE] = head


def _held(home: Path, act: Callable[[int], Any], before: bool = False) -> Any:
    """The name is of the one file when the kernel reads it, and of the other before it returns."""
    target, decoy = _made(home, "target-of-it-all-x"), _made(home, "decoys-of-it-all-x")
    identity = _identity(target)
    fault = _Fault()
    held = fault.hold() if before else -1
    yield
    if not before:
        held = fault.hold()
    name = fault.name(os.fsencode(home / "target-of-it-all"))
    thread = fault.fill(held, b"-x\0", lambda: fault.change(os.fsencode(home / "decoys-of-it-all")))
    act(name)
    thread.join()
    assert decoy.exists()
    return Truth(identity, {str(target)})


@way
def userfault_open(home: Path) -> Any:
    return (yield from _held(home, lambda name: call("openat", AT_FDCWD, name, os.O_RDONLY)))


@way
def userfault_unlink(home: Path) -> Any:
    return (yield from _held(home, lambda name: call("unlink", name)))


@way
def userfault_before(home: Path) -> Any:
    return (yield from _held(home, lambda name: call("unlink", name), before=True))


class _Delayed:
    """
    A FUSE file system that holds one request until a thread has changed what it will.

    It is in mounts that are the way's alone, and its server is not in them: they end with the way, it ends with them.
    """

    def __init__(self, home: Path, opcode: int, of: bytes = b"") -> None:
        device = os.open("/dev/fuse", os.O_RDWR)

        def serve(asked: socket.socket) -> None:
            def held(its_opcode: int, body: bytes) -> None:
                if its_opcode == opcode and of in (b"", body.rstrip(b"\0")):
                    asked.send(b"held")
                    asked.recv(2)

            if asked.recv(7) == b"mounted":
                fuse.serve(device, held)

        self._server = Stranger(serve)
        _mounts_of_its_own()
        self.place = home / "delayed"
        self.place.mkdir()
        fuse.mount(device, self.place)
        os.close(device)
        self._server.socket.send(b"mounted")

    def call(self, change: Callable[[], None], name: str, *arguments: Any) -> int:
        """Its result; before the held request of it is answered, things are changed."""

        def wait() -> None:
            assert self._server.socket.recv(4) == b"held"
            try:
                change()
            finally:
                self._server.socket.send(b"go")

        thread = threading.Thread(target=wait)
        thread.start()
        result = call(name, *arguments)
        thread.join()
        return result


def _delayed_in(home: Path, opcode: int, act: Callable[[_Delayed, Callable[[], None], Any], None]) -> Any:
    """A file of FUSE, held when it has been found: the link that led there and the name in memory lead elsewhere."""
    delayed = _Delayed(home, opcode)
    target, link = delayed.place / "target", home / "link"
    link.symlink_to("delayed")
    (home / "decoys").mkdir()
    decoy = _made(home / "decoys")
    truth = _truth(target, target, link / "target")
    name = ctypes.create_string_buffer(os.fsencode(link / "target"), 4096)
    yield

    def change() -> None:
        link.unlink()
        link.symlink_to("decoys")
        name.value = os.fsencode(decoy)

    act(delayed, change, name)
    assert decoy.exists()
    return truth


@way
def fuse_open(home: Path) -> Any:
    def act(delayed: _Delayed, change: Callable[[], None], name: Any) -> None:
        fd = delayed.call(change, "openat", AT_FDCWD, name, os.O_RDONLY)
        assert os.read(fd, 4) == b"0123"

    return (yield from _delayed_in(home, fuse.OPEN, act))


@way
def fuse_unlink(home: Path) -> Any:
    def act(delayed: _Delayed, change: Callable[[], None], name: Any) -> None:
        delayed.call(change, "unlink", name)

    return (yield from _delayed_in(home, fuse.UNLINK, act))


@way
def fuse_rename(home: Path) -> Any:
    """FUSE is but on the way: while it looks up what the name begins with, a link that comes later is changed."""
    delayed = _Delayed(home, fuse.LOOKUP, b"door")
    for folder in ("real", "unreal"):
        (home / folder).mkdir()
        _made(home / folder)
    (home / "shown").symlink_to("unreal")
    target, moved = home / "real/target", home / "moved"
    passed = os.fsencode(delayed.place / "door/../../shown/target")
    truth = _truth(target, target, passed.decode(), moved)
    name = ctypes.create_string_buffer(passed)
    yield

    def change() -> None:
        (home / "shown").unlink()
        (home / "shown").symlink_to("real")
        name.value = os.fsencode(home / "decoy")

    delayed.call(change, "rename", name, os.fsencode(moved))
    assert (home / "unreal/target").exists() and not target.exists()
    return truth


# --- who does it


@way
def daemon(home: Path) -> Any:
    target = _made(home)
    ours, theirs = os.pipe()
    yield

    def orphan() -> None:
        os.setsid()
        parent = os.getpid()
        if os.fork():
            return
        while os.getppid() == parent:
            os.sched_yield()
        _look(target)
        os.write(theirs, b"x")

    _child(orphan)
    os.read(ours, 1)
    return _truth(target)


@way
def clone_untraced(home: Path) -> Any:
    target = _made(home)
    yield
    _child(lambda: _look(target), CLONE_UNTRACED)
    return _truth(target)


@way
def clone_parent(home: Path) -> Any:
    target = _made(home)
    ours, theirs = os.pipe()
    yield

    def sibling() -> None:
        _look(target)
        os.write(theirs, b"x")

    _child(sibling, CLONE_PARENT)
    os.read(ours, 1)
    return _truth(target)


@way
def clone_files(home: Path) -> Any:
    target = _made(home)
    free = os.dup(0)
    os.close(free)
    yield
    _child(lambda: [os.open(target, os.O_RDONLY)] == [free] or os._exit(2), CLONE_FILES)
    assert os.read(free, 4) == b"0123"
    return _truth(target)


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulong)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
            *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
        )
    ]


def _instruction() -> int:
    """Where `syscall` stands; at the same place in every process that was forked from this one."""
    start = ctypes.cast(_libc.syscall, ctypes.c_void_p).value or 0
    return start + ctypes.string_at(start, 64).index(b"\x0f\x05")


def _inject(pid: int, number: int, *arguments: int) -> int:
    """A call in a process that is stopped."""
    saved, registers = _Registers(), _Registers()
    call("ptrace", 12, pid, 0, ctypes.byref(saved))
    ctypes.memmove(ctypes.byref(registers), ctypes.byref(saved), ctypes.sizeof(saved))
    registers.rip, registers.rax, registers.orig_rax = _instruction(), number, ctypes.c_ulong(-1).value
    for name, value in zip(("rdi", "rsi", "rdx", "r10"), arguments, strict=False):
        setattr(registers, name, ctypes.c_ulong(value).value)
    call("ptrace", 13, pid, 0, ctypes.byref(registers))
    call("ptrace", 9, pid, 0, 0)
    os.waitpid(pid, 0)
    call("ptrace", 12, pid, 0, ctypes.byref(registers))
    call("ptrace", 13, pid, 0, ctypes.byref(saved))
    return ctypes.c_long(registers.rax).value


def _seized(pid: int, number: int, *arguments: int) -> int:
    call("ptrace", 16, pid, 0, 0)
    os.waitpid(pid, 0)
    result = _inject(pid, number, *arguments)
    call("ptrace", 17, pid, 0, 0)
    return result


@way
def ptrace_into_child(home: Path) -> Any:
    target = _made(home)
    fd = os.open(target, os.O_RDWR)
    text = ctypes.create_string_buffer(b"injected")
    yield
    pid = os.fork()
    if pid == 0:
        call("ptrace", 0, 0, 0, 0)
        signal.raise_signal(signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, 0)
    assert _inject(pid, 1, fd, ctypes.addressof(text), 8) == 8
    call("ptrace", 17, pid, 0, 0)
    assert os.waitpid(pid, 0)[1] == 0
    return _truth(target)


def _idle(asked: socket.socket) -> None:
    asked.recv(1)


@way
def ptrace_into_stranger(home: Path) -> Any:
    target = _made(home)
    fd = os.open(target, os.O_RDWR)
    text = ctypes.create_string_buffer(b"injected")
    other = Stranger(_idle)
    yield
    assert _seized(other.pid, 1, fd, ctypes.addressof(text), 8) == 8
    return _truth(target)


@way
def ptrace_from_outside(home: Path) -> Any:
    target = _made(home)
    name = ctypes.create_string_buffer(os.fsencode(target))
    victim = os.getpid()

    def serve(asked: socket.socket) -> None:
        asked.recv(2)
        fd = _seized(victim, _NUMBERS["openat"], AT_FDCWD, ctypes.addressof(name), os.O_RDONLY)
        asked.send(b"done" if fd >= 0 else b"none")

    other = Stranger(serve)
    yield
    # Stopped in this call, and it goes on with it.
    assert other.ask() == b"done"
    return Truth(_identity(target), {str(target)}, strangers={other.pid})


def _vector(at: int, length: int) -> Any:
    return ctypes.create_string_buffer(struct.pack("=QQ", at, length), 16)


def _write_memory(pid: int, at: int, content: bytes) -> None:
    ours = ctypes.create_string_buffer(content, len(content))
    call(
        "process_vm_writev",
        *(pid, _vector(ctypes.addressof(ours), len(content)), 1),
        *(_vector(at, len(content)), 1, 0),
    )


def _obedient(order: Any) -> Callable[[socket.socket], None]:
    """Removes what it finds in its memory."""

    def serve(asked: socket.socket) -> None:
        asked.recv(2)
        os.unlink(order.value)
        asked.send(b"done")

    return serve


@way
def memory_of_a_stranger(home: Path) -> Any:
    target = _made(home)
    truth = _truth(target)
    order = ctypes.create_string_buffer(4096)
    other = Stranger(_obedient(order))
    yield
    _write_memory(other.pid, ctypes.addressof(order), os.fsencode(target))
    assert other.ask() == b"done"
    return truth


@way
def proc_mem(home: Path) -> Any:
    target = _made(home)
    order = ctypes.create_string_buffer(4096)
    other = Stranger(_obedient(order))
    yield
    fd = os.open(f"/proc/{other.pid}/mem", os.O_RDWR)
    os.pwrite(fd, os.fsencode(target), ctypes.addressof(order))
    assert other.ask() == b"done"
    return _truth(fd, f"/proc/{other.pid}/mem")


@way
def memory_from_outside(home: Path) -> Any:
    target = _made(home)
    name = ctypes.create_string_buffer(4096)
    victim = os.getpid()

    def serve(asked: socket.socket) -> None:
        asked.recv(2)
        _write_memory(victim, ctypes.addressof(name), os.fsencode(target))
        asked.send(b"done")

    other = Stranger(serve)
    yield
    assert other.ask() == b"done"
    call("openat", AT_FDCWD, name, os.O_RDONLY)
    return Truth(_identity(target), {str(target)}, strangers={other.pid})


@way
def server_connected(home: Path) -> Any:
    target = _made(home)
    truth = _truth(target)

    def serve(asked: socket.socket) -> None:
        os.unlink(asked.recv(4096))
        asked.send(b"done")

    other = Stranger(serve)
    yield
    assert other.ask(os.fsencode(target)) == b"done"
    return truth


@way
def server(home: Path) -> Any:
    target = _made(home)
    truth = _truth(target)
    os.chdir(home)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    listening.listen()

    def serve(_asked: socket.socket) -> None:
        client, _ = listening.accept()
        os.unlink(client.recv(4096))
        client.send(b"done")

    Stranger(serve)
    listening.close()
    yield
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("socket")
        client.send(os.fsencode(target))
        assert client.recv(4) == b"done"
    return truth


# --- descriptors from elsewhere


@way
def descriptor_received(home: Path) -> Any:
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        asked.recv(2)
        socket.send_fds(asked, [b"x"], [os.open(target, os.O_RDONLY)])

    other = Stranger(serve)
    yield
    other.socket.send(b"go")
    _, [fd], _, _ = socket.recv_fds(other.socket, 1, 1)
    assert os.read(fd, 4) == b"0123"
    return _truth(target)


@way
def descriptor_given(home: Path) -> Any:
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        _, [fd], _, _ = socket.recv_fds(asked, 1, 1)
        os.write(fd, b"written")
        asked.send(b"done")

    other = Stranger(serve)
    yield
    socket.send_fds(other.socket, [b"x"], [os.open(target, os.O_RDWR)])
    assert other.socket.recv(4) == b"done"
    return _truth(target)


@way
def descriptor_taken(home: Path) -> Any:
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        asked.send(struct.pack("=i", os.open(target, os.O_RDONLY)))
        asked.recv(1)

    other = Stranger(serve)
    number = struct.unpack("=i", other.socket.recv(4))[0]
    yield
    fd = call("pidfd_getfd", os.pidfd_open(other.pid), number, 0)
    assert os.read(fd, 4) == b"0123"
    return _truth(target)


@way
def descriptor_taken_from_it(home: Path) -> Any:
    target = _made(home)
    victim = os.getpid()

    def serve(asked: socket.socket) -> None:
        number = int(asked.recv(8))
        os.write(call("pidfd_getfd", os.pidfd_open(victim), number, 0), b"written")
        asked.send(b"done")

    other = Stranger(serve)
    yield
    assert other.ask(b"%d" % os.open(target, os.O_RDWR)) == b"done"
    return Truth(_identity(target), {str(target)}, strangers={other.pid})


@way
def seccomp_notify(home: Path) -> Any:
    """The call is answered by the supervisor, with a descriptor of its own."""
    target = _made(home)

    def serve(asked: socket.socket) -> None:
        _, [listener], _, _ = socket.recv_fds(asked, 1, 1)
        fd = os.open(target, os.O_RDONLY)
        notice = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, notice)
        request = struct.unpack_from("=Q", notice)[0]
        number = fcntl.ioctl(listener, 0x40182103, bytearray(struct.pack("=QIIII", request, 0, fd, 0, 0)))
        fcntl.ioctl(listener, 0xC0182101, bytearray(struct.pack("=QqiI", request, number, 0, 0)))
        asked.recv(1)

    other = Stranger(serve)
    # An openat with these flags asks; anything else is allowed.
    flags = os.O_NOFOLLOW | os.O_NONBLOCK
    rules = [(0x20, 0, 0, 0), (0x15, 0, 3, _NUMBERS["openat"]), (0x20, 0, 0, 32), (0x15, 0, 1, flags)]
    rules += [(6, 0, 0, 0x7FC00000), (6, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(rules), ctypes.addressof(code)))
    call("prctl", 38, 1, 0, 0, 0)
    listener = call("seccomp", 1, 8, program)
    socket.send_fds(other.socket, [b"x"], [listener])
    os.close(listener)
    name = os.fsencode(target)
    truth = _truth(target)
    yield
    # Of a thread's first call that it does not see to begin nobody knows whether it began before.
    os.getppid()
    fd = call("openat", AT_FDCWD, name, flags)
    assert os.read(fd, 4) == b"0123"
    return truth


@way
def fanotify_event(home: Path) -> Any:
    target = _made(home)
    listener = call("fanotify_init", 0, os.O_RDONLY)
    call("fanotify_mark", listener, 1, 0x20, AT_FDCWD, os.fsencode(target))

    def serve(asked: socket.socket) -> None:
        asked.recv(2)
        os.close(os.open(target, os.O_RDONLY))
        asked.send(b"done")

    other = Stranger(serve)
    yield
    assert other.ask() == b"done"
    fd = struct.unpack_from("=i", os.read(listener, 24), 16)[0]
    assert os.read(fd, 4) == b"0123"
    return _truth(target)


# --- other ways in


@way
def int_0x80(home: Path) -> Any:
    """open(2) by the other table: its arguments are of 32 bits, and so is its memory."""
    target = _made(home)
    low = _libc.mmap
    low.restype = ctypes.c_void_p
    at = low(None, ctypes.c_size_t(_PAGE), 7, 0x62, -1, ctypes.c_long(0))
    # push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret
    code = b"\x53\x89\xf8\x89\xf3\x89\xd1\xcd\x80\x5b\xc3"
    ctypes.memmove(at, code, len(code))
    ctypes.memmove(at + 64, os.fsencode(target) + b"\0", len(os.fsencode(target)) + 1)
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(at)
    yield
    assert function(5, at + 64, os.O_RDONLY) >= 0
    return _truth(target)


@way
def asynchronous(home: Path) -> Any:
    target = _made(home)
    context = ctypes.c_ulong()
    text = ctypes.create_string_buffer(b"written")
    yield
    fd = os.open(target, os.O_RDWR)
    call("io_setup", 1, ctypes.byref(context))
    block = ctypes.create_string_buffer(
        struct.pack("=QIIHhIQQqQII", 0, 0, 0, 1, 0, fd, ctypes.addressof(text), 7, 0, 0, 0, 0)
    )
    pointer = ctypes.c_ulong(ctypes.addressof(block))
    assert call("io_submit", context.value, 1, ctypes.byref(pointer)) == 1
    assert call("io_getevents", context.value, 1, 1, ctypes.create_string_buffer(32), None) == 1
    return _truth(target)


@way
def hole(home: Path) -> Any:
    target = _made(home)
    target.write_bytes(b"x" * 2 * _PAGE)
    yield
    fd = os.open(target, os.O_RDWR)
    fcntl.ioctl(fd, 0x40305829, struct.pack("=hhiqqiI4i", 0, 0, 0, 0, _PAGE, 0, 0, 0, 0, 0, 0))
    assert os.pread(fd, 1, 0) == b"\0"
    return _truth(target)


@way
def shared_mapping(home: Path) -> Any:
    target = _made(home)
    yield
    fd = os.open(target, os.O_RDWR)
    address = _map(fd, mmap.PROT_READ | mmap.PROT_WRITE)
    ctypes.memmove(address, b"written", 7)
    return _truth(target)


@way
def made_writable(home: Path) -> Any:
    target = _made(home)
    yield
    fd = os.open(target, os.O_RDWR)
    address = _map(fd, mmap.PROT_READ)
    call("mprotect", address, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE)
    ctypes.memmove(address, b"written", 7)
    return _truth(target)


def _map(fd: int, protection: int) -> int:
    function = _libc.mmap
    function.restype = ctypes.c_void_p
    return int(function(None, ctypes.c_size_t(_PAGE), protection, mmap.MAP_SHARED, fd, ctypes.c_long(0)))


def _program() -> bytes:
    return Path("/bin/true").read_bytes()


@way
def memory_file(home: Path) -> Any:
    content = _program()
    yield
    fd = os.memfd_create("program")
    os.write(fd, content)
    none = ctypes.create_string_buffer(8)
    words = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(ctypes.create_string_buffer(b"x")), 0))
    _child(lambda: call("execveat", fd, b"", words, none, 0x1000))
    return _truth(fd, os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)"))


def _executable(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@way
def script(home: Path) -> Any:
    interpreter = _executable(home / "target", _program())
    written = _executable(home / "script", b"#!%s\n" % bytes(interpreter))
    yield
    _child(lambda: os.execv(written, ["script"]))
    return _truth(interpreter)


@way
def loader(home: Path) -> Any:
    """By a name that is relative, because there is no room for a longer one."""
    content = _program()
    [name] = re.findall(rb"/lib64/ld-linux-x86-64\.so\.2\0", content)
    target = _executable(home / "target", Path(os.fsdecode(name[:-1])).read_bytes())
    program = _executable(home / "program", content.replace(name, b"./target".ljust(len(name), b"\0")))
    os.chdir(home)
    yield
    _child(lambda: os.execv(program, ["program"]))
    return _truth(target)


# --- names that are only looked up


@way
def handle(home: Path) -> Any:
    _mounts_of_its_own(home)
    target = _made(home)
    yield
    into = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    call("name_to_handle_at", AT_FDCWD, os.fsencode(target), into, ctypes.byref(ctypes.c_int()), 0)
    return _truth(target)


@way
def inotify(home: Path) -> Any:
    target = _made(home)
    watch = call("inotify_init")
    yield
    call("inotify_add_watch", watch, os.fsencode(target), 0xFFF)
    return _truth(target)


@way
def fanotify(home: Path) -> Any:
    target = _made(home)
    listener = call("fanotify_init", 0, os.O_RDONLY)
    yield
    call("fanotify_mark", listener, 1, 0x20, AT_FDCWD, os.fsencode(target))
    return _truth(target)


@way
def file_system(home: Path) -> Any:
    target = _made(home)
    yield
    call("statfs", os.fsencode(target), ctypes.create_string_buffer(256))
    return _truth(target)


@way
def tree(home: Path) -> Any:
    target = _made(home)
    yield
    call("open_tree", AT_FDCWD, os.fsencode(target), 0)
    return _truth(target)


# --- all of them


@dataclass(frozen=True)
class Gone:
    """What came of one way."""

    pid: int
    truth: Truth


@dataclass(frozen=True)
class Trace:
    events: list[Any]
    stats: Any
    ways: dict[str, Gone]

    def of(self, name: str) -> tuple[str, str, list[str]]:
        """What was told of the file, what was announced by the way's processes, and what is wrong."""
        gone = self.ways[name]
        truth, pids, problems = gone.truth, {gone.pid, *gone.truth.strangers}, []
        told: list[str] = []
        announced: list[str] = []
        for event in self.events:
            if event.ppid in pids:
                pids.add(event.pid)
            if event.op == Op.BLIND_SPOT:
                announced += [event.syscall] if event.pid in pids else []
                continue
            is_it = (event.device, event.inode) == truth.identity
            is_named = not truth.names.isdisjoint((event.path, event.new_path))
            if event.errno or event.syscall in _ASKING or not (is_it or is_named):
                continue
            is_other = event.device is None or (event.device, event.inode) in truth.others
            if str(event.path_source) in _CERTAIN and not (is_it and is_named) and not is_other:
                problems.append(f"{event!r} is not {truth}")
            if told[-1:] != [str(event.op)]:
                told.append(str(event.op))
        return " ".join(told), " ".join(announced), problems


def _alone(name: str, home: Path, ready: int, go: int, answer: int) -> None:
    """One way, in a process of its own."""
    signal.alarm(int(HANG_SECONDS))
    home.mkdir()
    going = WAYS[name](home)
    next(going)
    os.write(ready, b"x")
    os.read(go, 1)
    try:
        next(going)
    except StopIteration as end:
        os.write(answer, pickle.dumps(end.value))


def _all(tell: Callable[[Any], None], names: list[str], area: Path, go: int) -> dict[str, Gone]:
    """The root of the tree that is watched: each way's process is there before, and they go one after the other."""
    signal.alarm(int(HANG_SECONDS))
    started = []
    for name in names:
        ready, starts, answers = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            _end(lambda: _alone(name, area / name, ready[1], starts[0], answers[1]))  # noqa: B023
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"x", name
        started.append((name, pid, starts[1], answers[0]))
    tell("ready")
    os.read(go, 1)
    ways = {}
    for name, pid, start, answer in started:
        os.write(start, b"x")
        assert os.waitpid(pid, 0)[1] == 0, name
        ways[name] = Gone(pid, pickle.loads(os.read(answer, 65536)))
    return ways


def _trace(backend: str, evasions: list[Evasion], area: Path) -> Trace:
    go, start = os.pipe()
    names = [evasion.name for evasion in evasions]
    with Forked(_all, names, area, go) as root:
        assert root.recv() == "ready"
        with KprobeManager(root.pid, backend=backend, ops=OPS) as manager:
            os.write(start, b"x")
            events = read_to_end(manager)
        ways = root.recv()
        assert root.reap() == 0
    os.close(go)
    os.close(start)
    return Trace(events, manager.stats, ways)


_GOES = [evasion for evasion in EVASIONS if "::" not in evasion.name]
# What is announced makes a trace incomplete: what is not, shows in another that it is called complete.
_QUIET = [evasion for evasion in _GOES if not (evasion.announced or evasion.before or evasion.denied)]
_LOUD = [evasion for evasion in _GOES if evasion not in _QUIET]
_traces: dict[tuple[str, bool], Trace] = {}


@pytest.fixture
def performed(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Trace]:
    def once(loud: bool) -> Trace:
        if (backend, loud) not in _traces:
            area = Path(os.path.realpath(tmp_path_factory.mktemp("ways")))
            _traces[backend, loud] = _trace(backend, _LOUD if loud else _QUIET, area)
        return _traces[backend, loud]

    return once


@pytest.mark.parametrize("evasion", _GOES, ids=lambda evasion: evasion.name)
def test_what_becomes_of_it(backend: str, performed: Callable[[bool], Trace], evasion: Evasion) -> None:
    told, announced, problems = performed(evasion in _LOUD).of(evasion.name)
    assert not problems, "\n".join(problems)
    if evasion.but == "no_compat" and backend in HERE.no_compat:
        assert (told, announced) == ("", "")
    elif evasion.below is not None and backend != "tracepoint":
        assert (told, announced) == (evasion.below, evasion.announced)
    else:
        assert (told, announced) == (evasion.told, evasion.announced)


@pytest.mark.parametrize("loud", [False, True], ids=["quiet", "loud"])
def test_ledger(backend: str, performed: Callable[[bool], Trace], loud: bool) -> None:
    """Nothing but what the table says makes the trace incomplete; and so what is silent there is."""
    trace = performed(loud)
    evasions = _LOUD if loud else _QUIET
    stats = trace.stats
    announced = sum(len(evasion.announced.split()) + evasion.before for evasion in evasions)
    assert (stats.blind_spots, stats.compat_calls) == (announced, 0)
    assert stats.denied == (sum(evasion.denied for evasion in evasions) if backend == "tracepoint" else 0)
    assert (stats.lost, stats.in_flight) == (0, 0)
    bypass = sum(evasion.bypass for evasion in evasions) if backend != "tracepoint" else 0
    assert stats.bypass == bypass
    # Who waits to go its way may wait in a call.
    assert stats.complete == (stats.exact and not announced and not bypass and not stats.pre_attach)
    assert (stats.verdict.form is Verdict.INCOMPLETE) == bool(not stats.exact or announced or bypass)


@pytest.mark.native_only
def test_the_table_is_of_what_is_here() -> None:
    """Each way is gone, here or by a test that is there; and the document says what is silent."""
    assert {evasion.name for evasion in _GOES} == set(WAYS)
    for evasion in EVASIONS:
        file, is_elsewhere, test = evasion.name.partition("::")
        if is_elsewhere:
            assert re.search(rf"^(def )?{test}( =|\()", Path(__file__).with_name(file).read_text(), re.MULTILINE), (
                evasion
            )
        announced = evasion.announced or evasion.before
        assert evasion.told or announced or evasion.silent
        assert not (announced and evasion.silent)
