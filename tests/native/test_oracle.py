# SPDX-License-Identifier: MIT
"""Real programs, seen by strace and by us in the same run: the same calls, with the same names and results."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import check_ledger
from tests.native.ground import FIRST_OPS, HANG_SECONDS, unable
from tests.native.script import TRACED
from tests.native.tracing import read_to_end

_LINE = re.compile(
    r"(?P<call>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)(?:<(?P<file>.*)>)?(?: (?P<error>E\w+) .*)?$"
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Behind these names is no file that a name says anything of.
_NO_FILE = ("pipe:", "socket:", "anon_inode:", "UNIX", "TCP", "UDP", "NETLINK")


def _unescape(text: str) -> str:
    return os.fsdecode(text.encode("latin-1").decode("unicode_escape").encode("latin-1"))


def _parse(line: str) -> tuple[str, str | None, tuple[str, ...], int] | None:
    """A line of `strace -y`: the call, the name that the kernel has for its file, the names as passed, the result."""
    match = _LINE.match(line)
    if not match or match["call"] not in TRACED:
        return None
    call, arguments, result = match["call"], match["arguments"], int(match["result"])
    names = tuple(_unescape(name) for name in _QUOTED.findall(arguments))
    if call in ("read", "write"):
        described = re.match(r"\d+(?:<(.*?)>)?, ", arguments)
        target = described[1] if described else None
        if target is None or target.startswith(_NO_FILE) or "<char 5:" in arguments:
            return None if target else (call, None, (), result)
        return call, _unescape(target), (), result
    error = match["error"]
    if error:
        import errno

        result = -getattr(errno, error)
    if call == "openat" and result >= 0:
        if match["file"].startswith(_NO_FILE):
            return None
        return call, _unescape(match["file"]), names[:1], result
    return call, None, names[:2], result


def _of_event(event: Any) -> tuple[str, str | None, tuple[str, ...], int]:
    call = str(event.syscall)
    if call in ("read", "write"):
        return call, event.path, (), event.return_code
    if call == "openat" and event.return_code >= 0:
        return call, event.path, (event.raw_path,), event.return_code
    if event.new_path is None:
        return call, None, (event.raw_path,), event.return_code
    # Of the second name what was passed is known only as far as it shows in the resolved one.
    return call, None, (event.raw_path, event.new_path), event.return_code


_PYTHON = """
import os, json
json.dump([1], open("a.json", "w"))
os.replace("a.json", "b.json")
print(json.load(open("b.json")))
os.mkdir("d")
os.rmdir("d")
os.unlink("b.json")
"""
_PROGRAMS = {
    "cp": ["cp", "-r", "source", "target"],
    "shell": [
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i >f$i; cat f$i >>all; mv f$i g$i; done; rm -r g1 g2; rm none; cat none",
    ],
    "python": [
        sys.executable,
        "-S",
        "-c",
        _PYTHON,
    ],
}


@pytest.mark.parametrize("program", _PROGRAMS)
def test_same_as_strace(backend: str, area: Path, program: str) -> None:
    """strace writes a file for each process; ours are compared with it process by process, call by call."""
    if not shutil.which("strace"):
        unable("strace is not installed")
    work, logs = area / "work", area / "logs"
    (work / "source" / "sub").mkdir(parents=True)
    (work / "source" / "one").write_bytes(b"1" * 100_000)
    (work / "source" / "sub" / "two").write_bytes(b"2")
    logs.mkdir()
    calls = ",".join(sorted(TRACED))
    command = [
        "strace",
        "-ff",
        "-y",
        "-qq",
        "-s",
        "0",
        "-e",
        "signal=none",
        "-e",
        f"trace={calls}",
        "-o",
        str(logs / "log"),
    ]
    with KprobeManager.spawn(
        [*command, *_PROGRAMS[program]],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"},
        backend=backend,
        ops=FIRST_OPS,
    ) as manager:
        events = read_to_end(manager)
        manager.process.wait(HANG_SECONDS)
    stats = manager.stats
    check_ledger(stats, backend, performed=len(events) + stats.filtered, delivered=len(events), filtered=stats.filtered)
    manager.close()
    by_strace = {}
    for log in logs.iterdir():
        lines = log.read_text(errors="surrogateescape").splitlines()
        by_strace[int(log.suffix[1:])] = [each for each in map(_parse, lines) if each]
    assert by_strace
    assert sum(map(len, by_strace.values())) > 20
    for pid, wanted in by_strace.items():
        got = [
            _of_event(event)
            for event in events
            if event.tid == pid and event.comm != "strace" and event.syscall in TRACED
        ]
        wanted = [_absolute(each, work) for each in wanted]
        assert got == wanted, _first_difference(got, wanted)


def _absolute(
    call: tuple[str, str | None, tuple[str, ...], int], work: Path
) -> tuple[str, str | None, tuple[str, ...], int]:
    """The second name of a rename as we show it: with its folder, which is the working directory here."""
    name, target, names, result = call
    if len(names) == 2:
        names = (names[0], os.path.join(work, names[1]))
    return name, target, names, result


def _first_difference(got: list[Any], wanted: list[Any]) -> str:
    for index, (have, want) in enumerate(zip(got, wanted, strict=False)):
        if have != want:
            return f"call {index}: {have}, strace: {want}"
    return f"{len(got)} calls, strace has {len(wanted)}: {got[len(wanted) :][:3]} {wanted[len(got) :][:3]}"
