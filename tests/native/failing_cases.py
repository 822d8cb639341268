# SPDX-License-Identifier: MIT
"""What runs under shims/fail.c: `python -m tests.native.failing_cases FUNCTION ARGUMENT…`, all of it in JSON."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from typing import Any

from aa_fileio import BackendUnavailable, KprobeManager, PermissionDenied, ProbeAttachError
from tests.native import outside
from tests.native.failing import BPF_LINK_CREATE, BPF_TRACE_RAW_TP, Shim

_BY_RAW_LINK = ("aa_process_", "aa_ring_")
# Until its tracer is gone.
_REMOVES = """
import os
parent = os.getppid()
while os.getppid() == parent:
    try:
        os.rmdir("/nonexistent")
    except OSError:
        pass
"""
NAMED = (ProbeAttachError, PermissionDenied, BackendUnavailable, OSError, MemoryError)
SECONDS = 30.0


def _missing() -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir("/nonexistent")


def _read(manager: Any, count: int) -> list[Any]:
    """At least so many events, or the end."""
    events: list[Any] = []
    end = time.monotonic() + SECONDS
    while len(events) < count and time.monotonic() < end:
        more = manager.poll(1.0)
        if more is None:
            break
        events += more
    return events


def _trace_once(manager: Any) -> int:
    """Attach, five calls, read them, detach; how many were read."""
    manager.attach()
    for _ in range(5):
        _missing()
    read = len(_read(manager, 5))
    manager.detach()
    return read


def _held() -> Counter[str]:
    gc.collect()
    return Counter(os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in _descriptors())


def _descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.readlink(f"/proc/self/fd/{fd}")
            found.append(fd)
    return found


def fallback(backend: str | None) -> dict[str, Any]:
    """One link of a tracepoint that io_uring's requests are seen at is refused, and the attach succeeds without."""
    shim = Shim()
    manager = KprobeManager(os.getpid(), ops=["rmdir"], backend=backend)
    manager.attach()
    # Links of this kind are made in the order of the targets.
    links = [each.program for each in manager.targets if each.present and each.program.startswith(_BY_RAW_LINK)]
    rings = [number for number, program in enumerate(links, 1) if "_ring_" in program]
    manager.detach()
    if not rings:
        return {"rings": False}
    with shim.failing("bpf", rings[0], number=errno.EMFILE, command=BPF_LINK_CREATE, attach_type=BPF_TRACE_RAW_TP):
        manager.attach()
    first = manager.poll(0.2)
    for _ in range(5):
        _missing()
    events = [event.path for event in _read(manager, 5)]
    stats = manager.stats
    result = {
        "rings": True,
        "fell_back": shim.done == 1,
        "first": first,
        "attached": manager.is_attached,
        "events": events,
        "performed": stats.performed,
        "delivered": stats.delivered,
        "seen_rings": any("ring" in target.program for target in manager.targets if target.present),
        "passed_over": [list(each) for each in manager.passed_over],
    }
    manager.detach()
    result["end"] = manager.poll(1.0)
    manager.close()
    return result


def backend_fallback() -> dict[str, Any]:
    """No probe gets its perf event, as by CAP_BPF and CAP_PERFMON alone and Debian's perf_event_paranoid=3."""
    shim = Shim()
    manager = KprobeManager(os.getpid(), ops=["rmdir"])
    with shim.failing("perf_event_open", 1, 0, errno.EACCES):
        try:
            manager.attach()
        except PermissionDenied as error:
            manager.close()
            return {"error": str(error)}
    first = manager.poll(0.2)
    for _ in range(5):
        _missing()
    result = {
        "backend": manager.backend,
        "passed_over": [each.backend for each in manager.passed_over],
        "first": first,
        "events": [event.path for event in _read(manager, 5)],
        "complete": manager.stats.complete,
    }
    manager.detach()
    result["end"] = manager.poll(1.0)
    manager.close()
    return result


def sweep(what: str, number: int, backend: str | None, begin: int, stride: int, limit: int) -> dict[str, Any]:
    """
    The n-th call fails once, n = begin, begin + stride … up to the limit or to the last there is: over attach, read and
    detach; and then all once more, in the same process.
    """
    shim = Shim()
    manager = KprobeManager(os.getpid(), ops=["rmdir"], backend=backend)
    assert _trace_once(manager) == 5
    manager.close()
    del manager
    before, threads = _held(), len(os.listdir("/proc/self/task"))
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    n = begin
    while n <= limit:
        shim.set(what, n, number=number)
        manager = None
        try:
            manager = KprobeManager(os.getpid(), ops=["rmdir"], backend=backend)
            read = _trace_once(manager)
            outcome = "read" if read == 5 else f"read {read}, {manager.stats}"
        except NAMED as error:
            outcome = type(error).__name__
            if not str(error) and not isinstance(error, MemoryError):
                wrong.append(f"{n}: {outcome} without a word")
        except BaseException as error:
            wrong.append(f"{n}: {type(error).__name__}: {error}")
            outcome = "other"
        done = shim.done
        shim.clear()
        if manager is not None:
            manager.close()
        del manager
        if not done:
            break
        outcomes[outcome] += 1
        if outcome.startswith("read "):
            wrong.append(f"{n}: {outcome}")
        if _held() != before:
            wrong.append(f"{n}: descriptors {_held() - before} {before - _held()}")
        # The same once more, in the same process, whatever libbpf has learned from the failure.
        again = KprobeManager(os.getpid(), ops=["rmdir"], backend=backend)
        try:
            read = _trace_once(again)
            if read != 5 or not again.stats.complete:
                wrong.append(f"{n}: then {read}, {again.stats}")
        except BaseException as error:
            wrong.append(f"{n}: then {type(error).__name__}: {error}")
        again.close()
        del again
        n += stride
    left = _held() - before
    return {
        "tried": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "wrong": wrong,
        "left": dict(left),
        "threads": len(os.listdir("/proc/self/task")) - threads,
        "bpf": outside.bpf_descriptors(),
    }


class _Late(Exception):
    pass


def no_memory_for_an_event(program: str, path: str) -> dict[str, Any]:
    """An event with a long name, and no memory for it: while the trace runs, and after its end."""
    shim = Shim()
    result: dict[str, Any] = {}
    argv = [program, "-c", f"for i in 1 2 3 4 5; do (: <{path}); done; read x"]
    manager = KprobeManager.spawn(argv, ops=["open"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # The queue has its room by now, or would have none to put the event into. The shell's other names are short.
    assert select.select([manager], [], [], SECONDS)[0]
    time.sleep(0.5)
    wanted, short = 5, []
    while len(short) < 1000:
        shim.set("memory", 1, 0, at_least=1024)
        try:
            more = manager.poll(SECONDS, 1)
        except MemoryError:
            break
        finally:
            shim.clear()
        assert more, manager.stats
        short += more

    def late(*_: Any) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 20)
    calls = {
        "poll": lambda: manager.poll(1.0),
        "poll at once": lambda: manager.poll(0),
        "next": lambda: next(manager),
        "read_batch": lambda: manager.read_batch(1.0),
    }
    queued = manager.stats.queued
    for name, call in calls.items():
        shim.set("memory", 1, 0, at_least=1024)
        try:
            result[name] = repr(call())
        except (MemoryError, _Late) as error:
            result[name] = type(error).__name__
        finally:
            shim.clear()
    result["stays"] = manager.stats.queued == queued
    # The end of the stream does not hide it either.
    manager.process.stdin.close()
    manager.process.wait(SECONDS)
    manager.detach()
    shim.set("memory", 1, 0, at_least=1024)
    try:
        result["poll after the end"] = repr(manager.poll(1.0))
    except (MemoryError, _Late) as error:
        result["poll after the end"] = type(error).__name__
    finally:
        shim.clear()
    signal.setitimer(signal.ITIMER_REAL, 0)
    rest = list(manager)
    result["events"] = sum(event.path == path for event in rest + short)
    result["wanted"] = wanted
    result["seq"] = [event.seq for event in short + rest] == list(range(len(short) + len(rest)))
    result["complete"] = manager.stats.complete
    manager.close()
    return result


def _hold_the_drain(shim: Shim, manager: Any) -> None:
    """Its queue gets room, it asks for memory to put more events there, and waits in that."""
    shim.set("memory", 1, 0, at_least=4096, held=True)
    end = time.monotonic() + SECONDS
    while not shim.done and time.monotonic() < end:
        manager.poll(0.1)
    assert shim.done, "the queue asked for no memory"


def fork_while_the_queue_is_locked(what: str) -> dict[str, Any]:
    """The drain thread waits for memory, the queue's lock in its hands, while a child is forked."""
    shim = Shim()
    target = subprocess.Popen([sys.executable, "-c", _REMOVES])
    manager = KprobeManager(target.pid, ops=["rmdir"], queue_bytes=1 << 20)
    manager.attach()
    _hold_the_drain(shim, manager)
    child = os.fork()
    if not child:
        shim.clear()
        signal.alarm(10)  # what hangs is killed by it
        if what == "drop":
            del manager
            gc.collect()
        elif what == "use":
            for call in (manager.poll, manager.attach, lambda: manager.targets, lambda: manager.pid):
                with contextlib.suppress(RuntimeError):
                    call()
            repr(manager)
            _ = manager.stats
            manager.detach()
            manager.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    shim.clear()
    target.kill()
    target.wait()
    manager.detach()
    manager.close()
    return {"status": os.waitstatus_to_exitcode(status)}


def fork_while_a_thread_waits() -> dict[str, Any]:
    """Another thread waits inside detach() for the drain, which waits for memory, while a child is forked."""
    shim = Shim()
    target = subprocess.Popen([sys.executable, "-c", _REMOVES])
    manager = KprobeManager(target.pid, ops=["rmdir"], queue_bytes=1 << 20)
    manager.attach()
    _hold_the_drain(shim, manager)
    waiting = threading.Thread(target=manager.detach)
    waiting.start()
    while manager.is_attached:
        time.sleep(0.01)
    time.sleep(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 3.12 on: a process with threads is forked
        child = os.fork()
    if not child:
        shim.clear()
        signal.alarm(10)
        del manager, waiting
        gc.collect()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    shim.clear()
    target.kill()
    target.wait()
    waiting.join()
    manager.close()
    return {"status": os.waitstatus_to_exitcode(status)}


def main() -> int:
    name, *arguments = sys.argv[1:]
    print(json.dumps(globals()[name](*map(json.loads, arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
