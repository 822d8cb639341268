# SPDX-License-Identifier: MIT
"""A file system of a directory and a file, whose answers may wait: over /dev/fuse, by the kernel's own protocol."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

# enum fuse_opcode of include/uapi/linux/fuse.h
LOOKUP, FORGET, GETATTR, UNLINK, OPEN, READ, RELEASE, INIT, BATCH_FORGET = 1, 2, 3, 10, 14, 15, 18, 26, 42
ROOT, DOOR, FILE = 1, 2, 3
_IN = struct.Struct("=IIQQIIIHH")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
CONTENT = b"0123456789"

_libc = ctypes.CDLL(None, use_errno=True)


def mount(device: int, at: Path) -> None:
    """What answers for it reads from the device, an open /dev/fuse."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if _libc.mount(b"none", os.fsencode(at), b"fuse", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mounting a FUSE file system: {os.strerror(number)}")


def _attributes(node: int) -> bytes:
    mode = stat.S_IFREG | 0o600 if node == FILE else stat.S_IFDIR | 0o700
    size = len(CONTENT) if node == FILE else 0
    return _ATTRIBUTES.pack(node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes) -> bytes | int:
    """An error is a number."""
    if opcode == INIT:
        return struct.pack("=IIII", 7, 31, 0, 0) + struct.pack("=HHIIHHI28x", 0, 0, 4096, 1, 0, 0, 0)
    if opcode == LOOKUP:
        name = body.rstrip(b"\0")
        found = DOOR if (node, name) == (ROOT, b"door") else FILE if name == b"target" else 0
        # Known for no time: each walk asks anew.
        return struct.pack("=QQQQII", found, 0, 0, 0, 0, 0) + _attributes(found) if found else errno.ENOENT
    if opcode == GETATTR:
        return struct.pack("=QII", 0, 0, 0) + _attributes(node)
    if opcode == OPEN:
        return struct.pack("=QII", 1, 1, 0)  # FOPEN_DIRECT_IO
    if opcode == READ:
        _, offset, size = struct.unpack_from("=QQI", body)
        return CONTENT[offset : offset + size]
    return b"" if opcode in (UNLINK, RELEASE) else errno.ENOSYS


def serve(device: int, held: Callable[[int, bytes], None]) -> None:
    """Until it is unmounted, by an OSError. `held` is called with each request and its body before it is answered."""
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in (FORGET, BATCH_FORGET):
            continue
        body = request[_IN.size :]
        held(opcode, body)
        answer = _answer(opcode, node, body)
        data, error = (b"", answer) if isinstance(answer, int) else (answer, 0)
        os.write(device, struct.pack("=IiQ", 16 + len(data), -error, unique) + data)
