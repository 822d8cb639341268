# SPDX-License-Identifier: MIT
"""What the kernel has attached, seen by other eyes than the product's: bpftool, tracefs, debugfs, /proc."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.native.ground import GUEST, HERE, scaled

KPROBE_EVENTS = Path("/sys/kernel/tracing/kprobe_events")
KPROBES_LIST = Path("/sys/kernel/debug/kprobes/list")
BPFTOOL = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "bpftool"


def bpftool(kind: str) -> list[dict[str, Any]]:
    """`bpftool prog|link|map show`."""
    run = subprocess.run([BPFTOOL, "-j", kind, "show"], capture_output=True, check=True, timeout=120)
    return json.loads(run.stdout or b"[]")


@dataclasses.dataclass(frozen=True)
class View:
    """Ids of our programs, and of the links to them, by what the kernel lists; lines of the kprobe files."""

    programs: dict[int, str]
    links: dict[int, int]
    maps: dict[int, str]
    events: tuple[str, ...]
    probes: tuple[str, ...]

    def without(self, other: View) -> View:
        """What is here and not there."""
        return View(
            {key: name for key, name in self.programs.items() if key not in other.programs},
            {key: program for key, program in self.links.items() if key not in other.links},
            {key: name for key, name in self.maps.items() if key not in other.maps},
            tuple(line for line in self.events if line not in other.events),
            tuple(line for line in self.probes if line not in other.probes),
        )

    def but_maps(self) -> View:
        return View(self.programs, self.links, {}, self.events, self.probes)

    def __bool__(self) -> bool:
        return bool(self.programs or self.links or self.maps or self.events or self.probes)


@dataclasses.dataclass(frozen=True)
class Held:
    """Ids of BPF objects that a process has descriptors of."""

    programs: frozenset[int]
    links: frozenset[int]
    maps: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.programs or self.links or self.maps)


def look() -> View:
    """Everything of this product that the kernel shows now, whoever made it."""
    programs = {each["id"]: each.get("name", "") for each in bpftool("prog")}
    links = {each["id"]: each.get("prog_id", 0) for each in bpftool("link")}
    maps = {each["id"]: each.get("name", "") for each in bpftool("map")}
    ours = {key: name for key, name in programs.items() if name.startswith("aa_")}
    return View(
        ours,
        {key: program for key, program in links.items() if program in ours},
        # .rodata and .bss are named after the object: "fileio_b.rodata".
        {key: name for key, name in maps.items() if name.startswith(("aa_", "fileio"))},
        _lines(KPROBE_EVENTS),
        _lines(KPROBES_LIST),
    )


def _lines(path: Path) -> tuple[str, ...]:
    # Natively neither file exists. Nobody else makes kprobes in a guest, so that each line is ours there.
    if not GUEST:
        return ()
    return tuple(path.read_text().splitlines())


def held_by(pid: int) -> Held:
    """By /proc/PID/fdinfo."""
    found: dict[str, set[int]] = {"prog_id": set(), "link_id": set(), "map_id": set()}
    # Not even root may look at a process that the kernel's supervisor keeps for itself.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for key, number in re.findall(r"^(prog_id|link_id|map_id):\s*(\d+)", entry.read_text(), re.MULTILINE):
                    found[key].add(int(number))
    return Held(frozenset(found["prog_id"]), frozenset(found["link_id"]), frozenset(found["map_id"]))


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


def _strangers() -> Held:
    """What other people's processes hold: another trace may run on this machine, though never in a guest."""
    family = _family()
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    held = [held_by(pid) for pid in pids if pid not in family]
    return Held(
        frozenset().union(*(each.programs for each in held)),
        frozenset().union(*(each.links for each in held)),
        frozenset().union(*(each.maps for each in held)),
    )


def left_behind(before: View) -> View:
    """What is there now and was not before, and is nobody else's."""
    first = look().without(before)
    if not first:
        return first
    strangers = _strangers()
    # A stranger's objects may have gone while we looked who holds them.
    second = look()
    return View(
        {key: name for key, name in first.programs.items() if key in second.programs and key not in strangers.programs},
        {key: name for key, name in first.links.items() if key in second.links and key not in strangers.links},
        {key: name for key, name in first.maps.items() if key in second.maps and key not in strangers.maps},
        tuple(line for line in first.events if line in second.events),
        tuple(line for line in first.probes if line in second.probes),
    )


def check_gone(before: View) -> None:
    """At once: no program, no link, no kprobe. The maps stay as long as what was captured can be read."""
    left = left_behind(before).but_maps()
    assert not left, f"left in the kernel: {left}"


def wait_gone(before: View) -> None:
    """
    All of it, within the promised time; a map goes a moment after the last program that used it.

    In a guest two processors take turns of up to a tenth of a second on one of the host's. Each program's end takes
    several interrupts from the one to the other (text_poke_sync()), and our own looking keeps one of them busy.
    """
    seconds = scaled(5, 60)
    end = time.monotonic() + seconds
    while (left := _but_kept(left_behind(before))) and time.monotonic() < end:
        time.sleep(scaled(50, 500) / 1000)
    assert not left, f"left in the kernel after {seconds} s: {left}"


def _but_kept(left: View) -> View:
    """See Ground.keeps."""
    return dataclasses.replace(left, maps={key: name for key, name in left.maps.items() if name not in HERE.keeps})


def children() -> set[int]:
    """Of this process, zombies too."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found.update(map(int, (task / "children").read_text().split()))
    return found
