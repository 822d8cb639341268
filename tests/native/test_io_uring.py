# SPDX-License-Identifier: MIT
"""Requests of io_uring, by the workload's own plan: each gives its event, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from collections import Counter
from collections.abc import Callable
from errno import EBADF, ECANCELED, EEXIST, EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, EOPNOTSUPP
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, Op, _native
from tests.native.expected import check_ledger, fields_of
from tests.native.ground import HERE, scaled, unable
from tests.native.rings import (
    ASYNC,
    AT_FDCWD,
    BIND,
    BUFFER_SELECT,
    CLOSE,
    CUR_POS,
    DEFER_TASKRUN,
    FADVISE,
    FALLOCATE,
    FGETXATTR,
    FIXED_FD_INSTALL,
    FIXED_FILE,
    FSETXATTR,
    FSYNC,
    FTRUNCATE,
    GETXATTR,
    IO_URING_REGISTER,
    IOPOLL,
    LINK,
    LINKAT,
    MADVISE,
    MKDIRAT,
    NOP,
    OPENAT,
    OPENAT2,
    PROVIDE_BUFFERS,
    READ,
    READ_FIXED,
    READ_MULTISHOT,
    READV,
    READV_FIXED,
    RECV,
    REGISTER_BUFFERS,
    REGISTER_FILES,
    RENAMEAT,
    RING_FD,
    SEND,
    SETXATTR,
    SKIP,
    SPLICE,
    SQPOLL,
    STATX,
    SYMLINKAT,
    SYNC_FILE_RANGE,
    TEE,
    UNLINKAT,
    URING_CMD,
    WRITE,
    WRITE_FIXED,
    WRITEV,
    WRITEV_FIXED,
    Plan,
    Step,
)
from tests.native.tracing import read_to_end

FIELDS = (
    *("op", "syscall", "via", "path", "new_path", "raw_path", "path_source", "fd", "dirfd", "flags", "mode", "count"),
    *("offset", "bytes", "return_code", "errno", "kind"),
)
ALL = [op for op in Op if op is not Op.BLIND_SPOT]
NOWHERE = 99  # no descriptor
AT_REMOVEDIR, AT_EMPTY_PATH, MADV_REMOVE, MADV_DONTNEED = 0x200, 0x1000, 9, 4
pytestmark = pytest.mark.rings_only

Sees = dict[str, Any]


def told(op: str, opcode: str, result: int | None = 0, **fields: Any) -> Sees:
    """An event, beforehand: what is not named does not apply."""
    expected = dict.fromkeys(FIELDS) | {
        "op": op,
        "syscall": f"IORING_OP_{opcode}",
        "via": "io_uring",
        "path_source": "none",
        "return_code": result,
        "errno": None if result is None else max(-result, 0),
    }
    if op in ("read", "write", "copy"):
        expected["bytes"] = None if result is None else max(result, 0)
    return expected | fields


def of_file(op: str, opcode: str, path: Path, fd: int | None, result: int | None = 0, **fields: Any) -> Sees:
    return told(op, opcode, result, **({"path": str(path), "path_source": "file", "kind": "file", "fd": fd} | fields))


def _row(fields: Sees) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def check(plan: Plan, events: list[Any], pids: set[int]) -> None:
    """Every expected event and no other; the kernel gave the results that the plan says."""
    expected: list[Sees] = []
    for step in plan.steps:
        sees = step.sees(step) if callable(step.sees) else step.sees
        several = sees if isinstance(sees, list) else [] if sees is None else [sees]
        if len(several) == 1 and several[0]["return_code"] is not None:
            assert step.result == several[0]["return_code"], (step, several)
            assert step.completions == 1
        expected += several
    seen = Counter(_row({name: getattr(event, name) for name in FIELDS}) for event in events)
    wanted = Counter(_row(sees) for sees in expected)
    missing, more = sorted((wanted - seen).elements()), sorted((seen - wanted).elements())
    assert not missing and not more, "\n".join(["not seen:", *missing, "seen:", *more])
    assert {event.pid for event in events} <= pids
    assert all(event.duration_ns is None or event.duration_ns > 0 for event in events)


def run(
    plan: Plan, program: Path, area: Path, backend: str, fds: tuple[int, ...] = (), **options: Any
) -> tuple[list[Any], Any]:
    with plan.start(program, area, fds) as running:
        options = {"ops": ALL} | options
        with KprobeManager(running.process.pid, backend=backend, **options) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        return events, manager.stats


def books(plan: Plan, stats: Any, backend: str, **expected: int) -> None:
    told_events = sum(len(s) if isinstance(s, list) else s is not None for s in (step.sees for step in plan.steps))
    check_ledger(stats, backend, **({"performed": told_events, "delivered": told_events} | expected))


@pytest.fixture
def program(compiled: Path) -> Path:
    return compiled / "ring"


class Place:
    """The files that a plan works on, open in this process and handed on."""

    def __init__(self, area: Path) -> None:
        self.area = area
        self.file, self.log = area / "file", area / "log"
        self.file.write_bytes(b"0123456789" * 10)
        self.log.write_bytes(b"")
        self.fd = os.open(self.file, os.O_RDWR)
        self.log_fd = os.open(self.log, os.O_WRONLY)
        self.closed = os.open(self.file, os.O_RDONLY)
        self.area_fd = os.open(area, os.O_RDONLY)
        self.fds = (self.fd, self.log_fd, self.closed, self.area_fd)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def place(area: Path) -> Any:
    place = Place(area)
    yield place
    place.close()


def has(opcode: int) -> bool:
    return opcode < HERE.ring_opcodes


def all_operations(plan: Plan, place: Place, flags: int) -> None:
    """Each opcode of the table, with success and with failure; one after the other."""
    area, fd, file = place.area, place.fd, place.file

    def one(opcode: int, **fields: Any) -> Step:
        step = plan.entry(opcode, **({"flags": flags} | fields))
        plan.submit()
        return step

    def name(path: str, error: int = 0) -> Sees:
        return {"path": str(area / path), "path_source": "dir_and_name", "raw_path": path, "dirfd": AT_FDCWD}

    # reads
    read = {"flags": 0, "count": 8}
    one(READ, fd=fd, addr=plan.room(8), length=8, off=2, sees=of_file("read", "READ", file, fd, 8, offset=2, **read))
    one(
        READ,
        fd=fd,
        addr=plan.room(8),
        length=8,
        off=CUR_POS,
        sees=of_file("read", "READ", file, fd, 8, offset=0, **read),
    )
    one(
        READ,
        fd=fd,
        addr=plan.room(8),
        length=8,
        off=CUR_POS,
        sees=of_file("read", "READ", file, fd, 8, offset=8, **read),
    )
    one(READ, fd=fd, addr=plan.room(8), length=8, off=96, sees=of_file("read", "READ", file, fd, 4, offset=96, **read))
    one(READ, fd=fd, addr=1, length=8, sees=of_file("read", "READ", file, fd, -EFAULT, offset=0, **read))
    one(READ, fd=NOWHERE, addr=plan.room(8), length=8, sees=told("read", "READ", -EBADF, fd=NOWHERE, offset=0, **read))
    one(
        READ,
        fd=place.log_fd,
        addr=plan.room(8),
        length=8,
        sees=of_file("read", "READ", place.log, place.log_fd, -EBADF, offset=0, **read),
    )
    parts = plan.parts((plan.room(3), 3), (plan.room(9), 9))
    two = {"flags": 0, "count": 12}
    one(READV, fd=fd, addr=parts, length=2, off=1, sees=of_file("read", "READV", file, fd, 12, offset=1, **two))
    one(READV, fd=NOWHERE, addr=parts, length=2, sees=told("read", "READV", -EBADF, fd=NOWHERE, offset=0, **two))
    # writes
    one(
        WRITE,
        fd=fd,
        addr=plan.data(b"ab"),
        length=2,
        off=3,
        sees=of_file("write", "WRITE", file, fd, 2, offset=3, flags=0, count=2),
    )
    one(
        WRITE,
        fd=place.closed,
        addr=plan.data(b"ab"),
        length=2,
        sees=of_file("write", "WRITE", file, place.closed, -EBADF, offset=0, flags=0, count=2),
    )
    one(WRITEV, fd=fd, addr=parts, length=2, off=1, sees=of_file("write", "WRITEV", file, fd, 12, offset=1, **two))
    one(WRITEV, fd=NOWHERE, addr=parts, length=2, sees=told("write", "WRITEV", -EBADF, fd=NOWHERE, offset=0, **two))
    # to the disk, lengths
    whole = {"flags": 0, "count": 0, "offset": 0}
    one(FSYNC, fd=fd, sees=of_file("sync", "FSYNC", file, fd, **whole))
    one(FSYNC, fd=fd, op_flags=1, sees=of_file("sync", "FSYNC", file, fd, **(whole | {"flags": 1})))
    one(FSYNC, fd=NOWHERE, sees=told("sync", "FSYNC", -EBADF, fd=NOWHERE, **whole))
    # Refused before it was prepared.
    one(FSYNC, fd=fd, op_flags=64, sees=of_file("sync", "FSYNC", file, fd, -EINVAL, **(whole | {"flags": 64})))
    one(
        SYNC_FILE_RANGE,
        fd=fd,
        off=0,
        length=10,
        op_flags=2,
        sees=of_file("sync", "SYNC_FILE_RANGE", file, fd, flags=2, count=10, offset=0),
    )
    one(
        SYNC_FILE_RANGE,
        fd=NOWHERE,
        length=10,
        sees=told("sync", "SYNC_FILE_RANGE", -EBADF, fd=NOWHERE, flags=0, count=10, offset=0),
    )
    one(
        FALLOCATE,
        fd=fd,
        off=0,
        addr=4096,
        length=1,
        sees=of_file("allocate", "FALLOCATE", file, fd, flags=1, count=4096, offset=0),
    )
    one(
        FALLOCATE,
        fd=fd,
        off=0,
        addr=0,
        length=0,
        sees=of_file("allocate", "FALLOCATE", file, fd, -EINVAL, flags=0, count=0, offset=0),
    )
    if has(FTRUNCATE):
        one(FTRUNCATE, fd=fd, off=50, sees=of_file("truncate", "FTRUNCATE", file, fd, count=50))
        one(
            FTRUNCATE,
            fd=place.closed,
            off=50,
            sees=of_file("truncate", "FTRUNCATE", file, place.closed, -EINVAL, count=50),
        )
    # opens
    made = os.O_RDWR | os.O_CREAT

    def opened(path: str, opcode: str, **fields: Any) -> Callable[[Step], Sees]:
        def sees(step: Step) -> Sees:
            assert step.result >= 0
            return of_file(
                "open", opcode, area / path, step.result, step.result, dirfd=AT_FDCWD, raw_path=path, **fields
            )

        return sees

    one(OPENAT, fd=AT_FDCWD, addr=plan.text("file"), sees=opened("file", "OPENAT", flags=0))
    one(
        OPENAT,
        fd=AT_FDCWD,
        addr=plan.text("new"),
        op_flags=made,
        length=0o600,
        sees=opened("new", "OPENAT", flags=made, mode=0o600),
    )
    one(
        OPENAT,
        fd=place.area_fd,
        addr=plan.text("file"),
        sees=lambda step: of_file(
            "open", "OPENAT", file, step.result, step.result, dirfd=place.area_fd, raw_path="file", flags=0
        ),
    )
    one(OPENAT, fd=AT_FDCWD, addr=plan.text("none"), sees=told("open", "OPENAT", -ENOENT, **name("none"), flags=0))
    one(
        OPENAT,
        fd=place.area_fd,
        addr=plan.text("none"),
        sees=told("open", "OPENAT", -ENOENT, **(name("none") | {"dirfd": place.area_fd}), flags=0),
    )
    one(
        OPENAT,
        fd=AT_FDCWD,
        addr=plan.text(area / "none"),
        sees=told(
            "open",
            "OPENAT",
            -ENOENT,
            path=str(area / "none"),
            raw_path=str(area / "none"),
            path_source="as_passed",
            dirfd=AT_FDCWD,
            flags=0,
        ),
    )
    one(OPENAT, fd=AT_FDCWD, addr=1, sees=told("open", "OPENAT", -EFAULT, dirfd=AT_FDCWD, flags=0))
    deep = "x/" * 200 + "y"
    one(OPENAT, fd=AT_FDCWD, addr=plan.text(deep), sees=told("open", "OPENAT", -ENOENT, **name(deep), flags=0))
    how = plan.data(struct.pack("=QQQ", os.O_RDONLY, 0, 0))
    one(OPENAT2, fd=AT_FDCWD, addr=plan.text("file"), off=how, length=24, sees=opened("file", "OPENAT2", flags=0))
    one(
        OPENAT2,
        fd=AT_FDCWD,
        addr=plan.text("none"),
        off=how,
        length=24,
        sees=told("open", "OPENAT2", -ENOENT, **name("none"), flags=0),
    )
    # RESOLVE_IN_ROOT: the name starts from the descriptor, and leads nowhere above it.
    within = plan.data(struct.pack("=QQQ", os.O_RDONLY, 0, 16))
    for text, seen in (("/../none", "none"), ("../../none", "none")):
        one(
            OPENAT2,
            fd=AT_FDCWD,
            addr=plan.text(text),
            off=within,
            length=24,
            sees=told("open", "OPENAT2", -ENOENT, **name(seen) | {"raw_path": text}, flags=0),
        )
    one(
        OPENAT2,
        fd=AT_FDCWD,
        addr=plan.text("file"),
        off=how,
        length=3,
        sees=told("open", "OPENAT2", -EINVAL, **name("file")),
    )
    # names
    one(
        STATX,
        fd=AT_FDCWD,
        addr=plan.text("file"),
        length=0x7FF,
        off=plan.room(256),
        sees=told("stat", "STATX", **name("file"), flags=0),
    )
    one(
        STATX,
        fd=AT_FDCWD,
        addr=plan.text("none"),
        length=0x7FF,
        off=plan.room(256),
        sees=told("stat", "STATX", -ENOENT, **name("none"), flags=0),
    )
    one(
        STATX,
        fd=fd,
        addr=plan.text(""),
        length=0x7FF,
        off=plan.room(256),
        op_flags=AT_EMPTY_PATH,
        sees=told(
            "stat", "STATX", path=str(file), path_source="file", kind="file", raw_path="", dirfd=fd, flags=AT_EMPTY_PATH
        ),
    )
    one(
        MKDIRAT,
        fd=AT_FDCWD,
        addr=plan.text("dir"),
        length=0o700,
        sees=told("mkdir", "MKDIRAT", **name("dir"), mode=0o700),
    )
    one(
        MKDIRAT,
        fd=AT_FDCWD,
        addr=plan.text("dir"),
        length=0o700,
        sees=told("mkdir", "MKDIRAT", -EEXIST, **name("dir"), mode=0o700),
    )
    one(
        SYMLINKAT,
        fd=AT_FDCWD,
        addr=plan.text("target"),
        off=plan.text("link"),
        sees=told("symlink", "SYMLINKAT", **name("link")),
    )
    one(
        SYMLINKAT,
        fd=AT_FDCWD,
        addr=plan.text("target"),
        off=plan.text("link"),
        sees=told("symlink", "SYMLINKAT", -EEXIST, **name("link")),
    )
    second = {"addr": plan.text("new"), "off": plan.text("other"), "length": AT_FDCWD & 0xFFFFFFFF}
    both = name("new") | {"new_path": str(area / "other"), "flags": 0}
    one(LINKAT, fd=AT_FDCWD, **second, sees=told("link", "LINKAT", **both))
    one(LINKAT, fd=AT_FDCWD, **second, sees=told("link", "LINKAT", -EEXIST, **both))
    one(UNLINKAT, fd=AT_FDCWD, addr=plan.text("other"), sees=told("unlink", "UNLINKAT", **name("other"), flags=0))
    one(
        UNLINKAT,
        fd=AT_FDCWD,
        addr=plan.text("other"),
        sees=told("unlink", "UNLINKAT", -ENOENT, **name("other"), flags=0),
    )
    one(RENAMEAT, fd=AT_FDCWD, **second, sees=told("rename", "RENAMEAT", **both))
    one(RENAMEAT, fd=AT_FDCWD, **second, sees=told("rename", "RENAMEAT", -ENOENT, **both))
    one(
        UNLINKAT,
        fd=AT_FDCWD,
        addr=plan.text("dir"),
        op_flags=AT_REMOVEDIR,
        sees=told("rmdir", "UNLINKAT", **name("dir"), flags=AT_REMOVEDIR),
    )
    one(
        UNLINKAT,
        fd=AT_FDCWD,
        addr=plan.text("file"),
        op_flags=AT_REMOVEDIR,
        sees=told("rmdir", "UNLINKAT", -ENOTDIR, **name("file"), flags=AT_REMOVEDIR),
    )
    # attributes
    attribute, value = plan.text("trusted.one"), plan.data(b"value")
    absolute = {"path": str(file), "raw_path": str(file), "path_source": "as_passed"}
    one(
        FSETXATTR,
        fd=fd,
        addr=attribute,
        off=value,
        length=5,
        sees=of_file("xattr", "FSETXATTR", file, fd, count=5, flags=0),
    )
    one(
        FSETXATTR,
        fd=fd,
        addr=attribute,
        off=value,
        length=5,
        op_flags=1,
        sees=of_file("xattr", "FSETXATTR", file, fd, -EEXIST, count=5, flags=1),
    )
    one(
        SETXATTR,
        addr=attribute,
        off=value,
        length=5,
        addr3=plan.text(file),
        sees=told("xattr", "SETXATTR", **absolute, count=5, flags=0),
    )
    one(
        SETXATTR,
        addr=attribute,
        off=value,
        length=5,
        op_flags=1,
        addr3=plan.text(file),
        sees=told("xattr", "SETXATTR", -EEXIST, **absolute, count=5, flags=1),
    )
    one(
        FGETXATTR,
        fd=fd,
        addr=attribute,
        off=plan.room(9),
        length=9,
        sees=of_file("stat", "FGETXATTR", file, fd, 5, count=9, bytes=5),
    )
    one(
        FGETXATTR,
        fd=NOWHERE,
        addr=attribute,
        off=plan.room(9),
        length=9,
        sees=told("stat", "FGETXATTR", -EBADF, fd=NOWHERE, count=9, bytes=0),
    )
    one(
        GETXATTR,
        addr=attribute,
        off=plan.room(9),
        length=9,
        addr3=plan.text(file),
        sees=told("stat", "GETXATTR", 5, **absolute, count=9, bytes=5),
    )
    one(
        GETXATTR,
        addr=attribute,
        off=plan.room(9),
        length=9,
        addr3=plan.text(area / "none"),
        sees=told(
            "stat",
            "GETXATTR",
            -ENOENT,
            path=str(area / "none"),
            raw_path=str(area / "none"),
            path_source="as_passed",
            count=9,
            bytes=0,
        ),
    )
    # memory: anonymous and shared, so that something can be removed
    at = 0x20000000000
    plan.call(9, at, 8192, 3, 0x31, CUR_POS, 0)
    one(
        MADVISE,
        addr=at,
        length=4096,
        op_flags=MADV_REMOVE,
        sees=told("allocate", "MADVISE", count=4096, flags=MADV_REMOVE),
    )
    one(
        MADVISE,
        addr=at + 1,
        length=4096,
        op_flags=MADV_REMOVE,
        sees=told("allocate", "MADVISE", -EINVAL, count=4096, flags=MADV_REMOVE),
    )
    one(MADVISE, addr=at, length=4096, op_flags=MADV_DONTNEED)
    # descriptors
    one(CLOSE, fd=place.closed, sees=of_file("close", "CLOSE", file, place.closed))
    one(CLOSE, fd=NOWHERE, sees=told("close", "CLOSE", -EBADF, fd=NOWHERE))
    # no files
    one(NOP)
    one(FADVISE, fd=fd)
    one(SEND, fd=NOWHERE)
    one(RECV, fd=NOWHERE)
    one(250)


@pytest.mark.parametrize("way", ["inline", "worker", "thread", "deferred"])
def test_every_operation(backend: str, area: Path, program: Path, place: Place, way: str) -> None:
    """In the call that submits, in a worker, by the kernel's own submitting thread, and completed when asked for."""
    plan = Plan()
    plan.setup(flags={"thread": SQPOLL, "deferred": DEFER_TASKRUN}.get(way, 0))
    plan.hold()
    all_operations(plan, place, ASYNC if way == "worker" else 0)
    with plan.start(program, area, place.fds) as running:
        with KprobeManager(running.process.pid, backend=backend, ops=ALL) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        pid = running.process.pid
    check(plan, events, {pid})
    threads = {(event.tid == pid, event.comm) for event in events}
    assert threads == ({(False, f"iou-sqp-{pid}")} if way == "thread" else {(True, "ring")})
    unreadable = sum(event.path_flags.name == "UNREADABLE" for event in events)
    assert unreadable == 1
    books(plan, manager.stats, backend, path_unreadable=unreadable)


@pytest.mark.usefixtures("many_descriptors")
def test_path_rules(backend: str, area: Path, program: Path, place: Place) -> None:
    """What rules leave out is left out in the kernel: of requests, too."""
    rules = {"ignore": [str(place.file), f"{place.file}/"]}
    plan = Plan()
    plan.setup()
    plan.hold()
    all_operations(plan, place, 0)
    with (
        plan.start(program, area, place.fds) as running,
        KprobeManager(running.process.pid, backend=backend, ops=ALL) as manager,
        KprobeManager(running.process.pid, backend=backend, ops=ALL, **rules) as ruled,
    ):
        running.go()
        everything, events = read_to_end(manager), read_to_end(ruled)
        running.finish()
    wanted = [fields_of(event) for event in everything if _native.decide(event, **rules) != "leave out"]
    assert 0 < len(wanted) < len(everything) - 5
    assert [fields_of(event) for event in events] == wanted
    assert (ruled.stats.filtered, ruled.stats.lost) == (len(everything) - len(wanted), 0)


@pytest.mark.usefixtures("many_descriptors")
def test_only_what_changes_something(backend: str, area: Path, program: Path, place: Place) -> None:
    """The group "writes": of opens and copies only those that change a file, and no read."""
    plan = Plan()
    plan.setup()
    plan.hold()
    all_operations(plan, place, 0)
    with (
        plan.start(program, area, place.fds) as running,
        KprobeManager(running.process.pid, backend=backend, ops=ALL) as manager,
        KprobeManager(running.process.pid, backend=backend, ops=["writes"]) as writes,
    ):
        running.go()
        everything, events = read_to_end(manager), read_to_end(writes)
        running.finish()
    wanted = [fields_of(event) for event in everything if event.changes or event.op is Op.BLIND_SPOT]
    assert {event.op for event in events} >= {Op.OPEN, Op.WRITE, Op.RENAME, Op.UNLINK, Op.MKDIR}
    assert 0 < len(wanted) < len(everything) - 5
    assert [fields_of(event) for event in events] == wanted
    assert writes.stats.lost == 0


def test_the_rings_own_table_of_files(backend: str, area: Path, program: Path, place: Place) -> None:
    """A file by its place there, a registered buffer, an open into that table and a close in it."""
    plan, file, other = Plan(), place.file, area / "other"
    other.write_bytes(b"abc")
    # Memory of a file cannot be registered.
    buffer = 0x20000000000
    plan.call(9, buffer, 4096, 3, 0x32, CUR_POS, 0)
    plan.setup()
    files = plan.data(struct.pack("=4i", place.fd, place.log_fd, -1, -1))
    plan.call(IO_URING_REGISTER, RING_FD, REGISTER_FILES, files, 4)
    plan.call(IO_URING_REGISTER, RING_FD, REGISTER_BUFFERS, plan.parts((buffer, 64)), 1)
    # From here on the file is in the ring's table alone.
    plan.call(3, place.fd)
    plan.hold()

    def one(opcode: int, **fields: Any) -> None:
        plan.entry(opcode, **fields)
        plan.submit()

    def fixed(op: str, opcode: str, result: int = 0, **fields: Any) -> Sees:
        return of_file(op, opcode, file, None, result, **fields)

    eight = {"flags": 0, "count": 8}
    one(READ, fd=0, flags=FIXED_FILE, addr=buffer, length=8, sees=fixed("read", "READ", 8, offset=0, **eight))
    one(
        READ_FIXED,
        fd=0,
        flags=FIXED_FILE,
        addr=buffer,
        length=8,
        off=5,
        sees=fixed("read", "READ_FIXED", 8, offset=5, **eight),
    )
    one(
        WRITE_FIXED,
        fd=0,
        flags=FIXED_FILE,
        addr=buffer,
        length=8,
        off=9,
        sees=fixed("write", "WRITE_FIXED", 8, offset=9, **eight),
    )
    one(
        WRITE_FIXED,
        fd=place.log_fd,
        addr=buffer,
        length=8,
        sees=of_file("write", "WRITE_FIXED", place.log, place.log_fd, 8, offset=0, **eight),
    )
    # No such place, and no such buffer.
    one(READ, fd=3, flags=FIXED_FILE, addr=buffer, length=8, sees=told("read", "READ", -EBADF, offset=0, **eight))
    # Refused when it is prepared, until 6.12: by its descriptor it is named all the same.
    one(
        READ_FIXED,
        fd=place.closed,
        addr=buffer + 4090,
        length=8,
        sees=of_file("read", "READ_FIXED", file, place.closed, -EFAULT, offset=0, **eight),
    )
    one(FSYNC, fd=0, flags=FIXED_FILE, sees=fixed("sync", "FSYNC", flags=0, count=0, offset=0))
    if has(READV_FIXED):
        parts = plan.parts((buffer, 3), (buffer + 8, 5))
        one(
            READV_FIXED,
            fd=0,
            flags=FIXED_FILE,
            addr=parts,
            length=2,
            sees=fixed("read", "READV_FIXED", 8, offset=0, **eight),
        )
        one(
            WRITEV_FIXED,
            fd=0,
            flags=FIXED_FILE,
            addr=parts,
            length=2,
            sees=fixed("write", "WRITEV_FIXED", 8, offset=0, **eight),
        )
    absolute = {"path": str(other), "raw_path": str(other), "path_source": "as_passed", "dirfd": AT_FDCWD, "flags": 0}
    one(OPENAT, fd=AT_FDCWD, addr=plan.text(other), file_index=3, sees=told("open", "OPENAT", **absolute))
    one(
        READ,
        fd=2,
        flags=FIXED_FILE,
        addr=buffer,
        length=8,
        sees=of_file("read", "READ", other, None, 3, offset=0, **eight),
    )
    if has(FIXED_FD_INSTALL):
        one(
            FIXED_FD_INSTALL,
            fd=2,
            flags=FIXED_FILE,
            sees=lambda step: of_file("dup", "FIXED_FD_INSTALL", other, None, step.result, flags=0o2000000),
        )
    one(CLOSE, file_index=3, sees=told("close", "CLOSE"))
    one(CLOSE, file_index=3, sees=told("close", "CLOSE", -EBADF))
    events, stats = run(plan, program, area, backend, place.fds)
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


def test_a_chain_whose_head_fails(backend: str, area: Path, program: Path, place: Place) -> None:
    """What is cancelled was submitted: it has its event, and names what it would have worked on."""
    plan = Plan()
    plan.setup()
    plan.hold()
    none = {
        "path": str(area / "none"),
        "raw_path": "none",
        "path_source": "dir_and_name",
        "dirfd": AT_FDCWD,
        "flags": 0,
    }
    eight = {"flags": 0, "count": 8, "offset": 0}
    at = plan.room(8)
    # The head fails when it is done, and when it is prepared; and a link in the middle does.
    plan.entry(OPENAT, fd=AT_FDCWD, flags=LINK, addr=plan.text("none"), sees=told("open", "OPENAT", -ENOENT, **none))
    plan.entry(
        READ,
        fd=place.fd,
        flags=LINK,
        addr=at,
        length=8,
        sees=of_file("read", "READ", place.file, place.fd, -ECANCELED, **eight),
    )
    plan.entry(UNLINKAT, fd=AT_FDCWD, addr=plan.text("none"), sees=told("unlink", "UNLINKAT", -ECANCELED, **none))
    plan.submit()
    plan.entry(
        FSYNC,
        fd=place.fd,
        flags=LINK,
        op_flags=64,
        sees=of_file("sync", "FSYNC", place.file, place.fd, -EINVAL, flags=64, count=0, offset=0),
    )
    plan.entry(
        READ, fd=place.fd, addr=at, length=8, sees=of_file("read", "READ", place.file, place.fd, -ECANCELED, **eight)
    )
    plan.submit()
    plan.entry(
        READ,
        fd=place.fd,
        flags=LINK,
        addr=at,
        length=8,
        sees=of_file("read", "READ", place.file, place.fd, -ECANCELED, **eight),
    )
    plan.entry(
        FSYNC,
        fd=place.fd,
        flags=LINK,
        op_flags=64,
        sees=of_file("sync", "FSYNC", place.file, place.fd, -EINVAL, flags=64, count=0, offset=0),
    )
    plan.entry(
        READ, fd=place.fd, addr=at, length=8, sees=of_file("read", "READ", place.file, place.fd, -ECANCELED, **eight)
    )
    plan.submit()
    # And one that goes through.
    plan.entry(
        WRITE,
        fd=place.fd,
        flags=LINK,
        addr=plan.data(b"abcdefgh"),
        length=8,
        sees=of_file("write", "WRITE", place.file, place.fd, 8, **eight),
    )
    plan.entry(FSYNC, fd=place.fd, sees=of_file("sync", "FSYNC", place.file, place.fd, flags=0, count=0, offset=0))
    plan.submit()
    events, stats = run(plan, program, area, backend, place.fds)
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


def test_requests_without_a_completion(backend: str, area: Path, program: Path, place: Place) -> None:
    """Told when they are submitted, without a result; one that fails is told again, with it."""
    plan = Plan()
    plan.setup()
    plan.hold()
    silent: Any = {"flags": SKIP, "completes": False}
    read = {"flags": 0, "count": 8, "offset": 0}
    (area / "doomed").write_bytes(b"")
    doomed = {
        "path": str(area / "doomed"),
        "raw_path": "doomed",
        "path_source": "dir_and_name",
        "dirfd": AT_FDCWD,
        "flags": 0,
    }
    plan.entry(
        READ,
        fd=place.fd,
        addr=plan.room(8),
        length=8,
        **silent,
        sees=of_file("read", "READ", place.file, place.fd, None, **read),
    )
    # What is linked to it comes when it is done.
    silent["flags"] |= LINK
    plan.entry(
        UNLINKAT, fd=AT_FDCWD, addr=plan.text("doomed"), **silent, sees=told("unlink", "UNLINKAT", None, **doomed)
    )
    plan.entry(
        READ, fd=place.fd, addr=plan.room(8), length=8, sees=of_file("read", "READ", place.file, place.fd, 8, **read)
    )
    plan.submit()
    # A failed unlink is not completed either: io_unlinkat() does not mark it as failed.
    plan.entry(
        OPENAT,
        fd=AT_FDCWD,
        flags=SKIP,
        addr=plan.text("doomed"),
        sees=[told("open", "OPENAT", None, **doomed), told("open", "OPENAT", -ENOENT, **doomed)],
    )
    plan.submit()
    events, stats = run(plan, program, area, backend, place.fds)
    check(plan, events, {events[0].pid})
    assert not (area / "doomed").exists()
    books(plan, stats, backend)


@pytest.mark.parametrize("user", ["the maker", "a child"])
def test_a_ring_from_before_the_trace(backend: str, area: Path, program: Path, place: Place, user: str) -> None:
    """Whoever made it and whenever: what a watched process submits is told, and the ring is no blind spot."""
    plan = Plan()
    plan.setup()
    plan.hold()
    pids = 1
    if user == "a child":
        plan.fork()
        pids = 2
    read = {"flags": 0, "count": 8, "offset": 0}
    for _ in range(3):
        plan.entry(
            READ,
            fd=place.fd,
            addr=plan.room(8),
            length=8,
            sees=of_file("read", "READ", place.file, place.fd, 8, **read),
        )
    plan.submit()
    with plan.start(program, area, place.fds) as running:
        with KprobeManager(running.process.pid, backend=backend, ops=["read"]) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        [pid] = {event.pid for event in events}
        assert (pid == running.process.pid) == (pids == 1)
    check(plan, events, {pid})
    books(plan, manager.stats, backend)


def test_a_ring_made_meanwhile_is_no_blind_spot(backend: str, area: Path, program: Path, place: Place) -> None:
    plan = Plan()
    plan.hold()
    plan.setup()
    plan.entry(
        WRITE,
        fd=place.fd,
        addr=plan.room(8),
        length=8,
        sees=of_file("write", "WRITE", place.file, place.fd, 8, flags=0, count=8, offset=0),
    )
    plan.submit()
    events, stats = run(plan, program, area, backend, place.fds, ops=["write", "read", "open"])
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


def test_a_request_under_way_at_attach(backend: str, area: Path, program: Path) -> None:
    """Submitted before, completed after: pre_attach."""
    ours, theirs = os.pipe()
    plan = Plan()
    plan.setup()
    plan.entry(READ, fd=ours, addr=plan.room(8), length=8)
    plan.submit(wait=False)
    plan.hold()
    plan.call(1, theirs, plan.data(b"12345678"), 8)
    plan._waiting = 0
    plan.steps.append(Step(len(plan.steps), 3, (0, 0, 1)))
    try:
        events, stats = run(plan, program, area, backend, (ours, theirs), ops=["read"], kinds=["file", "pipe"])
    finally:
        os.close(ours)
        os.close(theirs)
    assert not events
    check_ledger(stats, backend, pre_attach=1)


@pytest.mark.parametrize("flags", [0, SQPOLL], ids=["inline", "thread"])
def test_vectors_of_a_32_bit_program(backend: str, area: Path, program: Path, place: Place, flags: int) -> None:
    """Its ring reads and writes by vectors of its own form, whoever takes the request from it."""
    plan = Plan()
    ring = plan.setup(by_compat=True, flags=flags)
    plan.hold()
    parts = plan.parts(*((plan.room(8), length) for length in range(1, 41)), by_compat=True)

    def vector(op: str, opcode: str, number: int, count: int, moved: int) -> None:
        fields = {"count": count, "offset": 1, "flags": 0}
        path, fd = (place.file, place.fd) if op == "read" else (place.log, place.log_fd)
        plan.entry(
            READV if op == "read" else WRITEV,
            fd=fd,
            addr=parts,
            length=number,
            off=1,
            sees=of_file(op, opcode, path, fd, moved, **fields),
        )
        plan.submit()

    vector("read", "READV", 2, 3, 3)
    vector("write", "WRITEV", 40, 820, 820)
    events, stats = run(plan, program, area, backend, place.fds)
    assert ring.result >= 0
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


@pytest.mark.parametrize("asked", ["kinds", "errors", "slow", "ops", "totals"])
def test_what_is_asked_for(backend: str, area: Path, program: Path, place: Place, asked: str) -> None:
    """As of calls: what is left out is counted."""
    ours, theirs = os.pipe()
    plan = Plan()
    plan.setup()
    plan.hold()
    read = of_file("read", "READ", place.file, place.fd, 8, flags=0, count=8, offset=0)
    failed = told("read", "READ", -EBADF, fd=NOWHERE, flags=0, count=8, offset=0)
    plan.entry(READ, fd=place.fd, addr=plan.room(8), length=8, sees=read if asked in ("kinds", "ops") else None)
    plan.entry(
        READ, fd=NOWHERE, addr=plan.room(8), length=8, sees=failed if asked in ("kinds", "ops", "errors") else None
    )
    plan.entry(WRITE, fd=theirs, addr=plan.room(8), length=8)
    plan.submit()
    options: dict[str, Any] = {
        "kinds": {"ops": ["read", "write"]},
        "errors": {"ops": ["read", "write"], "errors_only": True},
        "slow": {"ops": ["read", "write"], "min_duration_ns": 2**62},
        "ops": {"ops": ["read"]},
        "totals": {"ops": ["read", "write"], "totals": True, "events": False},
    }[asked]
    with plan.start(program, area, (*place.fds, ours, theirs)) as running:
        with KprobeManager(running.process.pid, backend=backend, **options) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        rows = manager.totals() if asked == "totals" else ()
        pid = running.process.pid
    os.close(ours)
    os.close(theirs)
    check(plan, events, {pid})
    if asked == "totals":
        found = {(row.pid, str(row.op), row.path): (row.calls, row.errors, row.bytes) for row in rows}
        assert found == {(pid, "read", str(place.file)): (1, 0, 8), (pid, "read", None): (1, 1, 0)}
        check_ledger(manager.stats, backend, performed=3, filtered=1, counted=2)
    else:
        performed, filtered = {"kinds": (3, 1), "errors": (3, 2), "slow": (3, 3), "ops": (2, 0)}[asked]
        check_ledger(manager.stats, backend, performed=performed, filtered=filtered, delivered=performed - filtered)


def test_nothing_is_attached_where_no_ring_could_do_it(backend: str, area: Path, program: Path, place: Place) -> None:
    plan = Plan()
    plan.hold()
    plan.setup()
    plan.entry(READ, fd=place.fd, addr=plan.room(8), length=8)
    plan.submit()
    with (
        plan.start(program, area, place.fds) as running,
        KprobeManager(running.process.pid, backend=backend, ops=["chmod"]) as manager,
    ):
        assert not [target for target in manager.targets if target.function.startswith("io_uring_")]
        running.go()
        events = read_to_end(manager)
        running.finish()
    assert [(str(event.op), event.syscall, str(event.via)) for event in events] == [
        ("blind_spot", "io_uring_setup", "syscall")
    ]
    check_ledger(manager.stats, backend, performed=1, delivered=1, blind_spots=1)


# What changes the programs that follow requests.
_ASKED: dict[str, dict[str, Any]] = {
    "rules": {"ignore": ["/nowhere/"], "sensitive": ["/nowhere"]},
    "rules-and-totals": {"watch": ["/"], "totals": True, "min_duration_ns": 0, "errors_only": True},
    "totals-alone": {"totals": True, "events": False},
}


@pytest.mark.parametrize("asked", _ASKED)
def test_requests_are_followed_whatever_is_asked_for(
    backend: str, area: Path, program: Path, place: Place, asked: str
) -> None:
    """Where the kernel does not take those programs rings are announced, and nothing else would show it."""
    plan = Plan()
    plan.setup()
    plan.hold()
    with (
        plan.start(program, area, place.fds) as running,
        KprobeManager(running.process.pid, backend=backend, **_ASKED[asked]) as manager,
    ):
        functions = {target.function for target in manager.targets}
        running.go()
        read_to_end(manager)
        running.finish()
    assert {"io_uring_req_failed", "io_uring_complete"} <= functions
    check_ledger(manager.stats, backend)


def test_copies(backend: str, area: Path, program: Path, place: Place) -> None:
    """From a file, and to one: the path is the source's, the new one the destination's."""
    ours, theirs = os.pipe()
    plan, name = Plan(), f"pipe:[{os.fstat(ours).st_ino}]"
    plan.setup()
    plan.hold()
    minus = CUR_POS
    into = told(
        "copy",
        "SPLICE",
        8,
        path=str(place.file),
        new_path=name,
        path_source="file",
        kind="file",
        fd=place.fd,
        flags=0,
        count=8,
        offset=2,
    )
    out = told(
        "copy",
        "SPLICE",
        8,
        path=name,
        new_path=str(place.log),
        path_source="file",
        kind="pipe",
        fd=ours,
        flags=0,
        count=8,
    )
    wrong = told("copy", "SPLICE", -EBADF, new_path=name, path_source="file", fd=NOWHERE, flags=0, count=8, offset=0)
    plan.entry(SPLICE, fd=theirs, off=minus, addr=2, length=8, file_index=place.fd, sees=into)
    plan.submit()
    plan.entry(SPLICE, fd=place.log_fd, off=0, addr=minus, length=8, file_index=ours, sees=out)
    plan.submit()
    plan.entry(SPLICE, fd=theirs, off=minus, addr=0, length=8, file_index=NOWHERE, sees=wrong)
    plan.submit()
    try:
        events, stats = run(plan, program, area, backend, (*place.fds, ours, theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


def test_pipes_that_are_teed(backend: str, area: Path, program: Path) -> None:
    """From a pipe to a pipe, and it stays where it was; a file can be neither."""
    path = area / "file"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDWR)
    one, other = os.pipe(), os.pipe()
    names = [f"pipe:[{os.fstat(each[0]).st_ino}]" for each in (one, other)]
    os.write(one[1], b"0123456789")
    plan = Plan()
    plan.setup()
    plan.hold()
    common: Any = {"new_path": names[1], "path_source": "file", "flags": 0, "count": 8}
    good = told("copy", "TEE", 8, path=names[0], kind="pipe", fd=one[0], **common)
    bad = told("copy", "TEE", -EINVAL, path=str(path), kind="file", fd=fd, **common)
    wrong = told("copy", "TEE", -EBADF, fd=NOWHERE, **common)
    for source, sees in ((one[0], good), (one[0], good), (fd, bad), (NOWHERE, wrong)):
        plan.entry(TEE, fd=other[1], length=8, file_index=source, sees=sees)
        plan.submit()
    try:
        events, stats = run(plan, program, area, backend, (fd, *one, *other), kinds=["pipe"])
        assert os.read(other[0], 100) == b"0123456701234567"
    finally:
        for each in (fd, *one, *other):
            os.close(each)
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


@pytest.mark.native_only
def test_completions_that_are_polled(backend: str, area: Path, program: Path) -> None:
    """Past the cache, by a ring that asks the device: a guest's file systems know no such thing."""
    path = area / "file"
    path.write_bytes(bytes(8192))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    at = 0x20000000000
    plan = Plan()
    plan.call(9, at, 8192, 3, 0x32, CUR_POS, 0)
    plan.setup(flags=IOPOLL)
    plan.hold()
    fields: Any = {"flags": 0, "count": 4096}
    # Where the device is not polled the kernel says so.
    one = plan.entry(WRITE, fd=fd, addr=at, length=4096, off=4096)
    one.sees = lambda step: of_file("write", "WRITE", path, fd, step.result, offset=4096, **fields)
    two = plan.entry(READ, fd=fd, addr=at + 4096, length=4096)
    two.sees = lambda step: of_file("read", "READ", path, fd, step.result, offset=0, **fields)
    plan.entry(FSYNC, fd=fd, sees=of_file("sync", "FSYNC", path, fd, -EINVAL, flags=0, count=0, offset=0))
    plan.submit()
    events, stats = run(plan, program, area, backend, (fd,))
    os.close(fd)
    assert {one.result, two.result} <= {4096, -EOPNOTSUPP}
    check(plan, events, {events[0].pid})
    books(plan, stats, backend)


def _long(name: str | Path, length: int) -> str:
    """The same file by a name of so many bytes."""
    folder, last = os.path.split(name)
    rest = length - len(folder) - 1 - len(last)
    return folder + "/" + "./" * (rest // 2) + "/" * (rest % 2) + last


@pytest.mark.parametrize("flags", [0, SQPOLL], ids=["inline", "thread"])
def test_names_of_all_lengths(backend: str, area: Path, program: Path, flags: int) -> None:
    """Up to the longest that there is, one and two of them; and a byte more."""
    plan = Plan()
    plan.setup(flags=flags)
    plan.hold()
    old, new, none = area / "file", area / "other", area / "none"
    old.write_bytes(b"")
    at, second = {"fd": AT_FDCWD}, AT_FDCWD & 0xFFFFFFFF
    for length in (254, 255, 256, 257, 511, 1000, 4094, 4095):
        names = [_long(each, length) for each in (old, new, none)]
        assert {len(each) for each in names} == {length}
        fields: Any = {"path_source": "as_passed", "dirfd": AT_FDCWD, "flags": 0}
        plan.entry(
            OPENAT,
            **at,
            addr=plan.text(names[0]),
            sees=lambda step, raw=names[0]: of_file(
                "open", "OPENAT", old, step.result, step.result, dirfd=AT_FDCWD, raw_path=raw, flags=0
            ),
        )
        plan.submit()
        for source, target in ((0, 1), (1, 0), (2, 0)):
            sees = told("rename", "RENAMEAT", -ENOENT if source == 2 else 0, **fields)
            sees |= {"path": names[source], "raw_path": names[source], "new_path": names[target]}
            plan.entry(
                RENAMEAT,
                **at,
                addr=plan.text(names[source]),
                off=plan.text(names[target]),
                length=second,
                sees=sees,
            )
            plan.submit()
        sees = told("unlink", "UNLINKAT", -ENOENT, **fields, path=names[2], raw_path=names[2])
        plan.entry(UNLINKAT, **at, addr=plan.text(names[2]), sees=sees)
        plan.submit()
    # Longer than a name may be: its beginning is told, and that it is not all.
    too_long = _long(none, 4096)
    sees = told("unlink", "UNLINKAT", -ENAMETOOLONG, dirfd=AT_FDCWD, flags=0, path_source="as_passed")
    sees |= {"path": too_long[:4095], "raw_path": too_long[:4095]}
    plan.entry(UNLINKAT, **at, addr=plan.text(too_long), sees=sees)
    plan.submit()
    events, stats = run(plan, program, area, backend)
    check(plan, events, {events[0].pid})
    assert [event.path_flags.name for event in events if event.path_flags] == ["TRUNCATED"]
    books(plan, stats, backend, path_truncated=1)


def test_commands_of_a_file_are_announced(backend: str, area: Path, program: Path) -> None:
    """What they do is the file's affair; /dev/null has one that does nothing."""
    null = os.open("/dev/null", os.O_RDWR)
    one, other = socket.socketpair()
    plan = Plan()
    plan.setup()
    plan.hold()
    sees = told("blind_spot", "URING_CMD", path="/dev/null", path_source="file", kind="device", fd=null)
    plan.entry(URING_CMD, fd=null, sees=sees)
    plan.entry(URING_CMD, fd=NOWHERE)
    plan.submit()
    try:
        events, stats = run(plan, program, area, backend, (null, one.fileno(), other.fileno()), ops=["read"])
    finally:
        os.close(null)
        one.close()
        other.close()
    check(plan, events, {events[0].pid})
    check_ledger(stats, backend, performed=2, delivered=1, filtered=1, blind_spots=1)


@pytest.mark.rings_only(BIND)
def test_a_socket_that_is_bound_is_announced(backend: str, area: Path, program: Path) -> None:
    """Its address may be a path; one of the internet is none."""
    one, two = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)
    plan = Plan()
    plan.setup()
    plan.hold()
    unix, internet = b"\x01\0bound\0", struct.pack("=HH4s8x", socket.AF_INET, 0, bytes((127, 0, 0, 1)))
    name = f"socket:[{os.fstat(one.fileno()).st_ino}]"
    sees = told("blind_spot", "BIND", fd=one.fileno(), path=name, path_source="file", kind="socket")
    plan.entry(BIND, fd=one.fileno(), addr=plan.data(unix), off=len(unix), sees=sees)
    plan.entry(BIND, fd=two.fileno(), addr=plan.data(internet), off=len(internet))
    plan.submit()
    with one, two:
        events, stats = run(plan, program, area, backend, (one.fileno(), two.fileno()))
    check(plan, events, {events[0].pid})
    assert (area / "bound").is_socket()
    check_ledger(stats, backend, performed=2, delivered=1, filtered=1, blind_spots=1)


@pytest.mark.rings_only(READ_MULTISHOT)
def test_reads_that_go_on(backend: str, area: Path, program: Path) -> None:
    """A request that completes again and again: each completion is an event."""
    ours, theirs = os.pipe()
    plan, name = Plan(), f"pipe:[{os.fstat(ours).st_ino}]"
    plan.setup()
    plan.hold()
    plan.entry(PROVIDE_BUFFERS, fd=4, addr=plan.room(64), length=16)
    plan.submit()
    common: Any = {"path": name, "path_source": "file", "kind": "pipe", "fd": ours, "flags": 0, "count": 0}
    sees = [told("read", "READ_MULTISHOT", result, **common) for result in (3, 5, 0)]
    plan.entry(READ_MULTISHOT, fd=ours, flags=BUFFER_SELECT, off=CUR_POS, sees=sees)
    plan.submit(wait=False)
    for text in (b"abc", b"defgh"):
        plan.call(1, theirs, plan.data(text), len(text))
        plan.steps.append(Step(len(plan.steps), 3, (0, 0, 1)))
    plan.call(3, theirs)
    plan.steps.append(Step(len(plan.steps), 3, (0, 0, 1)))
    with plan.start(program, area, (ours, theirs)) as running:
        os.close(theirs)
        with KprobeManager(running.process.pid, backend=backend, ops=["read"], kinds=["pipe"]) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
    os.close(ours)
    check(plan, events, {events[0].pid})
    books(plan, manager.stats, backend)


@pytest.mark.rings_only(READ)
def test_completions_without_room(backend: str, area: Path, program: Path) -> None:
    """A ring of 8 places for 12 completions: what was done four times is not shown, and the trace does not pretend.

    What the submitter did at once is seen without a completion: all four. Of what workers did (on 7.2) at most the last
    is seen, when the process ends; the stream may have ended by then.
    """
    path = area / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    plan = Plan()
    plan.setup(entries=4)
    plan.hold()
    for _ in range(3):
        for _ in range(4):
            plan.entry(READ, fd=descriptor, addr=plan.room(8), length=4)
        plan.call(426, RING_FD, 4, 0, 0, 0, 0)  # io_uring_enter, and nobody takes the completions
    with (
        plan.start(program, area, (descriptor,)) as running,
        KprobeManager(running.process.pid, backend=backend, ops=["read"]) as manager,
    ):
        running.go()
        events = read_to_end(manager)
        running.finish()
    os.close(descriptor)
    stats = manager.stats
    assert [step.result for step in plan.steps if step.kind == 4] == [4, 4, 4]
    seen = len(events) + stats.queued
    assert seen in (8, 9, 12)
    assert {(event.path, event.bytes) for event in events} == {(str(path), 4)}
    assert (stats.performed, stats.in_flight, stats.lost) == (12, 12 - seen, 0)
    assert (stats.blind_spots, stats.complete) == (4, False)


@pytest.mark.rings_only(CLOSE)
def test_a_close_without_room_holds_nothing_up(backend: str, area: Path, program: Path) -> None:
    """Its end is not shown; when the kernel uses the request's memory again it is taken for done.

    The thread of another ring has the same descriptors: while one is being closed, nobody knows what it stands for.
    """
    path = area / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    fds = [os.dup(descriptor) for _ in range(12)]
    plan = Plan()
    plan.setup(entries=4)
    plan.setup(ring=1, flags=SQPOLL)
    plan.hold()
    for some in (fds[:4], fds[4:8], fds[8:]):
        for fd in some:
            plan.entry(CLOSE, fd=fd)
        plan.call(426, RING_FD, 4, 0, 0, 0, 0)  # io_uring_enter, and nobody takes the completions
    plan.forget()
    plan.submit()
    for _ in range(4):
        for _ in range(4):
            plan.entry(CLOSE, fd=NOWHERE)
        plan.submit()
    for fd in fds:
        plan.call(33, descriptor, fd)  # dup2
        plan.call(0, fd, plan.room(8), 0)
    with (
        plan.start(program, area, (descriptor, *fds)) as running,
        KprobeManager(running.process.pid, backend=backend, ops=["close", "read"]) as manager,
    ):
        running.go()
        events = read_to_end(manager)
        running.finish()
    for fd in (descriptor, *fds):
        os.close(fd)
    read = [(event.fd, event.path, str(event.path_source)) for event in events if event.syscall == "read"]
    assert read == [(fd, str(path), "file") for fd in fds]
    stats = manager.stats
    assert stats.in_flight == 0
    assert stats.no_exit + sum(event.syscall == "IORING_OP_CLOSE" for event in events) == 28


def test_fio(backend: str, area: Path) -> None:
    """An independent user of rings: calls and bytes are those of its own report."""
    fio = shutil.which("fio")
    if not fio:
        unable("fio is not installed")
    requests = scaled(4000, 400)
    command = [
        *(fio, "--name=job", "--ioengine=io_uring", f"--directory={area}", "--rw=randrw", "--bs=4k", "--iodepth=32"),
        *(
            f"--size={requests * 4096}",
            "--thread",
            "--output-format=json",
            "--fallocate=none",
            "--unlink=0",
            "--fsync=100",
        ),
    ]
    report = area / "report"
    with (
        report.open("wb") as output,
        KprobeManager.spawn(command, backend=backend, ops=["read", "write"], kinds=["file"], stdout=output) as manager,
    ):
        events = list(manager)
    [job] = json.loads(report.read_bytes().partition(b"{")[1] + report.read_bytes().partition(b"{")[2])["jobs"]
    rings = [event for event in events if event.via == "io_uring"]
    for op in ("read", "write"):
        mine = [event for event in rings if event.op == op]
        assert len(mine) == job[op]["total_ios"]
        assert sum(event.bytes for event in mine) == job[op]["io_bytes"]
    assert {event.path for event in rings} == {str(area / "job.0.0")}
    assert manager.stats.lost == 0 and manager.stats.blind_spots == 0
