# SPDX-License-Identifier: MIT
"""Each operation as a line for people and as a line of JSON: what it did is told in its own terms."""

from __future__ import annotations

import errno
import json
import mmap
import os
import stat
from typing import Any

import pytest
from command_line_fakes import make_event

from aa_fileio import FileEvent, Op
from aa_fileio.integrations import json_lines
from aa_fileio.integrations.text_lines import HEADER, event_line

MAP_FIXED = 0x10  # include/uapi/asm-generic/mman-common.h; Python has no name for it
MAP_SHARED_VALIDATE = 0x03
AT_SYMLINK_NOFOLLOW = 0x100  # include/uapi/linux/fcntl.h
AT_EMPTY_PATH = 0x1000
RENAME_EXCHANGE = 2
FICLONE = 0x40049409
EVERYTHING = 2**64 - 1


def columns(event: FileEvent) -> tuple[str, str, str]:
    """CALL, RESULT, and all from PATH on."""
    line = event_line(event)
    call, result, took, path = (HEADER.index(word) for word in ("CALL", "RESULT", "TOOK", "PATH"))
    assert line[path - 1] == " "
    return line[call:result].rstrip(), line[result : took - 4].rstrip(), line[path:]


def line(op: str, **fields: Any) -> tuple[str, str]:
    call, result, rest = columns(make_event(op, **({"path": "/a"} | fields)))
    assert call == op
    return result, rest


# operation, fields → RESULT, and what follows from PATH on
LINES: list[tuple[str, dict[str, Any], str, str]] = [
    # lengths
    ("truncate", {"count": 4096}, "ok", "/a to 4096 bytes"),
    ("truncate", {"count": 1}, "ok", "/a to 1 byte"),
    ("truncate", {"count": 0, "fd": 3, "syscall": "ftruncate"}, "ok", "/a to 0 bytes"),
    (
        "truncate",
        {"count": 9, "errno": errno.EACCES, "path_source": "as_passed"},
        "EACCES",
        "/a to 9 bytes [as passed]",
    ),
    ("allocate", {"fd": 3, "flags": 0, "count": 4096, "offset": 0}, "ok", "/a 4096 bytes at 0"),
    ("allocate", {"fd": 3, "flags": 3, "count": 10, "offset": 8192}, "ok", "/a flags 0x3 10 bytes at 8192"),
    (
        "allocate",
        {"syscall": "madvise", "path": None, "path_source": "none", "flags": mmap.MADV_REMOVE, "count": 4096},
        "ok",
        "<no name> MADV_REMOVE 4096 bytes",
    ),
    # names
    ("rename", {"new_path": "/b", "flags": 0}, "ok", "/a -> /b"),
    ("rename", {"new_path": "/b", "flags": RENAME_EXCHANGE}, "ok", "/a -> /b flags 0x2"),
    ("link", {"new_path": "/b c", "path_source": "dentry"}, "ok", '/a -> "/b c"'),
    (
        "link",
        {"new_path": "/b", "flags": 0x400, "path_source": "dir_and_name"},
        "ok",
        "/a -> /b flags 0x400 [dir and name]",
    ),
    ("symlink", {"path_source": "dentry"}, "ok", "/a"),
    ("unlink", {"flags": 0, "path_source": "dentry"}, "ok", "/a"),
    ("rmdir", {"flags": 0x200, "syscall": "unlinkat", "path_source": "dentry"}, "ok", "/a"),
    ("mkdir", {"mode": 0o755, "path_source": "dentry"}, "ok", "/a mode 0755"),
    ("mkdir", {"mode": 0, "errno": errno.EEXIST}, "EEXIST", "/a mode 0000"),
    ("mknod", {"mode": stat.S_IFIFO | 0o644}, "ok", "/a S_IFIFO mode 0644"),
    ("mknod", {"mode": stat.S_IFCHR | 0o600}, "ok", "/a S_IFCHR mode 0600"),
    ("mknod", {"mode": 0o600}, "ok", "/a mode 0600"),
    ("mknod", {"mode": 0o150600, "errno": errno.EINVAL}, "EINVAL", "/a mode 0150600"),
    ("mknod", {"syscall": "bind", "path": "/run/s"}, "ok", "/run/s"),
    # attributes
    ("chmod", {"mode": 0o4755}, "ok", "/a mode 04755"),
    ("chmod", {"mode": 0o640, "flags": AT_SYMLINK_NOFOLLOW, "syscall": "fchmodat2"}, "ok", "/a mode 0640 flags 0x100"),
    ("chown", {}, "ok", "/a"),
    ("chown", {"flags": AT_EMPTY_PATH, "syscall": "fchownat", "dirfd": 4}, "ok", "/a flags 0x1000"),
    ("utime", {"flags": 0, "syscall": "utimensat"}, "ok", "/a"),
    ("xattr", {"count": 5, "flags": getattr(os, "XATTR_CREATE", 1)}, "ok", "/a XATTR_CREATE 5 bytes"),
    ("xattr", {"count": 5, "flags": 0}, "ok", "/a 5 bytes"),
    ("xattr", {"syscall": "setxattrat", "flags": AT_SYMLINK_NOFOLLOW}, "ok", "/a flags 0x100"),
    ("xattr", {"syscall": "removexattr"}, "ok", "/a"),
    # from file to file
    ("copy", {"fd": 3, "new_path": "/b", "count": 8192, "bytes": 4096, "flags": 0}, "4096 of 8192", "/a -> /b"),
    (
        "copy",
        {"fd": 3, "new_path": "/b", "count": 8192, "bytes": 0, "errno": errno.EXDEV, "return_code": -errno.EXDEV},
        "EXDEV",
        "/a -> /b",
    ),
    # As cp does it.
    ("copy", {"fd": 3, "new_path": "/b", "count": 9223372035781033984, "bytes": 27}, "27 of all", "/a -> /b"),
    (
        "copy",
        {"syscall": "splice", "fd": 3, "kind": "file", "new_path": "pipe:[7]", "count": 9, "bytes": 9, "flags": 5},
        "9 of 9",
        '/a -> "pipe:[7]" SPLICE_F_MOVE|SPLICE_F_MORE',
    ),
    (
        "copy",
        {"syscall": "tee", "fd": 3, "path": "pipe:[7]", "new_path": "pipe:[8]", "count": 9, "bytes": 9, "flags": 10},
        "9 of 9",
        '"pipe:[7]" -> "pipe:[8]" SPLICE_F_NONBLOCK|0x8',
    ),
    ("copy", {"syscall": "sendfile", "fd": 3, "new_path": None, "count": 9, "bytes": 9}, "9 of 9", "/a"),
    (
        "copy",
        {"syscall": "copy_file_range", "fd": 3, "path": None, "path_source": "none", "new_path": "/b", "count": 9}
        | {"bytes": 0, "errno": errno.EBADF, "return_code": -errno.EBADF},
        "EBADF",
        "<fd 3: no name> -> /b",
    ),
    ("copy", {"syscall": "ioctl", "fd": 3, "new_path": "/b", "flags": FICLONE}, "ok", "/a -> /b flags 0x40049409"),
    # memory
    (
        "map",
        {"fd": 3, "mode": mmap.PROT_READ | mmap.PROT_EXEC, "flags": mmap.MAP_PRIVATE | mmap.MAP_DENYWRITE | MAP_FIXED}
        | {"count": 8192, "offset": 4096, "return_code": 0x7F1200000000},
        "ok",
        "/a PROT_READ|PROT_EXEC MAP_PRIVATE|MAP_DENYWRITE|0x10 8192 bytes at 4096",
    ),
    (
        "map",
        {"fd": 3, "mode": mmap.PROT_READ | mmap.PROT_WRITE, "flags": mmap.MAP_SHARED, "count": 10, "offset": 0},
        "ok",
        "/a PROT_READ|PROT_WRITE MAP_SHARED 10 bytes at 0",
    ),
    # Not MAP_SHARED|MAP_PRIVATE, which its bits would say.
    (
        "map",
        {"fd": 3, "mode": 0, "flags": MAP_SHARED_VALIDATE, "count": 1, "offset": 0},
        "ok",
        "/a PROT_NONE flags 0x3 1 byte at 0",
    ),
    (
        "map",
        {
            "fd": 9,
            "path": None,
            "path_source": "none",
            "mode": 1,
            "flags": 2,
            "count": 1,
            "offset": 0,
            "errno": errno.EBADF,
        },
        "EBADF",
        "<fd 9: no name> PROT_READ MAP_PRIVATE 1 byte at 0",
    ),
    (
        "map",
        {"fd": 3, "mode": 0x1000001, "flags": 2, "count": 1, "offset": 0},
        "ok",
        "/a PROT_READ|0x1000000 MAP_PRIVATE 1 byte at 0",
    ),
    # to the disk
    ("sync", {"fd": 3, "syscall": "fsync"}, "ok", "/a"),
    (
        "sync",
        {"fd": 3, "syscall": "sync_file_range", "flags": 2, "count": 5, "offset": 6},
        "ok",
        "/a flags 0x2 5 bytes at 6",
    ),
    (
        "sync",
        {"syscall": "msync", "path": None, "path_source": "none", "flags": 4, "count": 5},
        "ok",
        "<no name> flags 0x4 5 bytes",
    ),
    # descriptors
    ("close", {"fd": 3}, "fd 3", "/a"),
    ("close", {"fd": 3, "path": None, "path_source": "none", "errno": errno.EBADF}, "EBADF", "<fd 3: no name>"),
    (
        "close",
        {"fd": 3, "syscall": "close_range", "path": None, "path_source": "none", "flags": 0},
        "ok",
        "<from fd 3 on>",
    ),
    (
        "close",
        {"fd": 3, "syscall": "close_range", "path": None, "path_source": "none", "flags": 4},
        "ok",
        "<from fd 3 on> flags 0x4",
    ),
    ("dup", {"fd": 3, "return_code": 7}, "fd 3 -> 7", "/a"),
    ("dup", {"fd": 3, "return_code": 7, "syscall": "dup3", "flags": os.O_CLOEXEC}, "fd 3 -> 7", "/a O_CLOEXEC"),
    ("dup", {"fd": 3, "syscall": "dup2", "errno": errno.EBADF}, "EBADF", "/a"),
    (
        "memfd",
        {"fd": 4, "return_code": 4, "path": "/memfd:x", "flags": 3},
        "fd 4",
        "/memfd:x MFD_CLOEXEC|MFD_ALLOW_SEALING",
    ),
    # programs and places
    ("exec", {"path_source": "as_passed"}, "ok", "/a [as passed]"),
    ("exec", {"errno": errno.ENOENT, "path_source": "as_passed"}, "ENOENT", "/a [as passed]"),
    ("exec", {"syscall": "execveat", "flags": AT_EMPTY_PATH}, "ok", "/a flags 0x1000"),
    ("chdir", {"path_source": "as_passed"}, "ok", "/a [as passed]"),
    ("mount", {"path_source": "as_passed", "flags": 0x1000}, "ok", "/a flags 0x1000 [as passed]"),
    ("mount", {"syscall": "move_mount", "new_path": "/b", "flags": 4}, "ok", "/a -> /b flags 0x4"),
    ("mount", {"syscall": "umount2", "flags": 0}, "ok", "/a"),
    # looking
    ("stat", {}, "ok", "/a"),
    ("stat", {"syscall": "newfstatat", "flags": AT_SYMLINK_NOFOLLOW}, "ok", "/a flags 0x100"),
    ("stat", {"syscall": "access", "mode": os.F_OK, "errno": errno.ENOENT}, "ENOENT", "/a F_OK"),
    ("stat", {"syscall": "faccessat2", "mode": os.R_OK | os.X_OK, "flags": 0x200}, "ok", "/a R_OK|X_OK flags 0x200"),
    ("stat", {"syscall": "readlink", "count": 4096, "bytes": 12}, "12 of 4096", "/a"),
    # A size that is asked for, with no room for the value.
    ("stat", {"syscall": "getxattr", "count": 0, "bytes": 12}, "size 12", "/a"),
    ("list", {"fd": 3, "kind": "dir", "count": 32768, "bytes": 240}, "240 of 32768", "/a"),
    ("list", {"fd": 3, "kind": "dir", "count": 32768, "bytes": 0}, "0 of 32768", "/a"),
    # the first six, by their other calls
    ("open", {"syscall": "creat", "fd": 5, "return_code": 5, "flags": 0o1101}, "fd 5", "/a O_WRONLY|O_CREAT|O_TRUNC"),
    ("open", {"syscall": "openat2", "fd": 5, "return_code": 5, "flags": None}, "fd 5", "/a"),
    ("write", {"syscall": "pwritev2", "fd": 3, "count": 9, "bytes": 9, "flags": 16}, "9 of 9", "/a RWF_APPEND"),
    ("write", {"syscall": "writev", "fd": 3, "count": None, "bytes": 9}, "9", "/a"),
    (
        "blind_spot",
        {"syscall": "io_uring_setup", "count": 8, "path": "anon_inode:x", "fd": 3, "return_code": 3, "kind": "anon"},
        "ok",
        "anon_inode:x io_uring_setup: what is submitted through this ring is not seen",
    ),
]


@pytest.mark.parametrize(
    ("op", "fields", "result", "rest"), LINES, ids=[f"{row[0]}-{number}" for number, row in enumerate(LINES)]
)
def test_a_line_tells_what_was_done(op: str, fields: dict[str, Any], result: str, rest: str) -> None:
    assert line(op, **fields) == (result, rest)


def test_every_operation_has_a_line_here() -> None:
    assert {row[0] for row in LINES} | {"read"} == {str(op) for op in Op}


@pytest.mark.parametrize("op", list(Op))
def test_no_number_that_a_program_passes_breaks_a_line(op: Op) -> None:
    """Whatever the arguments were: the kernel refuses them, and the trace shows them."""
    for number in (0, 1, 2**31, 2**32 - 1):
        moved = {"bytes": 0} if op == "read" else {}
        event = make_event(op, flags=number, mode=number, count=EVERYTHING, fd=3, errno=errno.EINVAL, **moved)
        assert event_line(event).isprintable()
        assert columns(event)[:2] == (str(op), "EINVAL")


def test_an_operation_without_a_name_is_shown_by_its_number() -> None:
    assert columns(make_event(99, flags=1, mode=2)) == ("99", "ok", "/etc/hosts flags 0x1")


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("copy", {"fd": 3, "new_path": "/b", "count": 8192, "bytes": 4096, "flags": 0, "offset": 0, "kind": "file"}),
        ("map", {"fd": 3, "mode": 5, "flags": 0x812, "count": 8192, "offset": 4096, "return_code": 0x7F1200000000}),
        ("truncate", {"count": 4096, "raw_path": "a", "path_source": "dentry"}),
        ("chmod", {"mode": 0o4755, "dirfd": -100, "raw_path": "a", "syscall": "fchmodat"}),
        ("dup", {"fd": 3, "return_code": 7, "flags": 0o2000000, "syscall": "dup3"}),
        ("exec", {"path_source": "as_passed", "raw_path": "/a", "duration_ns": 12}),
        ("list", {"fd": 3, "kind": "dir", "count": 32768, "bytes": 240}),
    ],
)
def test_json_has_every_field_as_it_is(op: str, fields: dict[str, Any]) -> None:
    event = make_event(op, **({"path": "/a"} | fields))
    record = json.loads(json_lines.event_line(event))
    assert record["op"] == op
    assert record["syscall"] == fields.get("syscall", event.syscall)
    assert {name: record[name] for name in fields} == fields
    assert set(record) == {"record", *event._asdict()}
