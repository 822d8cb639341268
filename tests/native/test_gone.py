# SPDX-License-Identifier: MIT
"""Nothing stays in the kernel: after detach, drop, a failed attach, or the tracer's sudden death."""

from __future__ import annotations

import ast
import contextlib
import errno
import gc
import os
import resource
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import BackendUnavailable, KprobeManager, PermissionDenied, ProbeAttachError
from tests.native import outside
from tests.native.forked import Forked, forked
from tests.native.ground import EVERYTHING, FIRST_OPS, GUEST, HANG_SECONDS, HERE, scaled
from tests.native.script import Running, Script


@pytest.fixture
def watched(area: Path) -> Iterator[Running]:
    """A process that waits."""
    script = Script()
    script.main.hold()
    with script.start(area) as running:
        yield running


def _check_attached(before: outside.View) -> None:
    """What is there while attached: enough, so that finding nothing later means something."""
    seen = outside.describe(outside.look().without(before))
    assert len(seen.programs) >= 2, seen
    assert seen.links or seen.probes, seen
    assert seen.maps, seen


def test_after_detach(backend: str, watched: Running) -> None:
    """At once, when detach(wait=True), the end of `with`, or close() return; soon, after detach(wait=False)."""
    before = outside.look()
    manager = KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS)
    assert not manager.is_attached
    assert not outside.left_behind(before)
    manager.attach()
    _check_attached(before)
    manager.detach()
    outside.check_gone(before)
    assert not manager.is_attached
    manager.detach()

    with pytest.raises(ZeroDivisionError), manager:
        raise ZeroDivisionError
    outside.check_gone(before)

    manager.attach()
    manager.close()
    outside.check_gone(before)
    outside.wait_gone(before)
    manager.close()
    assert not manager.is_attached

    manager = KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    manager.detach(wait=False)
    assert not manager.is_attached
    # Trampolines are taken down one after the other, each after a grace period of all tasks.
    end = time.monotonic() + (HANG_SECONDS if backend == "fentry" else scaled(5, 60))
    while outside.left_behind(before).but_maps() and time.monotonic() < end:
        time.sleep(0.05)
    outside.check_gone(before)
    manager.close()
    outside.wait_gone(before)


def _mappings_kept_by_a_fork() -> list[str]:
    """Mappings of BPF objects in this process, each by its line of /proc/self/smaps."""
    lines, kept, mapping = Path("/proc/self/smaps").read_text().splitlines(), [], ""
    for line in lines:
        if "-" in line.split(maxsplit=1)[0]:
            mapping = line
        elif line.startswith("VmFlags:") and "anon_inode:bpf" in mapping and "dc" not in line.split():
            kept.append(mapping)
    return kept


def test_a_child_keeps_no_mapping(backend: str, watched: Running) -> None:
    """One would keep its map alive for as long as the child lives, without a descriptor that tells of it."""
    assert "anon_inode:bpf" not in Path("/proc/self/maps").read_text()
    with KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS):
        assert "anon_inode:bpf" in Path("/proc/self/maps").read_text()
        assert not _mappings_kept_by_a_fork()


def test_after_the_last_reference_is_dropped(backend: str, watched: Running) -> None:
    before = outside.look()
    manager = KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    _check_attached(before)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del manager
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    # A warning refers to what it is about.
    caught.clear()
    outside.wait_gone(before)


def _trace_until_killed(tell: Callable[[Any], None], pid: int, backend: str, has_children: bool) -> None:
    manager = KprobeManager(pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    children = []
    if has_children:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        # By vfork and exec, which runs no hook of Python's.
        sleeper = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        children = [child, sleeper.pid]
    tell(children)
    signal.pause()


@pytest.mark.parametrize("children", [False, True], ids=["alone", "with-children"])
def test_after_the_tracer_is_killed(backend: str, watched: Running, children: bool) -> None:
    """Soon after SIGKILL, although children of the tracer live on."""
    before = outside.look()
    with Forked(_trace_until_killed, watched.pid, backend, children) as tracer:
        living = tracer.recv()
        try:
            _check_attached(before)
            tracer.kill()
            assert tracer.reap() == -signal.SIGKILL
            outside.wait_gone(before)
            for child in living:
                # Still there, neither dead nor a zombie.
                assert "\nState:\tS" in Path(f"/proc/{child}/status").read_text()
                assert not outside.held_by(child)
        finally:
            for child in living:
                os.kill(child, signal.SIGKILL)


def _fork_while_attached(tell: Callable[[Any], None], pid: int, backend: str) -> dict[str, Any]:
    manager = KprobeManager(pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    receive, send = os.pipe()
    release, released = os.pipe()
    child = os.fork()
    if child == 0:
        found = {"descriptors": outside.bpf_descriptors(), "attached": manager.is_attached}
        for name, call in (
            ("poll", lambda: manager.poll(0)),
            ("attach", manager.attach),
            ("targets", lambda: manager.targets),
            ("fileno", manager.fileno),
            ("iter", lambda: next(iter(manager))),
        ):
            try:
                call()
                found[name] = None
            except Exception as error:
                found[name] = type(error).__name__
        manager.detach()
        manager.close()
        os.write(send, repr(found).encode())
        os.read(release, 1)
        os._exit(0)
    found = os.read(receive, 10000).decode()
    still = manager.is_attached
    manager.detach()
    tell((found, still, os.getpid()))
    os.write(released, b"x")
    os.waitpid(child, 0)
    manager.close()


def test_forked_child_is_inert(backend: str, watched: Running) -> None:
    """A tracer's child holds nothing of the trace and cannot use it; the parent's detach detaches although it lives."""
    before = outside.look()
    with Forked(_fork_while_attached, watched.pid, backend) as tracer:
        found, still, _ = tracer.recv()
        outside.check_gone(before)
        assert still, "the child's close() must not detach the parent's probes"
        found = ast.literal_eval(found)
        assert found.pop("descriptors") == []
        assert found.pop("attached") is False
        assert set(found.values()) == {"RuntimeError"}, found
        tracer.recv()
        assert tracer.reap() == 0


def _zombie() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_after_a_bad_process(backend: str, area: Path) -> None:
    """What cannot be watched is refused by its name, and nothing is attached for it."""
    script = Script()
    thread = script.list()
    thread.hold()
    script.main.thread(thread)
    script.main.hold()
    script.main.wait_thread(thread)
    before = outside.look()
    zombie = _zombie()
    with script.start(area) as running:
        dead = subprocess.Popen(["true"])
        dead.wait()
        for pid, error in (
            (0, ValueError),
            (-1, ValueError),
            (1 << 22, ProcessLookupError),
            ((1 << 31) - 1, (ValueError, ProcessLookupError)),
            (1 << 31, ValueError),
            (1 << 63, ValueError),
            (1 << 100, ValueError),
            (-(1 << 100), ValueError),
            (thread.tid, ValueError),
            (zombie, ProcessLookupError),
            (dead.pid, ProcessLookupError),
            (True, TypeError),
            (1.0, TypeError),
            ("1", TypeError),
            (b"1", TypeError),
        ):
            with pytest.raises(error):
                KprobeManager(pid, backend=backend, ops=FIRST_OPS).attach()
            manager = KprobeManager(running.pid, backend=backend, ops=FIRST_OPS)
            with pytest.raises(error):
                manager.attach(pid)
            assert not manager.is_attached
            assert manager.pid == running.pid
            assert not outside.held_by(os.getpid())
        outside.check_gone(before)
    os.waitpid(zombie, 0)


@pytest.mark.guest_only
def test_after_a_kernel_thread(backend: str) -> None:
    """It makes no system call, and never exits."""
    assert not Path("/proc/2/cmdline").read_bytes()
    with pytest.raises(ValueError, match="kernel thread"):
        KprobeManager(2, backend=backend, ops=FIRST_OPS).attach()


def test_after_an_impossible_backend(watched: Running) -> None:
    before = outside.look()
    with pytest.raises(ValueError, match="backend"):
        KprobeManager(watched.pid, backend="nonsense").attach()
    for backend in {"kprobe", "fentry", "tracepoint"} - set(HERE.backends):
        with pytest.raises(BackendUnavailable) as caught:
            KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS).attach()
        assert isinstance(caught.value, ProbeAttachError)
        assert isinstance(caught.value, OSError)
        assert str(caught.value)
    outside.check_gone(before)


def _attach_as_nobody(tell: Callable[[Any], None], pid: int, backend: str) -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    for target in (os.getpid(), pid, None):
        try:
            KprobeManager(target, backend=backend, ops=FIRST_OPS).attach()
        except PermissionDenied as error:
            tell((isinstance(error, PermissionError), error.errno, error.remedy))
        else:
            tell("attached")
    signal.pause()


def test_after_too_few_privileges(backend: str, watched: Running) -> None:
    """An ordinary user is told what is missing."""
    before = outside.look()
    with Forked(_attach_as_nobody, watched.pid, backend) as tracer:
        for _ in range(3):
            is_permission_error, number, remedy = tracer.recv()
            assert is_permission_error
            assert number in (errno.EPERM, errno.EACCES)
            assert "CAP_" in remedy or "root" in remedy
        # It lives still, so that what it holds can be seen.
        assert not outside.held_by(tracer.pid)
        outside.check_gone(before)


def _attach_with_few_descriptors(_tell: Callable[[Any], None], pid: int, backend: str, more: int) -> int:
    """The errno of an attach with so many descriptors, 0 if they were enough; the next attach must work."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    manager, number = None, 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    try:
        manager = KprobeManager(pid, backend=backend, ops=FIRST_OPS)
        manager.attach()
    except OSError as error:
        number = error.errno
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if number:
        assert not outside.held_by(os.getpid())
        if GUEST:
            assert not outside.KPROBE_EVENTS.read_text()
            assert not outside.KPROBES_LIST.read_text()
        if manager:
            assert not manager.is_attached
            manager.close()
        # What one failure left in the libraries below shows in the next attach.
        manager = KprobeManager(pid, backend=backend, ops=FIRST_OPS)
        manager.attach()
    assert manager is not None
    assert manager.is_attached
    manager.close()
    return number


def test_after_an_attach_that_failed_half_way(backend: str, watched: Running) -> None:
    """Every so many descriptors into the attach the next one is refused; when there are enough again, attach works."""
    before = outside.look()
    outcomes: list[int] = []
    stride = scaled(1 if EVERYTHING else 4, 17)
    while not outcomes or outcomes[-1]:
        outcomes.append(forked(_attach_with_few_descriptors, watched.pid, backend, 3 + len(outcomes) * stride))
        assert len(outcomes) < 200
    outside.wait_gone(before)
    # It does need that many, so the failures were at very different moments.
    assert len(outcomes) > scaled(12, 34) // stride, outcomes
    assert set(outcomes[:-1]) == {errno.EMFILE}, outcomes


def test_many_attachments_leave_nothing(backend: str, watched: Running) -> None:
    """Descriptors, threads and the kernel's lists are back where they were."""
    before = outside.look()
    threads = len(os.listdir("/proc/self/task"))
    with contextlib.closing(KprobeManager(watched.pid, backend=backend, ops=FIRST_OPS)) as manager:
        manager.attach()
        manager.detach()
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(scaled(10, 2)):
            manager.attach()
            assert len(os.listdir("/proc/self/task")) > threads
            manager.detach()
            assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(os.listdir("/proc/self/task")) == threads
    outside.wait_gone(before)
