# SPDX-License-Identifier: MIT
"""The oracle's reader of strace's logs: every form of line, every kind of call. The lines are strace 6.1's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aa_fileio
from tests.native.strace_log import FORMS, UNKNOWN, Call, LogError, Named, Opened, parse, read_logs


def one(line: str) -> Call:
    (call,) = parse([line])
    return call


def test_every_call_of_the_table_has_its_form() -> None:
    assert FORMS.keys() == {call.name for call in aa_fileio.SYSCALLS}


@pytest.mark.parametrize("call", FORMS)
def test_every_argument_is_found_where_the_form_says(call: str) -> None:
    """A line made of the form: descriptors 1 and 2 in /fd, names in directories 3 and 4."""
    form = FORMS[call]
    shown = {"fd": "1</fd/1>", "fd2": "2</fd/2>", "dir": "3</dir/3>", "dir2": "4</dir/4>"}
    shown |= {"name": '"n"', "name?": '"n"', "name2": '"m"', "empty": "0"}
    numbers = {word: index for word, index in form.items() if word != "opens"}
    arguments = ["0x7ffe"] * (max(numbers.values(), default=0) + 4)
    for word, index in numbers.items():
        arguments[index] = shown[word]
    # What makes the many-sided ones one of ours.
    special = {
        "madvise": (2, "0x9"),
        "ioctl": (1, "0x4020940d"),
        "mmap": (3, "0x2"),
        "fcntl": (1, "0"),
        "fanotify_mark": (1, "0x1"),
        "ptrace": (0, "0x4206"),
    }
    if call in special:
        arguments[special[call][0]] = special[call][1]
    if call == "bind":
        arguments[1] = '{sa_family=0x1, sun_path="n"}'
    if call == "connect":
        arguments[1] = '{sa_family=0x1, sun_path="/run/docker.sock"}'
    if call in ("recvmsg", "recvmmsg", "sendmsg", "sendmmsg"):
        arguments[1] = "{msg_control=[{cmsg_len=20, cmsg_level=0x1, cmsg_type=0x1, cmsg_data=[3]}]}"
    if call == "ioctl":
        arguments[:3] = ["2</fd/2>", "0x4020940d", "{src_fd=1</fd/1>, src_offset=0, src_length=0, dest_offset=0}"]
    result = "5</dir/3/n>" if "opens" in form else "0"
    got = one(f"{call}({', '.join(arguments)}) = {result}")
    names = {"": ("n", "/dir/3"), "2": ("m", "/dir/4")}
    for second, file in (("", got.file), ("2", got.other)):
        text, start = names[second]
        if f"fd{second}" in form:
            assert file == Opened(f"/fd/{second or 1}")
        elif f"name{second}" in form or f"name?{second}" in form:
            assert file == Named(text, start if f"dir{second}" in form else None)
        else:
            assert file is None
    assert (got.name, got.result) == (call, 5 if "opens" in form else 0)
    assert got.opened == (Opened("/dir/3/n") if "opens" in form else None)
    assert got.passed == ("n" if form.keys() & {"name", "name?"} else None)


def test_names_are_taken_as_they_are_escaped() -> None:
    call = one(
        r'openat(-100</tmp/d>, "a<b>, \n\"\303\251\\ = (x", 0x80042, 0777) = 3</tmp/d/a\74b\76, \n\"\303\251\\ = (x>'
    )
    name = 'a<b>, \n"é\\ = (x'
    assert (call.file, call.opened) == (Named(name, "/tmp/d"), Opened(f"/tmp/d/{name}"))
    assert one(r'unlink("\377\1\0012") = 0').file == Named("\udcff\x01\x012", None)


@pytest.mark.parametrize(
    ("line", "file", "other"),
    [
        ('read(3</tmp/a\\74b>(deleted), "", 3) = 0', Opened("/tmp/a<b", True), None),
        ('write(9</memfd:mm>(deleted), ""..., 1) = 1', Opened("/memfd:mm"), None),
        ("close(17<pipe:[1365843]>) = 0", Opened("pipe:[1365843]"), None),
        ("fstat(11<anon_inode:[eventfd]>, {st_mode=0600, st_size=0, ...}) = 0", Opened("anon_inode:[eventfd]"), None),
        ("close(-1) = -1 EBADF (Bad file descriptor)", Opened(None), None),
        ("close_range(200, 300, 0) = 0", None, None),
        ("dup2(4<pipe:[1]>, 1<pipe:[2]>) = 1<pipe:[1]>", Opened("pipe:[1]"), None),
        ("sendfile(6</y>, 5</x>, [0] => [100], 100) = 100", Opened("/x"), Opened("/y")),
        ("copy_file_range(5</x>, [0], 6</y>, [0], 10, 0) = 10", Opened("/x"), Opened("/y")),
        ('symlink("target", "ln") = 0', Named("ln"), None),
        ('mount("none", "/mnt", "tmpfs", 0, NULL) = 0', Named("/mnt"), None),
        ("unlink(0x8) = -1 EFAULT (Bad address)", Named(None), None),
        ('newfstatat(5</x>, "", {st_mode=S_IFREG|0644, ...}, 0x1000) = 0', Opened("/x"), None),
        ('newfstatat(5</x>, "", 0x7ffe, 0) = -1 ENOENT (No such file or directory)', Named("", "/x"), None),
        ('newfstatat(999, "n", 0x7ffe, 0) = -1 EBADF (Bad file descriptor)', Named("n", ""), None),
        ('newfstatat(-100</d (deleted)>, "n", 0x7ffe, 0) = -1 ENOENT (No such file)', Named("n", "/d"), None),
        ("statx(5</x>, NULL, |0x1000, 0x7ff, {stx_mask=0x17ff, ...}) = 0", Opened("/x"), None),
        ("statx(5</x>, NULL, |0x1000, 0x7ff, 0x7ffe) = -1 EFAULT (Bad address)", Named(None), None),
        ("utimensat(5</x>, NULL, [{tv_sec=1, tv_nsec=0}, {tv_sec=1, tv_nsec=0}], 0) = 0", Opened("/x"), None),
        ('linkat(3</x>, "", -100</d>, "n", 0x1000) = 0', Opened("/x"), Named("n", "/d")),
        ("ioctl(6</y>, 0x40049409, 5) = 0", UNKNOWN, Opened("/y")),
        ("ioctl(6</y>, 0xc0189436, {src_offset=0, info=[{dest_fd=5</x>}]}) = 0", Opened("/y"), Opened("/x")),
        ("ioctl(6</y>, 0xc0189436, {src_offset=0, dest_count=1, info=[...]}) = 0", Opened("/y"), UNKNOWN),
        ('bind(3<socket:[1]>, {sa_family=0x1, sun_path="s"}, 4) = 0', Named("s"), None),
    ],
)
def test_files_of_a_call(line: str, file: object, other: object) -> None:
    call = one(line)
    assert (call.file, call.other) == (file, other)


@pytest.mark.parametrize(
    "line",
    [
        "mmap(NULL, 4096, 0x3, 0x22, -1, 0) = 0x7f0000000000",
        "madvise(0x7f0000000000, 4096, 0x4) = 0",
        "ioctl(1</dev/pts/0>, 0x5401, {c_iflag=0x500, ...}) = 0",
        "fcntl(3</x>, 0x1) = 0x1 (flags FD_CLOEXEC)",
        'bind(3<socket:[1]>, {sa_family=0x1, sun_path=@"abstract"}, 11) = 0',
        "bind(3<socket:[1]>, {sa_family=0x1}, 2) = 0",
        'bind(3<socket:[1]>, {sa_family=0x2, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0',
        "getpid() = 8564",
        "exit_group(0) = ?",
        "--- SIGCHLD {si_signo=17, si_code=0x1, si_pid=8489, si_uid=0, si_status=1} ---",
        "+++ exited with 0 +++",
        "+++ killed by SIGKILL +++",
    ],
)
def test_what_is_not_of_the_table(line: str) -> None:
    assert parse([line]) == []


@pytest.mark.parametrize(
    ("end", "result"),
    [
        ("= 7", 7),
        ("= -1 ENOENT (No such file or directory)", -2),
        ("= -1 (errno 524)", -524),
        ("= ? ERESTARTSYS (To be restarted if SA_RESTART is set)", -512),
        ("= ? ERESTARTNOINTR (To be restarted)", -513),
        ("= ?", None),
    ],
)
def test_results(end: str, result: int | None) -> None:
    assert one(f'read(3</x>, ""..., 100)       {end}').result == result


def test_an_address_as_result() -> None:
    assert one("mmap(NULL, 48075, 0x1, 0x2, 3</etc/ld.so.cache>, 0) = 0x7efdc7c59000").result == 0x7EFDC7C59000


def test_a_call_that_did_not_come_back() -> None:
    lines = ["read(3<pipe:[1367401]>,  <unfinished ...>) = ?", "+++ exited with 3 +++"]
    assert parse(lines) == [Call("read", None, Opened("pipe:[1367401]"))]


def test_an_opened_file_without_a_name_is_unknown() -> None:
    line = "open_by_handle_at(3</>, {handle_bytes=8, handle_type=1, f_handle=0x16}, 0) = 4"
    assert one(line).opened is UNKNOWN


def test_where_relative_names_start() -> None:
    lines = [
        'unlink("a") = 0',
        'newfstatat(-100</d>, "b", 0x7ffe, 0) = 0',
        'unlink("a") = 0',
        'chdir("none") = -1 ENOENT (No such file or directory)',
        'chdir("e") = 0',
        'unlink("a") = 0',
        "fchdir(3</f>) = 0",
        'rename("a", "b") = 0',
    ]
    starts = [call.file.start for call in parse(lines) if isinstance(call.file, Named)]
    assert starts == [None, "/d", "/d", "/d", "/d", None, "/f"]
    assert parse(lines)[-1].other == Named("b", "/f")


def test_names_through_a_descriptor() -> None:
    lines = [
        'openat(-100</d>, "x", 0) = 3</d/x>',
        'chmod("/proc/self/fd/3", 0600) = 0',
        "fchmod(4</d/a\\74b>, 0600) = 0",
        'chmod("/proc/self/fd/4", 0600) = 0',
        'chmod("/proc/self/fd/5", 0600) = 0',
    ]
    files = [call.file for call in parse(lines) if call.name == "chmod"]
    assert [isinstance(file, Named) and file.through for file in files] == ["/d/x", "/d/a<b", None]


def test_flags_that_follow_links() -> None:
    lines = [f'fchownat(-100</d>, "x", 0, 0, {flags}) = 0' for flags in ("0", "0x100", "0x400")]
    assert [call.follows for call in parse(lines)] == [None, False, True]


def test_an_exec_by_another_thread(tmp_path: Path) -> None:
    (tmp_path / "log.10").write_text(
        "read(3<pipe:[1]>,  <unfinished ...>) = ?\n"
        "+++ superseded by execve in pid 11 +++\n"
        "<... execve resumed>)                   = 0\n"
        "close(3</x>) = 0\n"
        "+++ exited with 0 +++\n"
    )
    (tmp_path / "log.11").write_text(
        'execve("/bin/true", [...], 0x7ffe30d10bb0 /* 35 vars */ <pid changed to 10 ...>\n'
    )
    begun = Call("execve", 0, Named("/bin/true"), passed="/bin/true")
    assert read_logs(tmp_path) == {
        10: [Call("read", None, Opened("pipe:[1]")), begun, Call("close", 0, Opened("/x"))],
        11: [],
    }


@pytest.mark.parametrize("line", ["strace: something", "close(x) = 0", "close(3</x>) = what", "read(3</x>, = 3"])
def test_anything_else_is_an_error(line: str) -> None:
    with pytest.raises(LogError, match=re.escape(line)):
        parse([line])
