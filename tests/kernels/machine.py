"""One virtual machine: boots a kernel with this host's files, runs one command in it and tells how that went.

Plain software emulation throughout, so that every machine can run it and every run is the same.
"""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernels import console_log, initramfs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.kernels.console_log import Splat
    from tests.kernels.images import Image

EXIT_SPLAT = 70
EXIT_GUEST = 71

_QEMU = "qemu-system-x86_64"
_PROJECT = Path(__file__).resolve().parents[2]
_LAST_LINES = 25
# no_timer_check: on a busy host the emulated timer may not tick while 6.18 tries it, and that kernel panics.
_PARAMETERS = ["console=ttyS0", "panic=-1", "oops=panic", "loglevel=6", "printk.devkmsg=on", "rdinit=/init"]
_PARAMETERS.append("no_timer_check")
_ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class GuestError(Exception):
    """The host lacks what a guest needs."""


@dataclass
class Outcome:
    """How a guest's run went."""

    suite: str
    release: str
    status: int | None = None  # the command's own; None if the guest never told
    failure: str = ""  # why there is no status
    splats: list[Splat] = field(default_factory=list)
    boot_seconds: float | None = None
    seconds: float = 0.0
    last_lines: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        if self.splats:
            return EXIT_SPLAT
        return EXIT_GUEST if self.status is None else self.status

    def report(self) -> str:
        """What went wrong outside the command, for a person; empty if nothing did."""
        parts = [f"{self.suite}: the kernel complained:\n{splat.text}" for splat in self.splats]
        if self.status is None and self.last_lines:
            console = "\n".join(self.last_lines)
            parts.append(f"{self.suite}: {self.failure}; the console's last lines:\n{console}")
        elif self.status is None:
            parts.append(f"{self.suite}: {self.failure}")
        return "\n".join(parts)


def run(
    image: Image,
    command: Sequence[str],
    *,
    results: Path,
    sink: Callable[[bytes], object],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout: float = 600.0,
    icount: bool = False,
    memory: int = 2048,
    parameters: Sequence[str] = (),
) -> Outcome:
    """Boots the kernel, runs the command as root and hands its output to `sink` as it comes.

    `parameters` are further ones of the kernel, beside the image's own. `results` is a folder of the host that the
    guest may write, at /run/aa-results; the kernel's console is kept in it as console.log.
    """
    qemu, busybox = _programs()
    directory = directory or Path.cwd()
    results.mkdir(parents=True, exist_ok=True)
    console = results / "console.log"
    outcome = Outcome(image.suite, image.release)
    with tempfile.TemporaryDirectory(prefix="aa_fileio-guest-") as scratch:
        script = initramfs.command_script(command, _ENVIRONMENT | dict(environment or {}), directory)
        boot = Path(scratch, "initramfs")
        boot.write_bytes(initramfs.build(busybox, image.modules, script, _hidden([_PROJECT, directory])))
        control = Path(scratch, "control")
        control.touch()
        share = "local,security_model=none,multidevs=remap"
        arguments = [
            *_hardware(icount, memory),
            *("-kernel", str(image.kernel), "-initrd", str(boot)),
            *("-append", " ".join((*_PARAMETERS, *image.parameters, *parameters))),
            *("-serial", f"file:{_escaped(console)}"),
            *("-device", "virtio-serial-pci"),
            # A file, not stdio: that would put the terminal this runs in into raw mode.
            *("-chardev", "file,id=output,path=/dev/stdout", "-device", "virtserialport,nr=1,chardev=output"),
            *("-chardev", f"file,id=control,path={control}", "-device", "virtserialport,nr=2,chardev=control"),
            *("-virtfs", f"{share},path=/,mount_tag=hostroot,readonly=on"),
            *("-virtfs", f"{share},path={_escaped(results.resolve())},mount_tag=results"),
        ]
        _watch(qemu, arguments, control, outcome, sink, timeout)
    log = console.read_text(errors="replace") if console.exists() else ""
    outcome.splats = console_log.find_splats(console_log.after_start(log)) if console_log.START in log else []
    outcome.last_lines = [line.rstrip("\r") for line in log.split("\n") if line.strip()][-_LAST_LINES:]
    return outcome


def _programs() -> tuple[str, Path]:
    qemu = shutil.which(_QEMU)
    if not qemu:
        raise GuestError(f"{_QEMU} is missing (package qemu-system-x86)")
    busybox = shutil.which("busybox")
    if not busybox or b"/ld-linux" in Path(busybox).read_bytes():
        raise GuestError("a static busybox is missing (package busybox-static)")
    return qemu, Path(busybox)


def _hardware(icount: bool, memory: int) -> list[str]:
    # With icount the guest's clock counts instructions, so that the cost of code is a number that repeats.
    emulation = (
        ["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-smp", "1"]
        if icount
        # One host thread for both CPUs: with one each, a CPU may go on running code that the other has just patched
        # (qemu 7.2: an int3 of a static key or a kprobe met after its handler is gone; the kernel then oopses or
        # loops at that instruction), and attaching patches code all the time.
        else ["-accel", "tcg,thread=single", "-smp", "2"]
    )
    return [
        *emulation,
        *("-cpu", "max", "-m", str(memory), "-rtc", "base=utc", "-nic", "none", "-no-reboot"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"),
    ]


def _escaped(path: Path) -> str:
    """For qemu's option lists, in which a comma is doubled."""
    return str(path).replace(",", ",,")


def _hidden(paths: Sequence[Path]) -> list[Path]:
    """Of these folders, those that the guest's own /tmp and /run would hide."""
    hidden = {path for path in paths if path.is_relative_to("/tmp") or path.is_relative_to("/run")}
    return sorted(path for path in hidden if path not in (Path("/tmp"), Path("/run")))


def _watch(
    qemu: str,
    arguments: Sequence[str],
    control: Path,
    outcome: Outcome,
    sink: Callable[[bytes], object],
    timeout: float,
) -> None:
    """Runs the machine to its end or to the time-out."""
    started = time.monotonic()
    # setpriv: however this process ends, no emulator is left running.
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", qemu, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        complaints = bytearray()
        ready = False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ, sink)
                selector.register(process.stderr, selectors.EVENT_READ, complaints.extend)
                while selector.get_map():
                    if time.monotonic() - started > timeout:
                        doing = "the command did not end" if ready else "did not boot"
                        outcome.failure = f"{doing} within {timeout:g} s"
                        break
                    for key, _ in selector.select(0.05 if not ready else 1.0):
                        data = os.read(key.fd, 65536)
                        if data:
                            key.data(data)
                        else:
                            selector.unregister(key.fileobj)
                    if not ready and control.read_text().startswith("ready "):
                        ready = True
                        outcome.boot_seconds = time.monotonic() - started
        finally:
            # It has closed its output and is about to end, or it hangs.
            if outcome.failure or not _ended(process, 5.0):
                process.kill()
    outcome.seconds = time.monotonic() - started
    for line in control.read_text().splitlines():
        if line.startswith("exit "):
            outcome.status = int(line.removeprefix("exit "))
    if outcome.status is None and not outcome.failure:
        said = complaints.decode(errors="replace").strip()
        outcome.failure = said or ("the guest died under the command" if ready else "the guest did not boot")


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
