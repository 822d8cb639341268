# SPDX-License-Identifier: MIT
"""As whom the command runs: tracing takes root, the command mostly does not."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import MutableMapping
from typing import NamedTuple

from aa_fileio.integrations.messages import UsageError


class CommandUser(NamedTuple):
    uid: int
    gid: int
    groups: list[int]
    name: str | None
    home: str | None

    def adapt(self, environment: MutableMapping[str, str]) -> None:
        """What sudo set for root; the rest is the command's as it is."""
        for variable, value in (("HOME", self.home), ("USER", self.name), ("LOGNAME", self.name)):
            if value is not None:
                environment[variable] = value
            else:
                environment.pop(variable, None)


def named_user(name: str) -> CommandUser:
    """By name or by number."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isascii() and name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if name.isascii() and name.isdigit() and int(name) < 2**32 - 1:
            return CommandUser(int(name), int(name), [int(name)], None, None)
        raise UsageError(f"--user {name!r} is no user of this system: give a name or a number of one") from None
    return CommandUser(
        entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid), entry.pw_name, entry.pw_dir
    )


def sudo_user() -> CommandUser | None:
    """Who had sudo run this program, as root. None where sudo ran something else, a shell for instance, that ran this:
    there all commands are root's."""
    if os.geteuid() != 0 or not _is_by_sudo():
        return None
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not (0 < uid < 2**32 - 1 and 0 <= gid < 2**32 - 1):
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return CommandUser(uid, gid, [gid], None, None)
    return CommandUser(uid, gid, os.getgrouplist(entry.pw_name, gid), entry.pw_name, entry.pw_dir)


def _is_by_sudo() -> bool:
    """SUDO_COMMAND has the whole line that sudo ran. Without it nothing speaks against sudo having run this."""
    line = os.environ.get("SUDO_COMMAND")
    if line is None:
        return True
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    # `sudo sh -c '… aa-fileio …'` is meant as well.
    return any("aa-fileio" in word or "aa_fileio" in word for word in words)
