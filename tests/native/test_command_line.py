# SPDX-License-Identifier: MIT
"""`aa-fileio` as a user runs it: real probes, real signals, real pipes. Runs on any kernel with a backend."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aa_fileio.integrations.json_lines import exact_names
from tests.native import outside

AA_FILEIO = [sys.executable, "-m", "aa_fileio.integrations.command_line"]
# Attaching kprobes one by one takes seconds in an emulated guest, and detaching them more.
PATIENCE = 120

Record = dict[str, Any]


def aa_fileio(*words: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"capture_output": True, "timeout": PATIENCE, "check": False, **options}
    return subprocess.run([*AA_FILEIO, *words], **options)


def records(trace: bytes) -> list[Record]:
    """The lines of a JSON trace, names exact; the last one is the summary, and only that."""
    parsed = [exact_names(json.loads(line)) for line in trace.decode("utf-8").splitlines()]
    assert [record["record"] for record in parsed] == ["event"] * (len(parsed) - 1) + ["summary"]
    return parsed


def run_json(*command: str | bytes | Path, options: tuple[str, ...] = (), **more: Any) -> list[Record]:
    done = aa_fileio("run", "--json", *options, "--", *command, **more)
    assert done.returncode == 0, done.stderr
    return records(done.stderr)


def assert_accounted_for(summary: Record) -> None:
    assert summary["performed"] == (
        summary["delivered"] + summary["queued"] + summary["in_flight"] + summary["filtered"] + summary["lost"]
    )
    assert summary["events"] == summary["delivered"]
    assert summary["lost"] == sum(summary["losses"].values())


def assert_proven(summary: Record) -> None:
    """Nothing lost, and proven as far as this kernel goes: not every one counts the kprobes that it skips."""
    assert summary["lost"] == 0
    assert_verdict(summary["verdict"]["text"], summary["events"])
    assert summary["verdict"]["form"] == ("complete" if summary["complete"] else "incomplete")
    assert summary["complete"] is (summary["inexact_reason"] is None)


def assert_verdict(line: str, events: int) -> None:
    calls = f"{events} event{'' if events == 1 else 's'}"
    if not line.endswith(" (kprobe)"):
        assert line.startswith(f"trace complete: {calls}, nothing lost (")
    elif not line.startswith(f"trace complete: {calls}, nothing lost ("):
        assert line.startswith(f"trace INCOMPLETE: {calls}, none known to be lost; the count is not exact: ")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail(f"waited in vain for {what}")


@pytest.fixture
def worker(area: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that opens the same file for writing ten times a second until it is killed."""
    script = 'while :; do echo tick >>"$1"; sleep 0.1; done'
    process = subprocess.Popen(["sh", "-c", script, "sh", area / "ticks"], start_new_session=True)
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- run


def test_a_command_is_traced_from_its_first_instruction_and_keeps_its_stdout(area: Path) -> None:
    script = "echo words >made; cat made; mv made moved; rm moved"
    done = aa_fileio("run", "--json", "--", "sh", "-c", script, cwd=area)
    assert done.returncode == 0
    assert done.stdout == b"words\n"
    *events, summary = records(done.stderr)
    assert summary["losses"] and summary["backend"] and summary["events"] == len(events)
    assert_proven(summary)
    assert_accounted_for(summary)
    # From the very exec on; and the loader's opens come before anything the command itself does.
    by_itself = [event for event in events if event["via"] != "exec"]
    assert by_itself[0]["op"] == "exec"
    assert next(event for event in by_itself if event["op"] == "open")["path"] == "/etc/ld.so.cache"
    here = [
        (event["op"], os.path.basename(event["path"]), event["new_path"] and os.path.basename(event["new_path"]))
        for event in events
        if event["errno"] == 0 and event["path"] and event["path"].startswith(f"{area}/")
    ]
    assert [(op, name, new_name) for op, name, new_name in here if (op, name) != ("read", "made")] == [
        ("open", "made", None),
        ("write", "made", None),
        ("open", "made", None),
        ("rename", "made", "moved"),
        ("unlink", "moved", None),
    ]
    assert ("read", "made", None) in here


def test_text_goes_to_stderr_and_ends_with_the_verdict(area: Path) -> None:
    done = aa_fileio("run", "sh", "-c", "echo a >x; echo to stderr >&2", cwd=area)
    lines = done.stderr.decode().splitlines()
    assert any(line.startswith("TIME ") for line in lines)
    assert any(f"{area}/x O_WRONLY|O_CREAT|O_TRUNC" in line for line in lines)
    assert "to stderr" in lines
    assert_verdict(lines[-1], sum(line[:2].isdigit() for line in lines))


@pytest.mark.native_only
def test_a_file_takes_the_whole_trace(area: Path) -> None:
    done = aa_fileio("run", "--json", "-o", area / "trace", "--", "cat", "/etc/hostname")
    *events, summary = records((area / "trace").read_bytes())
    assert summary["events"] == len(events)
    said = b"" if summary["complete"] else f"aa-fileio: {summary['verdict']}\n".encode()
    assert (done.returncode, done.stderr) == (0, said)
    assert ("read", "/etc/hostname") in {(event["op"], event["path"]) for event in events}


@pytest.mark.native_only
@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_is_the_commands_own(script: str, status: int) -> None:
    assert aa_fileio("run", "-o", "/dev/null", "--", "sh", "-c", script).returncode == status


@pytest.mark.native_only
def test_a_command_that_is_not_there_or_cannot_be_executed(area: Path) -> None:
    done = aa_fileio("run", "--", "no-such-command-anywhere")
    assert done.returncode == 127
    assert done.stderr == b"aa-fileio: cannot run 'no-such-command-anywhere': No such file or directory\n"
    plain = area / "plain"
    plain.write_text("no program\n")
    done = aa_fileio("run", "--", plain)
    assert done.returncode == 126
    assert b"Permission denied" in done.stderr
    # What is no program is run by /bin/sh, as env(1) has it run by execvp(3).
    plain.chmod(0o755)
    plain.write_text("exit $1\n")
    assert subprocess.run(["env", plain, "9"], check=False).returncode == 9
    assert aa_fileio("run", "--", plain, "9").returncode == 9


@pytest.mark.native_only
def test_every_name_comes_back_exactly(area: Path) -> None:
    odd = [bytes([value]) for value in range(1, 256) if value != ord("/")]
    odd += [b" -> ", b"\xed\xa0\x80", "é文😀".encode(), b"\xff\n\x1b[2J", b"[deleted]", b"x" * 255]
    names = [b"n" + name if len(name) < 255 else name for name in odd]
    script = (
        "import os\n"
        "for name in os.listdir(b'.'):\n"
        "    os.close(os.open(name, os.O_RDONLY))\n"
        "    os.rename(name, b'x')\n"
        "    os.unlink(b'x')\n"
    )
    for name in names:
        (area / os.fsdecode(name)).touch()
    *events, summary = run_json(sys.executable, "-I", "-c", script, cwd=area, options=("--ops", "open,rename"))
    assert_proven(summary)
    here = os.fsencode(area) + b"/"
    for op in ("open", "rename"):
        seen = {os.fsencode(event["path"]) for event in events if event["op"] == op and event["path"]}
        assert {here + name for name in names} <= seen


@pytest.mark.native_only
def test_the_companion_of_a_name_is_there_exactly_when_the_name_is_not_utf_8(area: Path) -> None:
    done = aa_fileio("run", "--json", "--ops", "open", "--", "sh", "-c", ': >"$1"; : >plain', "sh", b"\xfe", cwd=area)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (odd,) = [line for line in lines if "path_b64" in line]
    assert odd["path"] == f"{area}/\ufffd"
    assert base64.b64decode(odd["path_b64"]) == os.fsencode(area) + b"/\xfe"
    assert any(line.get("path") == f"{area}/plain" for line in lines)


@pytest.mark.native_only
def test_no_name_reaches_the_terminal_unescaped(area: Path) -> None:
    name = b"\x1b]0;owned\x07\n\xc2\x9b31m\xe2\x80\xaetxt"
    for words in (["run"], ["run", "--json"]):
        done = aa_fileio(*words, "--", "sh", "-c", ': >"$1"', "sh", name, cwd=area)
        assert all(line.isprintable() for line in done.stderr.decode().split("\n"))


@pytest.mark.native_only
def test_only_the_asked_operations_and_kinds(area: Path) -> None:
    *events, _ = run_json("sh", "-c", "echo a >x; rm x", cwd=area, options=("--ops", "unlink"))
    assert {event["op"] for event in events} == {"unlink"}
    *events, _ = run_json("sh", "-c", "echo a | cat", options=("--ops", "read,write", "--kinds", "pipe"))
    assert {event["kind"] for event in events} == {"pipe"}


@pytest.mark.native_only
def test_the_command_inherits_what_it_would_without_us(area: Path) -> None:
    """Signal dispositions, signal mask, descriptors, session, environment, standard input."""
    script = (
        "import os, sys\n"
        "status = open('/proc/self/status').read().split('\\n')\n"
        "print([line for line in status if line.startswith(('SigBlk', 'SigIgn', 'SigCgt'))])\n"
        "print(os.getsid(0), dict(os.environ), sys.stdin.read())\n"
        "print([os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{fd}')])\n"
    )
    command = [sys.executable, "-I", "-c", script]
    alone = subprocess.run(command, capture_output=True, input=b"given", check=True)
    traced = aa_fileio("run", "-o", area / "trace", "--", *command, input=b"given")
    assert traced.stdout.decode() == alone.stdout.decode()


def test_descendants_still_running_are_named_and_wait_tree_waits_for_them(area: Path) -> None:
    script = 'sh -c "sleep 2; echo late >late" >/dev/null 2>&1 & echo $!'
    done = aa_fileio("run", "--json", "-o", area / "trace", "sh", "-c", script, cwd=area)
    assert done.returncode == 0
    child = int(done.stdout)
    summary = records((area / "trace").read_bytes())[-1]
    assert child in {survivor["pid"] for survivor in summary["still_running"]}
    wait_for((area / "late").exists, "the child")
    (area / "late").unlink()

    done = aa_fileio("run", "--wait-tree", "--json", "-o", area / "trace", "sh", "-c", script, cwd=area)
    assert done.returncode == 0
    *events, summary = records((area / "trace").read_bytes())
    assert summary["still_running"] == [] and summary["still_running_unnamed"] == 0
    assert ("write", f"{area}/late") in {(event["op"], event["path"]) for event in events}


@pytest.mark.native_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_forwarded_once_and_the_trace_drained(area: Path, number: signal.Signals) -> None:
    script = (
        "import os, signal, sys, time\n"
        "def leave(number, frame):\n"
        "    open(f'caught-{number}', 'a').write('x')\n"
        "    time.sleep(0.3)\n"
        "    sys.exit(5)\n"
        f"signal.signal({int(number)}, leave)\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    command = [*AA_FILEIO, "run", "--json", "-o", str(area / "trace"), "--", sys.executable, "-I", "-c", script]
    process = subprocess.Popen(command, cwd=area)
    wait_for((area / "ready").exists, "the command")
    process.send_signal(number)
    assert process.wait(PATIENCE) == 5
    assert (area / f"caught-{int(number)}").read_text() == "x"
    *events, summary = records((area / "trace").read_bytes())
    assert_proven(summary)
    assert ("write", f"{area}/caught-{int(number)}") in {(event["op"], event["path"]) for event in events}


@pytest.mark.native_only
def test_a_signal_the_command_dies_of_shows_in_the_status(area: Path) -> None:
    command = [*AA_FILEIO, "run", "-o", str(area / "trace"), "--", "sh", "-c", ": >ready; sleep 60"]
    process = subprocess.Popen(command, cwd=area)
    wait_for((area / "ready").exists, "the command")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    lines = (area / "trace").read_text().splitlines()
    assert_verdict(lines[-1], sum(line[:2].isdigit() for line in lines))


@pytest.mark.native_only
def test_ctrl_c_at_a_terminal_reaches_the_command_once(area: Path) -> None:
    script = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, lambda number, frame: os.write(1, b'caught\\n'))\n"
        "os.write(1, b'ready\\n')\n"
        "end = time.monotonic() + 2\n"
        "while time.monotonic() < end: time.sleep(0.1)\n"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(
            sys.executable,
            [*AA_FILEIO, "run", "-o", str(area / "trace"), "--", sys.executable, "-I", "-c", script],
        )
    seen = b""
    interrupted = False
    while True:
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # EIO: the last one has closed it
            break
        if b"ready" in seen and not interrupted:
            interrupted = True
            os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, seen
    assert seen.count(b"caught") == 1, seen


@pytest.mark.native_only
def test_a_reader_that_goes_away_leaves_the_command_alone(area: Path) -> None:
    script = "cat /etc/hostname >first; sleep 0.5; cat /etc/hostname >second; exit 6"
    reading, writing = os.pipe()
    process = subprocess.Popen([*AA_FILEIO, "run", "sh", "-c", script], cwd=area, stderr=writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    assert process.wait(PATIENCE) == 6
    assert (area / "second").exists()


# --- attach


def test_attach_traces_a_running_tree_until_it_is_interrupted(worker: subprocess.Popen[bytes], area: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        trace = subprocess.Popen(
            [*AA_FILEIO, "attach", "--json", "-p", str(worker.pid)],
            bufsize=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert trace.stdout is not None
        lines = [trace.stdout.readline()]
        while b"/ticks" not in lines[-1]:
            lines.append(trace.stdout.readline())
        trace.send_signal(number)
        rest, errors = trace.communicate(timeout=PATIENCE)
        assert (trace.returncode, errors) == (0, b"")
        *events, summary = records(b"".join(lines) + rest)
        assert_proven(summary)
        assert_accounted_for(summary)
        # The sleeps are its children.
        assert all(event["ppid"] == worker.pid or event["pid"] == worker.pid for event in events)
    assert worker.poll() is None


@pytest.mark.native_only
def test_no_follow_keeps_to_the_one_process(worker: subprocess.Popen[bytes], area: Path) -> None:
    trace = subprocess.Popen(
        [*AA_FILEIO, "attach", "--no-follow", "--json", "-p", str(worker.pid)], bufsize=0, stdout=subprocess.PIPE
    )
    assert trace.stdout is not None
    lines = [trace.stdout.readline() for _ in range(6)]
    trace.send_signal(signal.SIGINT)
    rest, _ = trace.communicate(timeout=PATIENCE)
    *events, _summary = records(b"".join(lines) + rest)
    assert {event["pid"] for event in events} == {worker.pid}


@pytest.mark.native_only
def test_attach_ends_with_the_last_process(area: Path) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(["sh", "-c", "read _; echo a >x"], cwd=area, stdin=reading)
    os.close(reading)
    file = area / "trace"
    trace = subprocess.Popen([*AA_FILEIO, "attach", "--ops", "write", "-o", file, "-p", str(process.pid)])
    wait_for(
        lambda: file.exists() and file.read_text().startswith("TIME"), "the header, which says that it is attached"
    )
    os.write(writing, b"\n")
    os.close(writing)
    process.wait()
    assert trace.wait(PATIENCE) == 0
    _header, event, verdict = file.read_text().splitlines()
    assert event.endswith(f" {area}/x")
    assert_verdict(verdict, 1)


@pytest.mark.guest_only
def test_the_whole_system_is_seen_but_not_the_tracer(worker: subprocess.Popen[bytes], area: Path) -> None:
    trace = subprocess.Popen([*AA_FILEIO, "attach", "--system", "--json", "-o", area / "trace"])

    def has_ticks() -> bool:
        return (area / "trace").exists() and b"/ticks" in (area / "trace").read_bytes()

    wait_for(has_ticks, "an event of the worker")
    trace.send_signal(signal.SIGTERM)
    assert trace.wait(PATIENCE) == 0
    *events, summary = records((area / "trace").read_bytes())
    assert trace.pid not in {event["pid"] for event in events}
    assert f"{area}/ticks" in {event["path"] for event in events}
    assert_accounted_for(summary)


@pytest.mark.native_only
def test_a_pipe_that_closes_ends_an_attach_quietly(worker: subprocess.Popen[bytes]) -> None:
    trace = subprocess.Popen(
        [*AA_FILEIO, "attach", "-p", str(worker.pid)], bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert trace.stdout is not None and trace.stderr is not None
    trace.stdout.readline()
    trace.stdout.close()
    assert trace.wait(PATIENCE) == 0
    assert trace.stderr.read() == b""
    trace.stderr.close()


@pytest.mark.native_only
def test_a_second_signal_ends_a_trace_that_nobody_reads(worker: subprocess.Popen[bytes]) -> None:
    """Our own output is stuck in a full pipe: the first signal cannot drain it, the second does not try."""
    before = outside.look()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    trace = subprocess.Popen([*AA_FILEIO, "attach", "--json", "-p", str(worker.pid)], stdout=writing)
    os.close(writing)
    # Up to a page goes in whole or not at all: how full it is does not tell that a write waits, the kernel does.
    wait_for(lambda: writes_wait(trace.pid), "a full pipe")
    trace.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        trace.wait(2)
    trace.send_signal(signal.SIGINT)
    assert trace.wait(PATIENCE) == 130
    os.close(reading)
    # It did not wait for the detach either.
    outside.wait_gone(before)


def writes_wait(pid: int) -> bool:
    """Whether a thread of it sleeps in a write to its standard output."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return any(thread.joinpath("syscall").read_text().startswith("1 0x1 ") for thread in threads)


@pytest.mark.native_only
def test_a_flood_is_counted_to_the_last_call(area: Path) -> None:
    """A queue far too small for a writer this slow: what is lost must be said, in the verdict and in the numbers."""
    done = aa_fileio(
        *("run", "--json", "--queue-bytes", "4K", "--ring-bytes", "4K", "-o", area / "trace", "--ops", "write"),
        *("dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=200000"),
    )
    assert done.returncode == 0
    summary = records((area / "trace").read_bytes())[-1]
    assert_accounted_for(summary)
    assert summary["performed"] >= 200_000
    assert summary["lost"] > 0 and summary["complete"] is False
    assert (
        f"{summary['lost']} of {summary['performed'] - summary['filtered']} events lost" in summary["verdict"]["text"]
    )
    assert b"aa-fileio: trace INCOMPLETE" in done.stderr


@pytest.mark.native_only
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("attach", "-p", str(2**22 + 1)), "too large"),
        (("run", "--ops", "rread", "true"), "rread"),
        (("run", "--kinds", "fiel", "true"), "fiel"),
        (("run", "--backend", "magic", "true"), "magic"),
        (("run", "--ring-bytes", "3", "true"), "3"),
    ],
)
def test_what_cannot_be_is_one_line_and_125(words: tuple[str, ...], said: str) -> None:
    done = aa_fileio(*words)
    assert done.returncode == 125, done
    assert said in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1, done.stderr.decode()


@pytest.mark.native_only
def test_a_process_that_has_ended_is_one_line_and_125() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    done = aa_fileio("attach", "-p", str(ended.pid))
    assert done.returncode == 125
    assert done.stderr.decode().startswith(f"aa-fileio: cannot attach to process {ended.pid}: ")
    assert done.stderr.count(b"\n") == 1


# --- doctor


def test_doctor_names_the_backend_that_run_uses(area: Path) -> None:
    done = aa_fileio("doctor", "--json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    summary = run_json("true")[-1]
    assert report["backend"] == summary["backend"]
    passed_over = {entry["backend"] for entry in summary["passed_over"]}
    before = [entry["name"] for entry in report["backends"]]
    assert passed_over == set(before[: before.index(report["backend"])])
    assert all(entry["reason"] for entry in report["backends"] if not entry["usable"])
    text = aa_fileio("doctor").stdout.decode()
    assert f"aa-fileio can trace here, by {report['backend']}." in text


def test_without_privilege_the_failure_says_what_to_do() -> None:
    # Root without a capability: another user may not be able to reach the interpreter.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*powerless, *AA_FILEIO, "run", "true"], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 125
    assert b"remedy:" in done.stderr
    assert b"Traceback" not in done.stderr
