# SPDX-License-Identifier: MIT
"""Ways to a directory that no name from the process's root leads to, for a child that is traced (forked.py).

Each makes mounts of its own, which nobody else sees.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_GETCWD, _PIVOT_ROOT, _UMOUNT, _MOUNT, _UNSHARE = 79, 155, 166, 165, 272
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_PRIVATE = 4096, 0x44000
_MNT_DETACH = 2


def call(number: int, *arguments: int | bytes | None) -> int:
    """A system call, by its number."""
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def getcwd() -> str:
    """As the kernel has it: the C library's takes "(unreachable)" for an error."""
    here = ctypes.create_string_buffer(4096)
    call(_GETCWD, ctypes.addressof(here), len(here))
    return os.fsdecode(here.value)


def own_mounts(folder: str) -> None:
    """An empty file system at `folder`, which nobody else sees."""
    call(_UNSHARE, _CLONE_NEWNS)
    call(_MOUNT, b"none", b"/", None, _MS_PRIVATE, None)
    mount(folder)


def mount(at: str) -> None:
    call(_MOUNT, b"none", os.fsencode(at), b"tmpfs", 0, None)


def _bind(what: str, at: str) -> None:
    call(_MOUNT, os.fsencode(what), os.fsencode(at), None, _MS_BIND, None)


def unmount(at: str) -> None:
    call(_UMOUNT, os.fsencode(at), _MNT_DETACH)


def _directory(path: str, at: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)


def _in_tree(folder: str) -> int:
    """A copy of a part of the tree, attached nowhere."""
    os.makedirs(folder + "/home/etc")
    tree = call(_OPEN_TREE, -100, os.fsencode(folder + "/home"), 1 | os.O_CLOEXEC)
    return _directory("etc", tree)


def _in_new_mount(_folder: str) -> int:
    """A new file system, not attached yet."""
    context = call(_FSOPEN, b"tmpfs", 0)
    call(_FSCONFIG, context, 6, None, None, 0)
    mount = call(_FSMOUNT, context, 0, 0)
    os.mkdir("etc", dir_fd=mount)
    return _directory("etc", mount)


def _in_lazily_unmounted(folder: str) -> int:
    os.mkdir(folder + "/mount")
    mount(folder + "/mount")
    os.mkdir(folder + "/mount/etc")
    etc = _directory(folder + "/mount/etc")
    unmount(folder + "/mount")
    return etc


def _in_lazily_unmounted_below(folder: str) -> int:
    """The file system is mounted in one that is let go, and let go with it."""
    os.makedirs(folder + "/mount")
    mount(folder + "/mount")
    os.mkdir(folder + "/mount/etc")
    mount(folder + "/mount/etc")
    etc = _directory(folder + "/mount/etc")
    unmount(folder + "/mount")
    return etc


def _in_other_namespace(folder: str) -> int:
    """/proc/PID/root of a process whose root is another file system."""
    os.mkdir(folder + "/root")
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go[1])
        call(_UNSHARE, _CLONE_NEWNS)
        mount(folder + "/root")
        os.chdir(folder + "/root")
        os.makedirs("etc")
        os.mkdir("old")
        call(_PIVOT_ROOT, b".", b"old")
        os.chroot(".")
        os.chdir("/")
        unmount("/old")
        os.write(ready[1], b"r")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    return _directory(f"/proc/{child}/root/etc")


def _outside_of_chroot(folder: str) -> int:
    os.makedirs(folder + "/jail/proc")
    os.mkdir(folder + "/etc")
    etc = _directory(folder + "/etc")
    os.chroot(folder + "/jail")
    return etc


def _outside_of_new_root(folder: str) -> int:
    """Of the old root, after pivot_root(2) and umount."""
    os.makedirs(folder + "/new")
    os.mkdir(folder + "/etc")
    etc = _directory(folder + "/etc")
    mount(folder + "/new")
    os.mkdir(folder + "/new/old")
    os.chdir(folder + "/new")
    call(_PIVOT_ROOT, b".", b"old")
    os.chroot(".")
    os.chdir("/")
    unmount("/old")
    return etc


def _in_copied_namespace(folder: str) -> int:
    """unshare(2) copies the mounts; a descriptor stays in the old ones, which somebody keeps."""
    os.mkdir(folder + "/etc")
    etc = _directory(folder + "/etc")
    os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call(_UNSHARE, _CLONE_NEWNS)
    return etc


def _moved_out_of_bind_mount(folder: str) -> int:
    for each in ("part/etc", "part/c/etc", "m"):
        os.makedirs(f"{folder}/{each}")
    _bind(folder + "/part", folder + "/m")
    etc = _directory(folder + "/m/c/etc")
    os.rename(folder + "/part/c", folder + "/c")
    return etc


WAYS: dict[str, tuple[Callable[[str], int], str]] = {
    "tree": (_in_tree, "/etc"),
    "new_mount": (_in_new_mount, "/etc"),
    "lazily": (_in_lazily_unmounted, "/etc"),
    "lazily_below": (_in_lazily_unmounted_below, ""),
    "namespace": (_in_other_namespace, "/etc"),
    "chroot": (_outside_of_chroot, "{folder}/etc"),
    "pivot_root": (_outside_of_new_root, "/etc"),
    "unshare": (_in_copied_namespace, "{folder}/etc"),
    "escaped": (_moved_out_of_bind_mount, "/c/etc"),
}
"""How to come there, and what is known of the directory's name."""


def act(etc: int) -> None:
    """What is done there, as NAMES has it."""
    os.mkdir("made", dir_fd=etc)
    file = os.open("passwd", os.O_RDWR | os.O_CREAT, dir_fd=etc)
    for _ in range(3):
        os.write(file, b"x")
    os.rename("passwd", "shadow", src_dir_fd=etc, dst_dir_fd=etc)
    os.write(file, b"x")
    os.fchdir(etc)
    os.truncate("shadow", 1)
    with contextlib.suppress(FileNotFoundError):
        os.open("none", os.O_RDONLY)
    os.unlink("shadow")
    os.rmdir("made")


# The calls of act() in order, and the names that they work on.
NAMES = [
    ("mkdirat", "made", None),
    ("openat", "passwd", None),
    *[("write", "passwd", None)] * 3,
    ("renameat", "passwd", "shadow"),
    ("write", "shadow", None),
    ("truncate", "shadow", None),
    ("openat", "none", None),
    ("unlink", "shadow", None),
    ("rmdir", "made", None),
]


def _go(way: str, folder: str) -> str:
    os.mkdir(folder)
    own_mounts(folder)
    etc = WAYS[way][0](folder)
    os.fchdir(etc)
    act(etc)
    return getcwd()


def go_all(tell: Callable[[object], None], go: int, folder: str) -> dict[str, tuple[int, str]]:
    """
    Tells "ready", waits for `go`, and goes each way in a process of its own: its number, and what getcwd(2) says of the
    directory.
    """
    tell("ready")
    os.read(go, 1)
    gone = {}
    for way in WAYS:
        answer, said = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(said, os.fsencode(_go(way, f"{folder}/{way}")))
            finally:
                os._exit(0)
        os.close(said)
        cwd = os.read(answer, 4096)
        os.waitpid(child, 0)
        os.close(answer)
        gone[way] = (child, os.fsdecode(cwd))
    return gone
