# SPDX-License-Identifier: MIT
"""Path rules are applied in the kernel as far as they can be: nothing comes of that but that less is sent."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR
from types import EllipsisType
from typing import Any

import pytest

from aa_fileio import SYSCALLS, FileEvent, Kind, KprobeManager, Op, PathSource, _native
from tests.native.expected import CLONE_NEWNS, UNSEEN
from tests.native.ground import GUEST, scaled
from tests.native.row_lists import LISTS
from tests.native.script import AT_FDCWD, Running, Script, Steps
from tests.native.tracing import read_to_end

Rules = dict[str, list[str]]
_LISTS = ("watch", "sensitive", "ignore")
_FIELDS = (
    *("op", "syscall", "path", "new_path", "raw_path", "fd", "dirfd", "return_code", "errno", "count", "offset"),
    *("flags", "mode", "path_source", "path_flags", "device", "inode", "kind", "pid", "tid", "comm", "sensitive"),
)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves rules room in the kernel."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _over_and_over(script: Script, steps: Steps, home: Path) -> None:
    """Descriptors that are read and written again while their names move into a rule and out of it."""
    call = functools.partial(steps.call, sees=UNSEEN)
    for folder in ("in", "out", "within"):
        (home / folder / "sub").mkdir(parents=True)
        (home / folder / "sub" / "leaf").write_bytes(bytes(1000))
    os.link(home / "in/sub/leaf", home / "out/hard")
    (home / "link").symlink_to("in")
    buffer = script.buffer(16)
    inside, outside, hard, by_link, aside = (
        call("openat", AT_FDCWD, home / name, os.O_RDWR)
        for name in ("in/sub/leaf", "out/sub/leaf", "out/hard", "link/sub/leaf", "within/sub/leaf")
    )

    def use() -> None:
        for _ in range(3):
            for fd in (inside, outside, hard, by_link, aside):
                call("pread64", fd, buffer, 8, 0)
                call("write", fd, buffer, 2)
        call("pread64", inside, 1, 8, 0)  # a failure
        call("copy_file_range", inside, 0, outside, 0, 4, 0)
        call("fchmod", outside, 0o600)

    use()
    for before, after in (("in", "gone"), ("out", "in"), ("gone", "inner"), ("in/sub", "in/sub2")):
        call("rename", home / before, home / after)
        use()
    call("unlink", home / "in/sub2/leaf")
    use()
    call("dup2", inside, outside)
    use()
    call("mkdir", home / "out", 0o700)
    call("openat", AT_FDCWD, home / "out/none", os.O_RDONLY)
    made = call("openat", AT_FDCWD, home / "out/made", os.O_CREAT | os.O_RDWR, 0o600)
    call("write", made, buffer, 2)
    if GUEST:
        steps.call("unshare", CLONE_NEWNS)
        call("mount", b"none", b"/", 0, 0x44000, 0)
        call("mount", home / "inner", home / "out", 0, 0x1000, 0)  # MS_BIND
        call("openat", AT_FDCWD, home / "out/sub/leaf", os.O_RDONLY)


_THEMES = {"over": _over_and_over, **LISTS}


def _rule_sets(area: Path) -> Iterator[Rules]:
    over, opens = area / "over", area / "opens"
    yield {"watch": [f"{over}/in/"]}
    yield {"ignore": [f"{over}/in/", f"{opens}/", "/proc/"]}
    yield {"watch": [f"{area}/o", f"{over}/out/made", f"{opens}/"], "ignore": [f"{opens}/plain", f"{over}/inner/"]}
    yield {"watch": [f"{opens}/plain", f"{over}/out/"], "sensitive": [f"{over}/in/sub/leaf", f"{area}/**/target"]}
    yield {"ignore": ["/"], "sensitive": [f"{over}/out/hard"]}
    yield {"watch": ["/"], "ignore": [f"{area}/[a-m]*/"]}
    yield {"sensitive": ["/"], "ignore": ["/"], "watch": [f"{over}/"]}
    long = "/".join(["l" * 20] * 8)
    yield {"watch": [f"{over}/{long}/", f"{area}/{long}"], "ignore": [f"{area}/{long}/x"]}
    made = random.Random(5)
    names = ("plain", "real", "real/inner", "link", "at", "target", "made1", "in", "out/sub", "inner", "sub", "x" * 40)
    while True:
        rules: Rules = {}
        for name in _LISTS:
            chosen = [
                f"{area}/{made.choice(list(_THEMES))}/{made.choice(names)}{made.choice(('', '/', '/', '*', '/**/i*'))}"
                for _ in range(made.choice((0, 1, 3, 40)))
            ]
            if chosen:
                rules[name] = chosen
        if rules:
            yield rules


def _as_glob(rule: str) -> str:
    """The same name, which no file is looked for by."""
    head, _, last = rule.rstrip("/").rpartition("/")
    if any(character in rule for character in "*?[") or not last:
        return rule
    return f"{head}/[{last[0]}]{last[1:]}{'/' if rule.endswith('/') else ''}"


def _led(rule: str) -> set[str]:
    """The rule, and where its symbolic links lead."""
    literal = next((at for at, character in enumerate(rule) if character in "*?["), len(rule))
    head = rule[:literal] if literal == len(rule) else rule[: rule.rfind("/", 0, literal)]
    return {rule, os.path.realpath(head) + rule[len(head.rstrip("/")) :]} if head.strip("/") else {rule}


class _Reference:
    """What the rules say of an event, by the core's own word; files are as they were when the trace began."""

    def __init__(self, rules: Rules) -> None:
        self.rules = {
            name: [_as_glob(as_is) for rule in texts for as_is in _led(rule)] for name, texts in rules.items()
        }
        self.files: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.plain: dict[str, set[int]] = defaultdict(set)  # of those that are no directory: how many names they have
        self.links_were_made = False
        for name in ("watch", "sensitive"):
            for rule in rules.get(name, ()):
                with contextlib.suppress(OSError):
                    status = Path(rule).stat()
                    if rule in self.rules[name] and rule != "/":
                        continue  # a glob
                    self.files[name].add((status.st_dev, status.st_ino))
                    if not S_ISDIR(status.st_mode):
                        self.plain[name].add(status.st_nlink)

    def _is(self, name: str, event: FileEvent) -> bool:
        return event.kind is not None and (event.device, event.inode) in self.files[name]

    def _may_be_linked(self, name: str) -> bool:
        return bool(self.plain[name]) and (self.links_were_made or max(self.plain[name]) > 1)

    def word(self, event: FileEvent) -> str:
        """Asked of one event after the other, in their order."""
        self.links_were_made |= event.op is Op.LINK and event.errno == 0
        if self._is("sensitive", event):
            return "sensitive"
        word = _native.decide(event, **self.rules)
        if word == "leave out" and self._is("watch", event):
            word = _native.decide(event, **{name: rules for name, rules in self.rules.items() if name != "watch"})
        # Which file an entry was of that was removed is not known where its directory and name alone are.
        entry = event.op is Op.UNLINK and event.errno == 0 and event.path_source is PathSource.DIR_AND_NAME
        if not entry:
            return word
        if word == "leave out" and (self._may_be_linked("sensitive") or self._may_be_linked("watch")):
            word = "keep"
        return "unknown" if word == "keep" and self.plain["sensitive"] else word


def _told(event: FileEvent, sensitive: bool | EllipsisType | None = ...) -> tuple[Any, ...]:
    told = {name: getattr(event, name) for name in _FIELDS}
    return tuple((told if sensitive is ... else told | {"sensitive": sensitive}).values())


def _by_thread(events: list[FileEvent]) -> list[FileEvent]:
    return sorted(events, key=lambda event: (event.tid, event.seq))


def _read_all(managers: list[KprobeManager], running: Running) -> list[list[FileEvent]]:
    running.go()
    events = [read_to_end(manager) for manager in managers]
    running.finish()
    return events


@pytest.mark.usefixtures("many_descriptors")
def test_what_is_left_out_is_what_the_core_would_leave_out(backend: str, short: Path) -> None:
    """One trace without rules beside some with them, of every call there is."""
    script = Script(traced={row.name for row in SYSCALLS})
    script.main.hold()
    for theme, write in _THEMES.items():
        home = short / theme
        home.mkdir()
        steps = script.list()
        script.main.fork(steps)
        write(script, steps, home)
        script.main.wait_children()
    sets = [rules for rules, _ in zip(_rule_sets(short), range(scaled(24, 4)), strict=False)]
    references = [_Reference(rules) for rules in sets]
    options: dict[str, Any] = {"backend": backend, "ops": list(Op), "kinds": list(Kind)}
    with script.start(short) as running, contextlib.ExitStack() as stack:
        managers = [stack.enter_context(KprobeManager(running.pid, **options, **rules)) for rules in ({}, *sets)]
        everything, *ruled = _read_all(managers, running)
        stats = [manager.stats for manager in managers]
    assert len(everything) == stats[0].performed - stats[0].filtered > 1_000
    for rules, reference, events, counts in zip(sets, references, ruled, stats[1:], strict=True):
        words = {event.seq: reference.word(event) for event in sorted(everything, key=lambda event: event.seq)}
        wanted = [
            _told(event, None if words[event.seq] == "unknown" else words[event.seq] == "sensitive")
            for event in _by_thread(everything)
            if words[event.seq] != "leave out"
        ]
        assert [_told(event) for event in _by_thread(events)] == wanted, rules
        assert (counts.performed, counts.lost) == (stats[0].performed, 0), rules
        assert counts.filtered == counts.performed - len(events), rules
