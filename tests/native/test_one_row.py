# SPDX-License-Identifier: MIT
"""A system call that one new row in bpf/syscalls.h describes is seen, with all that the row says."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from tests.one_row import NEW_ROWS, built_copy, run

# Makes each call once, by its number, and says what the kernel answered.
_WORKLOAD = """
import ctypes, errno, json, os, sys
home = sys.argv[1]
os.chdir(home)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    passed = [ctypes.c_char_p(os.fsencode(a)) if isinstance(a, str) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *passed)
    return -ctypes.get_errno() if result < 0 else result
room = ctypes.create_string_buffer(4096)
fd = os.open("data", os.O_RDONLY)
directory = os.open("sub", os.O_RDONLY)
results = {
    "fadvise64": call(221, fd, ctypes.c_long(4096), ctypes.c_long(8192), 4),
    "swapoff": call(168, home + "/data"),
    "file_getattr": call(468, directory, "inner", room, 24, 0x100),
    "fsopen": call(430, "tmpfs", 1),
    "request_key": call(249, "user", "aa_fileio:none", None, 0),
}
print(json.dumps({"fd": fd, "directory": directory, "results": results}))
"""

_TRACER = """
import json, subprocess, sys
import aa_fileio
code, home = sys.argv[1:]
ops = ["sync", "stat", "open", "link"]
m = aa_fileio.KprobeManager.spawn(
    [sys.executable, "-c", code, home], ops=ops, kinds=["file", "anon"], backend="tracepoint", stdout=subprocess.PIPE)
with m:
    events = list(m)
    said = m.process.stdout.read()
    assert m.process.wait() == 0
fields = ("op", "path", "new_path", "raw_path", "path_source", "fd", "dirfd", "flags", "count", "offset", "return_code",
          "kind")
print(json.dumps({
    "file": aa_fileio.__file__,
    "said": json.loads(said),
    "seen": [[e.syscall, {name: getattr(e, name) for name in fields}] for e in events],
    "complete": m.stats.complete,
}))
"""


@pytest.fixture(scope="module")
def tree() -> Path:
    """Built before the test's time begins: a build takes longer than a test may."""
    return built_copy()


@pytest.mark.native_only
def test_a_call_that_is_one_row_is_seen(area: Path, tree: Path) -> None:
    (area / "data").write_bytes(b"x" * 10)
    (area / "sub").mkdir()
    (area / "sub/inner").write_bytes(b"")
    outcome = json.loads(run(tree, "-c", _TRACER, _WORKLOAD, str(area)))
    assert Path(outcome["file"]).is_relative_to(tree)
    assert outcome["complete"]
    results, fd, directory = (outcome["said"][name] for name in ("results", "fd", "directory"))
    assert (results["fadvise64"], results["swapoff"]) == (0, -errno.EINVAL)
    assert results["fsopen"] > 2

    names = [row.name for row in NEW_ROWS]
    seen = [(name, fields) for name, fields in outcome["seen"] if name in names]
    assert [name for name, _ in seen] == names  # each once, in the order it was made
    usual = dict.fromkeys(("new_path", "raw_path", "fd", "dirfd", "flags", "count", "offset", "kind"))
    inner, data = str(area / "sub/inner"), str(area / "data")
    assert dict(seen) == {
        "fadvise64": usual
        | {"op": "sync", "path": data, "path_source": "file", "fd": fd, "flags": 4, "count": 8192, "offset": 4096}
        | {"return_code": 0, "kind": "file"},
        "swapoff": usual
        | {"op": "stat", "path": data, "raw_path": data, "path_source": "as_passed", "return_code": -errno.EINVAL},
        "file_getattr": usual
        | {"op": "stat", "path": inner, "raw_path": "inner", "path_source": "dir_and_name", "dirfd": directory}
        | {"flags": 0x100, "return_code": results["file_getattr"]},
        "fsopen": usual
        | {"op": "open", "path": "anon_inode:[fscontext]", "raw_path": "tmpfs", "path_source": "file"}
        | {"fd": results["fsopen"], "flags": 1, "return_code": results["fsopen"], "kind": "anon"},
        "request_key": usual
        | {"op": "link", "path": f"{area}/user", "new_path": f"{area}/aa_fileio:none", "raw_path": "user"}
        | {"path_source": "dir_and_name", "return_code": results["request_key"]},
    }
    assert results["request_key"] in (-errno.ENOKEY, -errno.ENOENT)
