# SPDX-License-Identifier: MIT
"""The words an event is made of. They are written out here so that type checkers know them; a contract test holds them
equal to the tables of the C core."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BLIND_SPOTS", "Kind", "Op", "PathFlag", "PathSource", "Via"]


class Op(enum.StrEnum):
    """What a call does: ``str(Op.OPEN) == "open"``. An operation this version does not know stays an int."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    UNLINK = "unlink"
    RMDIR = "rmdir"
    RENAME = "rename"
    TRUNCATE = "truncate"
    ALLOCATE = "allocate"
    LINK = "link"
    SYMLINK = "symlink"
    MKDIR = "mkdir"
    MKNOD = "mknod"
    CHMOD = "chmod"
    CHOWN = "chown"
    UTIME = "utime"
    XATTR = "xattr"
    COPY = "copy"
    MAP = "map"
    SYNC = "sync"
    CLOSE = "close"
    DUP = "dup"
    EXEC = "exec"
    CHDIR = "chdir"
    MEMFD = "memfd"
    MOUNT = "mount"
    STAT = "stat"
    LIST = "list"
    BLIND_SPOT = "blind_spot"
    """After this call something may happen that is not seen: see BLIND_SPOTS. Traced whatever is asked for."""


class Kind(enum.StrEnum):
    """What kind of object a descriptor names."""

    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"
    MEMFD = "memfd"
    DEVICE = "device"
    TTY = "tty"
    PIPE = "pipe"
    SOCKET = "socket"
    ANON = "anon"


class PathSource(enum.StrEnum):
    """Where ``path`` comes from, and so how far it can be trusted. Of a call with two names: the weaker one."""

    NONE = "none"
    """No name is known; ``path`` is None."""
    FILE = "file"
    """The kernel's own name of the open file."""
    DENTRY = "dentry"
    """The kernel's own directory and entry that the call acted on."""
    DIR_AND_NAME = "dir_and_name"
    """The name of the directory, ``/``, and the name as passed."""
    AS_PASSED = "as_passed"
    """As passed: absolute, but symbolic links were not followed."""
    FD_AT_RETURN = "fd_at_return"
    """What the descriptor named when the call returned; the entry was not looked at."""
    RACED = "raced"
    """The name, or what it was taken from, was changed meanwhile: it may be another one. So are flags from memory."""
    FD_CHANGED = "fd_changed"
    """The descriptor named another file at the return than at the entry; ``path`` is None."""


class Via(enum.StrEnum):
    """The way in by which a program asked the kernel to do it."""

    SYSCALL = "syscall"
    """A system call of its own."""
    IO_URING = "io_uring"
    """A request of a ring of io_uring; ``syscall`` is its opcode's name."""
    AIO = "aio"
    """A request of Linux AIO (io_submit); ``syscall`` is its command's name."""
    EXEC = "exec"
    """An open that an exec does inside the kernel: of the program, of a script's interpreter, of ELF's interpreter (the
    loader). ``syscall`` is ``open_exec``; it is told as it begins, so ``return_code`` is None. By kprobe and fentry."""
    KERNEL = "kernel"
    """An open that nothing traced explains, counted in :attr:`Stats.bypass`: ``syscall`` is ``security_file_open``,
    where it was met, and ``return_code`` None. With ``witness_io`` also a read or a write, which are met in
    ``security_file_permission``. By kprobe and fentry."""


class PathFlag(enum.Flag, boundary=enum.KEEP):
    """What is wrong with a path. False when nothing is; iterating gives the flags that are set."""

    TRUNCATED = 1
    """The beginning of the name is missing (of a name as passed: its end)."""
    UNREADABLE = 2
    """The caller's memory could not be read, at entry nor at return."""
    DELETED = 4
    """The name had been unlinked when the call returned."""
    OTHER_ROOT = 8
    """The process has another root directory than the reader (chroot, mount namespace); ``path`` is as it sees it."""
    UNREACHABLE = 16
    """``path`` is not a name from the process's root directory, and begins with ``(unreachable)`` as getcwd(2) says it:
    behind that comes what is known. The file lies in a mount that is attached nowhere or in another mount namespace,
    outside of the process's root, or outside of what a bind mount shows; or the name starts from a directory that was
    removed."""


BLIND_SPOTS: Mapping[str, str] = MappingProxyType(
    {
        "io_uring_setup": "what is submitted through this ring is not seen",
        "IORING_OP_URING_CMD": "what the file was told to do is not seen",
        "IORING_OP_URING_CMD128": "what the file was told to do is not seen",
        "IORING_OP_BIND": "a socket was bound, which may have made a file",
        "IORING_OP_UNKNOWN": "an operation of io_uring that this version does not know was done",
        "io_submit": "the reads and writes that were submitted are not seen",
        "process_vm_writev": "a process wrote into another one's memory, and may make it do its work",
        "ptrace": "a process seized another one, and may make it do its work",
        "mmap": "what is written into this shared mapping is no call, and goes to the file",
        "connect": "a service manager, a message bus or a container engine was spoken to, which may work for this one",
        "recvmsg": "a file that somebody else has opened was received",
        "recvmmsg": "a file that somebody else has opened was received",
        "sendmsg": "a descriptor was given away: what is done with it by others is not seen",
        "sendmmsg": "a descriptor was given away: what is done with it by others is not seen",
        "pidfd_getfd": "a file that somebody else has opened was taken over",
        "seccomp": "another process answers this program's calls, and may put other files behind its descriptors",
        "ioctl": "page faults are held by the program, or a descriptor was given to another one: `flags` is which",
        "userfaultfd": "page faults are held by the program: what a call reads from its memory may change meanwhile",
    }
)
"""Of each system call and each operation of io_uring of ``Op.BLIND_SPOT``: what it means that it succeeded."""
