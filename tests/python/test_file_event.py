# SPDX-License-Identifier: MIT
"""FileEvent by itself: made from keyword arguments, as tests and exporters do."""

from __future__ import annotations

import copy
import gc
import os
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_fileio import FileEvent, Kind, Op, PathFlag, PathSource, Via

FULL: dict[str, Any] = {
    "timestamp_ns": 123_456_789_012,
    "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "duration_ns": 1500,
    "pid": 10,
    "tid": 11,
    "ppid": 1,
    "comm": "python3",
    "uid": 1000,
    "cgroup_id": 2**63,
    "op": Op.RENAME,
    "syscall": "renameat2",
    "via": Via.SYSCALL,
    "path": "/etc/passwd",
    "new_path": "/tmp/x",
    "raw_path": "../passwd",
    "path_source": PathSource.DENTRY,
    "path_flags": PathFlag.TRUNCATED | PathFlag.DELETED,
    "fd": -1,
    "dirfd": -100,
    "flags": 2**64 - 1,
    "mode": 0o644,
    "count": 2**64 - 1,
    "offset": -(2**63),
    "bytes": 0,
    "return_code": -2,
    "errno": 2,
    "device": os.makedev(8, 1),
    "inode": 2**64 - 1,
    "kind": Kind.FILE,
    "changes": True,
    "sensitive": True,
    "seq": 2**64 - 1,
}

OPTIONAL = [
    *("duration_ns", "path", "new_path", "raw_path", "fd", "dirfd", "flags", "mode", "count", "offset", "bytes"),
    *("device", "inode", "kind"),
]


def test_every_field_comes_back_as_it_was_given() -> None:
    event = FileEvent(**FULL)
    assert event._asdict() == FULL
    assert list(event._asdict()) == list(FULL)
    for name, value in FULL.items():
        assert getattr(event, name) == value
        assert type(getattr(event, name)) is type(value)


def test_what_does_not_apply_is_none() -> None:
    event = FileEvent(op="unlink")
    assert {name: value for name, value in event._asdict().items() if value is None} == dict.fromkeys(OPTIONAL)
    assert event.path_source is PathSource.NONE
    assert event.op is Op.UNLINK
    assert not event.path_flags
    assert FileEvent(**dict.fromkeys(OPTIONAL), op="unlink") == event


def test_defaults() -> None:
    event = FileEvent(op="rmdir", pid=4, inode=3)
    assert (event.tid, event.seq, event.return_code, event.errno) == (4, 0, 0, 0)
    assert (event.device, event.inode, event.kind) == (0, 3, None)
    assert FileEvent(op="read", kind=Kind.FILE).inode is None
    assert FileEvent(op="open").syscall == "openat"
    assert FileEvent(op="open", errno=13).return_code == -13
    assert FileEvent(op="read", bytes=7).return_code == 7
    assert FileEvent(op="open", timestamp_ns=5_000_000_000).time == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_result_errno_and_bytes_are_one_number() -> None:
    restart = FileEvent(op="read", return_code=-512, bytes=0)
    assert (restart.return_code, restart.errno, restart.bytes) == (-512, 512, 0)
    address = FileEvent(op="read", return_code=-(2**62))
    assert (address.return_code, address.errno) == (-(2**62), 0)
    with pytest.raises(ValueError, match="contradicts"):
        FileEvent(op="read", return_code=3, errno=2)
    with pytest.raises(ValueError, match="contradicts"):
        FileEvent(op="read", return_code=3, bytes=4)
    with pytest.raises(ValueError, match="contradicts"):
        FileEvent(op="read", errno=2, bytes=4)


def test_an_unknown_operation_stays_a_number() -> None:
    event = FileEvent(op=200)
    assert event.op == 200
    assert type(event.op) is int
    assert event.syscall == "unknown"
    assert FileEvent(**event._asdict()) == event
    assert FileEvent(op=0).op is Op.OPEN


def test_unknown_path_flags_are_kept() -> None:
    event = FileEvent(op="open", path_flags=PathFlag(128 | 1))
    assert event.path_flags.value == 129
    assert PathFlag.TRUNCATED in event.path_flags


def test_time_is_aware_and_to_the_microsecond() -> None:
    when = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    event = FileEvent(op="open", time=when, timestamp_ns=999)
    assert event.time == when
    assert event.time.tzinfo is UTC
    with pytest.raises(TypeError):
        FileEvent(op="open", time=datetime(2026, 7, 1))  # noqa: DTZ001
    with pytest.raises(TypeError, match="datetime"):
        FileEvent(op="open", time=1.0)  # type: ignore[arg-type]
    before = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert FileEvent(op="open", time=before, timestamp_ns=12345).time == before


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({}, TypeError, "missing required keyword argument 'op'"),
        ({"op": "open", "paht": "/x"}, TypeError, "unexpected keyword argument 'paht'"),
        ({"op": "open", "sensitive": 1}, TypeError, "sensitive must be a bool, not 1"),
        ({"op": "opne"}, ValueError, "unknown op: 'opne'"),
        ({"op": None}, TypeError, "op"),
        ({"op": 256}, ValueError, "op is out of range"),
        ({"op": True}, TypeError, "op"),
        ({"op": "open", "path": "/x"}, TypeError, "path_source"),
        ({"op": "open", "path": "", "path_source": "file"}, ValueError, "never empty"),
        ({"op": "open", "new_path": ""}, ValueError, "never empty"),
        ({"op": "open", "path": "a\0b", "path_source": "file"}, ValueError, "null"),
        ({"op": "open", "path": b"/x", "path_source": "file"}, TypeError, "path must be a str"),
        ({"op": "open", "path": "x" * 65536, "path_source": "file"}, ValueError, "out of range"),
        ({"op": "open", "comm": "x" * 16}, ValueError, "15 bytes"),
        ({"op": "open", "comm": 1}, TypeError, "comm"),
        ({"op": "open", "pid": -1}, ValueError, "pid is out of range: -1"),
        ({"op": "open", "pid": 2**32}, ValueError, "pid is out of range"),
        ({"op": "open", "pid": 2**70}, ValueError, "pid is out of range"),
        ({"op": "open", "pid": None}, TypeError, "pid must be an int"),
        ({"op": "open", "pid": 1.0}, TypeError, "pid must be an int"),
        ({"op": "open", "seq": -1}, ValueError, "seq is out of range"),
        ({"op": "open", "seq": 2**64}, ValueError, "seq is out of range"),
        ({"op": "open", "seq": "1"}, TypeError, "seq must be an int"),
        ({"op": "open", "fd": 2**31}, ValueError, "fd is out of range"),
        ({"op": "open", "offset": 2**63}, ValueError, "offset is out of range"),
        ({"op": "open", "errno": -2}, ValueError, "errno is out of range"),
        ({"op": "open", "bytes": -2}, ValueError, "bytes is out of range"),
        ({"op": "open", "kind": "dri"}, ValueError, "unknown kind: 'dri'"),
        ({"op": "open", "kind": 1}, TypeError, "kind must be a str"),
        ({"op": "open", "syscall": "opent"}, ValueError, "unknown syscall"),
        ({"op": "open", "path_source": "x"}, ValueError, "unknown path_source"),
        ({"op": "open", "path_flags": 1}, TypeError, "PathFlag"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        FileEvent(**fields)
    assert message in str(caught.value)


def test_it_takes_keywords_only() -> None:
    with pytest.raises(TypeError, match="keyword arguments only"):
        FileEvent("open")  # type: ignore[misc]


def test_it_is_immutable() -> None:
    event = FileEvent(**FULL)
    for name in [*FULL, "anything"]:
        with pytest.raises(AttributeError):
            setattr(event, name, 1)
        with pytest.raises(AttributeError):
            delattr(event, name)
    assert not hasattr(event, "__dict__")
    with pytest.raises(TypeError):
        type("Sub", (FileEvent,), {})


@pytest.mark.parametrize("name", [name for name in FULL if name not in ("time", "errno", "bytes", "via")])
def test_events_that_differ_in_one_field_differ(name: str) -> None:
    full = {key: value for key, value in FULL.items() if key not in ("errno", "bytes")}
    other = {
        "op": Op.UNLINK,
        "syscall": "rename",
        "path_source": PathSource.RACED,
        "path_flags": PathFlag(0),
        "kind": Kind.DIR,
        "changes": False,
        "sensitive": False,
        "return_code": -1,
    }.get(name, FULL[name][::-1] if isinstance(FULL[name], str) else 7)
    assert FileEvent(**full) == FileEvent(**full)
    assert hash(FileEvent(**full)) == hash(FileEvent(**full))
    assert FileEvent(**{**full, name: other}) != FileEvent(**full)
    if name in OPTIONAL and name not in ("device", "inode", "kind"):
        assert FileEvent(**{**full, name: None}) != FileEvent(**full)


def test_comparing_with_other_things() -> None:
    event = FileEvent(**FULL)
    assert event != FULL
    assert event != None  # noqa: E711
    with pytest.raises(TypeError):
        event < event  # type: ignore[operator]  # noqa: B015
    assert len({event, copy.copy(event), FileEvent(**FULL)}) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    event = FileEvent(**{**FULL, "path": "/\udcff\n", "op": 99, "path_flags": PathFlag(0)})
    again = pickle.loads(pickle.dumps(event, protocol))
    assert again == event
    assert again._asdict() == event._asdict()


def test_a_copy_is_the_same_object() -> None:
    event = FileEvent(**FULL)
    assert copy.copy(event) is event
    assert copy.deepcopy(event) is event


def test_match_takes_operation_and_path() -> None:
    match FileEvent(op="open", path="/etc/passwd", path_source="file"):
        case FileEvent(Op.OPEN, "/etc/passwd", fd=None) as event:
            assert event.op == "open"
        case _:
            pytest.fail("no match")
    assert FileEvent.__match_args__ == ("op", "path")


def test_repr_tells_what_happened() -> None:
    assert repr(FileEvent(**FULL)) == (
        "<FileEvent rename '/etc/passwd' -> '/tmp/x' by renameat2 = ENOENT, pid=10 comm='python3' "
        "seq=18446744073709551615>"
    )
    assert repr(FileEvent(op="read", return_code=3)) == "<FileEvent read None by read = 3, pid=0 comm='' seq=0>"
    assert "= -512," in repr(FileEvent(op="read", return_code=-512))


def test_values_are_shared_or_made_once() -> None:
    event = FileEvent(op="open", path="/some/path", path_source="file", path_flags=PathFlag.DELETED)
    assert event.path is event.path
    assert event.path is FileEvent(op="read", path="/some/path", path_source="file").path
    long = "/" + "x" * 400
    assert FileEvent(op="read", path=long, path_source="file").path == long
    assert event.syscall is FileEvent(op="open").syscall
    assert event.path_flags is FileEvent(op="open", path_flags=PathFlag.DELETED).path_flags
    assert not gc.is_tracked(event)


FILE_NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name)


@given(path=FILE_NAMES, new_path=FILE_NAMES, raw_path=st.one_of(FILE_NAMES, st.just(b"")))
def test_names_of_any_bytes_come_back_exactly(path: bytes, new_path: bytes, raw_path: bytes) -> None:
    event = FileEvent(
        op="rename",
        path=os.fsdecode(path),
        new_path=os.fsdecode(new_path),
        raw_path=os.fsdecode(raw_path),
        path_source="dentry",
    )
    assert event.path is not None
    assert event.new_path is not None
    assert event.raw_path is not None
    assert (os.fsencode(event.path), os.fsencode(event.new_path), os.fsencode(event.raw_path)) == (
        path,
        new_path,
        raw_path,
    )
    assert pickle.loads(pickle.dumps(event)) == event


def test_a_result_that_is_not_told() -> None:
    """Of a request of io_uring that asked for no completion."""
    event = FileEvent(op="read", via="io_uring", return_code=None)
    assert (event.syscall, event.via, event.return_code, event.errno) == ("IORING_OP_READ", Via.IO_URING, None, None)
    assert FileEvent(**event._asdict()) == pickle.loads(pickle.dumps(event)) == event
    assert event != FileEvent(op="read", via="io_uring")
    assert " = ?, " in repr(event)
    with pytest.raises(ValueError, match="None together"):
        FileEvent(op="read", return_code=None, errno=2)
