# SPDX-License-Identifier: MIT
"""What is done in a way that is not traced is announced, whatever was asked for. The calls: test_rows.py."""

from __future__ import annotations

import errno
import struct
import subprocess
import time
from pathlib import Path

import pytest

from aa_fileio import KprobeManager
from tests.native.expected import Filtered, check_events, check_results, check_script_ledger, file
from tests.native.ground import HANG_SECONDS, HERE
from tests.native.script import Script, Step, Steps
from tests.native.tracing import check_trace, trace

# No request of a ring can do it, so that rings are not followed but announced, as all of them are where the kernel does
# not show their requests.
NO_RING = ["chmod"]


def _ring(script: Script, steps: Steps, *, is_seen: bool = False) -> None:
    status: list[Step] = []
    sees = (lambda _: file("anon_inode:[io_uring]", kind="anon", of=status[0])) if is_seen else None
    ring = steps.call("io_uring_setup", 4, script.buffer(120), sees=sees)
    status.append(steps.call("fstat", ring, script.buffer(144)))


@pytest.mark.parametrize("options", [{"errors_only": True}, {"min_duration_ns": 2**62}], ids=["errors", "slow"])
def test_no_filter_keeps_it_back(backend: str, area: Path, options: dict[str, object]) -> None:
    (area / "plain").write_bytes(b"1234")
    script = Script(traced=("chmod", "io_uring_setup"))
    main = script.main
    main.hold()
    main.call("chmod", area / "plain", 0o600, sees=Filtered())
    _ring(script, main, is_seen=True)
    main.call("io_uring_setup", 0, script.buffer(120), sees=Filtered(errno.EINVAL))
    main.call("chmod", area / "plain", 0o644, sees=Filtered())
    result = trace(script, area, backend, ops=NO_RING, **options)
    check_results(script)
    check_events(script, result.events)
    check_script_ledger(script, result.stats, backend)


def test_an_operation_that_nobody_asked_for_is_told(backend: str, area: Path) -> None:
    script = Script(traced=("io_uring_setup",))
    script.main.hold()
    _ring(script, script.main, is_seen=True)
    check_trace(script, area, backend, ops=NO_RING, kinds=["file"])


def test_totals_alone_say_it(backend: str, area: Path) -> None:
    script = Script(traced=("io_uring_setup",))
    script.main.hold()
    _ring(script, script.main, is_seen=True)
    result = trace(script, area, backend, ops=NO_RING, totals=True, events=False)
    [row] = result.totals
    assert (str(row.op), row.path, row.calls) == ("blind_spot", "anon_inode:[io_uring]", 1)
    assert not result.totals.complete
    assert result.stats.blind_spots == 1


@pytest.mark.parametrize("where", ["root", "child"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "one"])
@pytest.mark.parametrize("op", [*NO_RING, "unlink"])
def test_a_ring_from_before_the_trace_is_counted(backend: str, area: Path, where: str, follow: bool, op: str) -> None:
    """By whichever watched process: a child of one that is watched alone is none. Where its requests are followed it is
    no blind spot."""
    script = Script(traced=("rmdir",))
    if where == "root":
        _ring(script, script.main)
        _ring(script, script.main)
        script.main.hold()
    else:
        child = script.list()
        script.main.fork(child)
        _ring(script, child)
        child.hold()
        script.main.hold()
    script.main.call("rmdir", area / "none", sees=Filtered())
    with script.start(area) as running:
        with KprobeManager(running.pid, backend=backend, ops=[op], follow=follow) as manager:
            running.go()
            assert manager.poll(HANG_SECONDS) is None
            running.finish()
        stats = manager.stats
    expected = 2 if where == "root" else int(follow)
    if op == "unlink" and HERE.ring_opcodes:
        expected = 0
    assert (stats.blind_spots, stats.performed, stats.lost) == (expected, 0, 0)
    assert stats.complete == (stats.exact and not expected)


@pytest.mark.guest_only
def test_a_ring_from_before_is_found_in_the_whole_system(backend: str, area: Path) -> None:
    def counted() -> int:
        with KprobeManager(None, backend=backend, ops=NO_RING) as manager:
            return manager.stats.blind_spots

    script = Script(traced=())
    _ring(script, script.main)
    script.main.hold()
    before = counted()
    with script.start(area):
        assert counted() == before + 1
    assert counted() == before


def _program_of_32_bits(path: Path, code: str) -> Path:
    """An i386 executable with nothing but that code."""
    text = bytes.fromhex(code)
    size, at = 52 + 32 + len(text), 0x08048000
    numbers = (2, 3, 1, at + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    head = struct.pack("=4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 0, *numbers)
    path.write_bytes(head + struct.pack("=8I", 1, 0, at, at, size, size, 5, 4096) + text)
    path.chmod(0o700)
    return path


def test_a_32_bit_program_is_announced(backend: str, area: Path) -> None:
    """By tracepoint its calls are counted; by the others that it begins."""
    program = _program_of_32_bits(area / "ends", "31dbb801000000cd80")  # exit(0)
    with KprobeManager.spawn([program], backend=backend, ops=["rmdir"]) as manager:
        assert manager.poll(HANG_SECONDS) is None
        assert manager.process is not None and manager.process.wait(HANG_SECONDS) == 0
    stats = manager.stats
    expected = (1, 0) if backend == "tracepoint" else (0, 1)
    assert (stats.compat_calls, stats.blind_spots, stats.complete) == (*expected, False)


def test_a_32_bit_program_that_runs_already_is_announced(backend: str, area: Path) -> None:
    program = _program_of_32_bits(area / "waits", "b81d000000cd80ebf7")  # pause(), again and again
    with subprocess.Popen([program]) as process:
        try:
            while Path(f"/proc/{process.pid}/syscall").read_text().split()[0] != "29":
                time.sleep(0.002)
            with KprobeManager(process.pid, backend=backend, ops=["rmdir"]) as manager:
                stats = manager.stats
        finally:
            process.kill()
    assert (stats.compat_calls, stats.blind_spots) == (0, 0 if backend == "tracepoint" else 1)
