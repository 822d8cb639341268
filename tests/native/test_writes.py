# SPDX-License-Identifier: MIT
"""The group "writes": exactly the calls that change a file, a name or an attribute, chosen in the kernel."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import SYSCALLS, FileEvent, Kind, KprobeManager, Op
from tests.native.row_lists import LISTS
from tests.native.script import Script
from tests.native.tracing import read_to_end

# Each line does one thing; those with "#!" change something. `a` is a file of 4096 bytes, `d` a folder.
_WORK = """
f = os.open('a', os.O_RDONLY)
g = os.open('a', os.O_WRONLY)  #! openat
h = os.open('a', os.O_RDWR | os.O_APPEND)  #! openat
os.open('a', os.O_RDONLY | os.O_TRUNC)  #! openat
os.open('b', os.O_RDONLY | os.O_CREAT)  #! openat
os.open('a', os.O_PATH | os.O_CREAT)
os.open('d', os.O_RDONLY | os.O_DIRECTORY)
os.open('d', os.O_RDWR | 0o20200000)  #! openat
refused('d', os.O_WRONLY)  #! openat
refused('none', os.O_RDONLY)
os.ftruncate(h, 4096)  #! ftruncate
os.read(f, 10)
os.write(g, b'x')  #! write
os.pwrite(h, b'x', 5)  #! pwrite64
m = mmap.mmap(f, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
m = mmap.mmap(h, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
m = mmap.mmap(f, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
e = os.memfd_create('x')
os.ftruncate(e, 4096)  #! ftruncate
m = mmap.mmap(e, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
m = mmap.mmap(e, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)  #! mmap
r, w = os.pipe()
os.sendfile(w, f, 0, 10)
os.splice(f, w, 10, 0)
os.splice(r, g, 10)  #! splice
os.copy_file_range(f, h, 10, 0) if False else os.copy_file_range(f, g, 10, 0)  #! copy_file_range
os.fsync(g)
os.stat('a')
os.listdir('d')
os.mkdir('e')  #! mkdir
os.rename('b', 'c')  #! rename
os.link('c', 'l')  #! link
os.symlink('c', 's')  #! symlink
os.chmod('c', 0o600)  #! chmod
os.utime('c')  #! utimensat
os.truncate('c', 3)  #! truncate
os.unlink('c')  #! unlink
os.rmdir('e')  #! rmdir
os.close(g)
"""
_SETUP = """import os, mmap, sys
os.chdir(sys.argv[1])
def refused(name, flags):
    try: os.open(name, flags)
    except OSError: return
    raise SystemExit(f'{name} was opened')
"""
_OURS = [line.split("#!")[1].strip() for line in _WORK.splitlines() if "#!" in line]


@pytest.fixture
def folder(area: Path) -> Path:
    (area / "a").write_bytes(bytes(4096))
    (area / "d").mkdir()
    return area


def _of_folder(events: list[FileEvent], folder: Path) -> list[FileEvent]:
    """Without what Python itself opens; a memfd is of no place."""
    return [e for e in events if (e.path or "").startswith((str(folder), "/memfd:x")) or e.op is Op.COPY]


def _spawn(folder: Path, **options: Any) -> tuple[list[FileEvent], Any]:
    command = [sys.executable, "-I", "-S", "-c", _SETUP + _WORK, str(folder)]
    with KprobeManager.spawn(command, **options) as manager:
        events = list(manager)
        assert manager.process.wait() == 0
        return events, manager.stats


def test_exactly_what_changes_something(backend: str, folder: Path) -> None:
    events, stats = _spawn(folder, backend=backend, ops=["writes"])
    assert stats.lost == 0
    # A link and a rename are about two files, of which the second may be the first's.
    assert [event.syscall for event in _of_folder(events, folder)] == _OURS
    assert [event.syscall for event in events if event.op is not Op.BLIND_SPOT] == _OURS
    assert all(event.changes for event in events if event.op is not Op.BLIND_SPOT)


def test_an_operation_that_is_named_beside_it_is_whole(backend: str, folder: Path) -> None:
    events, _ = _spawn(folder, backend=backend, ops=["writes", "open"])
    ours = _of_folder(events, folder)
    assert [event.syscall for event in ours if event.changes] == _OURS
    assert [event.changes for event in ours if event.op is Op.OPEN] == [
        *(False, True, True, True, True, False, False, True, True, False, False)
    ]


@pytest.mark.usefixtures("many_descriptors")
def test_of_every_call_there_is(backend: str, area: Path) -> None:
    """Two traces of one program: what one told of everything with `changes` is what the other told."""
    script = Script(traced={row.name for row in SYSCALLS})
    script.main.hold()
    for theme, write in LISTS.items():
        (area / theme).mkdir()
        steps = script.list()
        script.main.fork(steps)
        write(script, steps, area / theme)
        script.main.wait_children()
    options: dict[str, Any] = {"backend": backend, "kinds": list(Kind)}
    with script.start(area) as running, contextlib.ExitStack() as stack:
        managers = [
            stack.enter_context(KprobeManager(running.pid, ops=ops, **options)) for ops in (list(Op), ["writes"])
        ]
        running.go()
        everything, writes = (read_to_end(manager) for manager in managers)
        running.finish()
    told = [
        [
            (event.tid, event.syscall, event.path, event.new_path, event.raw_path, event.return_code)
            for event in sorted(events, key=lambda event: (event.tid, event.seq))
            if event.changes or event.op is Op.BLIND_SPOT
        ]
        for events in (everything, writes)
    ]
    assert told[0] == told[1]
    assert len(writes) == len(told[1]) < len(everything)
    assert {event.op for event in writes} >= {Op.OPEN, Op.WRITE, Op.RENAME, Op.COPY, Op.XATTR, Op.MKNOD, Op.ALLOCATE}


@pytest.mark.native_only
def test_on_the_command_line(area: Path) -> None:
    """Of a shell's two commands, the one that writes."""
    command = [sys.executable, "-m", "aa_fileio.integrations.command_line", "run", "--json", "-o", str(area / "trace")]
    code = f"cat /etc/hostname >/dev/null; echo x > {area}/x; mv {area}/x {area}/y; rm {area}/y"
    subprocess.run([*command, "--ops", "writes", "--", "sh", "-c", code], check=True)
    events = [line for line in map(json.loads, (area / "trace").read_text().splitlines()) if line["record"] == "event"]
    assert all(event["changes"] for event in events)
    ours = [(event["op"], event["path"]) for event in events if str(area) in (event["path"] or "")]
    assert ours == [
        *(("open", f"{area}/x"), ("write", f"{area}/x"), ("rename", f"{area}/x"), ("unlink", f"{area}/y")),
    ]
