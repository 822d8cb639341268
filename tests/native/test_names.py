# SPDX-License-Identifier: MIT
"""Names come through as the kernel has them: every byte, every length, over mounts and up to the process's own root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.native.expected import (
    CLONE_NEWNS,
    as_passed,
    check_results,
    check_script_ledger,
    file,
    flag_names,
    identity,
    relative,
)
from tests.native.script import AT_FDCWD, Script
from tests.native.tracing import check_trace, trace

_CREATE = os.O_CREAT | os.O_WRONLY
_MS_BIND = 4096
_MS_REC_PRIVATE = 0x4000 | 0x40000


def test_every_byte(backend: str, area: Path) -> None:
    """One name of each byte alone and one of all of them, in every call that takes a name."""
    allowed = bytes(byte for byte in range(1, 256) if byte != ord("/"))
    names = [bytes([byte]) for byte in allowed if byte != ord(".")]
    names += [allowed, b"\xff\xfe name\n", "å中\U0001f600".encode()]
    script = Script()
    steps = script.main
    steps.hold()
    steps.call("chdir", area)
    for name in names:
        new = b"to" + name[:253]
        path, new_path = area / os.fsdecode(name), area / os.fsdecode(new)
        stat = script.buffer(144)
        seen: dict[str, object] = {}
        fd = steps.call("openat", AT_FDCWD, name, _CREATE, 0o600, sees=lambda _, seen=seen: seen["open"])
        seen["open"] = file(path, of=steps.call("fstat", fd, stat))
        steps.call("close", fd)
        steps.call("openat", AT_FDCWD, name, _CREATE | os.O_EXCL, 0o600, sees=relative(path, error=errno.EEXIST))
        steps.call("rename", bytes(path), new, sees=as_passed(path, new_path))
        steps.call("unlinkat", AT_FDCWD, new, 0, sees=relative(new_path))
    result = check_trace(script, area, backend)
    opened = [event for event in result.events if event.op == "open" and event.errno == 0]
    # The comparison above was of str; this one is of bytes, as the workload passed them.
    assert [os.fsencode(event.path) for event in opened] == [bytes(area) + b"/" + name for name in names]
    assert [os.fsencode(event.raw_path) for event in opened] == names


def test_every_length_of_a_component(backend: str, area: Path) -> None:
    script = Script()
    steps = script.main
    steps.hold()
    steps.call("chdir", area)
    for length in range(1, 256):
        name, new = "a" * length, "b" * length
        (area / name).write_bytes(b"")
        steps.call("rename", name, area / new, sees=as_passed(area / name, area / new))
        fd = steps.call("openat", AT_FDCWD, new, os.O_RDONLY, sees=file(area / new))
        steps.call("close", fd)
        steps.call("unlink", f"{area}/none/{name}", sees=as_passed(f"{area}/none/{name}", error=errno.ENOENT))
    check_trace(script, area, backend)


def _nest(start: Path, component: str, depth: int) -> list[Path]:
    """Folders in one another, deeper than one name can be passed."""
    made = [start]
    here = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(component, dir_fd=here)
        below = os.open(component, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
        made.append(made[-1] / component)
    os.close(here)
    return made


def test_deep_folders(backend: str, area: Path) -> None:
    """200 folders of 14 letters: about 3,000 bytes, opened at each depth and by a relative name."""
    script = Script()
    steps = script.main
    steps.hold()
    steps.call("chdir", area)
    for folder in _nest(area, "fourteen_bytes", 200)[1:]:
        steps.call("chdir", "fourteen_bytes")
        fd = steps.call("openat", AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY, sees=file(folder, kind="dir"))
        steps.call("close", fd)
        steps.call("unlink", "none", sees=relative(folder / "none", error=errno.ENOENT))
    check_trace(script, area, backend)


def test_longest_names(backend: str, area: Path) -> None:
    """Up to the last byte that fits into PATH_MAX."""
    script = Script()
    steps = script.main
    steps.hold()
    steps.call("chdir", area)
    deepest = (4095 - len(bytes(area))) // 251 - 1
    folder = _nest(area, "l" * 250, deepest)[-1]
    for _ in range(deepest):
        steps.call("chdir", "l" * 250)
    for length in (3900, 4000, 4064, 4094, 4095):
        name = "n" * (length - len(bytes(folder)) - 1)
        pieces = [name[start : start + 200] for start in range(0, len(name), 201)]
        path = folder.joinpath(*pieces)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        fd = steps.call("openat", AT_FDCWD, os.path.relpath(path, folder), os.O_RDONLY, sees=file(path))
        steps.call("close", fd)
    check_trace(script, area, backend)


def test_names_beyond_all_bounds(backend: str, area: Path) -> None:
    """Deeper or longer than the kernel itself would print: the whole name, or said to be cut and then its end."""
    script = Script()
    steps = script.main
    steps.hold()
    wanted = []
    for component, depth in (("d", 400), ("l" * 250, 20)):
        top = area / component[:1]
        top.mkdir()
        _nest(top, component, depth)
        steps.call("chdir", top)
        for _ in range(depth):
            steps.call("chdir", component)
        stat = script.buffer(144)
        fd = steps.call("openat", AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY, sees=file("/", kind="dir"))
        wanted.append((steps.call("fstat", fd, stat), f"{top}{f'/{component}' * depth}"))
        steps.call("unlink", "none", sees=relative("/", error=errno.ENOENT))
        wanted.append((None, wanted[-1][1] + "/none"))
    result = trace(script, area, backend)
    check_results(script)
    assert len(result.events) == len(wanted)
    cut = 0
    for event, (stat, truth) in zip(result.events, wanted, strict=True):
        assert flag_names(event) <= {"truncated"}, event
        if not flag_names(event):
            assert event.path == truth, event
        else:
            cut += 1
            assert truth.endswith(event.path.removeprefix("/")), event
            assert len(event.path) > 200, event
        if stat is not None:
            assert (event.device, event.inode) == identity(stat)
    check_script_ledger(script, result.stats, backend, path_truncated=cut)


def test_mounts_and_roots(backend: str, area: Path) -> None:
    """The name is the one in the process's own mounts and below its own root, as /proc/PID/fd would say."""
    (area / "real").mkdir()
    (area / "real" / "inner").write_bytes(b"")
    (area / "shown" / "here").mkdir(parents=True)
    script = Script()
    steps = script.main
    steps.hold()
    steps.call("unshare", CLONE_NEWNS)
    steps.call("mount", b"none", b"/", 0, _MS_REC_PRIVATE, 0)
    steps.call("mount", area / "real", area / "shown" / "here", 0, _MS_BIND, 0)
    inner = area / "real" / "inner"
    for path in (inner, area / "shown" / "here" / "inner"):
        steps.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path, of=inner))
    steps.call("mount", area / "real" / "inner", area / "real" / "inner", 0, _MS_BIND, 0)
    on_file = steps.call("openat", AT_FDCWD, inner, os.O_RDONLY, sees=file(inner))
    steps.call("read", on_file, script.buffer(8), 8, sees=file(inner, offset=0, moved=0))
    steps.call("chdir", area / "shown" / "here")
    here = area / "shown" / "here"
    steps.call("openat", AT_FDCWD, "inner", os.O_RDONLY, sees=file(here / "inner", of=inner))
    missing = relative(here / "none", start=area / "real", error=errno.ENOENT)
    steps.call("unlink", "none", sees=missing)
    steps.call("chroot", area / "shown")
    steps.call("openat", AT_FDCWD, "/here/inner", os.O_RDONLY, sees=file("/here/inner", of=inner))
    folder = file("/here", kind="dir", of=area / "real")
    steps.call("openat", AT_FDCWD, "/here", os.O_RDONLY, sees=folder)
    root = file("/", kind="dir", of=area / "shown")
    steps.call("openat", AT_FDCWD, "/", os.O_RDONLY, sees=root)
    steps.call("unlink", "/none", sees=as_passed("/none", error=errno.ENOENT))
    check_trace(script, area, backend)


_PAGE = 4096
_MAP_PRIVATE_FIXED = 0x02 | 0x10


def test_names_in_memory_that_is_not_there_yet(backend: str, area: Path) -> None:
    """The page with the name is read from its file only when the kernel asks for it: nobody can read it before."""
    script = Script()
    steps = script.main
    steps.hold()
    target = area / "target"
    target.write_bytes(b"")
    base = 0x20000000
    for number, crosses in enumerate((False, True, False, True, False)):
        # Two files of a page each, so that the fault on the first does not bring the second.
        name = bytes(area) + b"/none-%d" % number
        if number == 4:
            name = bytes(target)
        at = _PAGE - 5 if crosses else 0
        pages = bytearray(2 * _PAGE)
        pages[at : at + len(name)] = name
        for half in (0, 1):
            source = area / f"page-{number}-{half}"
            source.write_bytes(pages[half * _PAGE : (half + 1) * _PAGE])
            fd = steps.call("openat", AT_FDCWD, source, os.O_RDONLY, sees=file(source))
            place = base + (2 * number + half) * _PAGE
            steps.call("mmap", place, _PAGE, 1, _MAP_PRIVATE_FIXED, fd, 0)
            steps.call("close", fd)
        pointer = base + 2 * number * _PAGE + at
        text = os.fsdecode(name)
        if number < 2:
            steps.call("unlink", pointer, sees=as_passed(text, error=errno.ENOENT, raw_path=text))
        elif number < 4:
            seen = as_passed(text, text, error=errno.ENOENT, raw_path=text)
            steps.call("renameat2", AT_FDCWD, pointer, AT_FDCWD, pointer, 0, sees=seen)
        else:
            steps.call("openat", AT_FDCWD, pointer, os.O_RDONLY, sees=file(target, raw_path=text))
    check_trace(script, area, backend)
