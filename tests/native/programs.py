# SPDX-License-Identifier: MIT
"""Real programs for the oracle: each makes its folder ready and says what is to be run there."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aa_fileio import SYSCALLS
from tests.native.ground import scaled
from tests.native.strace_log import known_calls


@dataclass(frozen=True)
class Program:
    """`prepare` is given the working directory and returns the command."""

    prepare: Callable[[Path], list[str]]
    needs: tuple[str, ...] = ()  # commands
    in_guests: bool = False


def _source(work: Path) -> None:
    """A small tree to copy, pack and search."""
    (work / "source" / "sub" / "empty").mkdir(parents=True)
    (work / "source" / "one").write_bytes(b"1" * 100_000)
    (work / "source" / "sub" / "two").write_bytes(b"2")
    (work / "source" / "sub" / 'name with "quotes" <and> a\nnewline é').write_bytes(b"3")
    (work / "source" / "link").symlink_to("sub/two")
    (work / "source" / "twin").hardlink_to(work / "source" / "one")


def _shell(script: str) -> Callable[[Path], list[str]]:
    def prepare(work: Path) -> list[str]:
        _source(work)
        return ["sh", "-ec", textwrap.dedent(script)]

    return prepare


def _python(script: str, *arguments: str) -> Callable[[Path], list[str]]:
    def prepare(work: Path) -> list[str]:
        # Isolated, without site: what the interpreter itself does is a few hundred calls, not thousands.
        return [sys.executable, "-I", "-S", "-c", textwrap.dedent(script), *arguments]

    return prepare


_GIT = """
    git init -q -b main origin
    cd origin
    for i in 1 2 3; do
        echo $i >file$i
        mkdir -p dir$i && cp ../source/sub/two dir$i/
        git add . && git commit -q -m "number $i"
    done
    git mv file1 dir1/moved && git rm -q file2 && git commit -q -m "moved and removed"
    cd ..
    git clone -q origin copy
    cd copy
    git gc -q
    echo 4 >file4 && git add . && git commit -q -m "number 4"
    git log --stat >../log
"""

_GCC = r"""
    cat >hello.c <<'END'
    #include <stdio.h>
    int main(void) { FILE *file = fopen("out", "w"); fputs("hello\n", file); return fclose(file); }
    END
    gcc -O1 -g -o hello hello.c
    ./hello
"""

_UNITTEST = """
import os, tempfile, unittest
class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(dir=".")
        self.addCleanup(self.folder.cleanup)
    def test_write(self):
        path = os.path.join(self.folder.name, "a")
        with open(path, "w") as file:
            file.write("x")
        os.replace(path, path + "b")
        self.assertEqual(os.listdir(self.folder.name), ["ab"])
    def test_none(self):
        with self.assertRaises(FileNotFoundError):
            open(os.path.join(self.folder.name, "none"))
    def test_temporary(self):
        with tempfile.TemporaryFile(dir=self.folder.name) as file:
            file.write(b"1")
            file.flush()
            os.fsync(file.fileno())
"""


def _unittest(work: Path) -> list[str]:
    (work / "test_files.py").write_text(_UNITTEST)
    return [sys.executable, "-m", "unittest", "-q", "test_files"]


def _wheel(folder: Path) -> Path:
    """A wheel by hand (PEP 427): pip needs no network and no build for it."""
    files = {
        "small/__init__.py": b"VALUE = 1\n",
        "small/data/table.txt": b"a b c\n" * 100,
        "small-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        "small-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    files["small-1.0.dist-info/RECORD"] = f"{record}small-1.0.dist-info/RECORD,,\n".encode()
    path = folder / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _pip(work: Path) -> list[str]:
    options = ["--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--quiet", "--target", "in"]
    return [sys.executable, "-m", "pip", "install", *options, str(_wheel(work))]


_SMALL_PYTHON = """
    import os, json
    json.dump([1], open("a.json", "w"))
    os.replace("a.json", "b.json")
    print(json.load(open("b.json")))
    os.mkdir("d")
    os.rmdir("d")
    os.unlink("b.json")
"""

_SQLITE = """
    import sqlite3, sys
    rows = int(sys.argv[1])
    for mode in ("DELETE", "WAL"):
        first = sqlite3.connect(f"{mode}.db")
        first.execute(f"PRAGMA journal_mode={mode}")
        first.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        for i in range(rows):
            with first:
                first.execute("INSERT INTO t (b) VALUES (?)", ("x" * 100 * i,))
        second = sqlite3.connect(f"{mode}.db")
        assert second.execute("SELECT count(*) FROM t").fetchone() == (rows,)
        second.close()
        first.execute("VACUUM")
        first.close()
"""

_WRITERS = """
    import os, sys, threading
    together = threading.Barrier(8)
    def write(number):
        together.wait()
        for i in range(int(sys.argv[1])):
            fd = os.open(f"new-{number}", os.O_RDWR | os.O_CREAT, 0o600)
            os.write(fd, b"%d" % i * 100)
            os.fsync(fd)
            os.pread(fd, 50, 10)
            os.close(fd)
            os.rename(f"new-{number}", f"file-{number}-{i}")
            os.stat(f"file-{number}-{i}")
        os.unlink(f"file-{number}-0")
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""

# A thread that is not the first executes another program; threads are killed inside their calls.
_EXEC = """
    import os, sys, threading
    reader, writer = os.pipe()
    for _ in range(3):
        threading.Thread(target=os.read, args=(reader, 1)).start()
    threading.Thread(target=os.execv, args=("/bin/cat", ["cat", "/etc/hostname", "/dev/null"])).start()
    os.read(reader, 1)
"""
_KILLED = """
    import os, signal, threading
    reader, writer = os.pipe()
    for _ in range(3):
        threading.Thread(target=os.read, args=(reader, 1)).start()
    for how in (os._exit, lambda _: os.kill(os.getpid(), signal.SIGKILL)):
        child = os.fork()
        if not child:
            threading.Thread(target=os.read, args=(reader, 1)).start()
            os.unlink("none") if os.path.exists("none") else how(7)
        os.waitpid(child, 0)
    os._exit(0)
"""
# A signal whose handler does not restart the call, and one after which it is repeated.
_SIGNALS = """
    import os, signal
    reader, writer = os.pipe()
    parent = os.getpid()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR2, False)
    if not os.fork():
        import time
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            time.sleep(0.3)
            os.kill(parent, number)
        time.sleep(0.3)
        os.write(writer, b"x")
        os._exit(0)
    os.read(reader, 1)
    os.wait()
"""

# A directory that threads share, with moves that succeed and fail.
_PLACES = """
    import os, threading
    os.mkdir("a")
    os.symlink("a", "b")
    def move():
        for name in ("a", "none", "..", "b", "../a", "../none", ".."):
            os.close(os.open(".", os.O_RDONLY))
            try:
                os.chdir(name)
            except FileNotFoundError:
                os.access("none", os.F_OK)
    move()
    thread = threading.Thread(target=move)
    thread.start()
    thread.join()
"""

# Every call of the table at least once, but for those that this strace does not know; their numbers are given, so it is
# strace that says which calls they are.
_SWEEP = """
    import ctypes, os, sys, json, struct, socket
    numbers = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        if name not in numbers:
            return -1
        given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
        result = libc.syscall(numbers[name], *given)
        return result
    buffer = ctypes.create_string_buffer(65536)
    parts = (ctypes.c_void_p * 4)(ctypes.addressof(buffer), 5, ctypes.addressof(buffer) + 100, 7)
    HERE, NULL, EMPTY = -100, None, 0x1000
    one = call("creat", b"one", 0o644)
    two = call("open", b"two", os.O_RDWR | os.O_CREAT, 0o600)
    home = call("openat", HERE, b".", os.O_RDONLY)
    three = call("openat2", home, b"three", struct.pack("=QQQ", os.O_RDWR | os.O_CREAT, 0o600, 0), 24)
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    libc.name_to_handle_at(HERE, b"two", handle, ctypes.byref(ctypes.c_int()), 0)
    call("open_by_handle_at", home, handle, os.O_RDONLY)
    memory = call("memfd_create", b"memory", 0)
    call("write", two, b"x" * 5000, 5000)
    call("write", memory, b"x" * 5000, 5000)
    os.lseek(two, 0, 0)
    call("read", two, buffer, 100)
    call("read", one, buffer, 100)
    call("read", 999, buffer, 100)
    call("pread64", two, buffer, 100, 7)
    call("readv", two, parts, 2)
    call("preadv", two, parts, 2, 9, 0)
    call("preadv2", two, parts, 2, 9, 0, 0)
    call("pwrite64", two, buffer, 100, 7)
    call("writev", two, parts, 2)
    call("pwritev", two, parts, 2, 9, 0)
    call("pwritev2", two, parts, 2, 9, 0, 0)
    call("truncate", b"three", 9000)
    call("truncate", b"none", 9000)
    call("ftruncate", three, 8192)
    call("fallocate", three, 0, 0, 8192)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, 8192, 3, 1, memory, 0)
    libc.madvise(ctypes.c_void_p(at), 4096, 9)
    libc.madvise(ctypes.c_void_p(at), 4096, 4)
    call("madvise", at, 4096, 9)
    call("mmap", 0, 4096, 1, 2, two, 0)
    call("mmap", 0, 4096, 1, 2, -1, 0)
    call("mmap", 0, 4096, 1, 0x22, -1, 0)
    call("msync", at, 4096, 4)
    call("mkdir", b"dir", 0o700)
    call("mkdirat", home, b"dir/sub", 0o700)
    call("mkdir", b"none/dir", 0o700)
    call("mknod", b"fifo", 0o10600, 0)
    call("mknodat", HERE, b"dir/fifo", 0o10600, 0)
    call("symlink", b"two", b"link")
    call("symlinkat", b"none", home, b"dangling")
    call("symlinkat", b"none", HERE, b"dangling")
    call("link", b"two", b"twin")
    call("linkat", HERE, b"two", home, b"dir/twin", 0)
    call("linkat", three, b"", HERE, b"dir/empty", EMPTY)
    call("linkat", HERE, b"", HERE, b"dir/nothing", EMPTY)
    call("rename", b"twin", b"twin2")
    call("renameat", HERE, b"twin2", home, b"dir/twin3")
    call("renameat2", home, b"dir/twin3", HERE, b"twin", 1)
    call("renameat2", HERE, b"twin", HERE, b"two", 1)
    call("rename", b"none", b"twin2")
    for name in (b"socket", b"\\0abstract"):
        with socket.socket(socket.AF_UNIX) as server:
            address = struct.pack("=H", 1) + name
            call("bind", server.fileno(), address, len(address))
    with socket.socket(socket.AF_INET) as server:
        call("bind", server.fileno(), struct.pack("=HH12x", 2, 0), 16)
    call("chmod", b"one", 0o600)
    call("fchmod", one, 0o600)
    call("fchmodat", home, b"one", 0o600)
    call("fchmodat2", home, b"one", 0o600, 0)
    call("fchmodat2", one, b"", 0o600, EMPTY)
    call("chown", b"link", 0, 0)
    call("lchown", b"link", 0, 0)
    call("fchown", one, 0, 0)
    call("fchownat", home, b"one", 0, 0, 0)
    call("fchownat", one, b"", 0, 0, EMPTY)
    call("utime", b"one", NULL)
    call("utimes", b"one", NULL)
    call("futimesat", home, b"one", NULL)
    call("futimesat", one, NULL, NULL)
    call("utimensat", home, b"one", NULL, 0)
    call("utimensat", one, NULL, NULL, 0)
    call("utimensat", one, b"", NULL, EMPTY)
    call("setxattr", b"one", b"user.a", b"1", 1, 0)
    call("lsetxattr", b"one", b"user.b", b"1", 1, 0)
    call("fsetxattr", one, b"user.c", b"1", 1, 0)
    call("setxattrat", HERE, b"one", 0, b"user.d", struct.pack("=QII", ctypes.addressof(buffer), 1, 0), 16)
    call("getxattr", b"one", b"user.a", buffer, 100)
    call("lgetxattr", b"one", b"user.none", buffer, 100)
    call("fgetxattr", one, b"user.c", buffer, 100)
    call("listxattr", b"one", buffer, 1000)
    call("llistxattr", b"one", buffer, 1000)
    call("flistxattr", one, buffer, 1000)
    call("removexattr", b"one", b"user.a")
    call("lremovexattr", b"one", b"user.b")
    call("fremovexattr", one, b"user.c")
    call("removexattrat", HERE, b"one", 0, b"user.d")
    call("copy_file_range", two, NULL, one, NULL, 100, 0)
    call("sendfile", one, two, NULL, 100)
    reader, writer = os.pipe()
    reader2, writer2 = os.pipe()
    call("splice", two, NULL, writer, NULL, 100, 0)
    call("tee", reader, writer2, 100, 0)
    call("vmsplice", writer, parts, 2, 0)
    call("splice", reader, NULL, one, NULL, 100, 0)
    call("ioctl", one, 0x40049409, two)
    call("ioctl", one, 0x4020940D, struct.pack("=qQQQ", two, 0, 0, 0))
    call("ioctl", two, 0xC0189436, struct.pack("=QQHHIqQQiI", 0, 4096, 1, 0, 0, three, 0, 0, 0, 0))
    call("ioctl", two, 0x5401, buffer)
    for name in ("fsync", "fdatasync", "syncfs"):
        call(name, two)
    call("sync_file_range", two, 0, 100, 2)
    call("dup", two)
    call("dup2", two, 100)
    call("dup3", home, 100, 0o2000000)
    call("fcntl", two, 0, 110)
    call("fcntl", home, 1030, 111)
    call("fcntl", home, 3)
    call("close", 100)
    call("close", 100)
    call("close_range", 110, 111, 0)
    call("close_range", 112, 111, 0)
    for name in ("stat", "lstat"):
        call(name, b"link", buffer)
        call(name, b"none", buffer)
    call("fstat", two, buffer)
    call("newfstatat", home, b"one", buffer, 0)
    call("newfstatat", two, b"", buffer, EMPTY)
    call("newfstatat", HERE, b"", buffer, EMPTY)
    call("newfstatat", two, b"", buffer, 0)
    call("newfstatat", 999, b"one", buffer, 0)
    call("newfstatat", HERE, 8, buffer, 0)
    call("statx", home, b"one", 0, 0x7FF, buffer)
    call("statx", two, b"", EMPTY, 0x7FF, buffer)
    call("statx", two, NULL, EMPTY, 0x7FF, buffer)
    call("access", b"one", 4)
    call("faccessat", home, b"one", 4)
    call("faccessat2", home, b"one", 4, 0)
    call("faccessat2", one, b"", 4, EMPTY)
    call("readlink", b"link", buffer, 100)
    call("readlinkat", home, b"link", buffer, 100)
    call("getxattrat", HERE, b"one", 0, b"user.c", struct.pack("=QII", ctypes.addressof(buffer), 100, 0), 16)
    call("listxattrat", HERE, b"one", 0, buffer, 1000)
    call("statfs", b"link", buffer)
    call("statfs", b"none", buffer)
    call("fstatfs", two, buffer)
    handle = struct.pack("=Ii128x", 128, 0)
    call("name_to_handle_at", home, b"one", handle, buffer, 0)
    call("name_to_handle_at", two, b"", handle, buffer, EMPTY)
    call("name_to_handle_at", HERE, b"none", handle, buffer, 0)
    watch = libc.inotify_init()
    call("inotify_add_watch", watch, b"one", 0xFFF)
    call("inotify_add_watch", watch, b"none", 0xFFF)
    marks = libc.fanotify_init(0, 0)
    call("fanotify_mark", marks, 1, 0x20, home, b"one")
    call("fanotify_mark", marks, 1, 0x20, two, NULL)
    call("fanotify_mark", marks, 1, 0x20, HERE, b"none")
    call("fanotify_mark", marks, 0x80, 0, HERE, NULL)
    call("getdents64", home, buffer, 4096)
    call("getdents", home, buffer, 4096)
    call("unlink", b"two")
    call("fstat", two, buffer)
    call("pread64", two, buffer, 10, 0)
    call("close", two)
    call("unlinkat", home, b"dir/empty", 0)
    call("unlinkat", home, b"dir/sub", 0x200)
    call("rmdir", b"dir")
    call("unlink", b"")
    call("chdir", b"dir")
    call("unlinkat", HERE, b"fifo", 0)
    call("unlink", b"twin")
    call("fchdir", home)
    call("chdir", b"none")
    call("rmdir", b"./dir/")
    call("mkdir", b"going", 0o700)
    call("chdir", b"going")
    call("unlinkat", home, b"going", 0x200)
    call("openat", HERE, b"x", os.O_CREAT, 0o600)
    call("access", b".", 4)
    call("fchdir", home)
    child = os.fork()
    if not child:
        libc.unshare(0x20000)
        call("mkdir", b"place", 0o700)
        call("mkdir", b"place2", 0o700)
        call("mount", b"none", b"/", NULL, 0x44000, NULL)
        call("mount", b"test", b"place", b"tmpfs", 0, NULL)
        call("openat", HERE, b"place/file", os.O_CREAT | os.O_RDWR, 0o600)
        call("move_mount", HERE, b"place", home, b"place2", 0)
        call("pivot_root", b"place2", b"none")
        call("open_tree", home, b"place2", 0)
        call("open_tree", two, b"", EMPTY)
        call("open_tree_attr", home, b"place2", 0, NULL, 0)
        call("mount_setattr", home, b"place2", 0, struct.pack("=QQQQ", 1, 0, 0, 0), 32)
        call("fspick", HERE, b"place2", 0)
        call("fspick", HERE, b"none", 0)
        call("umount2", b"place2", 2)
        call("umount2", b"place2", 2)
        call("chroot", b"place")
        os._exit(0)
    os.waitpid(child, 0)
    call("execve", b"none", NULL, NULL)
    call("execveat", HERE, b"none", NULL, NULL, 0)
    true = call("open", b"/bin/true", 0)
    words = (ctypes.c_char_p * 2)(b"true", None)
    call("execveat", true, b"", words, NULL, EMPTY)
"""


def _sweep(work: Path) -> list[str]:
    known = known_calls()
    numbers = json.dumps({call.name: call.number for call in SYSCALLS if call.name in known})
    return _python(_SWEEP, numbers)(work)


_FIND = "find source -type f -size +1 -print -exec cat {} +; find source -depth -delete"
_COPY = "cp -r source target; for i in 1 2 3; do echo $i >f$i; cat f$i >>all; mv f$i g$i; done; rm g1; ! rm none"
PROGRAMS = {
    "shell": Program(_shell(_COPY), in_guests=True),
    "python": Program(_python(_SMALL_PYTHON), in_guests=True),
    "sweep": Program(_sweep, in_guests=True),
    "tar": Program(_shell("tar -cf a.tar source; mkdir out; tar -xf a.tar -C out"), needs=("tar",), in_guests=True),
    "tar-gzip": Program(_shell("tar -czf a.tgz source; mkdir out; tar -xzf a.tgz -C out"), needs=("tar", "gzip")),
    "git": Program(_shell(_GIT), needs=("git",)),
    "copy-and-remove": Program(_shell("cp -a source target; cp -a source/. target; rm -r target")),
    "find": Program(_shell(_FIND), needs=("find",)),
    "sqlite": Program(_python(_SQLITE, str(scaled(20, 3))), in_guests=True),
    "gcc": Program(_shell(_GCC), needs=("gcc",)),
    "unittest": Program(_unittest),
    "writers": Program(_python(_WRITERS, str(scaled(50, 5))), in_guests=True),
    "pip": Program(_pip),
    "places": Program(_python(_PLACES), in_guests=True),
    "exec-by-thread": Program(_python(_EXEC), in_guests=True),
    "killed": Program(_python(_KILLED), in_guests=True),
    "signals": Program(_python(_SIGNALS), in_guests=True),
}
