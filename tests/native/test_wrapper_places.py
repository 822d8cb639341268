# SPDX-License-Identifier: MIT
"""Where the tracer is: its own shell, namespaces, limits, privileges, the file that it writes to."""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.test_command_line import PATIENCE, wait_for
from tests.native.test_wrapper import AA_FILEIO

pytestmark = pytest.mark.native_only

PROGRAM = shlex.quote(str(AA_FILEIO))


def shell(script: str, area: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"cwd": area, "capture_output": True, "text": True, "timeout": PATIENCE, "check": False, **options}
    return subprocess.run(["bash", "-c", f'aa() {{ {PROGRAM} "$@"; }}\n{script}'], **options)


# --- never in its own picture


def test_a_trace_of_ones_own_shell_does_not_feed_itself(area: Path) -> None:
    script = (
        f"{PROGRAM} attach --json -p $$ >trace & pid=$!; sleep 2; cat /etc/hostname; kill $pid; wait $pid; echo $pid"
    )
    done = shell(script, area)
    tracer = int(done.stdout.split()[-1])
    records = [json.loads(line) for line in (area / "trace").read_text().splitlines()]
    assert records[-1]["record"] == "summary"
    assert "/etc/hostname" in {record.get("path") for record in records}
    assert tracer not in {record.get("pid") for record in records}


def test_a_reader_of_the_trace_that_is_traced_is_said(area: Path) -> None:
    done = shell("aa attach -p $$ --duration 0.5 | tee trace >/dev/null; true", area)
    assert "what reads this trace is traced, too" in done.stderr and "Remedy: -o FILE" in done.stderr
    # One who is not traced is nobody's business.
    done = shell("sleep 5 & aa attach -p $! --duration 0.5 | tee trace >/dev/null; kill $!", area)
    assert done.stderr == ""


# --- what the tracer has is not the command's


def test_what_the_tracer_has_mapped_and_opened_is_no_blind_spot_of_the_command(area: Path) -> None:
    lock = multiprocessing.Lock()
    with (
        tempfile.TemporaryFile() as file,
        socket.socket(socket.AF_UNIX) as manager,
        socket.socket(socket.AF_UNIX) as own,
    ):
        file.truncate(4096)
        held = mmap.mmap(file.fileno(), 4096)
        folder = Path("/run/podman")
        folder.mkdir(exist_ok=True)
        name = folder / "podman.sock"
        name.unlink(missing_ok=True)
        manager.bind(str(name))
        manager.listen()
        try:
            own.connect(str(name))
            with KprobeManager.spawn(["true"]) as m:
                list(m)
            assert (m.stats.blind_spots, m.stats.complete) == (0, True)
            # What passes the exec is the command's.
            with KprobeManager.spawn(["true"], pass_fds=[own.fileno()]) as m:
                list(m)
            assert m.stats.blind_spots == 1
        finally:
            name.unlink()
            held.close()
    del lock


# --- a survivor whose first thread has gone


def test_a_survivor_whose_first_thread_is_gone_is_named(area: Path, compiled: Path) -> None:
    script = f"{compiled}/dead_leader /etc/hostname >ready 2>&1 & echo $! >pid; "
    script += "while ! grep -q ready ready; do sleep 0.05; done; sleep 0.5"
    done = shell(f"aa run --json -o trace -- sh -c {shlex.quote(script)}", area)
    pid = int((area / "pid").read_text())
    os.kill(pid, 9)
    assert done.returncode == 0
    summary = json.loads((area / "trace").read_text().splitlines()[-1])
    assert (summary["still_running"], summary["still_running_unnamed"]) == ([{"pid": pid, "comm": "dead_leader"}], 0)


# --- a /proc that is not ours


def test_a_proc_of_another_pid_namespace_is_not_asked(area: Path) -> None:
    """Number 2 is kthreadd outside, and our target inside."""
    script = "sleep 600 & echo target $!; exec aa-fileio attach -p $! --duration 0.5 -o trace"
    script = script.replace("aa-fileio", PROGRAM)
    done = shell(f"unshare --pid --fork --kill-child sh -c {shlex.quote(script)}", area)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "target 2\n"
    assert "/proc is of another pid namespace" in done.stderr and "mount -t proc proc /proc" in done.stderr
    assert "blind spots: 1" in (area / "trace").read_text().splitlines()[-1]


def test_without_proc_the_remedy_is_to_mount_it(area: Path) -> None:
    script = f"umount -l /proc; {PROGRAM} run -- true; echo $?; {PROGRAM} doctor; echo $?"
    done = shell(f"unshare --mount sh -c {shlex.quote(script)}", area)
    assert "remedy: mount it: mount -t proc proc /proc" in done.stderr
    first, *doctor, last = done.stdout.splitlines()
    assert (first, last) == ("125", "1")
    assert "remedy      /proc is not mounted: mount -t proc proc /proc" in doctor
    assert doctor[-1] == "aa-fileio cannot trace here."


def test_without_sys_the_remedy_is_to_mount_it(area: Path) -> None:
    done = shell(f"unshare --mount sh -c {shlex.quote(f'umount -l /sys; {PROGRAM} run -- true')}", area)
    assert done.returncode == 125
    assert "mount -t sysfs sysfs /sys" in done.stderr


def test_a_time_namespace_does_not_change_the_time(area: Path) -> None:
    before = time.time()
    script = "unshare --time --boottime 1000000 --monotonic 1000 "
    done = shell(
        f"{script} {PROGRAM} run --json -o trace -- sh -c 'sleep 600 </etc/hostname >/dev/null 2>&1 & exit 3'", area
    )
    after = time.time()
    *events, summary = [json.loads(line) for line in (area / "trace").read_text().splitlines()]
    assert done.returncode == 3
    times = [event["time"] for event in events]
    from datetime import datetime

    assert before <= min(map(datetime.fromisoformat, times)).timestamp()
    assert max(map(datetime.fromisoformat, times)).timestamp() <= after
    # It started before it was seen last, by either clock.
    (survivor,) = summary["still_running"]
    os.kill(survivor["pid"], 9)
    assert survivor["comm"] == "sleep"


# --- limits


def test_too_few_descriptors_are_named_with_how_many_are_needed(area: Path) -> None:
    for count in (16, 32):
        done = shell(f"ulimit -n {count}; aa run -- true", area)
        assert done.returncode == 125
        assert f"{count} are allowed" in done.stderr and "4096" in done.stderr and "doctor" not in done.stderr
    assert shell("ulimit -n 64; aa run -o trace -- true", area).returncode == 0


def test_a_soft_limit_is_the_commands_and_does_not_keep_us_from_tracing(area: Path) -> None:
    script = "aa run -o trace -- sh -c 'ulimit -Sn; ulimit -Sf; ulimit -Sv'"
    done = shell(f"ulimit -S -n 24; ulimit -S -f 4; ulimit -S -v 90000; {script}", area)
    assert (done.returncode, done.stdout.split()) == (0, ["24", "8", "90000"]), done.stderr
    # More than the command may write.
    done = shell("ulimit -S -f 4; aa run -o trace -- sh -c 'for i in 1 2 3 4; do cat /etc/hostname; done'", area)
    assert done.returncode == 0 and (area / "trace").stat().st_size > 4096
    assert (area / "trace").read_text().splitlines()[-1].startswith("trace ")


def test_too_little_memory_is_named_with_how_much_is_needed(area: Path) -> None:
    done = shell("ulimit -v 60000; aa run -- true", area)
    assert done.returncode == 125
    assert "Traceback" not in done.stderr and "doctor" not in done.stderr
    remedy = done.stderr.splitlines()[-1]
    assert "ulimit -v is 60000 KiB" in remedy and "--ring-bytes 256K" in remedy
    # What it says is enough.
    enough = remedy.split("ulimit -v ")[-1].split(",")[0]
    assert shell(f"ulimit -v {enough}; aa run -o trace -- true", area).returncode == 0
    less = "--ring-bytes 256K --queue-bytes 256K"
    assert shell(f"ulimit -v {102 << 10}; aa run {less} -o trace -- true", area).returncode == 0


@pytest.mark.parametrize("stack", [65536, "unlimited"])
def test_what_is_needed_does_not_grow_with_the_stack_limit(area: Path, stack: int | str) -> None:
    done = shell(f"ulimit -s {stack}; ulimit -v {140 << 10}; aa run -o trace -- sh -c 'ulimit -s'", area)
    assert (done.returncode, done.stdout.strip()) == (0, str(stack)), done.stderr


def test_a_thread_that_cannot_start_is_named(area: Path) -> None:
    script = (
        "import threading, aa_fileio.integrations.command_line as line\n"
        'def start(thread): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start\n"
        "raise SystemExit(line.main(['run', '-o', 'trace', '--', 'true']))\n"
    )
    for limit, remedy in (("unlimited", "ulimit -u"), (900 << 10, "address space")):
        done = shell(f"ulimit -v {limit}; {sys.executable} -c {shlex.quote(script)}", area)
        assert done.returncode == 125
        assert "Traceback" not in done.stderr and remedy in done.stderr.splitlines()[-1]


# --- privileges

CAPABILITIES = "+bpf,+perfmon,+dac_override,+dac_read_search,+net_bind_service,+sys_ptrace"
UNPRIVILEGED = "setpriv --reuid 65534 --regid 65534 --clear-groups"
SOME = f"{UNPRIVILEGED} --inh-caps={CAPABILITIES} --ambient-caps={CAPABILITIES}"
TRACING = 1 << 38 | 1 << 39
BIND = 1 << 10


def capabilities(status: str) -> dict[str, int]:
    return {line.split()[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")}


def test_the_tracers_capabilities_are_not_the_commands(area: Path) -> None:
    area.chmod(0o777)
    done = shell(f"{SOME} {PROGRAM} run -o /dev/null -- cat /proc/self/status", area)
    has = capabilities(done.stdout)
    assert not (has["CapAmb:"] | has["CapInh:"] | has["CapEff:"] | has["CapPrm:"]) & TRACING, done
    assert has["CapAmb:"] & BIND and has["CapEff:"] & BIND  # which are none of the tracer's business
    done = shell(f"{SOME} {PROGRAM} run --keep-capabilities -o /dev/null -- cat /proc/self/status", area)
    assert capabilities(done.stdout)["CapAmb:"] & TRACING == TRACING


SUDO = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}


def test_under_sudo_the_command_is_the_callers(area: Path) -> None:
    environment = os.environ | SUDO | {"SUDO_COMMAND": f"{AA_FILEIO} run -- id"}
    show = "sh -c 'id -u; id -g; id -G; echo $HOME $USER'"
    done = shell(f"aa run -o trace -- {show}", area, env=environment)
    nobody = subprocess.run(["id", "-G", "nobody"], capture_output=True, text=True, check=True).stdout.strip()
    assert done.stdout.splitlines() == ["65534", "65534", nobody, "/nonexistent nobody"]
    assert done.stderr == "aa-fileio: the command runs as nobody, who called sudo; --user root keeps root\n"
    status = (area / "trace").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (65534, 0o600)
    # In the first line of what goes to standard error, too.
    assert shell("aa run -- true", area, env=environment).stderr.startswith("aa-fileio: the command runs as nobody")
    first = shell("aa run --json -- true", area, env=environment).stderr.splitlines()[0]
    assert json.loads(first)["record"] == "note"
    assert shell("aa run --user root -o trace -- id -u", area, env=environment).stdout == "0\n"
    # In a shell that sudo started, commands are root's.
    environment["SUDO_COMMAND"] = "/bin/bash"
    assert shell("aa run -o trace -- id -u", area, env=environment).stdout == "0\n"


@pytest.mark.parametrize(
    ("launcher", "cause", "remedy"),
    [
        ("{folder}/no_bpf", "a seccomp filter denies bpf(2)", "seccomp=unconfined"),
        ("unshare --user --map-root-user", "it is in a user namespace", "outside of the namespace"),
        ("setpriv --bounding-set=-all --inh-caps=-all", "it has neither root's privileges", "CAP_BPF and CAP_PERFMON"),
    ],
)
def test_the_cause_of_a_refusal_is_found_by_trial(
    launcher: str, cause: str, remedy: str, area: Path, compiled: Path
) -> None:
    launcher = launcher.format(folder=compiled)
    done = shell(f"{launcher} {PROGRAM} run -- true", area)
    assert done.returncode == 125
    first, last = done.stderr.splitlines()
    assert cause in first and remedy in last and last.startswith("aa-fileio: remedy: ")
    assert not any(backend in first for backend in ("kprobe", "fentry", "tracepoint", "aa_"))
    report = json.loads(shell(f"{launcher} {PROGRAM} doctor --json", area).stdout)
    assert report["backend"] is None
    assert any(remedy in each for each in report["remedies"]), report["remedies"]


# --- the file that is written


def test_a_new_file_is_its_owners_alone(area: Path) -> None:
    (area / "old").write_text("old\n")
    (area / "old").chmod(0o644)
    assert shell("umask 0; aa run -o old -- true && aa run -o new -- true", area).returncode == 0
    for name in ("old", "new"):
        assert stat.S_IMODE((area / name).stat().st_mode) == 0o600
        assert (area / name).read_text().splitlines()[-1].startswith("trace ")
    assert sorted(path.name for path in area.iterdir()) == ["new", "old"]


@pytest.mark.parametrize(
    ("words", "status"), [("run -o old -- /no/such/command", 127), ("attach -o old -p 4194303", 125)]
)
def test_the_old_file_stays_where_there_is_no_new_trace(words: str, status: int, area: Path) -> None:
    (area / "old").write_text("old\n")
    assert shell(f"aa {words}", area).returncode == status
    assert [path.name for path in area.iterdir()] == ["old"]
    assert (area / "old").read_text() == "old\n"


def test_root_follows_no_symbolic_link_to_a_file(area: Path) -> None:
    (area / "victim").write_text("precious\n")
    for target in ("victim", "nothing"):
        (area / "link").symlink_to(target)
        done = shell("aa run -o link -- true", area)
        assert done.returncode == 125
        assert f"it is a symbolic link to {target}, which root does not follow" in done.stderr
        (area / "link").unlink()
    assert (area / "victim").read_text() == "precious\n"
    assert [path.name for path in area.iterdir()] == ["victim"]


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_its_names(output: str, area: Path) -> None:
    done = shell(f"aa run -o {output} -- true; echo after", area)
    assert done.stdout.splitlines()[-1] == "after" and done.stdout.splitlines()[-2].startswith("trace ")
    # A file there is written on, and not from its beginning.
    shell(f"(echo before; aa run -o {output} -- true) >file", area)
    assert (area / "file").read_text().startswith("before\nTIME")


def test_devices_pipes_and_process_substitution_are_written_to(area: Path) -> None:
    assert shell("aa run -o /dev/null -- true", area).returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert shell("aa run -o >(tail -n 1 >last) -- true", area).returncode == 0
    wait_for(lambda: (area / "last").exists() and (area / "last").read_text().startswith("trace "), "the reader")
    os.mkfifo(area / "fifo")
    assert "trace " in shell("tail -n 1 fifo & aa run -o fifo -- true; wait", area).stdout


def test_messages_are_readable_in_the_c_locale(area: Path) -> None:
    environment = os.environ | {"LC_ALL": "C"}
    done = shell("aa run -o /nowhere/caf\u00e9 -- true; aa run -- caf\u00e9", area, env=environment)
    assert done.stderr.count("caf\u00e9") == 2 and "udc" not in done.stderr


# --- two tracers at once


def test_two_tracers_at_once_print_nothing_of_libbpfs(area: Path) -> None:
    code = (
        "import os, threading, aa_fileio\n"
        "def work(backend):\n"
        "    for _ in range(10):\n"
        "        m = aa_fileio.KprobeManager(os.getpid(), ops=['rmdir'], backend=backend)\n"
        "        try: m.attach()\n"
        "        except OSError: pass\n"
        "        finally: m.close()\n"
        "threads = [threading.Thread(target=work, args=(b,)) for b in ('tracepoint', 'fentry', 'tracepoint')]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    python = shlex.quote(str(AA_FILEIO.with_name("python")))
    for launcher in ("", "setpriv --bounding-set=-all --inh-caps=-all"):
        done = shell(f"{launcher} {python} -c {shlex.quote(code)}", area)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
