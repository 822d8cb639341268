# SPDX-License-Identifier: MIT
"""Reading, waiting and ending, over a core whose events come from the test (fake_session.c): no privilege needed."""

from __future__ import annotations

from textwrap import dedent

import pytest
from conftest import Run

START = """
import asyncio, gc, os, select, signal, sys, threading, time, warnings
from pathlib import Path
import aa_fileio
from aa_fileio import EventBatch, KprobeManager

HANG = 20  # seconds; nothing passes or fails by being quicker or slower

def feed(m, count):
    os.eventfd_write(m.fileno(), count)

def raises(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was not raised")

def waits(thread):  # in poll() or ppoll(), not for the interpreter
    call = Path(f"/proc/self/task/{thread.native_id}/syscall")
    while call.read_text().split()[0] not in ("7", "271"):
        time.sleep(0.001)

def later(seconds, call, *args):
    thread = threading.Timer(seconds, call, args)
    thread.start()
    return thread
"""

SCRIPTS = {
    "totals: rows about the same are added up, and what has no name stays apart": """
        m = KprobeManager(1)
        assert raises(RuntimeError, m.totals).startswith("not attached")
        m.attach()
        totals = m.totals()
        assert [(t.pid, t.comm, t.op, t.path, t.calls, t.errors, t.bytes, t.duration_ns) for t in totals] == [
            (12, "comm0", "read", "/same", 21, 1, 2 << 40, 2000),
            (None, None, "read", None, 13, 3, 1 << 40, 1000),
            (12, "comm2", "read", "/other", 12, 2, 1 << 40, 1000),
        ]
        assert totals[0].histogram == (0,) * 5 + (21,) + (0,) * 26
        assert (totals[0].started_ns, totals[0].device, totals[0].inode, totals[0].kind) == (77, 3, 4, None)
        assert totals.stats == m.stats
        m.close()
        assert raises(ValueError, m.totals)
    """,
    "totals: what the core refuses is raised": """
        m = KprobeManager(4001)
        m.attach()
        assert raises(RuntimeError, m.totals) == "no totals"
        m.close()
    """,
    "poll returns what is there, [] on time-out, None at the end": """
        m = KprobeManager(3)
        m.attach()
        assert [event.path for event in m.poll(0)] == ["/0", "/1", "/2"]
        assert m.poll(0) == []
        begin = time.monotonic()
        assert m.poll(0.05) == []
        assert 0.05 <= time.monotonic() - begin < HANG
        feed(m, 2)
        assert [event.seq for event in m.poll(max_events=1)] == [3]
        m.detach()
        assert [event.seq for event in m.poll()] == [4]
        assert m.poll() is None
        assert m.poll(0) is None
        m.close()
    """,
    "events are copies: the core may use its memory again": """
        m = KprobeManager(1000)
        m.attach()
        events = [next(m), *m.poll(max_events=2), *m.poll(0)]
        assert [event.path for event in events] == [f"/{n}" for n in range(1000)]
        assert {event.raw_path for event in events} == {"raw"}
        m.close()
    """,
    "read_batch returns what is there, an empty batch on time-out, None at the end": """
        m = KprobeManager(3)
        m.attach()
        assert [event.path for event in m.read_batch(0)] == ["/0", "/1", "/2"]
        batch = m.read_batch(0)
        assert (type(batch), len(batch)) == (EventBatch, 0)
        begin = time.monotonic()
        assert len(m.read_batch(0.05)) == 0
        assert 0.05 <= time.monotonic() - begin < HANG
        feed(m, 2)
        assert [event.seq for event in m.read_batch(max_events=1)] == [3]
        m.detach()
        assert [event.seq for event in m.read_batch()] == [4]
        assert m.read_batch() is None
        assert m.read_batch(timeout=0) is None
        m.close()
        raises(ValueError, m.read_batch)
        raises(RuntimeError, KprobeManager().read_batch)
        raises(TypeError, m.read_batch, "1")
        raises(ValueError, m.read_batch, 0, 0)
    """,
    "a batch has the events that poll would have given": """
        managers = [KprobeManager(500), KprobeManager(500)]
        for m in managers:
            m.attach()
        polled, batch = managers[0].poll(), managers[1].read_batch()
        assert list(batch) == polled
        assert [event._asdict() for event in batch] == [event._asdict() for event in polled]
        assert batch[0].time.isoformat() == "2023-11-14T22:13:21+00:00"
        assert managers[0].stats == managers[1].stats
        for m in managers:
            m.close()
        assert list(batch) == polled
    """,
    "a batch has at most 8192 events, or as many as are asked for": """
        m = KprobeManager(8192 + 3)
        m.attach()
        assert [len(m.read_batch()), len(m.read_batch())] == [8192, 3]
        feed(m, 70000)
        assert len(m.read_batch(max_events=10**9)) == 70000
        m.close()
    """,
    "where memory ends, what was taken is in a batch and the rest is still there": """
        import resource
        m = KprobeManager(2_000_000)
        m.attach()
        read = 0
        def pages():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        limits = resource.getrlimit(resource.RLIMIT_AS)
        failed = short = 0
        for room in (0, 1 << 16, 1 << 20, 40 << 20, 100 << 20):
            resource.setrlimit(resource.RLIMIT_AS, (pages() + room, limits[1]))
            try:
                batch = m.read_batch(0, max_events=300_000)
            except MemoryError:
                failed += 1
                batch = ()
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
            short += 0 < len(batch) < 300_000
            assert m.stats.delivered == read + len(batch)
            if batch:
                assert (batch[0].seq, batch[-1].seq) == (read, read + len(batch) - 1)
            read += len(batch)
            del batch
        assert short, (failed, short)
        while batch := m.read_batch(0):
            assert (batch[0].seq, batch[-1].seq) == (read, read + len(batch) - 1)
            read += len(batch)
        assert read == 2_000_000
        m.close()
    """,
    "Arrow takes a manager as a stream, to the end of the trace": """
        import pyarrow
        m = KprobeManager(70_000)
        raises(RuntimeError, m.__arrow_c_stream__)
        m.attach()
        assert pyarrow.schema(m) == pyarrow.schema(EventBatch())
        timer = later(0.2, m.detach)
        table = pyarrow.table(m)
        timer.join()
        table.validate(full=True)
        assert table["seq"].to_pylist() == list(range(70_000))
        assert table["path"].to_pylist()[-1] == "/69999"
        assert m.poll() is None
        assert pyarrow.table(m).num_rows == 0
        m.close()
        raises(ValueError, m.__arrow_c_stream__)
    """,
    "an Arrow stream reads when it is asked to, and is one reader among others": """
        import pyarrow
        m = KprobeManager(3)
        m.attach()
        reader = pyarrow.RecordBatchReader.from_stream(m)
        assert reader.read_next_batch()["seq"].to_pylist() == [0, 1, 2]
        feed(m, 2)
        assert [event.seq for event in m.poll()] == [3, 4]
        thread = threading.Thread(target=m.poll)
        thread.start()
        time.sleep(0.1)
        assert "another thread reads" in raises(OSError, reader.read_next_batch)
        feed(m, 1)
        thread.join()
        m.close()
    """,
    "an Arrow stream may be read by another thread, while this one works": """
        import pyarrow
        m = KprobeManager()
        m.attach()
        got = []
        reader = pyarrow.RecordBatchReader.from_stream(m)
        thread = threading.Thread(target=lambda: got.extend(batch.num_rows for batch in reader))
        thread.start()
        for number in range(3):
            feed(m, 10)
            while sum(got) < 10 * (number + 1):
                pass
        waits(thread)
        assert "another" in raises(RuntimeError, m.read_batch, 0)
        m.detach()
        thread.join()
        assert sum(got) == 30
        m.close()
    """,
    "health is what the core says, and true when nothing is wrong": """
        m = KprobeManager()
        raises(RuntimeError, m.health)
        m.attach()
        health = m.health(0.1)
        assert health == (1, None, ("a call of \\\\xff was not seen",)), health
        assert not health and aa_fileio.Health(1, 2, ())
        for timeout in (-1, float("nan"), "1", True):
            try:
                m.health(timeout)
            except (TypeError, ValueError):
                continue
            raise AssertionError(timeout)
        m.detach()
        raises(RuntimeError, m.health)
        m.close()
        raises(ValueError, m.health)
    """,
    "Ctrl-C interrupts an Arrow stream that waits, and loses no event": """
        import pyarrow
        m = KprobeManager()
        m.attach()
        reader = pyarrow.RecordBatchReader.from_stream(m)
        timer = later(0.1, signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
        begin = time.monotonic()
        try:
            try:
                reader.read_next_batch()
            except OSError as error:
                assert "interrupted" in str(error)
            raise AssertionError("it was not interrupted")
        except KeyboardInterrupt:
            pass
        assert time.monotonic() - begin < HANG
        timer.join()
        feed(m, 3)
        assert [event.seq for event in m.poll()] == [0, 1, 2]
        m.close()
    """,
    "an Arrow stream ends with its manager": """
        import pyarrow
        for end in ("close", "drop"):
            m = KprobeManager(3)
            m.attach()
            reader = pyarrow.RecordBatchReader.from_stream(m)
            assert reader.read_next_batch().num_rows == 3
            fd = m.fileno()
            if end == "close":
                m.close()
            else:
                warnings.simplefilter("ignore", ResourceWarning)
                del m
                gc.collect()
            raises(StopIteration, reader.read_next_batch)
            del reader
            gc.collect()
    """,
    "a stream that nobody reads is given back": """
        for _ in range(100):
            m = KprobeManager(3)
            m.attach()
            fd = m.fileno()
            m.__arrow_c_stream__()
            kept = m.__arrow_c_stream__(requested_schema=None)
            m.close()
            del m, kept
            gc.collect()
            raises(OSError, os.fstat, fd)
        raises(TypeError, KprobeManager().__arrow_c_stream__, 5)
    """,
    "a for loop ends after detach, when all is delivered": """
        with KprobeManager(5) as m:
            assert m.is_attached
            assert next(m).seq == 0
            timer = later(0.1, m.detach)
            assert [event.seq for event in m] == [1, 2, 3, 4]
            timer.join()
        assert not m.is_attached
        assert list(m) == []
        m.close()
    """,
    "the time of an event is that of the clocks at attach": """
        m = KprobeManager(1)
        m.attach()
        assert next(m).time.isoformat() == "2023-11-14T22:13:21+00:00"
        m.detach()
        m.attach()
        assert next(m).time.isoformat() == "2023-11-14T22:13:22+00:00"
        m.close()
    """,
    "a second reader is refused": """
        m = KprobeManager()
        m.attach()
        got = []
        thread = threading.Thread(target=lambda: got.append(m.poll()))
        thread.start()
        time.sleep(0.1)
        assert "another" in raises(RuntimeError, m.poll, 0)
        feed(m, 1)
        thread.join()
        assert [event.seq for event in got[0]] == [0]
        m.close()
    """,
    "close in another thread wakes the reader": """
        m = KprobeManager()
        m.attach()
        begin = time.monotonic()
        timer = later(0.2, m.close)
        assert m.poll() is None
        assert 0.2 <= time.monotonic() - begin < HANG
        timer.join()
    """,
    "Ctrl-C interrupts the wait and loses no event": """
        m = KprobeManager()
        m.attach()
        for read in (lambda: next(m), lambda: m.poll(), lambda: m.poll(60), m.read_batch):
            main = threading.main_thread().ident
            timer = later(0.1, signal.pthread_kill, main, signal.SIGINT)
            begin = time.monotonic()
            raises(KeyboardInterrupt, read)
            assert time.monotonic() - begin < HANG
            timer.join()
        feed(m, 3)
        assert [event.seq for event in m.poll()] == [0, 1, 2]
        m.close()
    """,
    "a signal that raises nothing does not end the wait, nor make it longer": """
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        m = KprobeManager()
        m.attach()
        begin = time.monotonic()
        assert m.poll(0.3) == []
        assert 0.3 <= time.monotonic() - begin < HANG
        m.close()
        signal.setitimer(signal.ITIMER_REAL, 0)
    """,
    "a signal handler may read and close the manager it interrupts": """
        m = KprobeManager()
        m.attach()
        got = []
        def handler(*_):
            feed(m, 1)
            got.extend(m.poll(0))
            m.close()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        raises(ValueError, m.poll)
        assert [event.seq for event in got] == [0]
    """,
    "other threads run while one waits": """
        m = KprobeManager()
        m.attach()
        thread = threading.Thread(target=m.poll)
        thread.start()
        counted = sum(1 for _ in range(100_000))
        feed(m, 1)
        thread.join()
        m.close()
    """,
    "fileno is readable exactly when poll(0) tells something": """
        m = KprobeManager()
        m.attach()
        poller = select.poll()
        poller.register(m.fileno(), select.POLLIN)
        assert poller.poll(0) == []
        feed(m, 1)
        assert poller.poll(0)
        assert len(m.poll(0)) == 1
        assert poller.poll(0) == []
        m.detach()
        assert poller.poll(0)
        m.close()
        raises(ValueError, m.fileno)
    """,
    "async for ends after detach": """
        async def main():
            m = KprobeManager(2)
            m.attach()
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, feed, m, 200)
            loop.call_later(0.2, m.detach)
            assert [event.seq async for event in m] == list(range(202))
            m.close()
        asyncio.run(main())
    """,
    "async for outside asyncio, as under trio, names what to do": """
        def step(awaitable):
            try:
                awaitable.__await__().send(None)
            except StopIteration as stop:
                return stop.value
        m = KprobeManager(200)
        m.attach()
        for _ in range(2):  # a turn for others, and a wait
            error = None
            for _ in range(300):
                try:
                    step(m.__anext__())
                except RuntimeError as raised:
                    error = raised
                    break
            assert "asyncio" in str(error) and "trio.to_thread.run_sync(m.poll)" in str(error), error
            assert error.__cause__ is None and error.__suppress_context__
            m.poll(0)
            m._events_in_a_row = 0
        feed(m, 1)
        assert len(m.poll(1)) == 1
        m.close()
    """,
    "async for lets other tasks run while events are plenty": """
        async def main():
            m = KprobeManager(1000)
            m.attach()
            ticks = 0
            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)
            ticker = asyncio.create_task(tick())
            seen = []
            async for _ in m:
                seen.append(ticks)
                if len(seen) == 1000:
                    break
            ticker.cancel()
            assert max(seen.count(tick) for tick in set(seen)) <= 64
            m.close()
        asyncio.run(main())
    """,
    "cancelling async for loses nothing and leaves no reader behind": """
        async def main():
            m = KprobeManager()
            m.attach()
            watched = asyncio.get_running_loop()._selector.get_map()
            before = len(os.listdir("/proc/self/fd")), len(watched)
            for _ in range(3):
                try:
                    await asyncio.wait_for(anext(m), 0.05)
                except TimeoutError:
                    continue
                raise AssertionError
            assert (len(os.listdir("/proc/self/fd")), len(watched)) == before
            feed(m, 1)
            assert (await anext(m)).seq == 0
            m.close()
        asyncio.run(main())
    """,
    "close ends an async for that waits; a second one is refused": """
        async def main():
            m = KprobeManager()
            m.attach()
            async def read():
                return [event async for event in m]
            task = asyncio.create_task(read())
            await asyncio.sleep(0.05)
            try:
                await asyncio.wait_for(read(), 1)
            except RuntimeError as error:
                assert "another task" in str(error)
            else:
                raise AssertionError
            m.close()
            assert await asyncio.wait_for(task, 1) == []
        asyncio.run(main())
    """,
    "attaching twice is refused; again after detach it is a new ledger": """
        m = KprobeManager(2)
        m.attach()
        raises(RuntimeError, m.attach)
        raises(RuntimeError, m.attach, 7)
        assert m.pid == 2
        assert len(m.poll()) == 2
        m.detach()
        m.detach()
        m.attach(4)
        assert m.pid == 4
        assert len(m.poll()) == 4
        m.detach()
        m.attach(None)
        assert m.pid is None
        m.close()
    """,
    "a pid that cannot be attached does not replace the one there was": """
        m = KprobeManager(2)
        assert "is dead" in raises(ProcessLookupError, m.attach, 4000002)
        assert m.pid == 2
        assert not m.is_attached
        m.attach()
        m.close()
    """,
    "each error of the core has its exception": """
        error = None
        try:
            KprobeManager(4000001).attach()
        except aa_fileio.PermissionDenied as caught:
            error = caught
        assert isinstance(error, aa_fileio.ProbeAttachError)
        assert isinstance(error, PermissionError)
        assert isinstance(error, aa_fileio.FileIOError)
        assert (error.errno, error.program, error.function) == (1, "aa_sys_read", "__x64_sys_read")
        assert (error.libbpf_log, error.remedy) == ("the verifier's words", "run it as root")
        assert str(error) == "not allowed (aa_sys_read on __x64_sys_read) [EPERM]\\nrun it as root"
        raises(FileNotFoundError, KprobeManager(4000003).attach)
        assert raises(aa_fileio.ProbeAttachError, KprobeManager(4000004).attach) == "refused [EINVAL]"
        raises(MemoryError, KprobeManager(4000005).attach)
    """,
    "what is attached, passed over and counted": """
        m = KprobeManager(1)
        assert m.backend is None
        m.attach()
        assert m.backend == "kprobe"
        assert m.passed_over == (("fentry", "not built"),)
        assert m.passed_over[0].reason == "not built"
        assert m.targets[0] == ("aa_sys_read", "__x64_sys_read", "kprobe", 7, 9, True, True)
        assert m.targets[1].present is False
        next(m)
        stats = m.stats
        assert (stats.performed, stats.delivered, stats.ring_full, stats.lost) == (6, 1, 2, 5)
        assert (stats.exact, stats.inexact_reason, stats.complete) == (False, "misses were counted", False)
        assert repr(m) == "<KprobeManager pid=1 attached backend=kprobe delivered=1 lost=5>"
        m.detach()
        assert m.targets == ()
        assert "detached" in repr(m)
        m.close()
        assert repr(m) == "<KprobeManager pid=1 closed backend=kprobe delivered=1 lost=5>"
        assert m.stats.delivered == 1
        assert [tuple(report) for report in aa_fileio.backends()][0] == ("kprobe", True, None)
        assert aa_fileio.backends()[1].reason == "not here"
    """,
    "with detaches after an exception, and never hides it": """
        try:
            with KprobeManager(1) as m:
                raise KeyError("mine")
        except KeyError as error:
            assert not hasattr(error, "__notes__")
        assert not m.is_attached
        warnings.simplefilter("ignore", ResourceWarning)  # what cannot be detached is dropped attached
        try:
            with KprobeManager(777) as m:
                raise KeyError("mine")
        except KeyError as error:
            assert "the detach failed" in error.__notes__[0]
        def leave():
            with KprobeManager(777):
                pass
        assert "the detach failed" in raises(OSError, leave)
        with KprobeManager(1) as m:
            m.close()
    """,
    "attach and detach are logged with program and function": """
        import logging
        lines = []
        class Handler(logging.Handler):
            def emit(self, record):
                lines.append((record.levelname, record.getMessage()))
        log = logging.getLogger("aa_fileio")
        log.addHandler(Handler())
        log.setLevel(logging.DEBUG)
        with KprobeManager(1):
            pass
        assert [level for level, _ in lines] == ["DEBUG", "DEBUG", "INFO"] * 2
        for what, first in (("attached to", 0), ("detached from", 3)):
            assert lines[first][1] == f"{what} __x64_sys_read: aa_sys_read (kprobe)"
            assert lines[first + 1][1] == "aa_sys_gone: this kernel has no __x64_sys_gone"
            assert lines[first + 2][1] == (
                f"{what} 1 kernel functions with 1 programs: aa_sys_read on __x64_sys_read")
        raises(OSError, KprobeManager(4000001).attach)
        assert lines[-1][0] == "ERROR" and "not allowed" in lines[-1][1]
    """,
    "an attached manager that is dropped warns, and is detached": """
        m = KprobeManager(1)
        m.attach()
        fd = m.fileno()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del m
        assert [warning.category for warning in caught] == [ResourceWarning]
        assert "pid=1 attached" in str(caught[0].message)
        caught.clear()  # the warning keeps its source
        raises(OSError, os.fstat, fd)
    """,
    "managers and events do not leak": """
        def cycle():
            for _ in range(20):
                m = KprobeManager(50)
                m.attach()
                for event in m.poll():
                    event.path, event.time, event._asdict(), hash(event), repr(event)
                m.targets, m.passed_over, m.stats
                raises(RuntimeError, m.attach)
                m.detach()
                assert m.poll() is None
                m.close()
                raises(ValueError, m.poll)
        cycle()
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(10):
            cycle()
        gc.collect()
        # One object of each manager would be 200; the interpreter's own caches come and go by some 50.
        assert sys.getallocatedblocks() - before < 150
    """,
    "a forked child has an inert manager, and the parent's goes on": """
        m = KprobeManager(1)
        m.attach()
        fd = m.fileno()
        pid = os.fork()
        if pid == 0:
            try:
                raises(OSError, os.fstat, fd)
                assert m.is_attached is False
                assert repr(m) == "<KprobeManager of the parent process>"
                for call in (m.attach, m.poll, m.read_batch, m.fileno, lambda: next(m), lambda: m.targets):
                    assert "parent" in raises(RuntimeError, call)
                m.detach()
                m.close()
                del m
                gc.collect()
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert m.is_attached
        assert [event.seq for event in m.poll()] == [0]
        m.close()
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_reading(name: str, fake_core: Run) -> None:
    fake_core(START + dedent(SCRIPTS[name]))
