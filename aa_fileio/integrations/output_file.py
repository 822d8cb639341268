# SPDX-License-Identifier: MIT
"""The file that -o names: what is there stays until there is something to put in its place."""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress

from aa_fileio.integrations.text_lines import shown

_NUMBERED = re.compile(r"/(?:dev/fd|proc/self/fd)/([0-9]{1,9})")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


class OutputFile:
    """A descriptor to write to. A regular file is made beside the one it will replace, with mode 0600, and takes its
    place with :meth:`publish`; a device, a FIFO or a descriptor by its number is written to as it is."""

    def __init__(self, path: str, owner: tuple[int, int] | None) -> None:
        self.descriptor = -1
        self._temporary: str | None = None
        self._truncates = False
        self._path = path
        number = _number_of(path)
        if number is not None:
            self.descriptor = os.dup(number)
            return
        self._path = _followed(path)
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if not stat.S_ISREG(mode):
            self.descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        else:
            self._open_regular(owner)

    def publish(self) -> None:
        if self._truncates:
            self._truncates = False
            os.ftruncate(self.descriptor, 0)
        if self._temporary is not None:
            os.rename(self._temporary, self._path)
            self._temporary = None

    def close(self) -> None:
        """What was never published leaves no trace."""
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None
        os.close(self.descriptor)

    def _open_regular(self, owner: tuple[int, int] | None) -> None:
        folder, name = os.path.split(self._path)
        temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}")
        try:
            self.descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except PermissionError:
            # A folder that takes no new file may have one that may be written to.
            self.descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._truncates = True
            return
        self._temporary = temporary
        if owner is not None:
            with suppress(OSError):  # where a file system has no owners
                os.fchown(self.descriptor, *owner)


def _number_of(path: str) -> int | None:
    if path in _STANDARD:
        return _STANDARD[path]
    match = _NUMBERED.fullmatch(path)
    return int(match[1]) if match else None


def _followed(path: str) -> str:
    """The file itself. Root follows no symbolic link but one of root's own to what is no regular file: whoever may make
    links in that folder would choose what root overwrites."""
    try:
        status = os.lstat(path)
    except OSError:
        return path  # opening it tells
    if not stat.S_ISLNK(status.st_mode):
        return path
    if os.geteuid() != 0:
        return os.path.realpath(path)
    with suppress(OSError):
        if status.st_uid == 0 and not stat.S_ISREG(os.stat(path).st_mode):
            return os.path.realpath(path)
    target = shown(os.readlink(path))
    raise OSError(None, f"it is a symbolic link to {target}, which root does not follow; give the file's own name")
