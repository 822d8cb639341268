# SPDX-License-Identifier: MIT
"""Waiting for events: time-outs, signals, other threads, select, asyncio, and the end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import Kind, KprobeManager
from tests.native.call_lists import LISTS
from tests.native.expected import check_events, check_ledger, check_results, check_script_ledger, file
from tests.native.forked import Forked, forked
from tests.native.ground import FIRST_OPS, HANG_SECONDS, scaled
from tests.native.script import AT_FDCWD, Running, Script
from tests.native.tracing import read_batches_to_end, read_to_end

pytestmark = pytest.mark.any_backend


class _Dripping:
    """A workload that makes one more open each time it is told to, and ends when told so."""

    def __init__(self, area: Path, rounds: int) -> None:
        self.path = area / "file"
        self.path.write_bytes(b"")
        self.script = Script()
        self._flag = self.script.flag()
        self._given = 0
        steps = self.script.main
        steps.hold()
        for number in range(rounds):
            steps.wait(self._flag, number + 1)
            steps.call("openat", AT_FDCWD, self.path, os.O_RDONLY, sees=file(self.path))
        steps.wait(self._flag, rounds + 1)
        self._rounds = rounds
        self.running: Running = self.script.start(area)
        self.running.go()

    def drip(self, count: int = 1) -> None:
        self._given += count
        self.script.raise_flag(self._flag, self._given)

    def end(self) -> None:
        """All that is left, and the exit."""
        self.drip(self._rounds + 1 - self._given)
        self.running.finish()


@pytest.fixture
def dripping(area: Path) -> Iterator[Callable[[int], _Dripping]]:
    made = []

    def make(rounds: int) -> _Dripping:
        made.append(_Dripping(area, rounds))
        return made[-1]

    yield make
    for each in made:
        each.running.kill()


def test_poll(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """At least one event, [] after the time-out, None at the end and ever after."""
    drops = dripping(10)
    with KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS) as manager:
        assert manager.poll(0) == []
        started = time.monotonic()
        assert manager.poll(0.2) == []
        assert time.monotonic() - started >= 0.2
        drops.drip()
        (event,) = manager.poll()
        assert event.path == str(drops.path)
        drops.drip(5)
        assert [len(manager.poll(HANG_SECONDS, 1)) for _ in range(5)] == [1] * 5
        assert manager.poll(0) == []
        for wrong in (-1, float("nan"), "1", float("-inf")):
            with pytest.raises((ValueError, TypeError)):
                manager.poll(wrong)
        for wrong in (0, -1, 1.5):
            with pytest.raises((ValueError, TypeError)):
                manager.poll(0, wrong)
        drops.end()
        rest = read_to_end(manager)
        assert len(rest) == 4
        assert manager.poll(0) is None
        assert manager.poll() is None
        assert next(manager, "the end") == "the end"
        check_ledger(manager.stats, backend, performed=10, delivered=10)


def test_iteration(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """for waits, yields each event and ends by itself; leaving the loop loses nothing."""
    drops = dripping(5)
    with KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS) as manager:
        assert iter(manager) is manager
        drops.drip(2)
        for event in manager:
            assert event.seq == 0
            break
        timer = threading.Timer(0.3, drops.end)
        timer.start()
        assert [event.seq for event in manager] == [1, 2, 3, 4]
        timer.join()


def test_fileno(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """Readable exactly while poll(0) would return at once: events or the end. Level-triggered."""
    drops = dripping(4)
    with KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS) as manager:

        def is_readable(timeout: float = 0) -> bool:
            return bool(select.select([manager], [], [], timeout)[0])

        assert manager.fileno() > 2
        assert not os.get_inheritable(manager.fileno())
        assert not is_readable(0.1)
        drops.drip(3)
        assert is_readable(HANG_SECONDS)
        # Asking changes nothing.
        assert is_readable()
        got = []
        while len(got) < 3:
            assert is_readable(HANG_SECONDS)
            got += manager.poll(0, 1)
        assert not is_readable()
        assert manager.poll(0) == []
        drops.end()
        assert is_readable(HANG_SECONDS)
        assert len(manager.poll(0)) == 1
        assert is_readable(HANG_SECONDS)
        assert manager.poll(0) is None
        assert is_readable()
    assert is_readable()


def test_fileno_after_detach(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """The end that detach brings is one that select tells of."""
    drops = dripping(1)
    manager = KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    assert not select.select([manager], [], [], 0)[0]
    manager.detach()
    assert select.select([manager], [], [], 0)[0]
    assert manager.poll(0) is None
    manager.close()


def test_async_for(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """Other tasks run meanwhile; the loop ends with the stream; a cancelled wait loses nothing."""
    drops = dripping(scaled(300, 60))

    async def main(manager: Any) -> list[Any]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(manager), 0.2)
        assert ticks > 1
        drops.drip(2)
        seen = [await anext(manager), await anext(manager)]
        ending = asyncio.get_running_loop().run_in_executor(None, drops.end)
        async for event in manager:
            seen.append(event)
        await ending
        ticking.cancel()
        return seen

    with KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS) as manager:
        seen = asyncio.run(main(manager))
    check_events(drops.script, seen)
    check_script_ledger(drops.script, manager.stats, backend)


def test_one_reader_at_a_time(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """A second one is refused, and takes nothing from the first."""
    drops = dripping(2)
    with KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS) as manager:
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(manager.poll()))
        thread.start()
        _wait_asleep(thread)
        for call in (lambda: manager.poll(0), manager.poll, lambda: next(manager)):
            with pytest.raises(RuntimeError):
                call()
        drops.drip()
        thread.join(HANG_SECONDS)
        ((event,),) = got
        assert event.seq == 0
        assert manager.poll(0) == []


def _wait_asleep(thread: threading.Thread) -> None:
    """Until the thread waits in the kernel, not for the interpreter's lock."""
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
        # poll, ppoll, select, epoll_wait, pselect6; a lock would be futex.
        if call in ("7", "271", "23", "232", "270"):
            return
        time.sleep(0.005)
    raise AssertionError(f"the thread is in call {call}")


@pytest.mark.parametrize("action", ["detach", "close"])
def test_another_thread_ends_the_wait(backend: str, dripping: Callable[[int], _Dripping], action: str) -> None:
    """A reader that waits for ever is woken by detach() and by close() of another thread, and meets the end."""
    drops = dripping(1)
    manager = KprobeManager(drops.running.pid, backend=backend, ops=FIRST_OPS)
    manager.attach()
    got: list[Any] = []
    readers = [threading.Thread(target=lambda: got.append(manager.poll()))]
    readers[0].start()
    _wait_asleep(readers[0])
    getattr(manager, action)()
    readers[0].join(HANG_SECONDS)
    assert not readers[0].is_alive()
    assert got == [None]
    manager.close()


def _wait_for_ctrl_c(tell: Callable[[Any], None], pid: int, backend: str, how: str) -> Any:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with KprobeManager(pid, backend=backend, ops=FIRST_OPS) as manager:
        tell("waiting")
        try:
            if how == "iterate":
                next(manager)
            else:
                manager.poll(HANG_SECONDS)
        except KeyboardInterrupt:
            tell("interrupted")
        else:
            tell("an event")
        # It goes on as before.
        return len(read_to_end(manager)), manager.stats.lost


@pytest.mark.parametrize("how", ["poll", "iterate"])
def test_ctrl_c(backend: str, dripping: Callable[[int], _Dripping], how: str) -> None:
    """KeyboardInterrupt while it waits, at once and not with the next event; afterwards nothing is missing."""
    drops = dripping(7)
    with Forked(_wait_for_ctrl_c, drops.running.pid, backend, how) as tracer:
        assert tracer.recv() == "waiting"
        _wait_process_asleep(tracer.pid)
        tracer.kill(signal.SIGINT)
        assert tracer.recv() == "interrupted"
        drops.end()
        assert tracer.recv() == (7, 0)
        assert tracer.reap() == 0


def _wait_process_asleep(pid: int) -> None:
    end = time.monotonic() + HANG_SECONDS
    while Path(f"/proc/{pid}/syscall").read_text().split()[0] not in ("7", "271", "23", "232", "270"):
        assert time.monotonic() < end
        time.sleep(0.005)


def _count_signals(tell: Callable[[Any], None], pid: int, backend: str) -> Any:
    count = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal count
        count += 1

    signal.signal(signal.SIGALRM, handler)
    with KprobeManager(pid, backend=backend, ops=FIRST_OPS) as manager:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        tell("reading")
        events = read_to_end(manager)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return count, [event.seq for event in events]


def test_signals_that_do_not_raise(backend: str, dripping: Callable[[int], _Dripping]) -> None:
    """A hundred signals a second: handlers run, the wait goes on, each event comes once."""
    drops = dripping(20)
    with Forked(_count_signals, drops.running.pid, backend) as tracer:
        assert tracer.recv() == "reading"
        for _ in range(20):
            drops.drip()
            time.sleep(0.02)
        drops.end()
        count, numbers = tracer.recv()
    assert count > 5
    assert numbers == list(range(20))


def _watch_myself(_tell: Callable[[Any], None], area: Path, backend: str) -> Any:
    path, new = area / "mine", area / "renamed"
    before = set(os.listdir("/proc/self/task"))
    manager = KprobeManager(os.getpid(), backend=backend, ops=FIRST_OPS, kinds=list(Kind))
    manager.attach()
    own_threads = {int(tid) for tid in set(os.listdir("/proc/self/task")) - before}
    assert own_threads
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(descriptor, b"hello")
    os.close(descriptor)
    os.rename(path, new)
    thread = threading.Thread(target=os.unlink, args=(new,))
    thread.start()
    thread.join()
    polled = [manager.poll(0.05) for _ in range(5)]
    manager.detach()
    events = [event for batch in polled for event in batch] + read_to_end(manager)
    stats = manager.stats
    manager.close()
    seen = [(str(event.op), event.path, event.tid, event.pid) for event in events]
    return own_threads, threading.get_native_id(), thread.native_id, seen, stats


def test_watching_oneself(backend: str, area: Path) -> None:
    """A process that traces itself sees its own calls in all its threads, and none of the tracer's machinery."""
    own_threads, main, other, seen, stats = forked(_watch_myself, area, backend)
    path, new = str(area / "mine"), str(area / "renamed")
    mine = [(op, path, tid) for op, path, tid, _ in seen if path and path.startswith(str(area))]
    assert mine == [("open", path, main), ("write", path, main), ("rename", path, main), ("unlink", new, other)]
    assert not {tid for _, _, tid, _ in seen} & own_threads
    # Polling and detaching produced nothing: the tracer must not feed on itself.
    assert [entry for entry in seen if entry[1] is not None and "eventfd" in entry[1]] == []
    assert len(seen) < 40, seen
    check_ledger(stats, backend, performed=len(seen), delivered=len(seen))


@pytest.mark.parametrize("calls", LISTS)
def test_as_columns(backend: str, area: Path, calls: str) -> None:
    """The rows of batches are the same events that poll() gives, and held to the same list."""
    script = Script()
    script.main.hold()
    LISTS[calls](script, script.main, area)
    with script.start(area) as running, KprobeManager(running.pid, backend=backend, ops=FIRST_OPS) as manager:
        running.go()
        batches = read_batches_to_end(manager)
        running.finish(0)
        events = [event for batch in batches for event in batch]
        assert manager.stats.delivered == sum(map(len, batches)) == len(events)
    assert [event.seq for event in events] == list(range(len(events)))
    check_results(script)
    check_events(script, events)
