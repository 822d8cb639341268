# SPDX-License-Identifier: MIT
"""What is to be known of a trace before its first line: that it feeds itself, that /proc cannot be asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aa_fileio.integrations.text_lines import shown


def proc_is_ours(proc: Path = Path("/proc")) -> bool:
    """Whether /proc has this process's numbers, and not those of another pid namespace."""
    try:
        lines = (proc / "self/status").read_text(errors="replace").splitlines()
    except OSError:
        return False
    numbers = [line.split()[1:] for line in lines if line.startswith("NSpid:")]
    return not numbers or numbers[0] == [str(os.getpid())]


def proc_note(proc: Path = Path("/proc")) -> str | None:
    if proc_is_ours(proc):
        return None
    what = "is of another pid namespace" if (proc / "version").exists() else "is not mounted"
    return (
        f"{proc} {what}: what processes had mapped and opened before the trace cannot be looked at, and each of them "
        f"counts as a blind spot. Remedy: mount -t proc proc {proc}"
    )


def reader_note(descriptor: int, target: int | None, proc: Path = Path("/proc")) -> str | None:
    """target: the process whose tree is traced; None: the whole system."""
    readers = [
        f"{shown(name)} ({pid})"
        for pid, name in _readers(descriptor, proc)
        if target is None or target in _ancestors(pid, proc)
    ]
    if not readers:
        return None
    return f"what reads this trace is traced, too, and each line makes more: {', '.join(readers)}. Remedy: -o FILE"


def _readers(descriptor: int, proc: Path) -> Iterator[tuple[int, str]]:
    """Who else has the pipe open that we write to, for reading."""
    status = os.fstat(descriptor)
    if not stat.S_ISFIFO(status.st_mode) or not proc_is_ours(proc):
        return
    for entry in proc.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if any(_reads(fd, status) for fd in (entry / "fd").iterdir()):
                    yield int(entry.name), (entry / "comm").read_text(errors="surrogateescape").rstrip("\n")


def _reads(fd: Path, pipe: os.stat_result) -> bool:
    with suppress(OSError):
        # The link of a descriptor has the modes that it was opened with.
        if fd.lstat().st_mode & stat.S_IRUSR:
            return os.path.samestat(fd.stat(), pipe)
    return False


def _ancestors(pid: int, proc: Path) -> Iterator[int]:
    """The process itself first."""
    while pid:
        yield pid
        try:
            text = (proc / str(pid) / "stat").read_bytes()
        except OSError:
            return
        pid = int(text[text.rindex(b")") + 2 :].split()[1])
