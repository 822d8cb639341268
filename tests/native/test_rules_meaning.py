# SPDX-License-Identifier: MIT
"""Rules mean what their user means: links, FIFOs, devices, what is not there yet; and what is not known is not "no"."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import FileEvent, KprobeManager, Op, RuleNote

_COMMAND = (sys.executable, "-m", "aa_fileio.integrations.command_line", "run")


def _trace(backend: str, code: str, **options: Any) -> tuple[list[FileEvent], KprobeManager]:
    command = [sys.executable, "-I", "-S", "-c", f"import os, sys\n{code}"]
    with KprobeManager.spawn(command, backend=backend, **{"ops": ["open", "read", "write"]} | options) as manager:
        events = list(manager)
        assert manager.process.wait() == 0
        assert manager.stats.lost == 0
    return events, manager


def _calls(events: list[FileEvent], path: Path) -> list[str]:
    return [event.syscall for event in events if event.path == str(path)]


def _by_rule(notes: tuple[RuleNote, ...]) -> dict[str, str]:
    return {note.rule: note.text for note in notes}


def test_a_symbolic_link_in_a_rule(backend: str, area: Path) -> None:
    """To a directory, to a file, in the middle, before a glob, and to what is not there yet."""
    (area / "usr/bin").mkdir(parents=True)
    for name in ("tool", "other"):
        (area / "usr/bin" / name).write_bytes(b"x")
    (area / "bin").symlink_to("usr/bin")
    (area / "one").symlink_to(area / "usr/bin/tool")
    (area / "later").symlink_to("usr/made")
    tool, other, made = area / "usr/bin/tool", area / "usr/bin/other", area / "usr/made"
    code = (
        f"for name in {[str(tool), str(other)]!r}: os.close(os.open(name, os.O_RDONLY))\n"
        f"os.close(os.open({str(area / 'later')!r}, os.O_CREAT | os.O_WRONLY, 0o600))"
    )
    for rule, seen in {
        f"{area}/bin/": {tool, other},
        f"{area}/one": {tool},
        f"{area}/bin/tool": {tool},
        f"{area}/bin/t*": {tool},
        f"{area}/later": {made},
        f"{area}/usr/bin/other": {other},
    }.items():
        events, manager = _trace(backend, code, ops=["open"], watch=[rule])
        assert {event.path for event in events if event.errno == 0} == {str(name) for name in seen}, rule
        notes = _by_rule(manager.rule_notes)
        if rule == f"{area}/bin/":
            assert notes == {f"{area}/bin": f"{area}/bin is a symbolic link to {area}/usr/bin: that is watched, too"}
        if "usr" in rule:
            assert notes == {}
        made.unlink()
    # What is ignored is so by where the link leads, too; the link itself keeps its rule.
    events, _ = _trace(backend, code, ops=["open"], ignore=[f"{area}/bin/"], watch=[f"{area}/"])
    assert {event.path for event in events if event.errno == 0} == {str(made)}
    made.unlink()
    events, _ = _trace(backend, f"os.unlink({str(area / 'one')!r})", ops=["unlink"], watch=[area / "one"])
    assert [event.path for event in events] == [str(area / "one")]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_named_is_selected_whatever_its_kind(backend: str, area: Path, when: str) -> None:
    """A FIFO, a socket, a character device and a terminal; also one that is made only later. No other of its kind."""
    fifo, other = area / "fifo", area / "other"
    if when == "before":
        os.mkfifo(fifo)
    make = f"os.mkfifo({str(fifo)!r})\n" if when == "after" else ""
    code = make + (
        f"os.mkfifo({str(other)!r})\n"
        f"for name in {[str(fifo), str(other)]!r}:\n"
        " f = os.open(name, os.O_RDWR); os.write(f, b'abc'); os.read(f, 2); os.close(f)\n"
        "r, w = os.pipe(); os.write(w, b'x'); os.read(r, 1)"
    )
    for option in ("watch", "sensitive"):
        events, manager = _trace(backend, code, **{option: [fifo]})
        assert _calls(events, fifo) == ["openat", "write", "read"]
        assert not _calls(events, other)
        assert not [event for event in events if event.path and event.path.startswith("pipe:")]
        if option == "sensitive":
            assert {event.sensitive for event in events if event.path == str(fifo)} == {True}
        for name in (fifo, other) if when == "after" else (other,):
            name.unlink()
        text = "is a FIFO" if when == "before" else "does not exist yet"
        assert text in _by_rule(manager.rule_notes)[str(fifo)]
    events, _ = _trace(backend, code, watch=["/"])
    assert not _calls(events, fifo)


def test_a_terminal_and_a_socket(backend: str, area: Path) -> None:
    main, side = pty.openpty()
    name = os.ttyname(side)
    events, manager = _trace(
        backend, f"f = os.open({name!r}, os.O_RDWR | os.O_NOCTTY); os.write(f, b'x')", watch=[name]
    )
    assert _calls(events, Path(name)) == ["openat", "write"]
    assert "is a character device" in _by_rule(manager.rule_notes)[name]
    os.close(main)
    os.close(side)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(area / "socket"))
        code = f"try: os.open({str(area / 'socket')!r}, os.O_RDONLY)\nexcept OSError: pass"
        events, manager = _trace(backend, code, watch=[area / "socket"])
    assert [(event.syscall, event.errno) for event in events] == [("openat", 6)]
    assert "is a socket" in _by_rule(manager.rule_notes)[str(area / "socket")]


def test_the_notes(area: Path) -> None:
    (area / "folder").mkdir()
    (area / "file").write_bytes(b"")
    (area / "mounts").symlink_to("/proc/self/mounts")
    rules = [area / "folder", area / "none", f"{area}/file/", area / "mounts", area / "file", f"{area}/folder/"]
    manager = KprobeManager(os.getpid(), follow=False, ops=["open"], watch=rules, ignore=["/nowhere/"])
    assert manager.rule_notes == ()
    manager.attach()
    notes = manager.rule_notes
    manager.close()
    assert [(note.option, note.rule) for note in notes] == [
        ("watch", str(area / "folder")),
        ("watch", str(area / "none")),
        ("watch", str(area / "file")),
        ("watch", str(area / "mounts")),
        ("ignore", "/nowhere"),
    ]
    for note, words in zip(
        notes,
        ("itself alone", "does not exist yet", "is no directory", "into /proc", "does not exist yet"),
        strict=True,
    ):
        assert words in note.text


@pytest.mark.native_only
def test_on_the_command_line(area: Path) -> None:
    """Said at the start, on standard error; a directory without its slash means all below it."""
    (area / "folder").mkdir()
    (area / "folder/file").write_bytes(b"x")
    (area / "link").symlink_to("folder")
    rules = ("--path", str(area / "folder"), "--path", f"{area}/link/", "--sensitive", "default")
    done = subprocess.run(
        [*_COMMAND, "-o", str(area / "trace"), *rules, "--ops", "open", "--", "cat", str(area / "link/file")],
        check=True,
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "--path" in line or "--sensitive" in line]
    assert said == [
        f"aa-fileio: --path {area}/folder: {area}/folder is a directory: all below it is watched, too",
        f"aa-fileio: --path {area}/link: {area}/link is a symbolic link to {area}/folder: that is watched, too",
    ]
    assert str(area / "folder/file") in (area / "trace").read_text()


def test_what_is_not_known_is_not_no(backend: str, area: Path) -> None:
    """By a tracepoint a name leads through links to nobody knows what; by a probe below the call the file is known."""
    for folder in ("w", "o"):
        (area / folder).mkdir()
    (area / "w/secret").write_bytes(b"12345")
    (area / "o/plain").write_bytes(b"12345")
    (area / "o/link").symlink_to(area / "w")
    os.link(area / "w/secret", area / "o/hard")
    code = (
        f"os.chdir({str(area / 'o')!r})\n"
        "os.truncate('link/secret', 3); os.truncate('hard', 2); os.chmod('hard', 0o600); os.utime('hard')\n"
        "os.rename('hard', 'hard2'); os.link('hard2', 'h3'); os.unlink('h3')\n"
        "os.unlink('link/secret'); os.close(os.open('hard2', os.O_RDWR))\n"
        "os.mkdir('made'); os.truncate('plain', 1); os.unlink('plain')"
    )
    events, _ = _trace(backend, code, ops=["writes"], sensitive=[area / "w/secret"])
    seen = {(event.syscall, event.raw_path): event.sensitive for event in events if event.path}
    of_it = [
        *(("truncate", "link/secret"), ("truncate", "hard"), ("chmod", "hard"), ("utimensat", "hard")),
        *(("rename", "hard"), ("link", "hard2"), ("unlink", "h3"), ("unlink", "link/secret")),
    ]
    known = backend != "tracepoint"
    assert [seen[call] for call in of_it] == [True if known else None] * len(of_it)
    assert seen["openat", "hard2"] is True
    assert seen["mkdir", "made"] is False
    assert [seen["truncate", "plain"], seen["unlink", "plain"]] == [False if known else None] * 2


def test_rules_keep_what_is_not_known(backend: str, area: Path) -> None:
    """An entry that may be another name of what is watched: also one that a link made meanwhile."""
    (area / "secret").write_bytes(b"x")
    for name in ("a", "b"):
        (area / name).write_bytes(b"x")
    code = (
        f"os.chdir({str(area)!r}); os.unlink('a')\n"
        "os.link('secret', 'hard'); os.unlink('hard'); os.unlink('b'); os.rmdir(os.mkdir('d') or 'd')"
    )
    events, _ = _trace(backend, code, ops=["unlink", "link", "mkdir", "rmdir"], watch=[area / "secret"])
    unlinked = [event.raw_path for event in events if event.op is Op.UNLINK]
    # One file with one name: what is removed under another one is another file.
    assert unlinked == (["hard", "b"] if backend == "tracepoint" else ["hard"])
    assert not [event for event in events if event.op in (Op.MKDIR, Op.RMDIR)]


def test_a_refused_call_may_have_been_about_it(backend: str, area: Path) -> None:
    """What leads nowhere goes by its name; what was refused was something."""
    (area / "w").mkdir()
    (area / "w/secret").mkdir()
    (area / "link").symlink_to("w")
    code = (
        f"for name, flags in (('link/secret', os.O_WRONLY), ('link/none', os.O_RDONLY), ('w/secret', os.O_WRONLY)):\n"
        f" try: os.open({str(area)!r} + '/' + name, flags)\n"
        f" except OSError: pass"
    )
    events, _ = _trace(backend, code, ops=["open"], sensitive=[area / "w/secret"])
    told = {event.path: event.sensitive for event in events if (event.path or "").startswith(str(area))}
    assert told == {f"{area}/link/secret": None, f"{area}/link/none": False, f"{area}/w/secret": True}


def test_a_rule_whose_file_is_made_anew(backend: str, area: Path) -> None:
    """It goes with the name; and with the file that had it, as long as that is there."""
    secret, kept = area / "secret", area / "kept"
    secret.write_bytes(b"x")
    code = (
        f"os.rename({str(secret)!r}, {str(kept)!r})\n"
        f"os.close(os.open({str(secret)!r}, os.O_CREAT | os.O_WRONLY, 0o600))\n"
        f"for name in {[str(kept), str(secret)]!r}: os.close(os.open(name, os.O_RDONLY))"
    )
    events, _ = _trace(backend, code, ops=["open"], sensitive=[secret])
    told = [(event.path, event.sensitive) for event in events if event.path in (str(secret), str(kept))]
    assert told == [(str(secret), True), (str(kept), True), (str(secret), True)]
