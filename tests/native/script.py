# SPDX-License-Identifier: MIT
"""Lists of system calls for workloads/steps.c, and the process that performs them.

    script = Script()
    fd = script.main.call("openat", AT_FDCWD, path, os.O_RDONLY, sees=file(path))
    script.main.call("close", fd)
    with script.start(area) as running:      # waits before the first step
        ...                                  # attach
        running.go()
        running.finish()
    fd.result

`sees` says beforehand what the tracer must report of the call (tests/native/expected.py); a traced call without it is
an error, so that none is forgotten.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.native import compat
from tests.native.ground import HANG_SECONDS

AT_FDCWD = -100
AT_REMOVEDIR = 0x200
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

# x86_64, arch/x86/entry/syscalls/syscall_64.tbl
NUMBERS = {
    "read": 0,
    "write": 1,
    "open": 2,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "ioctl": 16,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "pipe": 22,
    "msync": 26,
    "madvise": 28,
    "dup": 32,
    "dup2": 33,
    "getpid": 39,
    "sendfile": 40,
    "socket": 41,
    "connect": 42,
    "sendmsg": 46,
    "recvmsg": 47,
    "bind": 49,
    "socketpair": 53,
    "setsockopt": 54,
    "execve": 59,
    "kill": 62,
    "fcntl": 72,
    "fsync": 74,
    "fdatasync": 75,
    "truncate": 76,
    "ftruncate": 77,
    "getdents": 78,
    "chdir": 80,
    "fchdir": 81,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "readlink": 89,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "getppid": 110,
    "setresuid": 117,
    "utime": 132,
    "statfs": 137,
    "fstatfs": 138,
    "mknod": 133,
    "pivot_root": 155,
    "prctl": 157,
    "ptrace": 101,
    "chroot": 161,
    "acct": 163,
    "finit_module": 313,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "getxattr": 191,
    "lgetxattr": 192,
    "fgetxattr": 193,
    "listxattr": 194,
    "llistxattr": 195,
    "flistxattr": 196,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "io_setup": 206,
    "io_submit": 209,
    "getdents64": 217,
    "utimes": 235,
    "mq_open": 240,
    "mq_unlink": 241,
    "inotify_init1": 294,
    "inotify_add_watch": 254,
    "fanotify_init": 300,
    "fanotify_mark": 301,
    "openat": 257,
    "mkdirat": 258,
    "mknodat": 259,
    "fchownat": 260,
    "futimesat": 261,
    "newfstatat": 262,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "readlinkat": 267,
    "fchmodat": 268,
    "faccessat": 269,
    "unshare": 272,
    "splice": 275,
    "tee": 276,
    "sync_file_range": 277,
    "vmsplice": 278,
    "utimensat": 280,
    "fallocate": 285,
    "eventfd2": 290,
    "dup3": 292,
    "preadv": 295,
    "recvmmsg": 299,
    "pwritev": 296,
    "prlimit64": 302,
    "sendmmsg": 307,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "syncfs": 306,
    "process_vm_writev": 311,
    "renameat2": 316,
    "seccomp": 317,
    "memfd_create": 319,
    "execveat": 322,
    "userfaultfd": 323,
    "copy_file_range": 326,
    "preadv2": 327,
    "pwritev2": 328,
    "statx": 332,
    "io_uring_setup": 425,
    "open_tree": 428,
    "move_mount": 429,
    "fspick": 433,
    "pidfd_open": 434,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
    "fchmodat2": 452,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
}
TRACED = frozenset({"openat", "read", "write", "unlinkat", "unlink", "renameat2", "rename"})

# enum pseudo of steps.c
_PSEUDO = {
    "wait": -1,
    "add": -2,
    "thread": -3,
    "fork": -4,
    "vfork_exec": -5,
    "spawn": -6,
    "exec": -7,
    "wait_thread": -8,
    "wait_children": -9,
    "wait_orphaned": -10,
    "exit": -11,
    "poke": -13,
    "sleep": -14,
    "repeat": -15,
    "exit_thread": -16,
}

_COMPAT = -1000  # less the number of a call of the 32-bit table

_FILE = struct.Struct("=Q4I32I")
_LIST = struct.Struct("=6I")
_STEP = struct.Struct("=iI8B6Qq2Qq")
_FLAGS_AT = 24
_MASK = (1 << 64) - 1

READY = 0
GO = 1
NEVER = 31  # a flag that nobody sets


class Address:
    """A place in the workload's memory, which the test can read as well."""

    def __init__(self, script: Script, offset: int, size: int) -> None:
        self._script = script
        self.offset = offset
        self.size = size

    def __add__(self, distance: int) -> Address:
        return Address(self._script, self.offset + distance, self.size - distance)

    def read(self) -> bytes:
        """What stands there now."""
        start = self._script.data_at + self.offset
        return bytes(self._script.memory[start : start + self.size])

    def write(self, content: bytes) -> None:
        """From now on."""
        start = self._script.data_at + self.offset
        self._script.memory[start : start + len(content)] = content


class Stored:
    """As an argument: the int that stands at a place when the call is made, such as one end of a pipe; or the long."""

    def __init__(self, place: Address, *, is_long: bool = False) -> None:
        self.place = place
        self.is_long = is_long

    @property
    def value(self) -> int:
        return struct.unpack_from("=q" if self.is_long else "=i", self.place.read())[0]


class Step:
    """One call of a list; as an argument of a later one it stands for its result."""

    leaves = False  # an execve that succeeds does not come back to its list
    returns_to: Steps | None = None  # the list whose thread it returns as, where that is not its own

    def __init__(
        self, steps: Steps, index: int, name: str, arguments: tuple[Any, ...], repeat: int, sees: object
    ) -> None:
        self.steps = steps
        self.index = index
        self.name = name
        self.arguments = arguments
        self.passed = arguments  # by the 32-bit table they are put otherwise
        self.repeat = repeat
        self.sees = sees

    def _fields(self) -> tuple[int, ...]:
        script = self.steps.script
        return _STEP.unpack_from(script.memory, script.steps_at + self.index * _STEP.size)

    @property
    def result(self) -> int:
        """As the kernel returned it, the last time."""
        return self._fields()[16]

    @property
    def done(self) -> int:
        """How often it returned; of an execve that succeeds, how often it was made."""
        done = self._fields()[17]
        return 1 if self.leaves and not done else done

    @property
    def failed(self) -> int:
        """How often with an error."""
        return self._fields()[18]

    @property
    def sum(self) -> int:
        """Of the results that were no error."""
        return self._fields()[19]

    def __repr__(self) -> str:
        return f"list {self.steps.index}, step {self.index} ({self.name}{self.arguments})"


class Steps:
    """What one thread performs, in order."""

    def __init__(self, script: Script, index: int) -> None:
        self.script = script
        self.index = index
        self.steps: list[Step] = []
        self.started_by: Steps | None = None
        self.is_thread = False
        self.parent: Step | None = None  # a getppid step, where it is not who started it
        # Of a thread that calls itself otherwise than the tracer does: a readlink step of /proc/thread-self there.
        self.told_apart: Step | None = None

    def call(self, name: str, *arguments: Any, sees: object = None, repeat: int = 1) -> Step:
        """A system call, by its raw entry."""
        if name in self.script.traced and sees is None:
            raise ValueError(f"{name}: what must be seen of it?")
        if name not in self.script.traced and sees is not None:
            raise ValueError(f"{name} is not traced")
        if not self.script.by_compat or sees is None or name in compat.ASKING:
            return self._add(name, NUMBERS[name], arguments, repeat, sees)
        number, passed = compat.fold(self, name, NUMBERS[name], arguments)
        step = self._add(name, _COMPAT - number, arguments, repeat, sees)
        step.passed = passed
        return step

    def leave(self, name: str, *arguments: Any, sees: object, returns_to: Steps | None = None) -> Step:
        """An execve that must succeed: the list's last step. By another thread than the first it returns as that."""
        step = self.call(name, *arguments, sees=sees)
        step.leaves, step.returns_to = True, returns_to
        return step

    def compat(
        self,
        number: int,
        *arguments: Any,
        name: str = "compat",
        means: tuple[Any, ...] | None = None,
        sees: object = None,
        repeat: int = 1,
    ) -> Step:
        """A call of the 32-bit table, by int $0x80.

        name, means: the 64-bit call that it is reported as, and that one's arguments where they are put otherwise.
        """
        step = self._add(name, _COMPAT - number, arguments if means is None else means, repeat, sees)
        step.passed = arguments
        return step

    def hold(self) -> None:
        """Waits for the test's go()."""
        self.script.holders += 1
        self.add(READY, 1)
        self.wait(GO, 1)

    def wait(self, flag: int, value: int) -> None:
        self._pseudo("wait", flag, value)

    def add(self, flag: int, value: int) -> None:
        self._pseudo("add", flag, value)

    def thread(self, other: Steps) -> Step:
        other.started_by, other.is_thread = self, True
        return self._pseudo("thread", other.index)

    def fork(self, other: Steps, pid: int | Stored = 0) -> Step:
        """A child; it may be told its number, if that is free."""
        other.started_by = self
        return self._pseudo("fork", other.index, pid)

    def vfork_exec(self, other: Steps) -> Step:
        other.started_by = self
        return self._pseudo("vfork_exec", other.index)

    def spawn(self, other: Steps, times: int = 1) -> Step:
        """fork, execve, wait."""
        other.started_by = self
        return self._pseudo("spawn", other.index, repeat=times)

    def exec(self, other: Steps) -> None:
        """This process becomes the program anew, with another list."""
        other.started_by, other.is_thread = self.started_by, self.is_thread
        self._pseudo("exec", other.index)

    def wait_thread(self, other: Steps) -> None:
        self._pseudo("wait_thread", other.index)

    def wait_children(self) -> None:
        self._pseudo("wait_children")

    def wait_orphaned(self, parent: Steps) -> None:
        self._pseudo("wait_orphaned", parent.index)

    def exit(self, status: int) -> None:
        self._pseudo("exit", status)

    def exit_thread(self) -> None:
        """Only this thread, be it the first one."""
        self._pseudo("exit_thread")

    def poke(self, place: Address, value: Address | Step | int, size: int = 8) -> None:
        """Stores eight bytes or four, such as a pointer inside a structure."""
        self._pseudo("poke", place, value, size)

    def sleep(self, milliseconds: int) -> None:
        self._pseudo("sleep", milliseconds)

    def repeat(self, other: Steps, times: int, until: int = NEVER) -> Step:
        """Performs another list so often, or until the flag is set; the result is how often."""
        return self._pseudo("repeat", other.index, times, until)

    @property
    def tid(self) -> int:
        """The thread's id, of its last run."""
        return self._fields()[2] if self.told_apart is None else self._numbers()[1]

    @property
    def pid(self) -> int:
        return self._fields()[3] if self.told_apart is None else self._numbers()[0]

    @property
    def ppid(self) -> int:
        """Of its process, by who started it."""
        if self.parent is not None:
            return self.parent.result
        if self.started_by is None:
            return os.getpid()
        return self.started_by.ppid if self.is_thread else self.started_by.pid

    def _numbers(self) -> tuple[int, int]:
        """Process and thread."""
        assert self.told_apart is not None
        pid, tid = self.told_apart.arguments[1].read().rstrip(b"\0").split(b"/task/")
        return int(pid), int(tid)

    def _fields(self) -> tuple[int, ...]:
        return _LIST.unpack_from(self.script.memory, self.script.lists_at + self.index * _LIST.size)

    def _pseudo(self, name: str, *arguments: Any, repeat: int = 1) -> Step:
        return self._add(name, _PSEUDO[name], arguments, repeat, None)

    def _add(self, name: str, number: int, arguments: tuple[Any, ...], repeat: int, sees: object) -> Step:
        step = Step(self, len(self.script.steps), name, arguments, repeat, sees)
        self.script.steps.append(step)
        self.script.numbers.append(number)
        self.steps.append(step)
        return step


class Script:
    """All lists of one workload; the first list is the main thread's."""

    program: Path  # set once compiled, by conftest.py

    def __init__(self, traced: Collection[str] = TRACED, *, by_compat: bool = False) -> None:
        self.traced = traced
        self.by_compat = by_compat  # traced calls are made by the 32-bit table, but for those whose answers are read
        self.lists: list[Steps] = []
        self.steps: list[Step] = []
        self.numbers: list[int] = []
        self.holders = 0
        self.inherited: list[socket.socket] = []  # the process has them, under the same numbers
        self.lists_at = _FILE.size
        self.steps_at = 0
        self.data_at = 0
        self._data = bytearray()
        self._flags = GO
        self._memory: mmap.mmap | None = None
        self.main = self.list()

    @property
    def memory(self) -> mmap.mmap:
        assert self._memory is not None, "not started yet"
        return self._memory

    def list(self) -> Steps:
        """A list for another thread or process."""
        self.lists.append(Steps(self, len(self.lists)))
        return self.lists[-1]

    def flag(self) -> int:
        """A number that starts at 0, for wait() and add()."""
        self._flags += 1
        assert self._flags < NEVER
        return self._flags

    def buffer(self, content: bytes | int) -> Address:
        """Memory of the workload: zeros, or the given bytes."""
        data = bytes(content) if isinstance(content, int) else content
        self._data.extend(bytes(-len(self._data) % 8))
        place = Address(self, len(self._data), len(data))
        self._data.extend(data)
        return place

    def ordered(self) -> list[Step]:
        """Lists are contiguous in the file, however they were written."""
        return [step for steps in self.lists for step in steps.steps]

    def build(self) -> bytes:
        """The file as steps.c wants it."""
        # Each list's steps stand together, so their numbers are known only now.
        order = self.ordered()
        numbers = [self.numbers[step.index] for step in order]
        for index, step in enumerate(order):
            step.index = index
        self.steps_at = self.lists_at + len(self.lists) * _LIST.size
        self.data_at = self.steps_at + len(order) * _STEP.size
        program = self.buffer(os.fsencode(self.program) + b"\0")
        packed = bytearray()
        for step, number in zip(order, numbers, strict=True):
            encoded = [self._encode(argument) for argument in step.passed]
            encoded += [(0, 0)] * (6 - len(encoded))
            kinds = [kind for kind, _ in encoded] + [0, 0]
            packed += _STEP.pack(number, step.repeat, *kinds, *(value for _, value in encoded), 0, 0, 0, 0)
        lists = bytearray()
        first = 0
        for steps in self.lists:
            lists += _LIST.pack(first, len(steps.steps), 0, 0, 0, 0)
            first += len(steps.steps)
        size = self.data_at + len(self._data)
        head = _FILE.pack(size, self.lists_at, self.steps_at, self.data_at + program.offset, 0, *[0] * 32)
        return bytes(head + lists + packed + self._data)

    def _encode(self, argument: Any) -> tuple[int, int]:
        if isinstance(argument, Step):
            return 2, argument.index
        if isinstance(argument, Stored):
            return 4 if argument.is_long else 3, self.data_at + argument.place.offset
        if isinstance(argument, (str, os.PathLike)):
            argument = os.fsencode(argument)
        if isinstance(argument, bytes):
            argument = self.buffer(argument + b"\0")
        if isinstance(argument, Address):
            return 1, self.data_at + argument.offset
        return 0, argument & _MASK

    def start(self, area: Path, **options: Any) -> Running:
        """Starts the process; it waits at its hold()."""
        return Running(self, area, **options)

    def write(self) -> int:
        """The descriptor of what the process maps, for one that the test starts in another way."""
        content = self.build()
        # Memory: a file that is mapped to be written to would be a blind spot of every trace.
        descriptor = os.memfd_create("steps", os.MFD_CLOEXEC)
        assert os.write(descriptor, content) == len(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._memory = mmap.mmap(descriptor, len(content))
        return descriptor

    def read_flag(self, flag: int) -> int:
        return struct.unpack_from("=I", self.memory, _FLAGS_AT + 4 * flag)[0]

    def raise_flag(self, flag: int, value: int = 1) -> None:
        """Sets it and wakes who waits for it."""
        struct.pack_into("=I", self.memory, _FLAGS_AT + 4 * flag, value)
        word = (ctypes.c_char * 4).from_buffer(self.memory, _FLAGS_AT + 4 * flag)
        _futex_wake(ctypes.addressof(word))

    def wait_flag(self, flag: int, value: int = 1, alive: Callable[[], bool] = lambda: True) -> None:
        """Until the workload has raised it that far."""
        end = time.monotonic() + HANG_SECONDS
        while self.read_flag(flag) < value:
            assert alive(), "the workload ended early"
            assert time.monotonic() < end, f"flag {flag} is {self.read_flag(flag)}, not {value}"
            time.sleep(0.001)


_libc = ctypes.CDLL(None, use_errno=True)


def _futex_wake(address: int) -> None:
    assert _libc.syscall(202, ctypes.c_void_p(address), 1, 0x7FFFFFFF, None, None, 0) >= 0


class Running:
    """A started workload. Leaving the `with` block ends it, whatever happened."""

    def __init__(
        self, script: Script, area: Path, *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.script = script
        descriptor = script.write()
        try:
            self.process = subprocess.Popen(
                [script.program, "0"],
                stdin=descriptor,
                stdout=subprocess.DEVNULL,
                cwd=cwd or area,
                env=environment or {},
                pass_fds=[each.fileno() for each in script.inherited],
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self.pid = self.process.pid
        try:
            script.wait_flag(READY, script.holders, lambda: self.process.poll() is None)
        except BaseException:
            self.kill()
            raise

    def go(self) -> None:
        """Lets the lists run."""
        self.script.raise_flag(GO)

    def wait_blocked_in(self, call: str, threads: int = 1) -> None:
        """Until so many of its threads sleep in that call, by the kernel's word."""
        end = time.monotonic() + HANG_SECONDS
        while True:
            # The call's number, or "running".
            calls = [
                task.joinpath("syscall").read_text().split()[0] for task in Path(f"/proc/{self.pid}/task").iterdir()
            ]
            if calls.count(str(NUMBERS[call])) == threads:
                return
            assert time.monotonic() < end, calls
            time.sleep(0.002)

    def finish(self, status: int = 0) -> None:
        """Waits for the end of the main process."""
        assert self.process.wait(HANG_SECONDS) == status

    def kill(self) -> None:
        """Ends and reaps what has not ended, its children too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
