# SPDX-License-Identifier: MIT
"""attach, detach, attach again, close: what each leaves usable, and what it refuses."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native import outside
from tests.native.expected import as_passed, check_events, check_ledger, file, sees_exec_opens
from tests.native.ground import FIRST_OPS, HANG_SECONDS, scaled
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import read_to_end, read_until


def test_attach_detach_attach(backend: str, area: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Captured events outlive detach; each attach has a ledger of its own; calls in between belong to neither."""
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    steps = script.main
    steps.hold()
    turns = [script.flag() for _ in range(3)]
    for turn, count in zip(turns, (3, 5, 2), strict=True):
        for _ in range(count):
            steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        steps.add(turn, 1)
        steps.wait(turn, 2)
    steps.call("unlink", path, sees=as_passed(path))
    caplog.set_level(logging.DEBUG, "aa_fileio")
    with script.start(area) as running:
        manager = KprobeManager(running.pid, backend=backend, ops=FIRST_OPS)
        assert manager.pid == running.pid
        with pytest.raises(RuntimeError):
            manager.poll(0)
        assert manager.targets == ()
        manager.attach()
        with pytest.raises(RuntimeError):
            manager.attach()
        attached = {(target.program, target.function) for target in manager.targets}
        running.go()
        script.wait_flag(turns[0], 1)
        manager.detach()
        check_ledger(manager.stats, backend, performed=3, queued=3)
        script.raise_flag(turns[0], 2)
        script.wait_flag(turns[1], 1)
        assert len(manager.poll(0, 2)) == 2
        check_ledger(manager.stats, backend, performed=3, queued=1, delivered=2)
        assert len(manager.poll(0)) == 1
        assert manager.poll(0) is None
        assert manager.poll() is None
        assert list(manager) == []
        check_ledger(manager.stats, backend, performed=3, delivered=3)

        # With something unread: it is discarded with the old ledger.
        manager.attach(running.pid)
        check_ledger(manager.stats, backend)
        script.raise_flag(turns[1], 2)
        script.wait_flag(turns[2], 1)
        manager.detach()
        check_ledger(manager.stats, backend, performed=2, queued=2)
        manager.attach()
        check_ledger(manager.stats, backend)
        script.raise_flag(turns[2], 2)
        events = read_to_end(manager)
        assert [(event.op, event.seq) for event in events] == [("unlink", 0)]
        running.finish()
        # The end came by itself, the probes stay until they are taken off.
        assert manager.is_attached
        manager.detach()
        manager.close()
        for call in (manager.attach, manager.detach, manager.poll, manager.fileno, lambda: next(manager)):
            with pytest.raises(ValueError, match="closed"):
                call()
        for name in ("targets", "backend", "pid", "passed_over"):
            with pytest.raises(ValueError, match="closed"):
                getattr(manager, name)
        assert manager.is_attached is False
        assert "closed" in repr(manager)
        check_ledger(manager.stats, backend, performed=1, delivered=1)
        manager.close()
    messages = [record.getMessage() for record in caplog.records if record.name == "aa_fileio"]
    for program, function in attached:
        naming = [message for message in messages if program in message and function in message]
        # Three attaches and three detaches.
        assert len(naming) >= 6, (program, function, messages)


def test_spawn(backend: str, area: Path) -> None:
    """A command is watched from its first call; again and again."""
    for turn in range(scaled(20, 3)):
        path = area / f"file-{turn}"
        path.write_bytes(b"123")
        script = Script()
        main, child = script.main, script.list()
        fd = main.call("openat", AT_FDCWD, path.name, os.O_RDONLY, sees=file(path))
        main.call("read", fd, script.buffer(8), 8, sees=file(path, offset=0, moved=3))
        main.vfork_exec(child)
        child.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
        main.wait_children()
        main.exit(7)
        descriptor = script.write()
        with KprobeManager.spawn(
            [script.program, "0"], cwd=area, stdin=descriptor, backend=backend, ops=FIRST_OPS
        ) as manager:
            os.close(descriptor)
            assert manager.is_attached
            events = read_to_end(manager)
            assert manager.process.wait(HANG_SECONDS) == 7
            assert manager.process.returncode == 7
            assert manager.process.pid == main.pid == manager.pid
        # What the exec that begins it opens is in no list.
        begun = [event for event in events if event.via == "exec" and event.pid == main.pid]
        told = int(sees_exec_opens(script))
        assert [event.path for event in begun] == [str(script.program)] * told
        check_events(script, events[len(begun) :])
        check_ledger(manager.stats, backend, performed=3 + 2 * told, delivered=3 + 2 * told)
        manager.close()


def test_spawn_of_what_cannot_run(backend: str, area: Path) -> None:
    """As subprocess.Popen: the same exception; nothing attached, no child left."""
    not_executable = area / "text"
    not_executable.write_text("no program")
    children = outside.children()
    cases = (
        ([not_executable], {}),
        (["true"], {"cwd": area / "none"}),
        ([area / "none"], {}),
        (["aa-fileio-no-such-program"], {}),
        (["true"], {"user": "aa-fileio-no-such-user"}),
    )
    for argv, options in cases[: scaled(5, 2)]:
        with pytest.raises(Exception) as wanted:  # noqa: PT011 (the next line says which)
            subprocess.Popen(argv, **options)
        with pytest.raises(wanted.type) as got:
            KprobeManager.spawn(argv, backend=backend, **options)
        if isinstance(wanted.value, OSError):
            assert got.value.errno == wanted.value.errno
            # A name that was given as a path is a str there from 3.13 on.
            assert os.fspath(got.value.filename) == os.fspath(wanted.value.filename)
        assert outside.children() == children
        assert not outside.held_by(os.getpid())


def test_spawned_process(backend: str, area: Path) -> None:
    """Its pipes, working directory, environment and session are those asked for; leaving `with` does not kill it."""
    command = ["sh", "-c", 'read line; echo "$line $X $PWD"; echo to-stderr >&2; cat >/dev/null; exit 3']
    with KprobeManager.spawn(
        command,
        cwd=area,
        env={"X": "from-env", "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        backend=backend,
        ops=FIRST_OPS,
    ) as manager:
        process = manager.process
        assert os.getsid(process.pid) == process.pid
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"hello from-env {area}\n".encode()
    assert process.returncode is None
    process.stdin.close()
    assert process.stderr.read() == b"to-stderr\n"
    assert process.wait(HANG_SECONDS) == 3
    process.stdout.close()
    process.stderr.close()
    manager.close()


def test_detach_with_a_call_under_way(backend: str, area: Path) -> None:
    """A read that blocks when the probes go counts as under way; what it gets is nobody's."""
    fifo = area / "fifo"
    os.mkfifo(fifo)
    path = area / "file"
    path.write_bytes(b"")
    script = Script()
    steps = script.main
    steps.hold()
    fd = steps.call("openat", AT_FDCWD, fifo, os.O_RDWR, sees=file(fifo, kind="pipe"))
    steps.call("unlink", area / "none", sees=as_passed(area / "none", error=errno.ENOENT))
    steps.call("read", fd, script.buffer(8), 8, sees=file(fifo, kind="pipe"))
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, kinds=["pipe"]) as manager:
            running.go()
            read_until(manager, lambda event: event.op == "unlink")
            running.wait_blocked_in("read")
        check_ledger(manager.stats, backend, performed=3, delivered=2, in_flight=1)
        assert manager.poll(0) is None
        descriptor = os.open(fifo, os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
        running.finish()
        check_ledger(manager.stats, backend, performed=3, delivered=2, in_flight=1)
        manager.close()
