# SPDX-License-Identifier: MIT
"""What an exec opens inside the kernel: the program, the interpreter of a script, the interpreter of ELF; no more."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import as_passed, calls_of, check_ledger, fields_of, opened_by_exec, sees_exec_opens
from tests.native.ground import HANG_SECONDS
from tests.native.row_lists import AT_EMPTY_PATH
from tests.native.script import Script, Steps
from tests.native.themes import stat_of, told
from tests.native.tracing import check_trace, read_to_end, trace

BOTH = ("open", "exec")
# It ends at once, without a library to open.
_SOURCE = '__attribute__((naked)) void _start(void) { asm("mov $60, %eax; xor %edi, %edi; syscall"); }'


def _compile(path: Path, *flags: str) -> Path:
    command = ["gcc", "-O1", "-nostdlib", *flags, "-o", path, "-xc", "-"]
    subprocess.run(command, input=_SOURCE.encode(), check=True, timeout=HANG_SECONDS)
    return path


def _script(path: Path, interpreter: os.PathLike[str] | str) -> Path:
    path.write_text(f"#!{interpreter}\n")
    path.chmod(0o700)
    return path


def _loader_of(program: Path) -> Path:
    """By readelf's word; where that leads."""
    listed = subprocess.run(["readelf", "-lW", program], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requesting program interpreter: (.*?)\]", listed)
    assert found, listed
    return Path(os.path.realpath(found[1]))


def _array(steps: Steps) -> object:
    array = steps.script.buffer(16)
    steps.poke(array, steps.script.buffer(b"argument\0"))
    return array


class _Lists:
    """A script of execs: each by a child of its own."""

    def __init__(self, ops: Sequence[str]) -> None:
        self.script = Script(traced=calls_of(ops))
        self.asks_exec = "exec" in ops
        self.script.main.hold()

    def becomes(self, program: Path, opens: Sequence[Path]) -> None:
        child = self.script.list()
        self.script.main.fork(child)
        # What it names is the file that was asked for, not an interpreter.
        is_script = program.read_bytes().startswith(b"#!")
        seen = as_passed(program, opens=tuple(opens), comm=program.name, is_script=is_script)
        name = child.script.buffer(os.fsencode(program) + b"\0")
        child.leave("execve", name, _array(child), 0, sees=seen)
        self.script.main.wait_children()

    def fails(self, error: int, program: Path, opens: Sequence[Path] = ()) -> None:
        seen = as_passed(program, error=error, opens=tuple(opens))
        self.script.main.call("execve", program, _array(self.script.main), 0, sees=seen)


def test_every_file_of_an_exec(backend: str, area: Path) -> None:
    static, dynamic = _compile(area / "static", "-static"), _compile(area / "dynamic", "-pie")
    loader = _loader_of(dynamic)
    lost = _compile(area / "lost", "-pie", "-Wl,--dynamic-linker=/none/ld.so")
    plain = area / "plain"
    plain.write_bytes(b"")
    nonsense = area / "nonsense"
    nonsense.write_bytes(b"neither an ELF nor a script")
    nonsense.chmod(0o700)
    of_static, of_dynamic = _script(area / "of-static", static), _script(area / "of-dynamic", dynamic)
    of_script = _script(area / "of-script", of_dynamic)
    (area / "short").symlink_to("dynamic")

    lists = _Lists(BOTH)
    lists.becomes(static, [static])
    lists.becomes(dynamic, [dynamic, loader])
    lists.becomes(of_static, [of_static, static])
    lists.becomes(of_dynamic, [of_dynamic, dynamic, loader])
    lists.becomes(of_script, [of_script, of_dynamic, dynamic, loader])
    lists.fails(errno.ENOENT, area / "none")
    lists.fails(errno.ENOENT, _script(area / "of-none", "/none/interpreter"), [area / "of-none"])
    lists.fails(errno.ENOENT, lost, [lost])
    lists.fails(errno.EACCES, plain)
    lists.fails(errno.EACCES, _script(area / "of-plain", plain), [area / "of-plain"])
    lists.fails(errno.ENOEXEC, nonsense, [nonsense])
    lists.fails(errno.EACCES, area)
    check_trace(lists.script, area, backend, ops=BOTH)


@pytest.mark.parametrize("ops", [("open",), ("exec",)], ids=["open", "exec"])
def test_asked_for_as_opens(backend: str, area: Path, ops: tuple[str, ...]) -> None:
    """Opens are told whether or not execs are; without opens nothing is attached for them."""
    dynamic = _compile(area / "dynamic", "-pie")
    opened = [dynamic, _loader_of(dynamic)]
    with KprobeManager.spawn([dynamic], backend=backend, ops=ops) as manager:
        functions = {target.function for target in manager.targets}
        events = read_to_end(manager)
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
        pid = manager.process.pid
    is_told = sees_exec_opens(Script(traced=calls_of(ops)))
    assert ("security_file_open" in functions) == is_told
    opens = [fields_of(event) for event in events if event.via == "exec"]
    # The thread that is to become the command is the tracer's child.
    more = {"ppid": os.getpid(), "comm": opens[0]["comm"]} if opens else {}
    wanted = [opened_by_exec(path, pid, pid, **more) for path in opened] if is_told else []
    assert opens == wanted
    assert [str(event.op) for event in events if event.via != "exec"] == (["exec"] if "exec" in ops else [])
    check_ledger(manager.stats, backend, performed=len(events), delivered=len(events))


def test_a_program_in_memory(backend: str, area: Path) -> None:
    """Its file is of a kind that can be left out; a file system without a place is no reason not to tell it."""
    content = _compile(area / "static", "-static").read_bytes()
    for kinds, is_told in ((None, True), (["file"], False)):
        script = Script(traced=calls_of(["open"]))
        main, child = script.main, script.list()
        main.hold()
        main.fork(child)
        main.wait_children()
        fd = child.call("memfd_create", b"program", 0)
        child.call("write", fd, script.buffer(content), len(content))
        stat = stat_of(child, fd)
        child.leave("execveat", fd, script.buffer(b"\0"), _array(child), 0, AT_EMPTY_PATH, sees=None)
        result = trace(script, area, backend, ops=["open"], kinds=kinds)
        opened = int(sees_exec_opens(script))
        more = {"path": "/memfd:program", "kind": "memfd", "device": told(stat)[0], "inode": told(stat)[1]}
        wanted = opened_by_exec(area, child.pid, child.tid, child.ppid) | more
        assert [fields_of(event) for event in result.events] == [wanted] * (opened if is_told else 0)
        check_ledger(
            result.stats,
            backend,
            performed=opened,
            delivered=opened if is_told else 0,
            filtered=0 if is_told else opened,
        )
