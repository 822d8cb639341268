# SPDX-License-Identifier: MIT
"""Names of very many components and of very many bytes: whole as far as promised, then their end, said to be cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.native.expected import Seen, as_passed, calls_of, check_script_ledger, file, relative
from tests.native.ground import FIRST_OPS, HERE
from tests.native.row_lists import CLONE_NEWNS, DIRECTORY
from tests.native.script import AT_FDCWD, AT_REMOVEDIR, Script, Step, Steps
from tests.native.themes import Performed, Themes, checked_each, performed_once, stat_of

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PATH_MAX = 4096
_CUT = frozenset({"truncated"})

THEMES = Themes()


class _EndOf:
    """Equal to any end of the name, in whole components, that is not shorter than promised."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str) or not other.startswith("/") or not self._name.endswith(other):
            return False
        return other.count("/") >= HERE.components or len(other) >= _PATH_MAX - 1

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"the end of a name of {len(self._name)} bytes: …{self._name[-40:]}"


class _Deep:
    """A file system of this process alone, and a chain of folders in it."""

    def __init__(self, steps: Steps, home: Path, component: str, depth: int, *, as_root: bool) -> None:
        self._steps = steps
        self._component = component
        self._start = "" if as_root else str(home)
        self._buffer = steps.script.buffer(16)
        steps.call("unshare", CLONE_NEWNS)
        steps.call("mount", b"none", b"/", 0, _MS_REC_PRIVATE, 0)
        steps.call("mount", b"none", home, b"tmpfs", 0, 0)
        steps.call("chdir", home)
        if as_root:
            steps.call("chroot", b".")
        self._top = steps.call("openat", AT_FDCWD, ".", DIRECTORY, sees=lambda _: self.file(top, "", "dir"))
        top = stat_of(steps, self._top)
        body = steps.script.list()
        body.call("mkdir", component, 0o700)
        body.call("chdir", component)
        steps.repeat(body, depth)

    def file(self, of: Step, below: str, kind: str = "file", **more: object) -> Seen:
        return self._named(file("/", of=of, kind=kind, **more), below)

    def _named(self, seen: Seen, below: str, new: str | None = None, *, cut: bool | None = None) -> Seen:
        names = [None if each is None else (self._start + each or "/") for each in (below, new)]
        if cut is None:
            cut = any(name is not None and name.count("/") > HERE.components for name in names)
        fields = dict(vars(seen))
        if cut:
            names = [name and _EndOf(name) for name in names]
            # The kernel's own name, and the one that was passed, end alike.
            fields |= {"path_flags": _CUT, "acted": lambda name: name}
        return Seen(**fields | {"path": names[0], "new_path": names[1]})

    def go_to(self, depth: int) -> str:
        """The folder at that depth; its name in the file system."""
        self._steps.call("fchdir", self._top)
        each = (_PATH_MAX - 1) // (len(self._component) + 1)
        for start in range(0, depth, each):
            self._steps.call("chdir", "/".join([self._component] * min(each, depth - start)))
        return f"/{self._component}" * depth

    def work(self, depth: int, name: str = "f", *, cut: bool | None = None) -> None:
        """Every call of the first operations on names of so many components."""
        steps, folder = self._steps, self.go_to(depth - 1)
        path, other, none = (f"{folder}/{each}" for each in (name, name[:-1] + "2", name[:-1] + "3"))
        base, other_base, none_base = (os.path.basename(each) for each in (path, other, none))
        here = AT_FDCWD
        seen_folder = lambda _: self._named(file("/", of=folder_is, kind="dir"), folder, cut=cut)  # noqa: E731
        opened = steps.call("openat", here, ".", DIRECTORY, sees=seen_folder)
        folder_is = stat_of(steps, opened)

        def sees(**more: object) -> object:
            return lambda _: self._named(file("/", of=file_is, **more), path, cut=cut)

        fd = steps.call("openat", here, base, _CREATE, 0o600, sees=sees())
        file_is = stat_of(steps, fd)
        steps.call("write", fd, self._buffer, 7, sees=sees(offset=0, moved=7))
        steps.call("read", fd, self._buffer, 7, sees=sees(offset=7, moved=0))
        seen = self._named(relative("/", error=errno.EEXIST), path, cut=cut)
        steps.call("openat", opened, base, _CREATE, 0o600, sees=seen)
        steps.call("unlink", none_base, sees=self._named(relative("/", error=errno.ENOENT), none, cut=cut))
        seen = self._named(relative("/", "/"), path, other, cut=cut)
        steps.call("renameat2", here, base, opened, other_base, 0, sees=seen)
        seen = self._named(relative("/", "/", error=errno.ENOENT), path, other, cut=cut)
        steps.call("rename", base, other_base, sees=seen)
        steps.call("unlinkat", opened, other_base, 0, sees=self._named(relative("/"), other, cut=cut))
        seen = self._named(relative("/", error=errno.ENOENT), none, cut=cut)
        steps.call("unlinkat", here, none_base, AT_REMOVEDIR, sees=seen)


@THEMES.add
def as_many_as_promised(script: Script, steps: Steps, home: Path) -> None:
    """Up to that number, and the folder's own name."""
    deep = _Deep(steps, home, "d", HERE.components, as_root=True)
    for components in (1, 2, 100, 199, 200, 254, 255, 256, 2_000, 2_047, 2_048):
        if components <= HERE.components:
            deep.work(components)
    folder = deep.go_to(HERE.components)
    fd = steps.call("openat", AT_FDCWD, ".", DIRECTORY, sees=lambda _: file(folder, of=held, kind="dir"))
    held = stat_of(steps, fd)


@THEMES.add
def two_thousand_folders(script: Script, steps: Steps, home: Path) -> None:
    """Below a mount point, and below all the folders above that."""
    deep = _Deep(steps, home, "d", 2_000, as_root=False)
    deep.work(2_001)


@THEMES.add
def more_than_promised(script: Script, steps: Steps, home: Path) -> None:
    deep = _Deep(steps, home, "d", 2 * HERE.components, as_root=True)
    for depth in (HERE.components * 3 // 2, 2 * HERE.components):
        deep.work(depth, cut=True)


@THEMES.add
def more_bytes_than_promised(script: Script, steps: Steps, home: Path) -> None:
    deep = _Deep(steps, home, "l" * 250, 40, as_root=True)
    deep.work(16)
    for depth in (20, 40):
        deep.work(depth, cut=True)


@THEMES.add
def in_one_string(script: Script, steps: Steps, home: Path) -> None:
    """Names of 4,095 bytes, with the NUL as long as the kernel takes."""
    buffer = script.buffer(16)
    folder = home
    while len(bytes(folder)) + 2 < 4_095 - 251:
        folder /= "l" * 250
    folder.mkdir(parents=True)
    room = 4_095 - len(bytes(folder)) - 1
    file_name, new, none, gone = (folder / (each * room)[:room] if room < 256 else None for each in "fnxg")
    assert file_name and new and none and gone and len(bytes(file_name)) == 4_095
    gone.mkdir()
    here = AT_FDCWD
    sees = lambda **more: lambda _: file(file_name, of=held, **more)  # noqa: E731
    fd = steps.call("openat", here, file_name, _CREATE, 0o600, sees=sees())
    held = stat_of(steps, fd)
    steps.call("write", fd, buffer, 5, sees=sees(offset=0, moved=5))
    steps.call("openat", here, file_name, _CREATE, 0o600, sees=as_passed(file_name, error=errno.EEXIST))
    steps.call("openat", here, none, os.O_RDONLY, sees=as_passed(none, error=errno.ENOENT))
    steps.call("rename", none, new, sees=as_passed(none, new, error=errno.ENOENT))
    steps.call("renameat2", here, file_name, here, new, 0, sees=as_passed(file_name, new))
    steps.call("read", fd, buffer, 5, sees=lambda _: file(new, of=held, offset=5, moved=0))
    steps.call("unlink", none, sees=as_passed(none, error=errno.ENOENT))
    steps.call("unlink", new, sees=as_passed(new))
    steps.call("unlinkat", here, gone, AT_REMOVEDIR, sees=as_passed(gone))
    steps.call("unlinkat", here, gone, AT_REMOVEDIR, sees=as_passed(gone, error=errno.ENOENT))


@THEMES.add
def in_one_string_of_many_components(script: Script, steps: Steps, home: Path) -> None:
    """As many as fit: where that is more than promised, what the kernel has is cut, and what was passed is not."""
    deep = _Deep(steps, home, "d", 2_046, as_root=True)
    path, none = "/d" * 2_046 + "/ff", "/d" * 2_046 + "/xx"
    assert len(path) == len(none) == 4_095
    fd = steps.call("openat", AT_FDCWD, path, _CREATE, 0o600, sees=lambda _: deep.file(held, path))
    held = stat_of(steps, fd)
    buffer = script.buffer(16)
    steps.call("write", fd, buffer, 5, sees=lambda _: deep.file(held, path, offset=0, moved=5))
    steps.call("openat", AT_FDCWD, path, _CREATE, 0o600, sees=as_passed(path, error=errno.EEXIST))
    steps.call("unlink", none, sees=as_passed(none, error=errno.ENOENT))
    steps.call("rename", none, path, sees=as_passed(none, path, error=errno.ENOENT))


performed = performed_once(THEMES, calls_of(FIRST_OPS), ops=FIRST_OPS)
test_theme = checked_each(THEMES)


def test_ledger(backend: str, performed: Performed) -> None:
    performed.check_no_stranger()
    check_script_ledger(performed.script, performed.result.stats, backend)
