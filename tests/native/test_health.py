# SPDX-License-Identifier: MIT
"""health(): what is well is called well, without a trace of the asking; what is not, is told by name."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import SYSCALLS, Kind, KprobeManager, Op
from tests.native.expected import check_ledger, file
from tests.native.ground import FIRST_OPS, HANG_SECONDS, HERE, kernel_symbols
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import read_to_end

_ORIGIN = {"openat", "read", "write", "unlinkat", "unlink", "rename", "renameat2"}


def _rows(*ops: str) -> int:
    """Calls of these operations that this kernel has, by its own list."""
    return sum(str(row.op) in ops and row.function in kernel_symbols() for row in SYSCALLS)


def _idle() -> Script:
    script = Script()
    script.main.hold()
    return script


@pytest.mark.parametrize(
    "options",
    [{}, {"latency": False}, {"errors_only": True, "min_duration_ns": 10**9}, {"follow": False, "kinds": [Kind.FILE]}],
    ids=["default", "no-latency", "failed-and-slow", "one-process-files"],
)
def test_all_is_well(backend: str, area: Path, options: dict[str, Any]) -> None:
    """Again and again, and no event comes of it."""
    with (
        _idle().start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=FIRST_OPS, **options) as manager,
    ):
        links = len({target.link_id or index for index, target in enumerate(manager.targets) if target.present})
        for times in range(1, 4):
            health = manager.health(HANG_SECONDS)
            assert health and not health.problems, health
            assert health.canaries == _rows(*FIRST_OPS)
            assert 0 < health.links <= links
            canaries = manager.stats.canaries
            assert canaries == times * _rows(*FIRST_OPS)
        assert manager.poll(0) == []
    check_ledger(manager.stats, backend, performed=canaries, canaries=canaries)


def test_every_call(backend: str, area: Path) -> None:
    """None of them does anything; each that the kernel has is seen."""

    def around() -> tuple[object, ...]:
        return sorted(os.listdir("/proc/self/fd")), os.getcwd(), Path("/proc/self/mountinfo").read_text()

    with _idle().start(area) as running, KprobeManager(running.pid, backend=backend, ops=list(Op)) as manager:
        before = around()
        health = manager.health(HANG_SECONDS)
        assert before == around()
    assert health.problems == ()
    assert health.canaries == _rows(*(str(op) for op in Op if op is not Op.BLIND_SPOT))


def test_between_calls_of_the_program(backend: str, area: Path) -> None:
    """Its events are as without."""
    path = area / "file"
    path.write_bytes(b"0123456789")
    script = Script()
    steps = script.main
    steps.hold()
    times = 2_000
    steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path), repeat=times)
    with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=["open"]) as manager:
        running.go()
        asked = 0
        while manager.stats.watched:
            assert manager.health(HANG_SECONDS).problems == ()
            asked += 1
        events = read_to_end(manager)
        running.finish()
    assert [event.seq for event in events] == list(range(times))
    assert {(event.path, event.pid) for event in events} == {(str(path), running.pid)}
    canaries = asked * _rows("open")
    check_ledger(manager.stats, backend, performed=times + canaries, delivered=times, canaries=canaries)


def test_events_that_nobody_reads(backend: str, area: Path) -> None:
    """What is in the way is told; the canaries behind it are none of the program's events when it is read at last."""
    path = area / "file"
    path.write_bytes(b"0123456789")
    script = Script()
    steps = script.main
    steps.hold()
    flag = script.flag()
    steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path), repeat=60)
    steps.add(flag, 1)
    steps.wait(flag, 2)
    with (
        script.start(area) as running,
        KprobeManager(running.pid, backend=backend, ops=["open"], queue_bytes=4096) as manager,
    ):
        running.go()
        script.wait_flag(flag)
        for _ in range(2):
            health = manager.health(0.05)
            assert not health
            assert "events wait to be read" in health.problems[0]
        script.raise_flag(flag, 2)
        events = read_to_end(manager)
        running.finish()
    assert [event.path for event in events] == [str(path)] * 60
    canaries = _rows("open")
    check_ledger(manager.stats, backend, performed=60 + canaries, delivered=60, canaries=canaries)


def test_our_own_process(backend: str, area: Path) -> None:
    """Who watches itself sees its own calls, and not health()'s."""
    with KprobeManager(os.getpid(), backend=backend, ops=["open", "unlink"]) as manager:
        path = area / "own"
        path.write_bytes(b"")
        assert manager.health(HANG_SECONDS).problems == ()
        path.unlink()
        end = time.monotonic() + HANG_SECONDS
        own = [str(area / "own")]
        seen: list[str | None] = []
        while seen.count(own[0]) < 2:
            assert time.monotonic() < end
            seen += [event.path for event in manager.poll(0.1) or []]
    assert not [path for path in seen if path and "/dev/null/" in path]


@contextmanager
def _without_link(function: str) -> Iterator[None]:
    """Somebody has taken a link of ours away: its descriptor is another object's."""
    for name in os.listdir("/proc/self/fd"):
        try:
            info = Path(f"/proc/self/fdinfo/{name}").read_text()
        except OSError:
            continue
        if f"tp_name:\t{function}\n" in info:
            nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(nothing, int(name), inheritable=False)
            os.close(nothing)
            yield
            return
    raise AssertionError(f"no link at {function}")


@pytest.mark.native_only
def test_a_link_that_is_gone(area: Path) -> None:
    with _idle().start(area) as running, KprobeManager(running.pid, backend="tracepoint", ops=["read"]) as manager:
        assert manager.health(HANG_SECONDS)
        with _without_link("sys_exit"):
            health = manager.health(HANG_SECONDS)
    assert not health
    assert any("at sys_exit is not what was attached any more" in problem for problem in health.problems)
    seen = [problem for problem in health.problems if "was not seen" in problem]
    assert seen == [f"a call of {row.name} was not seen" for row in SYSCALLS if row.op == "read"]


@pytest.mark.guest_only
@pytest.mark.any_backend
def test_kprobes_that_are_switched_off(area: Path) -> None:
    switch = Path("/sys/kernel/debug/kprobes/enabled")
    with (
        _idle().start(area) as running,
        KprobeManager(running.pid, backend="kprobe", ops=["unlink"], multi=False) as manager,
    ):
        assert manager.health(HANG_SECONDS)
        switch.write_text("0")
        try:
            health = manager.health(0.5)
        finally:
            switch.write_text("1")
        assert manager.health(HANG_SECONDS)
    assert not health
    assert any("kprobes/enabled is 0" in problem for problem in health.problems), health
    assert {"a call of unlink was not seen", "a call of unlinkat was not seen"} <= set(health.problems)


@pytest.mark.guest_only
@pytest.mark.any_backend
@pytest.mark.parametrize("options", [{"backend": "kprobe", "multi": False}, {"backend": "fentry"}], ids=str)
def test_ftrace_that_is_switched_off(area: Path, options: dict[str, Any]) -> None:
    """What hangs on it does not see a call then, where the kernel lets it be switched off at all."""
    if options["backend"] not in HERE.backends:
        return
    switch = Path("/proc/sys/kernel/ftrace_enabled")
    with _idle().start(area) as running, KprobeManager(running.pid, ops=["unlink"], **options) as manager:
        assert manager.health(HANG_SECONDS)
        # A trampoline forbids it: EBUSY.
        with contextlib.suppress(OSError):
            switch.write_text("0")
        is_off = switch.read_text().strip() == "0"
        try:
            health = manager.health(0.5 if is_off else HANG_SECONDS)
        finally:
            switch.write_text("1")
        assert manager.health(HANG_SECONDS)
    assert bool(health) != is_off
    assert any("kernel.ftrace_enabled is 0" in problem for problem in health.problems) == is_off, health


def test_when_it_cannot_be_asked(backend: str, area: Path) -> None:
    manager = KprobeManager(backend=backend)
    with pytest.raises(RuntimeError, match="not attached"):
        manager.health()
    with _idle().start(area) as running:
        manager.attach(running.pid)
        for timeout in (-1, float("nan"), "1"):
            with pytest.raises((ValueError, TypeError)):
                manager.health(timeout)  # type: ignore[arg-type]
        manager.detach()
        with pytest.raises(RuntimeError, match="not attached"):
            manager.health()
        with KprobeManager(running.pid, backend=backend, ops=["open"], totals=True) as counting:
            health = counting.health()
            assert health
            assert health.canaries is None
            assert counting.stats.canaries == 0
    manager.close()
    with pytest.raises(ValueError, match="closed"):
        manager.health()
