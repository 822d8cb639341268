# SPDX-License-Identifier: MIT
"""EventBatch by itself: rows as FileEvents, columns as independent readers of Arrow understand them.

They start threads, which take signals that tests of the command line send to the process: so these run by themselves.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import nanoarrow
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aa_fileio import SYSCALLS, EventBatch, FileEvent, Kind, Op, PathFlag, PathSource
from aa_fileio._native import ring_operations

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIELDS = tuple(FileEvent(op="open")._asdict())
STRINGS = ("comm", "path", "new_path", "raw_path")

DICTIONARY = pa.dictionary(pa.int32(), pa.utf8())
WORDS = pa.dictionary(pa.int16(), pa.utf8())
TYPES = {
    "timestamp_ns": pa.uint64(),
    "time": pa.timestamp("ns", "UTC"),
    "duration_ns": pa.uint64(),
    "pid": pa.uint32(),
    "tid": pa.uint32(),
    "ppid": pa.uint32(),
    "comm": DICTIONARY,
    "uid": pa.uint32(),
    "cgroup_id": pa.uint64(),
    "op": WORDS,
    "syscall": WORDS,
    "via": WORDS,
    "path": DICTIONARY,
    "new_path": DICTIONARY,
    "raw_path": DICTIONARY,
    "path_source": WORDS,
    "path_flags": pa.uint8(),
    "fd": pa.int32(),
    "dirfd": pa.int32(),
    "flags": pa.uint64(),
    "mode": pa.uint32(),
    "count": pa.uint64(),
    "offset": pa.int64(),
    "bytes": pa.int64(),
    "return_code": pa.int64(),
    "errno": pa.int32(),
    "device": pa.uint64(),
    "inode": pa.uint64(),
    "kind": WORDS,
    "changes": pa.uint8(),
    "sensitive": pa.uint8(),
    "seq": pa.uint64(),
    "comm_bytes": pa.binary(),
    "path_bytes": pa.binary(),
    "new_path_bytes": pa.binary(),
    "raw_path_bytes": pa.binary(),
}


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


U64, I64, U32, I32 = (
    integers(0, 2**64 - 1),
    integers(-(2**63), 2**63 - 1),
    integers(0, 2**32 - 1),
    integers(-(2**31), 2**31 - 1),
)
NAME = st.one_of(
    st.sampled_from([b"/usr/lib/libc.so.6", b"/", b"/\xff", rb"/\xff", b"\xc3", "/é€😀".encode()]),
    st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name),
).map(os.fsdecode)
EVENTS = st.fixed_dictionaries(
    {"op": st.one_of(st.sampled_from(Op), integers(len(Op), 255)), "path_source": st.sampled_from(PathSource)},
    optional={
        "timestamp_ns": integers(0, 2**62),
        "time": st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        "duration_ns": maybe(U64),
        "pid": U32,
        "tid": U32,
        "ppid": U32,
        "comm": st.binary(max_size=15).filter(lambda name: b"\0" not in name).map(os.fsdecode),
        "uid": U32,
        "cgroup_id": U64,
        "syscall": st.sampled_from([*(call.name for call in SYSCALLS), *(name for name, _, _ in ring_operations())]),
        "path": maybe(NAME),
        "new_path": maybe(NAME),
        "raw_path": maybe(st.one_of(NAME, st.just(""))),
        "path_flags": integers(0, 255).map(PathFlag),
        "changes": st.booleans(),
        "sensitive": maybe(st.booleans()),
        "fd": maybe(I32),
        "dirfd": maybe(I32),
        "flags": maybe(U64),
        "mode": maybe(U32),
        "count": maybe(U64),
        "offset": maybe(I64),
        "return_code": maybe(I64),
        "inode": maybe(U64),
        "kind": maybe(st.sampled_from(Kind)),
        "seq": U64,
    },
).map(lambda fields: FileEvent(**fields))


def shown(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def in_columns(event: FileEvent) -> dict[str, Any]:
    """What the columns must have for this event, by the documentation of EventBatch."""
    row = event._asdict()
    for name in STRINGS:
        exact = None if row[name] is None else os.fsencode(row[name])
        row[f"{name}_bytes"] = exact if exact is not None and shown(row[name]).encode() != exact else None
        row[name] = None if exact is None else shown(row[name])
    row["op"] = str(row["op"])
    row["path_flags"] = row["path_flags"].value
    row["changes"] = int(row["changes"])
    row["sensitive"] = None if row["sensitive"] is None else int(row["sensitive"])
    row["time"] = (event.time - EPOCH) // timedelta(microseconds=1)
    return row


def rows_of(columns: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as plain values; times in whole microseconds, as FileEvent has them."""
    plain = {name: columns[name].to_pylist() for name in columns.schema.names if name != "time"}
    plain["time"] = [value // 1000 for value in columns["time"].cast(pa.int64()).to_pylist()]
    return [{name: values[row] for name, values in plain.items()} for row in range(columns.num_rows)]


SOME = [
    FileEvent(op="open", path="/etc/passwd", path_source="file", fd=3, flags=os.O_RDWR, return_code=3, seq=0),
    FileEvent(op="read", path="/etc/passwd", path_source="file", bytes=5, count=9, inode=2**63, kind="file", seq=1),
    FileEvent(op="rename", path="/tmp/\udcff", new_path="/tmp/new", raw_path="", path_source="dentry", seq=2),
    FileEvent(op=200, errno=13, comm="\udcfe", seq=3),
]


def test_every_field_of_an_event_is_a_column_and_of_the_promised_type() -> None:
    batch = EventBatch(SOME)
    assert batch.column_names == (*FIELDS, *(f"{name}_bytes" for name in STRINGS))
    schema = pa.schema(batch)
    assert dict(zip(schema.names, schema.types, strict=True)) == TYPES
    assert tuple(schema.names) == batch.column_names
    # Made without a result an event has 0; a request of io_uring may have none.
    always = {
        name
        for name, value in FileEvent(op="open", return_code=None, sensitive=None)._asdict().items()
        if value is not None
    }
    assert {field.name for field in schema if not field.nullable} == always


def test_rows_are_the_events() -> None:
    batch = EventBatch(SOME)
    assert len(batch) == 4
    assert list(batch) == SOME
    assert [event._asdict() for event in batch] == [event._asdict() for event in SOME]
    assert batch[-1] == SOME[3]
    assert SOME[1] in batch
    for index in (4, -5):
        with pytest.raises(IndexError):
            batch[index]
    with pytest.raises(TypeError):
        batch["path"]  # type: ignore[index]
    assert repr(batch) == "<EventBatch of 4 events>"
    assert batch
    assert not EventBatch()


@pytest.mark.parametrize("wrong", [5, [5], ["open"], [None]])
def test_it_is_made_of_events(wrong: Any) -> None:
    with pytest.raises(TypeError):
        EventBatch(wrong)


def test_an_iterable_that_fails_is_not_swallowed() -> None:
    def events() -> Any:
        yield SOME[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        EventBatch(events())


def test_it_is_immutable_and_copies_are_itself() -> None:
    batch = EventBatch(SOME)
    with pytest.raises(TypeError):
        batch[0] = SOME[0]  # type: ignore[index]
    with pytest.raises(AttributeError):
        batch.column_names = ()  # type: ignore[misc]
    assert copy.copy(batch) is batch
    assert copy.deepcopy(batch) is batch
    assert list(pickle.loads(pickle.dumps(batch))) == SOME


@settings(max_examples=150, deadline=None)
@given(events=st.lists(EVENTS, max_size=12), repeat=st.sampled_from([1, 1, 30]))
def test_any_events_come_back_and_pyarrow_agrees(events: list[FileEvent], repeat: int) -> None:
    batch = EventBatch(events * repeat)
    assert list(batch) == events * repeat
    columns = pa.record_batch(batch)
    columns.validate(full=True)
    assert rows_of(columns) == [
        {name: row[name] for name in (*TYPES.keys() - {"time"}, "time")} for row in map(in_columns, events * repeat)
    ]


def test_times_are_kept_to_the_nanosecond() -> None:
    event = FileEvent(op="open", timestamp_ns=1234, time=datetime(2026, 1, 2, tzinfo=UTC))
    assert pa.record_batch(EventBatch([event]))["time"].cast(pa.int64()).to_pylist() == [
        int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()) * 10**9
    ]
    assert pa.record_batch(EventBatch([FileEvent(op="open", timestamp_ns=1_000_000_007)]))["time"].cast(
        pa.int64()
    ).to_pylist() == [1_000_000_007]


# ---- independent readers ----


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 5000])
def test_nanoarrow(count: int) -> None:
    events = [FileEvent(op="read", fd=row if row % 3 else None, seq=row) for row in range(count)]
    array = nanoarrow.Array(EventBatch(events))
    assert len(array) == count
    nanoarrow.c_array(EventBatch(events)).view()
    names = [field.name for field in array.schema.fields]
    assert tuple(names) == EventBatch().column_names
    fds, numbers = (array.child(names.index(name)) for name in ("fd", "seq"))
    assert list(fds.iter_py()) == [event.fd for event in events]
    assert list(numbers.iter_py()) == list(range(count))
    assert nanoarrow.c_array(EventBatch(events)).child(names.index("fd")).null_count == len(range(0, count, 3))


def test_pandas() -> None:
    frame = EventBatch(SOME).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(TYPES)
    assert list(frame["inode"].isna()) == [True, False, True, True]
    assert frame["inode"][1] == 2**63  # which is no float
    assert frame["path"].dtype == "category"
    assert list(frame["path"].cat.categories) == ["/etc/passwd", "/tmp/\\xff"]
    assert list(frame["op"]) == ["open", "read", "rename", "200"]
    assert frame["path_bytes"][2] == b"/tmp/\xff"
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]"
    assert frame.groupby("op", observed=True)["bytes"].sum()["read"] == 5
    assert len(pd.DataFrame.from_arrow(EventBatch(SOME))) == 4
    assert EventBatch().to_pandas().shape == (0, len(TYPES))


def test_polars() -> None:
    frame = EventBatch(SOME).to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == list(TYPES)
    assert frame["path"].cast(pl.String).to_list() == ["/etc/passwd", "/etc/passwd", "/tmp/\\xff", None]
    assert frame["op"].cast(pl.String).to_list() == ["open", "read", "rename", "200"]
    assert frame["path_bytes"].to_list() == [None, None, b"/tmp/\xff", None]
    assert frame["time"].dtype == pl.Datetime("ns", "UTC")
    assert frame["inode"].to_list() == [None, 2**63, None, None]
    assert frame.filter(pl.col("errno") == 13)["seq"].to_list() == [3]
    assert EventBatch().to_polars().shape == (0, len(TYPES))


def test_duckdb() -> None:
    events = EventBatch(SOME).to_arrow()  # found by its name in the query
    assert duckdb.sql("SELECT op, path, inode, path_bytes FROM events ORDER BY seq").fetchall() == [
        ("open", "/etc/passwd", None, None),
        ("read", "/etc/passwd", 2**63, None),
        ("rename", "/tmp/\\xff", None, b"/tmp/\xff"),
        ("200", None, None, None),
    ]
    assert events.num_rows == 4


@pytest.mark.parametrize(
    ("method", "package"), [("to_arrow", "pyarrow"), ("to_pandas", "pandas"), ("to_polars", "polars")]
)
def test_a_package_that_is_not_installed_is_named(method: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("aa_fileio.batches.importlib.import_module", nothing)
    with pytest.raises(ModuleNotFoundError, match=rf"{method}\(\) needs {package}.*pip install {package}"):
        getattr(EventBatch(SOME), method)()


# ---- who releases what, and when ----


class _Array(ctypes.Structure):
    """struct ArrowArray, for a receiver of our own."""


_Release = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    *((name, ctypes.c_void_p) for name in ("buffers", "children", "dictionary")),
    ("release", _Release),
    ("private_data", ctypes.c_void_p),
]


def take(capsule: Any) -> _Array:
    """As a receiver does: the content is moved out, and what stays behind is marked as released."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    source = ctypes.cast(pointer(capsule, b"arrow_array"), ctypes.POINTER(_Array))
    taken = _Array()
    ctypes.memmove(ctypes.byref(taken), source, ctypes.sizeof(_Array))
    source.contents.release = _Release()
    return taken


def test_released_late_twice_and_by_another_thread() -> None:
    batch = EventBatch(SOME * 1000)
    taken = take(batch.__arrow_c_array__()[1])
    del batch
    gc.collect()
    assert taken.length == 4000
    release = _Release(ctypes.cast(taken.release, ctypes.c_void_p).value)  # not that in the structure
    # A call by ctypes gives up the interpreter's lock.
    thread = threading.Thread(target=release, args=(ctypes.byref(taken),))
    thread.start()
    thread.join()
    assert not taken.release
    release(ctypes.byref(taken))


def test_what_was_taken_outlives_the_batch() -> None:
    batch = EventBatch(SOME * 1000)
    columns, frame = pa.record_batch(batch), batch.to_polars()
    del batch
    gc.collect()
    assert columns["path"].to_pylist()[:4] == ["/etc/passwd", "/etc/passwd", "/tmp/\\xff", None]
    assert frame["seq"].to_list() == [0, 1, 2, 3] * 1000
    assert columns["path"].slice(3998).to_pylist() == ["/tmp/\\xff", None]


def test_capsules_that_nobody_takes_are_released() -> None:
    batch = EventBatch(SOME)

    def leave() -> None:
        batch.__arrow_c_schema__()
        batch.__arrow_c_array__()
        batch.__arrow_c_array__(None)
        batch.__arrow_c_array__(requested_schema=batch.__arrow_c_schema__())

    resident = [0, 0]
    for step in range(2):
        for _ in range(5000):
            leave()
        with open("/proc/self/statm") as file:
            resident[step] = int(file.read().split()[1])
    # 20,000 arrays of some 17 kB would be 340 MB.
    assert (resident[1] - resident[0]) * os.sysconf("SC_PAGESIZE") < 20_000_000


@pytest.mark.parametrize("wrong", [5, "int32", pa.schema([])])
def test_a_requested_schema_is_a_capsule(wrong: Any) -> None:
    with pytest.raises(TypeError, match="requested_schema"):
        EventBatch(SOME).__arrow_c_array__(wrong)


def test_the_interpreter_need_not_be_there_any_more(tmp_path: Any) -> None:
    """Columns that live until the process ends: nothing of Python is touched when it is gone."""
    import subprocess

    code = """
import pyarrow, aa_fileio, builtins
batch = aa_fileio.EventBatch([aa_fileio.FileEvent(op="open", seq=n) for n in range(1000)])
builtins.kept = pyarrow.record_batch(batch), batch.__arrow_c_array__()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
