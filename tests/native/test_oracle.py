# SPDX-License-Identifier: MIT
"""Real programs, seen by strace and by us in the same run: the same calls, with the same names and results.

Of every thread strace writes a log (tests/native/strace_log.py reads it); its calls of the table and our events must be
the same, one by one. All operations and all kinds are asked for.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import SYSCALLS, Kind, KprobeManager, Op, PathFlag, PathSource
from tests.native.expected import check_ledger
from tests.native.ground import HANG_SECONDS, HERE, unable
from tests.native.programs import PROGRAMS
from tests.native.strace_log import BLIND_SPOTS, UNKNOWN, Call, File, Named, Opened, known_calls, read_logs
from tests.native.tracing import read_to_end

# Backends with probes below the calls. There these tell the entry of a directory that the kernel acted on when they
# succeed, however it was named …
_BELOW = {"kprobe", "fentry"}
_OPERATION = {row.name: str(row.op) for row in SYSCALLS}
_ON_ENTRIES = {
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "bind", "symlink", "symlinkat"),
    *("link", "linkat", "rename", "renameat", "renameat2", "lchown", "lsetxattr", "lremovexattr", "move_mount"),
}
# … and these the file that the name led to.
_ON_FILES = {
    *("truncate", "chmod", "fchmodat", "fchmodat2", "chown", "fchownat", "utime", "utimes", "futimesat", "utimensat"),
    *("setxattr", "setxattrat", "removexattr", "removexattrat", "execve", "execveat", "mount", "umount2"),
}

# Differences that are right: a reason by the kernel's sources, and which they are. Each has a test of its own.
_ALLOWED: dict[str, Callable[[Call, Any], bool]] = {}


class _Ending:
    """Of a path no more than its end is known."""

    def __init__(self, end: str) -> None:
        self.end = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.endswith(self.end)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"…{self.end!r}"


_OF_ROOTS = PathFlag.OTHER_ROOT | PathFlag.UNREACHABLE


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "anything"


class _Certain:
    """A source of a path that is neither a guess nor a confession."""

    def __eq__(self, other: object) -> bool:
        return other not in (PathSource.RACED, PathSource.FD_CHANGED)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "certain"


def _path(file: File | None, how: str) -> object:
    """What our event must call this file: as "passed", or as the kernel has the "entry" or what the name "leads" to."""
    if file is UNKNOWN:
        return _Anything()
    if file is None or isinstance(file, Opened):
        return file and file.name
    assert isinstance(file, Named)
    if not file.text or (file.start == "" and not file.text.startswith("/")):
        return None
    if file.text.startswith("/"):
        path = file.text
    elif file.start is None:
        return _Ending("/" + (file.text if how == "passed" else posixpath.basename(posixpath.normpath(file.text))))
    else:
        path = f"{file.start.rstrip('/')}/{file.text}"
    if how == "passed":
        return path
    # Symbolic links are followed as they are afterwards: no program here changes one that it went through.
    if how == "leads" or posixpath.basename(path.rstrip("/")) in (".", ".."):
        return file.through or os.path.realpath(path)
    parent, name = posixpath.split(path.rstrip("/"))
    return posixpath.join(os.path.realpath(parent), name)


def _is_script(call: Call) -> bool:
    path = _path(call.opened or call.file, "leads")
    if not isinstance(path, str) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def _how_named(call: Call, backend: str) -> tuple[str, str]:
    """What the paths of the first and the second name must be."""
    if call.result is None or call.result < 0:
        return "passed", "passed"
    if call.name == "chdir":
        return "leads", "passed"
    if (backend, _OPERATION[call.name]) in HERE.untold:
        return "passed", "passed"
    # These the kernel keeps, so every backend has them; of a script it keeps the interpreter.
    if call.name in ("execve", "execveat") and not _is_script(call):
        return "leads", "passed"
    if call.name == "bind":
        return "entry", "passed"
    if backend in _BELOW and call.name in _ON_ENTRIES:
        return "leads" if call.follows else "entry", "entry"
    if backend in _BELOW and call.name in _ON_FILES:
        return "entry" if call.follows is False else "leads", "passed"
    return "passed", "passed"


def _is_unreadable(call: Call) -> bool:
    """A name of it is a pointer to nowhere."""
    return any(isinstance(file, Named) and file.text is None for file in (call.opened or call.file, call.other))


def _wanted(call: Call, backend: str) -> dict[str, object]:
    first, second = _how_named(call, backend)
    files = [call.opened or call.file, call.other]
    deleted = any(isinstance(file, Opened) and file.is_deleted for file in files)
    wanted: dict[str, object] = {
        "path_source": _Certain(),
        "syscall": call.name,
        "return_code": call.result,
        "raw_path": call.passed,
        "path": _path(files[0], first),
        "new_path": _path(files[1], second),
        "path_flags": PathFlag(_is_unreadable(call) * PathFlag.UNREADABLE.value | deleted * PathFlag.DELETED.value),
    }
    if call.result is None:
        # Killed inside the call: what came of it nobody was told.
        wanted["return_code"] = _Anything()
    return wanted


def _as_strace_knows(event: Any, field: str) -> object:
    """Of mounts and roots strace knows nothing, and of a directory that was removed it has the name."""
    value = getattr(event, field)
    is_unreachable = PathFlag.UNREACHABLE in event.path_flags
    if field == "path_flags":
        is_removed = is_unreachable and event.path_source == PathSource.DIR_AND_NAME
        return value & ~_OF_ROOTS & ~PathFlag(is_removed * PathFlag.DELETED.value)
    if field in ("path", "new_path") and is_unreachable and value is not None:
        return value.removeprefix("(unreachable)")
    return value


def _differences(call: Call, event: Any, backend: str) -> dict[str, tuple[object, object]]:
    """Field by field: ours and strace's."""
    return {
        field: (getattr(event, field), value)
        for field, value in _wanted(call, backend).items()
        if value != _as_strace_knows(event, field)
    }


def _compare(calls: list[Call], events: list[Any], backend: str) -> Iterator[str]:
    """Every call of one thread with its event. A call that did not come back may have no event: ptrace stops its thread
    before the tracepoint and before the call, and who is killed there never enters it."""
    rest = iter(events)
    event = next(rest, None)
    for call in calls:
        different = _differences(call, event, backend) if event else {}
        if call.result is None and (not event or different):
            continue
        if event is None:
            yield f"missing: {call}"
            return
        if different and not any(is_allowed(call, event) for is_allowed in _ALLOWED.values()):
            yield f"{call}: {different}"
            if "syscall" in different:
                return
        event = next(rest, None)
    if event:
        yield f"more than strace has: {event!r}"


def _run(command: list[str], work: Path, logs: Path, backend: str) -> tuple[dict[int, list[Call]], list[Any]]:
    """The calls by strace and our events, but for those of strace itself."""
    names = ",".join(sorted(known_calls()))
    strace = ["strace", "-ff", "-y", "-q", "-s", "0", "-X", "raw", "-e", f"trace={names}", "-o", str(logs / "log")]
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(work),
        **{f"GIT_{who}_{what}": "someone" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    with (
        (logs.parent / "errors").open("wb") as errors,
        KprobeManager.spawn(
            [*strace, *command],
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            backend=backend,
            ops=list(Op),
            kinds=list(Kind),
        ) as manager,
    ):
        events = read_to_end(manager)
        status = manager.process.wait(HANG_SECONDS)
        stats = manager.stats
        manager.close()
    assert status == 0, (logs.parent / "errors").read_text(errors="replace")
    by_strace = read_logs(logs)
    calls = [call for calls in by_strace.values() for call in calls]
    # What strace does itself, its child before the exec among it, it does not show: it seizes.
    own = [event for event in events if event.op is Op.BLIND_SPOT and event.comm == "strace"]
    assert {event.syscall for event in own} == {"ptrace"}
    kept_back = sum(call.is_kept_back for call in calls)
    check_ledger(
        stats,
        backend,
        performed=len(events) + kept_back,
        delivered=len(events),
        filtered=kept_back,
        blind_spots=len(own) + sum(call.is_blind_spot and not call.is_kept_back for call in calls),
        path_unreadable=sum(_is_unreadable(call) for call in calls),
    )
    told = {tid: [call for call in calls if not call.is_kept_back] for tid, calls in by_strace.items()}
    return told, [event for event in events if event.pid != manager.process.pid]


@pytest.mark.parametrize(
    "program",
    [pytest.param(name, marks=() if each.in_guests else pytest.mark.native_only) for name, each in PROGRAMS.items()],
)
def test_same_as_strace(backend: str, area: Path, program: str) -> None:
    for name in ("strace", *PROGRAMS[program].needs):
        if not shutil.which(name):
            unable(f"{name} is not installed")
    work, logs = area / "work", area / "logs"
    work.mkdir()
    logs.mkdir()
    command = PROGRAMS[program].prepare(work)
    by_strace, events = _run(command, work, logs, backend)
    if program == "sweep":
        assert {call.name for calls in by_strace.values() for call in calls} == known_calls() - BLIND_SPOTS

    # Of mounts and roots strace knows nothing.
    assert program == "sweep" or not any(event.path_flags & _OF_ROOTS for event in events)

    by_thread = defaultdict(list)
    assert not [event for event in events if event.via == "kernel"]
    for event in events:
        # Without its child before the exec, and what strace cannot see.
        if event.comm != "strace" and event.via != "exec":
            by_thread[event.tid].append(event)
    assert not by_thread.keys() - by_strace.keys()
    problems = [
        f"thread {tid}: {problem}"
        for tid, calls in by_strace.items()
        for problem in _compare(calls, by_thread[tid], backend)
    ]
    assert not problems, f"{len(problems)} differences\n" + "\n".join(problems[:40])
