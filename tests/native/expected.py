# SPDX-License-Identifier: MIT
"""What must be seen of each call of a script, and the comparison with what was."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.native.ground import HERE
from tests.native.script import AT_REMOVEDIR, NUMBERS, TRACED, Address, Script, Step, Steps, Stored

# Which argument of a call is what: by the manual pages.
_ARGUMENTS = {
    "openat": {"dirfd": 0, "raw_path": 1, "flags": 2, "mode": 3},
    "read": {"fd": 0, "count": 2},
    "write": {"fd": 0, "count": 2},
    "unlinkat": {"dirfd": 0, "raw_path": 1, "flags": 2},
    "unlink": {"raw_path": 0},
    "renameat2": {"dirfd": 0, "raw_path": 1, "flags": 4},
    "rename": {"raw_path": 0},
}
_OPERATIONS = {
    "openat": "open",
    "read": "read",
    "write": "write",
    "unlinkat": "unlink",
    "unlink": "unlink",
    "renameat2": "rename",
    "rename": "rename",
}


# What a call that succeeds by a name did is told by the kernel itself, where a backend has probes below the calls.
_ACTED = {"unlinkat", "unlink", "renameat2", "rename"}
_HAS_BELOW = {"kprobe", "fentry"}


class Filtered:
    """Counted as filtered, not seen."""


FILTERED = Filtered()


class Something:
    """Equal to anything but None."""

    def __eq__(self, other: object) -> bool:
        return other is not None

    __hash__ = None  # type: ignore[assignment]


SOMETHING = Something()
CHOSEN = {"backend": ""}  # of the test that runs: set by its fixture


@dataclass(frozen=True)
class Seen:
    """One event, apart from what the call's own arguments say. None: does not apply."""

    source: str
    path: str | None = None
    new_path: str | None = None
    error: int = 0
    moved: int | None = None  # bytes, of a read or write that succeeded
    offset: int | None = None
    kind: str | None = None
    of: Path | Step | None = None  # whose device and inode: a path, or an fstat step
    path_flags: frozenset[str] = frozenset()
    raw_path: str | None = None  # unlike the argument
    raw_is_unreadable: bool = False
    uid: int | None = None
    comm: str | None = None
    acted: Callable[[str], str] = os.path.normpath  # from the name as passed to the entry that the kernel acted on


def file(path: os.PathLike[str] | str, **more: Any) -> Seen:
    """A call on an open file: the kernel's own name of it."""
    more.setdefault("kind", "file")
    more.setdefault("of", Path(path))
    return Seen("file", os.fspath(path), **more)


def as_passed(path: os.PathLike[str] | str, new: os.PathLike[str] | str | None = None, **more: Any) -> Seen:
    """A call by an absolute name."""
    return Seen("as_passed", os.fspath(path), None if new is None else os.fspath(new), **more)


def relative(path: os.PathLike[str] | str, new: os.PathLike[str] | str | None = None, **more: Any) -> Seen:
    """A call by a name that starts from a directory."""
    return Seen("dir_and_name", os.fspath(path), None if new is None else os.fspath(new), **more)


def nameless(error: int, **more: Any) -> Seen:
    """A call whose name is not known, because there is none."""
    return Seen("none", error=error, **more)


def unreadable(error: int, **more: Any) -> Seen:
    """A call with a pointer to nowhere in place of its name."""
    return nameless(error, raw_is_unreadable=True, path_flags=frozenset({"unreadable"}), **more)


def _text(argument: Any) -> str | None:
    if isinstance(argument, Address):
        argument = argument.read().split(b"\0")[0]
    return os.fsdecode(argument)


def _signed(value: int) -> int:
    return struct.unpack("=i", struct.pack("=I", value & 0xFFFFFFFF))[0]


def _argument(step: Step, field: str) -> Any:
    index = _ARGUMENTS[step.name].get(field)
    if index is None or index >= len(step.arguments):
        return None
    argument = step.arguments[index]
    if isinstance(argument, Step):
        return argument.result
    return argument.value if isinstance(argument, Stored) else argument


def expected_fields(step: Step, seen: Seen) -> dict[str, Any]:
    """Every field of the event that is fixed by the call and by what the test says of it."""
    asked = {field: _argument(step, field) for field in ("dirfd", "flags", "mode", "fd", "count", "raw_path")}
    for field in ("dirfd", "fd"):
        if asked[field] is not None:
            asked[field] = _signed(asked[field])
    if asked["count"] is not None:
        asked["count"] &= (1 << 64) - 1
    raw = None
    if not seen.raw_is_unreadable and step.name not in ("read", "write"):
        raw = seen.raw_path if seen.raw_path is not None else _text(asked["raw_path"])
    operation = _OPERATIONS[step.name]
    if step.name == "unlinkat" and asked["flags"] & AT_REMOVEDIR:
        operation = "rmdir"
    if step.name == "openat":
        if not asked["flags"] & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
            asked["mode"] = None
        asked["fd"] = None if seen.error else step.result
    moved = None
    if operation in ("read", "write"):
        moved = 0 if seen.error else seen.moved
    device, inode = identity(seen.of) if seen.of is not None else (None, None)
    kind, path, new_path, source, flags = seen.kind, seen.path, seen.new_path, seen.source, seen.path_flags
    if CHOSEN["backend"] in _HAS_BELOW and step.name in _ACTED and not seen.error:
        # Where it was, whatever way the caller's name took to it; what it was, too.
        source = "dentry"
        path, new_path = (None if name is None else seen.acted(name) for name in (path, new_path))
        device = inode = kind = SOMETHING
    return {
        "op": operation,
        "syscall": step.name,
        "path": path,
        "new_path": new_path,
        "raw_path": raw,
        "path_source": source,
        "path_flags": flags,
        "fd": asked["fd"],
        "dirfd": asked["dirfd"],
        "flags": asked["flags"],
        "mode": asked["mode"],
        "count": asked["count"],
        "offset": seen.offset,
        "bytes": moved,
        "return_code": -seen.error if seen.error else (step.result if moved is None else moved),
        "errno": seen.error,
        "device": device,
        "inode": inode,
        "kind": kind,
        "pid": step.steps.pid,
        "tid": step.steps.tid,
        "ppid": step.steps.ppid,
        "comm": seen.comm or "steps",
        "uid": os.getuid() if seen.uid is None else seen.uid,
    }


def identity(of: Path | Step) -> tuple[int, int]:
    """Device and inode: by its path, or as the workload itself asked with fstat."""
    if isinstance(of, Step):
        assert of.name == "fstat" and of.result == 0, of
        return struct.unpack_from("=QQ", of.arguments[1].read())
    stat = of.stat()
    return stat.st_dev, stat.st_ino


def fields_of(event: Any) -> dict[str, Any]:
    """The same fields of a real event, in plain types."""
    names = (
        *("op", "syscall", "path", "new_path", "raw_path", "path_source", "fd", "dirfd", "flags", "mode", "count"),
        *("offset", "bytes", "return_code", "errno", "device", "inode", "kind", "pid", "tid", "ppid"),
        *("comm", "uid"),
    )
    fields = {name: getattr(event, name) for name in names}
    for name in ("op", "path_source", "kind"):
        fields[name] = None if fields[name] is None else str(fields[name])
    fields["path_flags"] = flag_names(event)
    return fields


def flag_names(event: Any) -> frozenset[str]:
    """The names of the flags that are set, in lower case."""
    return frozenset(str(flag.name).lower() for flag in event.path_flags)


def sightings(steps: Steps) -> Iterator[tuple[Step, Seen]]:
    """What must be seen of a list, in order."""
    for step in steps.steps:
        sees = step.sees
        if sees is None or isinstance(sees, Filtered):
            continue
        for index in range(step.repeat):
            yield step, sees(index) if callable(sees) else sees


def check_results(script: Script) -> None:
    """The workload itself met what the test foresaw: without this a comparison would prove little."""
    problems = []
    for step in script.ordered():
        if step.name not in NUMBERS:
            continue
        seen = step.sees(step.repeat - 1) if callable(step.sees) else step.sees
        if isinstance(seen, Seen) and seen.error:
            fits = step.result == -seen.error and step.failed == step.done
        elif isinstance(seen, Seen) and seen.moved is not None:
            fits = step.result == seen.moved and step.failed == 0
        else:
            fits = step.result >= 0 and step.failed == 0
        if not fits or step.done == 0:
            problems.append(f"{step}: {step.result}, done {step.done}, failed {step.failed}")
    assert not problems, "\n".join(problems[:40])


def check_events(script: Script, events: Iterable[Any], lists: Iterable[Steps] | None = None) -> None:
    """Each thread's events are exactly its list, in order and in every field; no other thread has any."""
    by_thread = defaultdict(list)
    for event in events:
        by_thread[event.tid].append(event)
    problems = []
    threads = defaultdict(list)
    for steps in script.lists if lists is None else lists:
        # After an exec the same thread goes on with another list.
        threads[steps.tid].append(steps)
    for tid, performed_by in threads.items():
        wanted = [each for steps in performed_by for each in sightings(steps)]
        got = by_thread.pop(tid, [])
        for (step, seen), event in zip(wanted, got, strict=False):
            want, have = expected_fields(step, seen), fields_of(event)
            different = [f"{name} {have[name]!r}, not {want[name]!r}" for name in want if have[name] != want[name]]
            if different:
                problems.append(f"{step}: " + "; ".join(different))
        if len(got) != len(wanted):
            numbers = [steps.index for steps in performed_by]
            problems.append(f"list {numbers}: {len(got)} events, not {len(wanted)}")
            problems.extend(f"  unexpected: {event!r}" for event in got[len(wanted) :][:5])
            problems.extend(f"  missing: {step}" for step, _ in wanted[len(got) :][:5])
    for tid, strangers in by_thread.items():
        problems.append(f"thread {tid} is nobody's: {strangers[:3]!r}")
    assert not problems, "\n".join(problems[:40])


def performed(script: Script, chosen: Callable[[Step], bool] = lambda step: True) -> int:
    """Traced calls, by the workload's own count."""
    return sum(step.done for step in script.ordered() if step.name in TRACED and chosen(step))


def filtered(script: Script) -> int:
    """Those of them on objects that were not asked for."""
    return performed(script, lambda step: isinstance(step.sees, Filtered))


def delivered(script: Script) -> int:
    """Those of them that must arrive."""
    return performed(script, lambda step: not isinstance(step.sees, Filtered))


CAUSES = (
    *("ring_full", "state_full", "no_entry", "no_exit", "probe_missed", "fork_map_full", "queue_full"),
    "decode_error",
)


def check_ledger(stats: Any, backend: str, **expected: int) -> None:
    """The books balance, and each account has the workload's own number; an account not named is empty."""
    assert stats.performed == stats.delivered + stats.queued + stats.in_flight + stats.filtered + stats.lost, stats
    assert stats.lost == sum(getattr(stats, cause) for cause in CAUSES), stats
    accounts = dict.fromkeys(
        (
            *("performed", "delivered", "queued", "in_flight", "filtered", "lost", "pre_attach", "denied"),
            *("compat_calls", "path_truncated", "path_unreadable"),
        ),
        0,
    )
    assert not expected.keys() - accounts.keys()
    accounts |= expected
    assert {name: getattr(stats, name) for name in accounts} == accounts, stats
    # The numbers are right all the same; but where the kernel keeps no count of misses, that is said.
    assert stats.exact == (backend not in HERE.inexact), stats
    assert stats.complete == (stats.exact and accounts["lost"] == 0 and accounts["compat_calls"] == 0), stats


def check_script_ledger(script: Script, stats: Any, backend: str, **expected: int) -> None:
    """The same, of a script that has ended and whose every event has been read."""
    flags = [flag for steps in script.lists for _, seen in sightings(steps) for flag in seen.path_flags]
    check_ledger(
        stats,
        backend,
        **{
            "performed": performed(script),
            "delivered": delivered(script),
            "filtered": filtered(script),
            "path_truncated": flags.count("truncated"),
            "path_unreadable": flags.count("unreadable"),
        }
        | expected,
    )
