# SPDX-License-Identifier: MIT
"""Requests of Linux AIO, by the workload's own plan: each that the kernel took gives its event, nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from errno import EBADF, EFAULT, EINVAL
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager, Op
from tests.native.aio import FDSYNC, FSYNC, NOOP, POLL, PREAD, PREADV, PWRITE, PWRITEV, Plan
from tests.native.expected import check_ledger
from tests.native.ground import scaled, unable
from tests.native.tracing import read_to_end

FIELDS = (
    *("op", "syscall", "via", "path", "new_path", "raw_path", "path_source", "fd", "dirfd", "flags", "mode", "count"),
    *("offset", "bytes", "return_code", "errno", "kind"),
)
ALL = [op for op in Op if op is not Op.BLIND_SPOT]
NOWHERE = 99  # no descriptor
RESFD, RWF_DSYNC = 1, 2
TOO_MANY = 2_048  # of one call: what comes behind is lost, and counted

Sees = dict[str, Any]


def told(op: str, command: str, result: int | None = None, **fields: Any) -> Sees:
    """An event, beforehand: what is not named does not apply."""
    expected = dict.fromkeys(FIELDS) | {
        "op": op,
        "syscall": f"IOCB_CMD_{command}",
        "via": "aio",
        "path_source": "none",
        "return_code": result,
        "errno": None if result is None else -result,
    }
    if op != "sync":
        expected |= {"flags": 0, "offset": 0, "bytes": None if result is None else 0}
    return expected | fields


def of_file(op: str, command: str, path: Path | str, fd: int, result: int | None = None, **fields: Any) -> Sees:
    return told(op, command, result, **({"path": str(path), "path_source": "file", "kind": "file", "fd": fd} | fields))


def _row(fields: Sees) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def check(plan: Plan, events: list[Any], pid: int | None = None) -> None:
    """Every expected event, in the order of the requests, and no other."""
    seen = [_row({name: getattr(event, name) for name in FIELDS}) for event in events]
    assert seen == [_row(sees) for sees in plan.expected()]
    assert pid is None or {event.pid for event in events} <= {pid}
    assert all(event.duration_ns is None for event in events if event.return_code is None)


def run(plan: Plan, program: Path, area: Path, backend: str, fds: tuple[int, ...] = (), **options: Any) -> Any:
    with plan.start(program, area, fds) as running:
        options = {"ops": ["read", "write", "sync"]} | options
        with KprobeManager(running.process.pid, backend=backend, **options) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        pid = running.process.pid
        return events, manager, pid, running.results


def books(plan: Plan, stats: Any, backend: str, **expected: int) -> None:
    number = len(plan.expected())
    check_ledger(stats, backend, **({"performed": number, "delivered": number} | expected))


@pytest.fixture
def program(compiled: Path) -> Path:
    return compiled / "aio"


class Place:
    """The files that a plan works on, open in this process and handed on."""

    def __init__(self, area: Path) -> None:
        self.file, self.log = area / "file", area / "log"
        self.file.write_bytes(b"0123456789" * 10)
        self.log.write_bytes(b"")
        self.fd = os.open(self.file, os.O_RDWR)
        self.log_fd = os.open(self.log, os.O_WRONLY)
        self.fds = (self.fd, self.log_fd)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def place(area: Path) -> Any:
    place = Place(area)
    yield place
    place.close()


def commands(plan: Plan, place: Place, by_compat: bool) -> list[tuple[Any, int]]:
    """Each command of the table: requests that are taken, and what they are completed with."""
    fd, file, log, log_fd = place.fd, place.file, place.log, place.log_fd
    two = plan.parts((plan.room(3), 3), (plan.room(9), 9), by_compat=by_compat)
    many = plan.parts(*((plan.room(8), length) for length in range(1, 41)), by_compat=by_compat)
    read, write = of_file("read", "PREAD", file, fd), of_file("write", "PWRITE", log, log_fd)
    return [
        (plan.request(PREAD, fd=fd, buffer=plan.room(8), length=8, offset=2, sees=read | {"count": 8, "offset": 2}), 8),
        (
            plan.request(
                PREAD, fd=fd, buffer=plan.room(8), length=8, offset=96, sees=read | {"count": 8, "offset": 96}
            ),
            4,
        ),
        # Completed with an error: what came of it is not known.
        (plan.request(PREAD, fd=fd, buffer=1, length=8, sees=read | {"count": 8}), -EFAULT),
        (
            plan.request(PREADV, fd=fd, buffer=two, length=2, sees=read | {"syscall": "IOCB_CMD_PREADV", "count": 12}),
            12,
        ),
        (
            plan.request(
                PWRITE, fd=log_fd, buffer=plan.room(8), length=7, offset=3, sees=write | {"count": 7, "offset": 3}
            ),
            7,
        ),
        (
            plan.request(
                PWRITE,
                fd=log_fd,
                buffer=plan.room(8),
                length=8,
                rw_flags=RWF_DSYNC,
                sees=write | {"count": 8, "flags": 2},
            ),
            8,
        ),
        (
            plan.request(
                PWRITEV, fd=log_fd, buffer=many, length=40, sees=write | {"syscall": "IOCB_CMD_PWRITEV", "count": 820}
            ),
            820,
        ),
        (plan.request(FSYNC, fd=log_fd, sees=of_file("sync", "FSYNC", log, log_fd)), 0),
        (plan.request(FDSYNC, fd=log_fd, sees=of_file("sync", "FDSYNC", log, log_fd)), 0),
    ]


@pytest.mark.parametrize("at_once", [False, True], ids=["one-by-one", "at-once"])
def test_every_command(backend: str, area: Path, program: Path, place: Place, at_once: bool) -> None:
    check_every_command(backend, area, program, place, at_once, False)


@pytest.mark.follows_compat
def test_every_command_by_the_32_bit_table(backend: str, area: Path, program: Path, place: Place) -> None:
    check_every_command(backend, area, program, place, True, True)


def check_every_command(backend: str, area: Path, program: Path, place: Place, at_once: bool, by_compat: bool) -> None:
    plan = Plan()
    plan.hold()
    pairs = commands(plan, place, by_compat)
    requests = [request for request, _ in pairs]
    for some in [requests] if at_once else [[request] for request in requests]:
        plan.submit(*some, by_compat=by_compat)
        plan.reap(len(some))
    events, manager, pid, results = run(plan, program, area, backend, place.fds)
    check(plan, events, pid)
    books(plan, manager.stats, backend)
    assert [results[request.at] for request in requests] == [result for _, result in pairs]


def test_path_rules(backend: str, area: Path, program: Path, place: Place) -> None:
    """What rules leave out is left out in the kernel: of requests, too."""
    plan = Plan()
    plan.hold()
    for fd in (place.fd, place.log_fd, place.fd):
        plan.submit(plan.request(PWRITE, fd=fd, buffer=plan.room(8), length=8))
        plan.reap(1)
    events, manager, *_ = run(plan, program, area, backend, place.fds, ignore=[f"{place.file}"])
    assert [event.path for event in events] == [str(place.log)]
    check_ledger(manager.stats, backend, performed=3, delivered=1, filtered=2)


def test_requests_that_are_refused(backend: str, area: Path, program: Path, place: Place) -> None:
    """The first one of a call: its error is the call's. Of what comes behind none is told."""
    fd, file = place.fd, place.file
    plan = Plan()
    plan.hold()
    fields = {"buffer": plan.room(8), "length": 8}

    def read(fd: int, result: int | None, **more: Any) -> Any:
        sees = told("read", "PREAD", result, fd=fd, count=8)
        if fd == place.fd:
            sees |= {"path": str(file), "path_source": "file", "kind": "file"}
        return plan.request(PREAD, fd=fd, sees=sees, **fields, **more)

    behind = [read(fd, None), read(fd, None)]
    plan.submit(read(NOWHERE, -EBADF), *behind, accepts=-EBADF)
    plan.submit(read(fd, -EINVAL, reserved=1), accepts=-EINVAL)
    plan.submit(read(fd, -EBADF, flags=RESFD, resfd=NOWHERE), accepts=-EBADF)
    # Not open for that.
    wrong = told(
        "read", "PREAD", -EBADF, fd=place.log_fd, count=8, path=str(place.log), path_source="file", kind="file"
    )
    plan.submit(plan.request(PREAD, fd=place.log_fd, sees=wrong, **fields), accepts=-EBADF)
    parts = told("write", "PWRITEV", -EFAULT, fd=fd, path=str(file), path_source="file", kind="file")
    plan.submit(plan.request(PWRITEV, fd=fd, buffer=1, length=2, sees=parts), accepts=-EFAULT)
    # In the middle: one is taken, and the next one's error is nobody's.
    good = read(fd, None)
    plan.submit(good, read(NOWHERE, -EBADF), *behind, accepts=1)
    plan.reap(1)
    events, manager, pid, _ = run(plan, program, area, backend, place.fds)
    check(plan, events, pid)
    books(plan, manager.stats, backend)


def test_nothing_is_invented(backend: str, area: Path, program: Path, place: Place) -> None:
    """Calls by which nothing was asked of a file."""
    plan = Plan()
    plan.hold()
    read = plan.request(PREAD, fd=place.fd, buffer=plan.room(8), length=8)
    nowhere = plan.data(struct.pack("=Q", 16))
    plan.submit(read, number=0, accepts=0)
    plan.submit(read, number=-1, accepts=-EINVAL)
    plan.submit(read, context=plan.room(64), accepts=-EINVAL)
    plan.submit(read, context=16, accepts=-EINVAL)
    plan.submit(array=16, number=1, accepts=-EFAULT)
    plan.submit(array=nowhere, number=1, accepts=-EFAULT)
    ready = plan.request(POLL, fd=place.fd, buffer=1)
    plan.submit(ready)
    plan.reap(1)
    plan.submit(plan.request(NOOP, fd=place.fd), accepts=-EINVAL)
    plan.submit(plan.request(4, fd=place.fd), accepts=-EINVAL)
    plan.submit(plan.request(77, fd=place.fd), accepts=-EINVAL)
    events, manager, _, _ = run(plan, program, area, backend, place.fds)
    assert events == []
    check_ledger(manager.stats, backend)


@pytest.mark.parametrize("number", [200, 1_500])
def test_many_in_one_call(backend: str, area: Path, program: Path, place: Place, number: int) -> None:
    plan = Plan(places=number)
    plan.hold()
    room = plan.room(8)
    requests = [
        plan.request(
            PREAD,
            fd=place.fd,
            buffer=room,
            length=1,
            offset=i,
            sees=of_file("read", "PREAD", place.file, place.fd, count=1, offset=i),
        )
        for i in range(number)
    ]
    plan.submit(*requests)
    plan.reap(number)
    events, manager, pid, _ = run(plan, program, area, backend, place.fds)
    check(plan, events, pid)
    books(plan, manager.stats, backend)


def test_too_many_in_one_call(backend: str, area: Path, program: Path, place: Place) -> None:
    """What finds no place is lost, and counted."""
    more = 7
    plan = Plan(places=TOO_MANY + more)
    plan.hold()
    room = plan.room(8)
    sees = of_file("read", "PREAD", place.file, place.fd, count=1)
    request = plan.request(PREAD, fd=place.fd, buffer=room, length=1, sees=sees)
    plan.submit(*[request] * (TOO_MANY + more))
    plan.reap(TOO_MANY + more)
    events, manager, _, _ = run(plan, program, area, backend, place.fds)
    stats = manager.stats
    assert len(events) == TOO_MANY
    assert (stats.performed, stats.delivered, stats.state_full, stats.lost) == (TOO_MANY + more, TOO_MANY, more, more)
    assert not stats.complete and stats.in_flight == 0


def test_objects_of_other_kinds(backend: str, area: Path, program: Path, place: Place) -> None:
    """As of calls: what is left out is counted as filtered."""
    ours, theirs = os.pipe()
    one, other = socket.socketpair()
    other.send(b"x")
    plan = Plan()
    plan.hold()
    room = plan.room(8)
    pipe = of_file("write", "PWRITE", f"pipe:[{os.fstat(theirs).st_ino}]", theirs, count=8, kind="pipe")
    requests = [
        plan.request(PWRITE, fd=theirs, buffer=room, length=8, sees=pipe),
        plan.request(PREAD, fd=one.fileno(), buffer=room, length=1),
        plan.request(
            PREAD, fd=place.fd, buffer=room, length=4, sees=of_file("read", "PREAD", place.file, place.fd, count=4)
        ),
    ]
    plan.submit(*requests)
    plan.reap(3)
    with one, other:
        fds = (*place.fds, ours, theirs, one.fileno())
        events, manager, pid, _ = run(plan, program, area, backend, fds, kinds=["file", "pipe"])
    os.close(ours)
    os.close(theirs)
    check(plan, events, pid)
    check_ledger(manager.stats, backend, performed=3, delivered=2, filtered=1)


@pytest.mark.parametrize("asked", ["errors", "slow", "ops", "totals", "no-latency"])
def test_what_is_asked_for(backend: str, area: Path, program: Path, place: Place, asked: str) -> None:
    plan = Plan()
    plan.hold()
    room = plan.room(8)
    read = of_file("read", "PREAD", place.file, place.fd, count=8)
    refused = told("read", "PREAD", -EBADF, fd=NOWHERE, count=8)
    write = of_file("write", "PWRITE", place.log, place.log_fd, count=8)
    known = asked in ("ops", "slow", "no-latency")
    plan.submit(
        plan.request(PREAD, fd=place.fd, buffer=room, length=8, sees=read if known else None),
        plan.request(PWRITE, fd=place.log_fd, buffer=room, length=8, sees=write if known and asked != "ops" else None),
        plan.request(FSYNC, fd=place.log_fd),
    )
    plan.reap(3)
    plan.submit(
        plan.request(
            PREAD, fd=NOWHERE, buffer=room, length=8, sees=refused if asked in ("errors", "ops", "no-latency") else None
        ),
        accepts=-EBADF,
    )
    options: dict[str, Any] = {
        "errors": {"errors_only": True},
        # How long it takes is not known of what was taken: kept. What is refused is quick.
        "slow": {"min_duration_ns": 2**62},
        "ops": {"ops": ["read"]},
        "totals": {"totals": True, "events": False},
        "no-latency": {"latency": False},
    }[asked]
    events, manager, pid, _ = run(plan, program, area, backend, place.fds, **({"ops": ["read", "write"]} | options))
    check(plan, events, pid)
    if asked == "totals":
        found = {(str(row.op), row.path): (row.calls, row.errors, row.bytes) for row in manager.totals()}
        assert found == {
            ("read", str(place.file)): (1, 0, 0),
            ("read", None): (1, 1, 0),
            ("write", str(place.log)): (1, 0, 0),
        }
        check_ledger(manager.stats, backend, performed=3, counted=3)
    else:
        performed = 2 if asked == "ops" else 3
        delivered = len(plan.expected())
        check_ledger(manager.stats, backend, performed=performed, delivered=delivered, filtered=performed - delivered)


def test_nothing_is_attached_where_it_could_not_do_it(backend: str, area: Path, program: Path, place: Place) -> None:
    """Nothing that was asked for can be missed: nothing is announced."""
    plan = Plan()
    plan.hold()
    plan.submit(plan.request(PWRITE, fd=place.log_fd, buffer=plan.room(8), length=8))
    plan.reap(1)
    with (
        plan.start(program, area, place.fds) as running,
        KprobeManager(running.process.pid, backend=backend, ops=["unlink"]) as manager,
    ):
        assert not [target for target in manager.targets if "io_submit" in target.function]
        running.go()
        assert read_to_end(manager) == []
        running.finish()
    check_ledger(manager.stats, backend)


def test_a_child(backend: str, area: Path, program: Path, place: Place) -> None:
    plan = Plan()
    plan.hold()
    plan.fork()
    sees = of_file("write", "PWRITE", place.log, place.log_fd, count=8)
    plan.submit(plan.request(PWRITE, fd=place.log_fd, buffer=plan.room(8), length=8, sees=sees))
    plan.reap(1)
    events, manager, pid, _ = run(plan, program, area, backend, place.fds)
    check(plan, events)
    assert [event.ppid for event in events] == [pid]
    books(plan, manager.stats, backend)


def test_requests_in_memory_that_is_not_there_yet(backend: str, area: Path, program: Path, place: Place) -> None:
    """The array and the requests in pages that nobody has touched: the kernel brings them in, then they are read."""
    requests = area / "requests"
    base, length = 0xA0000000, 8192
    iocb = struct.pack("=QIIHhIQQqQII", base + 256, 0, 0, PREAD, 0, place.fd, base + 264, 8, 2, 0, 0, 0)
    requests.write_bytes((struct.pack("=Q", base + 4096) + bytes(4096))[:4096] + iocb + bytes(4096 - len(iocb)))
    requests_fd = os.open(requests, os.O_RDWR)
    plan = Plan()
    plan.hold()
    plan.call(9, base, length, 3, 2 | 0x10, requests_fd)  # mmap, private
    step = plan.submit(array=base, number=1, accepts=1)
    sees = of_file("read", "PREAD", place.file, place.fd, count=8, offset=2)
    plan.reap(1)
    events, manager, _, _ = run(plan, program, area, backend, (*place.fds, requests_fd))
    os.close(requests_fd)
    assert step.result == 1
    assert [{name: getattr(event, name) for name in FIELDS} for event in events] == [sees]
    check_ledger(manager.stats, backend, performed=1, delivered=1)


def test_descriptors_that_another_thread_changes(backend: str, area: Path, program: Path) -> None:
    """Each byte that was read tells which of two files it was of: no request is named for the other one."""
    number = scaled(3_000, 300)
    files = {b"a": area / "a", b"b": area / "b"}
    for letter, path in files.items():
        path.write_bytes(letter)
    fds = [os.open(path, os.O_RDONLY) for path in files.values()]
    fds.append(os.dup(fds[0]))
    plan = Plan()
    plan.hold()
    plan.duplicate(*fds)
    rooms = [plan.room(1) for _ in range(number)]
    for room in rooms:
        plan.submit(plan.request(PREAD, fd=fds[2], buffer=room, length=1))
        plan.reap(1)
    with plan.start(program, area, tuple(fds)) as running:
        with KprobeManager(running.process.pid, backend=backend, ops=["read"]) as manager:
            running.go()
            events = read_to_end(manager)
            running.finish()
        truth = [str(files[running.byte(room)]) for room in rooms]
    for fd in fds:
        os.close(fd)
    assert len(events) == number and set(truth) == set(map(str, files.values()))
    assert {str(event.path_source) for event in events} <= {"file", "fd_changed", "raced"}
    certain = [(event.path, true) for event, true in zip(events, truth, strict=True) if event.path_source == "file"]
    assert [pair for pair in certain if pair[0] != pair[1]] == []
    check_ledger(manager.stats, backend, performed=number, delivered=number)


def _field(report: bytes) -> Any:
    return json.loads(report.partition(b"{")[1] + report.partition(b"{")[2])


def test_fio(backend: str, area: Path) -> None:
    """An independent user of AIO: requests are those of its own report."""
    fio = shutil.which("fio")
    if not fio:
        unable("fio is not installed")
    requests = scaled(4000, 400)
    command = [
        *(fio, "--name=job", "--ioengine=libaio", f"--directory={area}", "--rw=randrw", "--bs=4k", "--iodepth=32"),
        *("--iodepth_batch=8", f"--size={requests * 4096}", "--thread", "--output-format=json", "--fallocate=none"),
        *("--unlink=0",),
    ]
    report = area / "report"
    with (
        report.open("wb") as output,
        KprobeManager.spawn(command, backend=backend, ops=["read", "write"], kinds=["file"], stdout=output) as manager,
    ):
        events = list(manager)
    [job] = _field(report.read_bytes())["jobs"]
    aio = [event for event in events if event.via == "aio"]
    for op in ("read", "write"):
        mine = [event for event in aio if event.op == op]
        assert len(mine) == job[op]["total_ios"]
        assert sum(event.count for event in mine) == job[op]["io_bytes"]
    assert {(event.path, event.return_code) for event in aio} == {(str(area / "job.0.0"), None)}
    assert manager.stats.lost == 0 and manager.stats.blind_spots == 0
