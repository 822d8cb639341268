# SPDX-License-Identifier: MIT
"""What the kernel has attached, seen by other eyes than the product's: bpftool, tracefs, debugfs, /proc."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.native.ground import GUEST, scaled

KPROBE_EVENTS = Path("/sys/kernel/tracing/kprobe_events")
KPROBES_LIST = Path("/sys/kernel/debug/kprobes/list")
BPFTOOL = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "bpftool"

_LIBC = ctypes.CDLL(None, use_errno=True)
# From <asm/unistd_64.h> and <linux/bpf.h>.
_NR_BPF = 321
_BPF_PROG_GET_NEXT_ID = 11
_BPF_MAP_GET_NEXT_ID = 12
_BPF_LINK_GET_NEXT_ID = 31

# From the end of a tracer, however it ended, to the end of what it had in the kernel. Taking down a hundred probes
# alone takes an emulated machine up to 11 s.
_PROMISED_SECONDS = scaled(5, 60)


def bpftool(kind: str) -> list[dict[str, Any]]:
    """`bpftool prog|link|map show`."""
    run = subprocess.run([BPFTOOL, "-j", kind, "show"], capture_output=True, check=True, timeout=120)
    return json.loads(run.stdout or b"[]")


@dataclasses.dataclass(frozen=True)
class View:
    """The BPF objects that the kernel lists, by their ids, whoever made them; lines of the kprobe files."""

    programs: frozenset[int]
    links: frozenset[int]
    maps: frozenset[int]
    events: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()

    def without(self, other: View) -> View:
        """What is here and not there."""
        return View(
            self.programs - other.programs,
            self.links - other.links,
            self.maps - other.maps,
            tuple(line for line in self.events if line not in other.events),
            tuple(line for line in self.probes if line not in other.probes),
        )

    def but_maps(self) -> View:
        return dataclasses.replace(self, maps=frozenset())

    def __bool__(self) -> bool:
        return any(vars(self).values())


@dataclasses.dataclass(frozen=True)
class Description:
    """Of this product's objects alone: names of programs and maps, and the program of each link."""

    programs: dict[int, str]
    links: dict[int, int]
    maps: dict[int, str]
    events: tuple[str, ...]
    probes: tuple[str, ...]


def look() -> View:
    """
    What is there, without opening any of it.

    A map of programs that somebody opens and closes by its id just after its owner closed it stays for ever:
    prog_array_map_clear() takes a reference for each last close, but the one piece of work that gives it back is
    queued once. On 6.1 and on 6.12 some of 2,000 stay beside such a looker, and none without. bpftool opens every map,
    also for a list of programs.
    """
    return View(
        _ids(_BPF_PROG_GET_NEXT_ID),
        _ids(_BPF_LINK_GET_NEXT_ID),
        _ids(_BPF_MAP_GET_NEXT_ID),
        _lines(KPROBE_EVENTS),
        _lines(KPROBES_LIST),
    )


def describe(view: View) -> Description:
    """What of it is this product's. Only of what is still held, or will not be looked at again: see look()."""
    programs = {each["id"]: each.get("name", "") for each in bpftool("prog")}
    maps = {each["id"]: each.get("name", "") for each in bpftool("map")}
    links = {each["id"]: each.get("prog_id", 0) for each in bpftool("link")}
    ours = {key: name for key, name in programs.items() if name.startswith("aa_")}
    return Description(
        {key: name for key, name in ours.items() if key in view.programs},
        {key: program for key, program in links.items() if key in view.links and program in ours},
        # .rodata and .bss are named after the object: "fileio_b.rodata".
        {key: name for key, name in maps.items() if key in view.maps and name.startswith(("aa_", "fileio"))},
        view.events,
        view.probes,
    )


def _ids(command: int) -> frozenset[int]:
    """bpf(2): the one after the last, until there is none."""
    found = set()
    words = (ctypes.c_uint32 * 3)(0, 0, 0)  # start, next, flags
    while _LIBC.syscall(_NR_BPF, command, ctypes.byref(words), ctypes.sizeof(words)) == 0:
        found.add(words[1])
        words[0] = words[1]
    number = ctypes.get_errno()
    if number != errno.ENOENT:
        raise OSError(number, os.strerror(number))
    return frozenset(found)


def _lines(path: Path) -> tuple[str, ...]:
    # Natively neither file exists. Nobody else makes kprobes in a guest, so that each line is ours there.
    if not GUEST:
        return ()
    return tuple(path.read_text().splitlines())


def held_by(pid: int) -> View:
    """By /proc/PID/fdinfo."""
    found: dict[str, set[int]] = {"prog_id": set(), "link_id": set(), "map_id": set()}
    # Not even root may look at a process that the kernel's supervisor keeps for itself.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for key, number in re.findall(r"^(prog_id|link_id|map_id):\s*(\d+)", entry.read_text(), re.MULTILINE):
                    found[key].add(int(number))
    return View(frozenset(found["prog_id"]), frozenset(found["link_id"]), frozenset(found["map_id"]))


def bpf_descriptors(pid: int | str = "self") -> list[str]:
    """What /proc/PID/fd calls the descriptors that keep something in the kernel."""
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = str(entry.readlink())
            if name.startswith(("anon_inode:bpf", "anon_inode:[perf_event]")):
                names.append(name)
    return sorted(names)


def _family() -> frozenset[int]:
    """This process and all that come from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return frozenset(family)


def _strangers() -> View:
    """What other people's processes hold: another trace may run on this machine, though never in a guest."""
    family = _family()
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    held = [held_by(pid) for pid in pids if pid not in family]
    none: frozenset[int] = frozenset()
    return View(
        none.union(*(each.programs for each in held)),
        none.union(*(each.links for each in held)),
        none.union(*(each.maps for each in held)),
    )


def left_behind(before: View) -> View:
    """What is there now and was not before, and is held by nobody else."""
    first = look().without(before)
    if not first:
        return first
    strangers = _strangers()
    # A stranger's objects may have gone while we looked who holds them.
    second = look()
    gone = first.without(second)
    return first.without(gone).without(strangers)


def check_gone(before: View) -> None:
    """At once: no program, no link, no kprobe. The maps stay as long as what was captured can be read."""
    left = left_behind(before).but_maps()
    _check_not_ours(left, "left in the kernel")


def wait_gone(before: View) -> None:
    """All of it, within the promised time; a map goes a moment after the last program that used it."""
    end = time.monotonic() + _PROMISED_SECONDS
    while (left := left_behind(before)) and time.monotonic() < end:
        time.sleep(0.05)
    _check_not_ours(left, f"left in the kernel after {_PROMISED_SECONDS} s")


def _check_not_ours(left: View, what: str) -> None:
    """What nobody holds may still be the system's: a control group's programs, for one."""
    if left:
        found = describe(left)
        assert not any(vars(found).values()), f"{what}: {found}"


def children() -> set[int]:
    """Of this process, zombies too."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found.update(map(int, (task / "children").read_text().split()))
    return found
