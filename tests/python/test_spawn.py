# SPDX-License-Identifier: MIT
"""KprobeManager.spawn() and its process, over a core that watches nothing (fake_session.c): no privilege needed."""

from __future__ import annotations

from textwrap import dedent

import pytest
from conftest import Run

START = """
import gc, os, signal, subprocess, sys, tempfile, threading, time
import aa_fileio
from aa_fileio import KprobeManager
from subprocess import DEVNULL, PIPE, STDOUT

PYTHON = sys.executable

HANG = 20  # seconds; nothing passes or fails by being quicker or slower

def spawn(*argv, **options):
    return KprobeManager.spawn(list(argv), **options)

def finish(m):
    code = m.process.wait(30)
    m.close()
    return code

def output(*argv, **options):
    with spawn(*argv, stdout=PIPE, **options) as m, m.process.stdout as file:
        text = os.fsdecode(file.read())
    assert finish(m) == 0
    return text

def no_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False

def descriptors():
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))

def error_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")
"""

SCRIPTS = {
    "the manager is attached to the child and has its process": """
        m = spawn("sleep", "60")
        assert m.is_attached
        assert m.pid == m.process.pid
        with m:
            pass
        assert not m.is_attached
        assert m.process.poll() is None
        assert m.process.returncode is None
        m.process.kill()
        assert finish(m) == -signal.SIGKILL
        assert m.process.wait() == m.process.poll() == m.process.returncode == -9
        m.process.terminate()
        assert no_children()
    """,
    "the exit status comes back": """
        for status in (0, 1, 255):
            assert finish(spawn("sh", "-c", f"exit {status}")) == status
        assert finish(spawn("sh", "-c", "kill -TERM $$")) == -signal.SIGTERM
        assert no_children()
    """,
    "wait takes its time, and no more": """
        m = spawn("sleep", "2")
        begin = time.monotonic()
        error = error_of(m.process.wait, 0.05)
        assert isinstance(error, subprocess.TimeoutExpired)
        assert (error.cmd, error.timeout) == (["sleep", "2"], 0.05)
        assert time.monotonic() - begin < HANG
        assert isinstance(error_of(m.process.wait, 0), subprocess.TimeoutExpired)
        threads = [threading.Thread(target=m.process.wait) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert 1.95 < time.monotonic() - begin < HANG
        assert time.process_time() < 1
        assert finish(m) == 0
    """,
    "the streams are what Popen makes of them": """
        m = spawn("sh", "-c", "cat; echo err >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        with m.process.stdin as file:
            file.write(b"in")
        with m.process.stdout as out, m.process.stderr as err:
            assert (out.read(), err.read()) == (b"in", b"err\\n")
        assert finish(m) == 0
        assert output("sh", "-c", "echo out; echo err >&2", stderr=STDOUT) == "out\\nerr\\n"
        assert output("sh", "-c", "echo out; echo err >&2", stderr=DEVNULL) == "out\\n"
        assert output("cat", stdin=DEVNULL) == ""
        with tempfile.TemporaryFile() as file:
            m = spawn("sh", "-c", "echo one; echo two >&2", stdout=file, stderr=file.fileno())
            assert m.process.stdout is None
            finish(m)
            file.seek(0)
            assert file.read() == b"one\\ntwo\\n"
            file.seek(0)
            assert output("cat", stdin=file) == "one\\ntwo\\n"
    """,
    "streams may be exchanged": """
        code = '''
        import os
        from aa_fileio import KprobeManager
        m = KprobeManager.spawn(["sh", "-c", "echo out; echo err >&2"], stdout=2, stderr=1)
        m.process.wait()
        m.close()
        '''
        import textwrap
        done = subprocess.run([PYTHON, "-c", textwrap.dedent(code)], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("err\\n", "out\\n"), done
    """,
    "directory, environment, session": """
        with tempfile.TemporaryDirectory() as folder:
            assert output("pwd", cwd=folder).strip() == os.path.realpath(folder)
            script = os.path.join(folder, "mine")
            with open(script, "w") as file:
                file.write("#!/bin/sh\\necho $A")
            os.chmod(script, 0o755)
            assert output("mine", env={"PATH": folder, "A": "b c"}) == "b c\\n"
            assert output("./mine", cwd=folder, env={b"A": b"d"}) == "d\\n"
            assert output(b"mine", env={"PATH": "/nowhere:" + folder + ":/bin", "A": "e"}) == "e\\n"
        assert output("sh", "-c", "echo $HERE", env={**os.environ, "HERE": "\\udcff"}) == "\\udcff\\n"
        m = spawn("sleep", "60", start_new_session=True)
        assert os.getsid(m.process.pid) == m.process.pid
        m.process.kill()
        finish(m)
    """,
    "user and group": """
        import grp, pwd
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            assert output("id", "-u", user="nobody") == f"{nobody.pw_uid}\\n"
            assert output("id", "-u", user=nobody.pw_uid, group=nobody.pw_gid) == f"{nobody.pw_uid}\\n"
            assert output("id", "-g", group=grp.getgrgid(nobody.pw_gid).gr_name) == f"{nobody.pw_gid}\\n"
    """,
    "no other descriptor is inherited, and signals are as for any command": """
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        assert set(output("ls", "/proc/self/fd").split()) == {"0", "1", "2", "3"}
        os.close(reading), os.close(writing)
        status = dict(line.split(":\\t") for line in output("cat", "/proc/self/status").splitlines() if ":\\t" in line)
        assert int(status["SigIgn"], 16) & (1 << signal.SIGPIPE - 1) == 0
        assert int(status["SigBlk"], 16) == 0
    """,
    "what cannot be executed raises what Popen raises, and leaves nothing": """
        folder = tempfile.mkdtemp()
        plain = os.path.join(folder, "plain")
        open(plain, "w").close()
        damaged = os.path.join(folder, "damaged")
        with open(damaged, "w") as file:
            file.write("#!/nowhere/interpreter\\n")
        os.chmod(damaged, 0o755)
        gone = os.path.join(folder, "gone")
        before = descriptors()
        for argv, options in [
            (["no-such-command-here"], {}),
            ([gone], {}),
            ([plain], {}),
            ([damaged], {}),
            ([folder], {}),
            ([plain + "/x"], {}),
            (["plain"], {"env": {"PATH": folder}}),
            ([b"no-such-command-here"], {}),
            (["true"], {"cwd": gone}),
            (["true"], {"cwd": plain}),
            (["true"], {"env": {"PATH": gone}}),
            (["true"], {"stdin": 999}),
            (["x" * 300], {}),
            (["true", "x" * 3_000_000], {}),
        ]:
            theirs = error_of(subprocess.Popen, argv, **options)
            ours = error_of(KprobeManager.spawn, argv, **{"stdout": PIPE, "stderr": PIPE, **options})
            assert type(ours) is type(theirs), (argv, ours, theirs)
            assert (ours.errno, ours.strerror, ours.filename) == (
                theirs.errno, theirs.strerror, theirs.filename), (argv, ours, theirs)
            assert no_children()
            del ours, theirs
            assert descriptors() == before, argv
    """,
    "when the attach fails no child is left": """
        marker = os.path.join(tempfile.mkdtemp(), "marker")
        before = descriptors()
        os.environ["FAKE_ATTACH_FAILS"] = "1"
        error = error_of(spawn, "touch", marker, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert isinstance(error, aa_fileio.ProbeAttachError), error
        assert not os.path.exists(marker)
        assert no_children()
        del error
        assert descriptors() == before
    """,
    "an interrupt between the exec and the return leaves no child": """
        from aa_fileio.process import SpawnedProcess
        release = SpawnedProcess._release
        def interrupted(self):
            release(self)
            raise KeyboardInterrupt
        SpawnedProcess._release = interrupted
        before = descriptors()
        error = error_of(spawn, "sleep", "600", stdout=PIPE)
        assert isinstance(error, KeyboardInterrupt)
        assert no_children()
        del error
        assert descriptors() == before
    """,
    "a child that somebody else reaped": """
        m = spawn("true")
        os.waitpid(m.process.pid, 0)
        assert m.process.wait(5) == 255
        m.process.kill()
        m.close()
    """,
    "a process that nobody waited for is reaped when it is dropped": """
        before = descriptors()
        m = spawn("true")
        os.waitid(os.P_PID, m.process.pid, os.WEXITED | os.WNOWAIT)
        m.close()
        del m
        gc.collect()
        assert no_children()
        assert descriptors() == before
    """,
    "a hundred in a row leave nothing": """
        before = descriptors()
        for _ in range(100):
            assert finish(spawn("true")) == 0
        assert descriptors() == before
        assert no_children()
    """,
    "several threads may spawn at once": """
        codes = []
        def work():
            for _ in range(10):
                codes.append(finish(spawn("sh", "-c", "exit 3")))
        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert codes == [3] * 40
    """,
    "numbers that are too large are named, and nothing is left": """
        before = descriptors()
        for number in (2**31, 2**40, 2**70):
            for name in ("stdin", "stdout", "stderr"):
                error = error_of(spawn, "true", **{name: number})
                assert type(error) is ValueError and str(number) in str(error) and name in str(error), error
            error = error_of(spawn, "true", pass_fds=[number])
            assert type(error) is ValueError and str(number) in str(error), error
        for number in (2**32 - 1, 2**40, 2**70):
            for name in ("user", "group"):
                error = error_of(spawn, "true", **{name: number})
                assert type(error) is ValueError and str(number) in str(error) and name in str(error), error
        del error
        assert no_children() and descriptors() == before
    """,
    "one that was never made is given up without a word": """
        from aa_fileio.process import SpawnedProcess
        said = []
        sys.unraisablehook = said.append
        error_of(SpawnedProcess)
        error_of(SpawnedProcess, ["true"])
        half = SpawnedProcess.__new__(SpawnedProcess)
        del half
        gc.collect()
        assert not said, said
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_spawn(name: str, fake_core: Run) -> None:
    fake_core(START + dedent(SCRIPTS[name]))
