"""The archive a guest boots from, written here because it is forty lines and saves a dependency on cpio."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = Path(__file__).resolve().parent


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A "newc" cpio archive of these files; a directory is made for each parent, in an order the kernel can unpack."""
    entries: dict[str, tuple[int, bytes]] = {}
    for name, (mode, data) in files.items():
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        entries[name] = (stat.S_IFREG | mode, data)
    out = bytearray()
    for number, (name, (mode, data)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], start=1):
        encoded = name.encode() + b"\0"
        #         inode   mode uid gid links time size    device…    name's size   checksum
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += encoded
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def command_script(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> str:
    """The shell script that runs the command with exactly this environment in this directory."""
    # The host's env by its full path: busybox would run its own applets for "sh", "ls" and many more.
    assignments = [f"{name}={value}" for name, value in environment.items()]
    return f"cd {shlex.quote(str(directory))} || exit 71\nexec /usr/bin/env -i {shlex.join([*assignments, *command])}\n"


def build(busybox: Path, modules: Sequence[Path], script: str, keep: Sequence[Path]) -> bytes:
    """The whole initramfs: busybox, the modules in the order they load, the boot scripts and the command."""
    files: dict[str, tuple[int, bytes]] = {
        "bin/busybox": (0o755, busybox.read_bytes()),
        "init": (0o755, (_HERE / "boot_stage1.sh").read_bytes()),
        "guest/stage2": (0o755, (_HERE / "boot_stage2.sh").read_bytes()),
        "guest/command": (0o755, script.encode(errors="surrogateescape")),
        "guest/keep": (0o644, "".join(f"{path}\n" for path in keep).encode()),
        "modules/order": (0o644, "".join(f"{path.name}\n" for path in modules).encode()),
    }
    files |= {f"modules/{path.name}": (0o644, path.read_bytes()) for path in modules}
    return archive(files)
