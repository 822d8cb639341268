# SPDX-License-Identifier: MIT
"""A rule's file is known by what it is on every file system that can be made and mounted here, and no other file is
taken for it: not a snapshot's, not another layer's, not the one that gets its inode number later."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from aa_fileio import FileEvent, KprobeManager
from tests.native import fuse
from tests.native.ground import HERE, unable

_IMAGE_BYTES = 320 << 20  # xfs takes no less
_MS_BIND = 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


class Kind(NamedTuple):
    """A file system of a block device: how it is made and what it can do."""

    make: tuple[str, ...]
    mount: str = ""  # its name to mount(2), if it is not the test's
    links: bool = True  # hard links
    options: str = ""


_ON_LOOP = {
    "ext2": Kind(("mkfs.ext2", "-q", "-F")),
    "ext3": Kind(("mkfs.ext3", "-q", "-F")),
    "ext4": Kind(("mkfs.ext4", "-q", "-F")),
    "xfs": Kind(("mkfs.xfs", "-q", "-f")),
    "btrfs": Kind(("mkfs.btrfs", "-q", "-f")),
    "f2fs": Kind(("mkfs.f2fs", "-q", "-f")),
    "vfat": Kind(("mkfs.vfat", "-F", "32"), links=False),
    "exfat": Kind(("mkfs.exfat",), links=False),
    "ntfs3": Kind(("mkfs.ntfs", "-q", "-F", "-f"), links=True),
    "nilfs2": Kind(("mkfs.nilfs2", "-q", "-f")),
    "jfs": Kind(("mkfs.jfs", "-q")),
    "udf": Kind(("mkfs.udf", "-b", "512"), links=True),
    "minix": Kind(("mkfs.minix", "-3")),
}
_IMAGES = {
    "squashfs": ("mksquashfs", "{from}", "{image}", "-quiet", "-noappend"),
    "erofs": ("mkfs.erofs", "--quiet", "{image}", "{from}"),
    "iso9660": ("genisoimage", "-quiet", "-R", "-o", "{image}", "{from}"),
}


def _mount(source: str | Path, target: Path, kind: str | None, flags: int = 0, options: str = "") -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, options.encode() or None):
        code = ctypes.get_errno()
        raise OSError(code, f"mount of {kind} on {target}: {os.strerror(code)}")


class Mounts:
    """What a test mounts, and its loop devices; undone from the last to the first."""

    def __init__(self, area: Path, stack: contextlib.ExitStack) -> None:
        self.area = area
        self.stack = stack

    def mount(self, source: str | Path, name: str, kind: str | None, flags: int = 0, options: str = "") -> Path:
        target = self.area / name
        target.mkdir(exist_ok=True)
        try:
            _mount(source, target, kind, flags, options)
        except OSError as error:
            pytest.fail(str(error))
        self.stack.callback(_libc.umount2, os.fsencode(target), 2)
        return target

    def loop(self, image: Path) -> str:
        done = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
        if done.returncode:
            unable(f"no loop device: {done.stderr.strip()}")
        device = done.stdout.strip()
        self.stack.callback(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def on_loop(self, name: str, into: str = "on") -> Path:
        kind = _ON_LOOP[name]
        command = shutil.which(kind.make[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
        if command is None:
            unable(f"{kind.make[0]} is not installed")
        image = self.area / f"{into}.img"
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        subprocess.run([command, *kind.make[1:], str(image)], check=True, capture_output=True)
        return self.mount(self.loop(image), into, kind.mount or name, 0, kind.options)


@pytest.fixture
def mounts(area: Path) -> Iterator[Mounts]:
    with contextlib.ExitStack() as stack:
        yield Mounts(area, stack)


def _traced(backend: str, rule: Path, names: list[Path], code: str = "", **options: Any) -> list[FileEvent]:
    """What a program that opens these files one after the other was seen to do."""
    reads = (
        "import os, sys\n" + code + "\nfor n in sys.argv[1:]:\n f = os.open(n, os.O_RDONLY); os.read(f, 1); os.close(f)"
    )
    command = [sys.executable, "-I", "-S", "-c", reads, *map(str, names)]
    with KprobeManager.spawn(
        command, backend=backend, **{"ops": ["open", "read"], "sensitive": [rule]} | options
    ) as manager:
        events = list(manager)
        assert manager.process.wait() == 0
        assert manager.stats.complete
    return events


def _sensitive(events: list[FileEvent], name: Path) -> list[bool | None]:
    """Of its open and its read."""
    return [event.sensitive for event in events if event.path == str(name)]


def _held_to(backend: str, rule: Path, same: list[Path], others: list[Path]) -> None:
    events = _traced(backend, rule, [rule, *same, *others])
    for name in (rule, *same):
        assert _sensitive(events, name) == [True, True], name
    for name in others:
        assert _sensitive(events, name) == [False, False], name
    # By `watch`: these alone, and all of them.
    events = _traced(backend, rule, [rule, *same, *others], watch=[rule], sensitive=None)
    below = {event.path for event in events if event.path and any(event.path == str(n) for n in (*same, *others))}
    assert below == {str(name) for name in same}


def _bound(mounts: Mounts, file: Path) -> Path:
    """The same file under another name where there are no hard links."""
    other = mounts.area / "bound"
    other.write_bytes(b"")
    _mount(file, other, None, _MS_BIND)
    mounts.stack.callback(_libc.umount2, os.fsencode(other), 2)
    return other


@pytest.mark.native_only
@pytest.mark.parametrize("name", [name for name in _ON_LOOP if name in HERE.on_devices])
def test_on_a_device(backend: str, mounts: Mounts, name: str) -> None:
    top = mounts.on_loop(name)
    for file in ("secret", "other"):
        (top / file).write_bytes(file.encode())
    same = [_bound(mounts, top / "secret")]
    if _ON_LOOP[name].links:
        os.link(top / "secret", top / "hard")
        same.append(top / "hard")
    _held_to(backend, top / "secret", same, [top / "other"])


@pytest.mark.native_only
@pytest.mark.parametrize("name", [name for name in _IMAGES if name in HERE.on_devices])
def test_in_an_image(backend: str, mounts: Mounts, name: str) -> None:
    source = mounts.area / "from"
    source.mkdir()
    for file in ("secret", "other"):
        (source / file).write_bytes(file.encode())
    os.link(source / "secret", source / "hard")
    if shutil.which(_IMAGES[name][0], path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        unable(f"{_IMAGES[name][0]} is not installed")
    image = mounts.area / "image"
    command = [part.format_map({"from": source, "image": image}) for part in _IMAGES[name]]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    top = mounts.mount(mounts.loop(image), "on", name, 1)  # MS_RDONLY
    same = [_bound(mounts, top / "secret")]
    if (top / "secret").stat().st_ino == (top / "hard").stat().st_ino:
        same.append(top / "hard")
    _held_to(backend, top / "secret", same, [top / "other"])


@pytest.mark.parametrize("name", ["tmpfs", "ramfs"])
def test_in_memory(backend: str, mounts: Mounts, name: str) -> None:
    top = mounts.mount("none", "on", name)
    (top / "secret").write_bytes(b"s")
    (top / "other").write_bytes(b"o")
    os.link(top / "secret", top / "hard")
    _held_to(backend, top / "secret", [top / "hard", _bound(mounts, top / "secret")], [top / "other"])


@pytest.mark.native_only
def test_subvolumes_and_snapshots(backend: str, mounts: Mounts) -> None:
    """A snapshot's file has the number and the generation of the one it was made of, and the superblock is one."""
    top = mounts.on_loop("btrfs")
    btrfs = shutil.which("btrfs", path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert btrfs

    def make(*what: str) -> None:
        subprocess.run([btrfs, "-q", "subvolume", *what], check=True, capture_output=True)

    make("create", str(top / "one"))
    make("create", str(top / "two"))
    (top / "one/secret").write_bytes(b"s")
    (top / "two/twin").write_bytes(b"t")
    os.link(top / "one/secret", top / "one/hard")
    make("snapshot", str(top / "one"), str(top / "snapshot"))
    twins = [top / "two/twin", top / "snapshot/secret", top / "snapshot/hard"]
    assert {twin.stat().st_ino for twin in twins} == {(top / "one/secret").stat().st_ino}
    _held_to(backend, top / "one/secret", [top / "one/hard", _bound(mounts, top / "one/secret")], twins)


class Layers(NamedTuple):
    lower: Path
    second: Path
    upper: Path
    work: Path


def _layers(mounts: Mounts, apart: bool) -> Layers:
    """Of one file system, or each of its own."""
    if not apart:
        top = mounts.mount("none", "layers", "tmpfs")
        made = Layers(*(top / name for name in ("lower", "second", "upper", "work")))
    else:
        tops = [mounts.mount("none", name, "tmpfs") for name in ("a", "b", "c")]
        made = Layers(tops[0] / "lower", tops[1] / "second", tops[2] / "upper", tops[2] / "work")
    for layer in made:
        layer.mkdir()
    return made


def _with_number(folder: Path, number: int, name: str) -> Path:
    """A file of that inode number on a tmpfs, which gives them one after the other."""
    for i in range(100_000):
        file = folder / f"n{i}"
        file.write_bytes(b"n")
        got = file.stat().st_ino
        if got == number:
            return file.rename(folder / name)
        file.unlink()
        if got > number:
            break
    pytest.fail(f"no file of {folder} got the number {number}")


@pytest.mark.parametrize("apart", [False, True], ids=["one-file-system", "several"])
def test_layers(backend: str, mounts: Mounts, apart: bool) -> None:
    layers = _layers(mounts, apart)
    if apart:  # numbers of the first layer are to be got in the second
        for _ in range(20):
            (layers.lower / "filler").write_bytes(b"")
            (layers.lower / "filler").unlink()
    (layers.lower / "secret").write_bytes(b"s")
    (layers.lower / "other").write_bytes(b"o")
    twins = ["other"]
    if apart:
        _with_number(layers.second, (layers.lower / "secret").stat().st_ino, "twin")
        twins.append("twin")
    options = f"lowerdir={layers.lower}:{layers.second},upperdir={layers.upper},workdir={layers.work}"
    top = mounts.mount("o", "on", "overlay", 0, options)
    _held_to(backend, top / "secret", [_bound(mounts, top / "secret")], [top / name for name in twins])
    # What lies in the upper layer has hard links that are one file; and so has what was copied up to be linked.
    (top / "made").write_bytes(b"m")
    for name in ("made", "secret"):
        os.link(top / name, top / f"{name}-hard")
        _held_to(backend, top / name, [top / f"{name}-hard"], [top / "other"])
    # Written through the other name.
    code = f"f = os.open({str(top / 'made-hard')!r}, os.O_WRONLY); os.write(f, b'w'); os.close(f)"
    events = _traced(backend, top / "made", [], code, ops=["write"], watch=[top / "made"], sensitive=None)
    assert [event.path for event in events] == [str(top / "made-hard")]


@pytest.mark.parametrize("apart", [False, True], ids=["one-file-system", "several"])
def test_hard_links_below_an_overlay(backend: str, mounts: Mounts, apart: bool) -> None:
    """Each is an inode there. Of layers of several file systems it is not known whether they are one file: never no."""
    layers = _layers(mounts, apart)
    (layers.lower / "secret").write_bytes(b"s")
    os.link(layers.lower / "secret", layers.lower / "hard")
    (layers.lower / "other").write_bytes(b"o")
    options = f"lowerdir={layers.lower}:{layers.second},upperdir={layers.upper},workdir={layers.work},index=off"
    top = mounts.mount("o", "on", "overlay", 0, options)
    events = _traced(backend, top / "secret", [top / name for name in ("secret", "hard", "other")])
    assert _sensitive(events, top / "secret") == [True, True]
    assert _sensitive(events, top / "hard") == [None if apart else True] * 2
    assert _sensitive(events, top / "other") == [False, False]
    watched = _traced(backend, top / "secret", [top / "hard", top / "other"], watch=[top / "secret"], sensitive=None)
    assert {event.path for event in watched} == {str(top / "hard")}


@pytest.mark.parametrize("name", ["tmpfs", *(n for n in ("ext4", "minix", "btrfs", "xfs") if n in HERE.on_devices)])
@pytest.mark.parametrize("option", ["sensitive", "watch"])
def test_a_number_that_is_given_again(backend: str, mounts: Mounts, name: str, option: str) -> None:
    """To a file that is made after the rule's was removed: it is another one."""
    top = mounts.mount("none", "on", "tmpfs") if name == "tmpfs" else mounts.on_loop(name)
    rule, after = top / "secret", top / "after"
    rule.write_bytes(b"s")
    code = (
        f"old = os.stat({str(rule)!r}).st_ino; os.unlink({str(rule)!r})\n"
        f"for i in range(50):\n"
        f" os.close(os.open({str(after)!r}, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))\n"
        f" same = os.stat({str(after)!r}).st_ino == old\n"
        f" if same: break\n"
        f" os.unlink({str(after)!r})\n"
        f"else: os.close(os.open({str(after)!r}, os.O_CREAT | os.O_WRONLY, 0o600))\n"
        f"open({str(mounts.area / 'same')!r}, 'w').write(str(same))"
    )
    events = _traced(backend, rule, [after], code, **{"sensitive": None, option: [rule]})
    if name in ("ext4", "minix"):  # which give the lowest number that is free
        assert (mounts.area / "same").read_text() == "True"
    seen = {event.sensitive for event in events if event.path == str(after)}
    assert seen == ({False} if option == "sensitive" else set())


@pytest.mark.native_only
def test_nothing_is_held_up(backend: str, mounts: Mounts) -> None:
    """A file system with rules' files on it can be unmounted meanwhile, and what is removed gives its room back."""
    top = mounts.on_loop("ext4")
    (top / "secret").write_bytes(bytes(8 << 20))
    (top / "folder").mkdir()
    code = (
        f"free = os.statvfs({str(top)!r}).f_bfree; os.unlink({str(top / 'secret')!r}); os.sync()\n"
        f"assert os.statvfs({str(top)!r}).f_bfree > free + 1000\n"
        f"import subprocess; subprocess.run(['umount', {str(top)!r}], check=True)"
    )
    events = _traced(backend, top / "secret", [], code, ops=["unlink"], watch=[f"{top}/folder/"])
    assert [event.path for event in events if event.path == str(top / "secret")] == [str(top / "secret")]


def test_without_marks(backend: str, mounts: Mounts) -> None:
    """Where inotify gives no instance, the number and the generation must do."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    mounts.stack.callback(limit.write_text, before)
    limit.write_text("0")
    (mounts.area / "secret").write_bytes(b"s")
    (mounts.area / "other").write_bytes(b"o")
    os.link(mounts.area / "secret", mounts.area / "hard")
    _held_to(backend, mounts.area / "secret", [mounts.area / "hard"], [mounts.area / "other"])


class _Fuse:
    """A file system whose files are an inode for each name, as many make them; who answers says which are one, by their
    number."""

    NAMES: ClassVar = {b"secret": (2, 100), b"hard": (3, 100), b"other": (4, 101)}

    def __init__(self, device: int) -> None:
        self.device = device
        self.numbers = {1: 1, **dict(self.NAMES.values())}

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o700 if node == 1 else stat.S_IFREG | 0o600
        return struct.pack("=QQQQQQIIIIIIIIII", self.numbers[node], 4, *[0] * 7, mode, 2, 0, 0, 0, 4096, 0)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes | int:
        match opcode:
            case fuse.INIT:
                return struct.pack("=IIII", 7, 31, 0, 0) + struct.pack("=HHIIHHI28x", 0, 0, 4096, 1, 0, 0, 0)
            case fuse.LOOKUP:
                found, _ = self.NAMES.get(body.rstrip(b"\0"), (0, 0))
                if not found:
                    return errno.ENOENT
                return struct.pack("=QQQQII", found, 0, 0, 0, 0, 0) + self._attributes(found)
            case fuse.GETATTR:
                return struct.pack("=QII", 0, 0, 0) + self._attributes(node)
            case fuse.OPEN:
                return struct.pack("=QII", 1, 1, 0)
            case fuse.READ:
                return b"t"  # no more than was asked for
        return b"" if opcode == fuse.RELEASE else errno.ENOSYS

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # until it is unmounted
            while True:
                request = os.read(self.device, 1 << 17)
                _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
                if opcode in (fuse.FORGET, fuse.BATCH_FORGET):
                    continue
                answer = self._answer(opcode, node, request[40:])
                data, error = (b"", answer) if isinstance(answer, int) else (answer, 0)
                os.write(self.device, struct.pack("=IiQ", 16 + len(data), -error, unique) + data)


def test_on_fuse(backend: str, mounts: Mounts) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    mounts.stack.callback(os.close, device)
    top = mounts.area / "on"
    top.mkdir()
    server = threading.Thread(target=_Fuse(device).serve)
    fuse.mount(device, top)
    server.start()
    mounts.stack.callback(server.join)
    mounts.stack.callback(_libc.umount2, os.fsencode(top), 2)
    _held_to(backend, top / "secret", [top / "hard"], [top / "other"])
