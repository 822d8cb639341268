"""The parts of the guest harness that need no guest: the splat scanner, the archive, the report's counts."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernels import console_log, guest, images, initramfs, machine
from tests.kernels.images import Image

if TYPE_CHECKING:
    from pathlib import Path

WARN_6_1 = """\
[   10.000001] ------------[ cut here ]------------
[   10.000002] WARNING: CPU: 1 PID: 312 at kernel/trace/bpf_trace.c:2045 bpf_get_stack+0x1/0x2
[   10.000003] Modules linked in: overlay 9p
[   10.000004] CPU: 1 PID: 312 Comm: python Not tainted 6.1.0
[   10.000005] Call Trace:
[   10.000006]  <TASK>
[   10.000007]  bpf_prog_1234_aa_sys_read+0x1/0x2
[   10.000008]  </TASK>
[   10.000009] ---[ end trace 0000000000000000 ]---
[   10.000010] something ordinary
"""

# Newer kernels put the place first.
WARN_7_2 = "[   11.000000] WARNING: kernel/bpf/verifier.c:99 at check+0x1/0x2, CPU#0: python/77\n"

SPLATS = {
    "warning": WARN_6_1,
    "warning, newer wording": WARN_7_2,
    "bad address": "[    9.0] BUG: unable to handle page fault for address: ffff888000000000\n[    9.0] #PF: x\n",
    "assertion": "[    9.0] kernel BUG at kernel/kprobes.c:1!\n",
    "oops": "[    9.0] Oops: 0000 [#1] PREEMPT SMP NOPTI\n",
    "general protection": "[    9.0] general protection fault, probably for non-canonical address 0xdead: 0000\n",
    "circular locking": "[    9.0] WARNING: possible circular locking dependency detected\n",
    "recursive locking": "[    9.0] INFO: possible recursive locking detected\n",
    "sleeping": "[    9.0] BUG: sleeping function called from invalid context at mm/x.c:1\n",
    "panic": "[    9.0] Kernel panic - not syncing: Fatal exception\n",
    "list": "[    9.0] list_del corruption. prev->next should be x\n",
    "suspicious RCU": "[    9.0] WARNING: suspicious RCU usage\n",
}

ORDINARY = """\
[    4.0] audit: type=1400 audit(1.1:2): apparmor="STATUS"
[    5.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible
[    6.0] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large
[    7.0] perf: interrupt took too long (3000 > 2500), lowering kernel.perf_event_max_sample_rate to 66000
[    8.0] process 'debug/x' started with executable stack
[    9.0] reboot: Power down
"""

STALL = """\
[   40.0] rcu: INFO: rcu_preempt self-detected stall on CPU
[   40.0] rcu: \t1-....: (5250 ticks this GP) idle=1
[   40.0] CPU: 1 PID: 30 Comm: kworker/1:1 Not tainted 6.1.0
[   40.0] Call Trace:
[   40.0]  <TASK>
[   40.0]  {frame}+0x1/0x2
[   40.0]  </TASK>
[   41.0] systemd: next
"""


@pytest.mark.parametrize("text", SPLATS.values(), ids=SPLATS)
def test_every_kind_of_complaint_is_found(text: str) -> None:
    assert len(console_log.find_splats(ORDINARY + text + ORDINARY)) == 1


def test_a_healthy_log_is_left_alone() -> None:
    assert console_log.find_splats(ORDINARY) == []


def test_a_complaint_is_told_whole_and_without_its_neighbours() -> None:
    (splat,) = console_log.find_splats(ORDINARY + WARN_6_1.replace("\n", "\r\n"))
    assert splat.title.startswith("WARNING: CPU: 1 PID: 312 at kernel/trace/bpf_trace.c:2045")
    assert splat.text.startswith("[   10.000001] ------------[ cut here ]")
    assert splat.text.endswith("---[ end trace 0000000000000000 ]---")
    assert "bpf_prog_1234_aa_sys_read" in splat.text


def test_each_of_two_complaints_is_told() -> None:
    assert len(console_log.find_splats(WARN_6_1 + WARN_7_2 + WARN_6_1)) == 3


@pytest.mark.parametrize(
    ("frame", "ours"),
    [
        ("bpf_prog_77_aa_sys_write", True),
        ("kprobe_ftrace_handler", True),
        ("__bpf_trace_sys_exit", True),
        ("ksm", False),
    ],
)
def test_a_stall_counts_only_with_our_frames(frame: str, ours: bool) -> None:
    assert bool(console_log.find_splats(STALL.format(frame=frame))) is ours


@pytest.mark.parametrize(
    "first",
    [
        "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [python:300]",
        "INFO: task python:300 blocked for more than 120 seconds.",
        "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 31s!",
    ],
)
def test_other_ways_to_be_slow_count_as_stalls(first: str) -> None:
    trace = "[   40.0] Call Trace:\n[   40.0]  {frame}+0x1/0x2\n"
    assert not console_log.find_splats(f"[   40.0] {first}\n" + trace.format(frame="schedule"))
    assert console_log.find_splats(f"[   40.0] {first}\n" + trace.format(frame="unregister_kprobe"))


def test_only_what_follows_the_start_is_looked_at() -> None:
    log = WARN_6_1 + f"[   12.0] {console_log.START}\n" + ORDINARY
    assert console_log.find_splats(log)
    assert not console_log.find_splats(console_log.after_start(log))


def test_exit_status_puts_the_kernel_first() -> None:
    splats = console_log.find_splats(WARN_7_2)
    assert machine.Outcome("sid", "7", status=0).exit_status == 0
    assert machine.Outcome("sid", "7", status=3).exit_status == 3
    assert machine.Outcome("sid", "7", status=0, splats=splats).exit_status == machine.EXIT_SPLAT
    assert machine.Outcome("sid", "7", failure="did not boot").exit_status == machine.EXIT_GUEST


def test_a_command_is_quoted_and_its_environment_exact(tmp_path: Path) -> None:
    script = initramfs.command_script(["printf", "%s|%s\n", "a b", "$HOME'"], {"X": "1 2"}, tmp_path)
    assert subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True).stdout == "a b|$HOME'\n"
    script = initramfs.command_script(["/usr/bin/env"], {"X": "1 2"}, tmp_path)
    assert subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True).stdout == "X=1 2\n"


def test_the_archive_has_the_kernels_layout() -> None:
    data = initramfs.archive({"a/b/file": (0o755, b"hello")})
    names, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name_at = at + 110
        name = data[name_at : name_at + fields[11] - 1].decode()
        body_at = (name_at + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        names[name] = (fields[1], data[body_at : body_at + fields[6]])
        at = (body_at + fields[6] + 3) // 4 * 4
    assert names == {"a": (0o040755, b""), "a/b": (0o040755, b""), "a/b/file": (0o100755, b"hello")}


REPORT = (
    '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/></testsuites>'
)


def test_a_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(REPORT.format(tests=9, failures=1, errors=2, skipped=3))
    assert guest.Counts.read(report) == guest.Counts(passed=3, failed=3, skipped=3)
    assert guest.Counts.read(tmp_path / "none.xml") == guest.Counts()


@pytest.mark.parametrize(
    ("outcome", "counts", "passed"),
    [
        (machine.Outcome("sid", "7", status=0), guest.Counts(passed=5), True),
        (machine.Outcome("sid", "7", status=0), guest.Counts(passed=5, skipped=2), True),
        (machine.Outcome("sid", "7", status=1), guest.Counts(passed=5, failed=1), False),
        (machine.Outcome("sid", "7", status=0), guest.Counts(), False),
        (machine.Outcome("sid", "7", status=0), guest.Counts(skipped=5), False),
        (machine.Outcome("sid", "7", status=2), guest.Counts(passed=5), False),
        (machine.Outcome("sid", "7", failure="did not boot within 9 s"), guest.Counts(), False),
        (
            machine.Outcome("sid", "7", status=0, splats=console_log.find_splats(WARN_7_2)),
            guest.Counts(passed=5),
            False,
        ),
    ],
)
def test_a_suite_passes_only_if_tests_ran_and_nothing_went_wrong(
    outcome: machine.Outcome, counts: guest.Counts, passed: bool, tmp_path: Path
) -> None:
    verdict = guest.judge(outcome, counts, tmp_path)
    assert verdict.passed is passed
    assert ("FAILED" in verdict.line) is not passed
    # The sum of `make test` sees failing tests in the report, and the rest only here.
    problems = (tmp_path / "problems.txt").read_text()
    assert bool(problems or counts.failed) is not passed


def test_a_half_made_cache_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(source: images.Source, scratch: Path) -> Path:
        (scratch / "vmlinuz").write_text("half")
        raise images.FetchError(f"{source.suite}: cannot fetch package linux-image-x")

    monkeypatch.setattr(images, "_fetch_into", fail)
    with pytest.raises(images.FetchError, match=r"^sid: cannot fetch package linux-image-x$"):
        images.fetch("sid")
    assert images.cached("sid") is None
    assert [path.name for path in images.cache_folder().iterdir()] == [".sid.lock"]

    def make(source: images.Source, scratch: Path) -> Path:
        made = scratch / "image"
        made.mkdir()
        manifest = {"release": f"7.2-{source.suite}", "modules": ["a.ko"], "wanted": images._MODULES}
        (made / "manifest.json").write_text(json.dumps(manifest))
        return made

    monkeypatch.setattr(images, "_fetch_into", make)
    folder = images.cache_folder() / "sid"
    assert images.fetch("sid") == Image("sid", "7.2-sid", folder / "vmlinuz", (folder / "modules" / "a.ko",))
    monkeypatch.setattr(images, "_fetch_into", fail)
    assert images.fetch("sid").release == "7.2-sid"

    # One with fewer modules than are asked for now.
    monkeypatch.setattr(images, "_MODULES", (*images._MODULES, "another"))
    assert images.cached("sid") is None
    monkeypatch.setattr(images, "_fetch_into", make)
    assert images.fetch("sid").release == "7.2-sid"
