# SPDX-License-Identifier: MIT
"""Many lists under one attach: each theme is a process of its own, one after the other, and a test of its own."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.native.expected import Identity, Seen, check_events, check_results, file
from tests.native.script import Address, Script, Step, Steps, Stored
from tests.native.tracing import Trace, trace

Writer = Callable[[Script, Steps, Path], None]
_DELETED = frozenset({"deleted"})


class Themes(dict[str, Writer]):
    """By the names of the functions that write them."""

    def add(self, write: Writer) -> Writer:
        self[write.__name__] = write
        return write


def stat_of(steps: Steps, fd: Step | Stored | int) -> Step:
    """The workload asks the kernel which file that is."""
    return steps.call("fstat", fd, steps.script.buffer(144))


def told(stat: Step) -> Identity:
    """What it was told."""
    return struct.unpack_from("=QQ", stat.arguments[1].read())


class Named:
    """What the kernel itself calls a descriptor, asked by the workload while it has it."""

    def __init__(self, steps: Steps, number: int, kind: str = "file") -> None:
        self._text: Address = steps.script.buffer(512)
        self._of, self._kind = stat_of(steps, number), kind
        steps.call("readlink", f"/proc/self/fd/{number}", self._text, 511)

    @property
    def name(self) -> str:
        return os.fsdecode(self._text.read().split(b"\0")[0])

    def __call__(self, **more: Any) -> Callable[[int], Seen]:
        def sees(_: int) -> Seen:
            name = self.name.removesuffix(" (deleted)")
            flags = _DELETED if name != self.name else frozenset()
            return file(name, of=self._of, kind=self._kind, path_flags=flags, **more)

        return sees


@dataclass(frozen=True)
class Performed:
    """The one trace, and which lists each theme has."""

    script: Script
    lists: dict[str, list[Steps]]
    result: Trace

    def check(self, theme: str) -> None:
        """Results as foreseen; each event in order and in every field."""
        lists = self.lists[theme]
        check_results(self.script, lists)
        threads = {steps.tid for steps in lists}
        check_events(self.script, [event for event in self.result.events if event.tid in threads], lists)

    def check_no_stranger(self) -> None:
        threads = {steps.tid for steps in self.script.lists}
        assert [event for event in self.result.events if event.tid not in threads] == []


def perform(
    themes: Mapping[str, Writer],
    traced: Collection[str],
    backend: str,
    folder: Path,
    *,
    by_compat: bool = False,
    **options: Any,
) -> Performed:
    """A theme has a folder of its own, and may have helpers."""
    script = Script(traced=traced, by_compat=by_compat)
    script.main.hold()
    lists = {}
    for theme, write in themes.items():
        home = folder / theme
        home.mkdir()
        first = len(script.lists)
        steps = script.list()
        script.main.fork(steps)
        write(script, steps, home)
        script.main.wait_children()
        lists[theme] = script.lists[first:]
    return Performed(script, lists, trace(script, folder, backend, **options))


def performed_once(themes: Mapping[str, Writer], traced: Collection[str], **options: Any) -> Callable[..., Performed]:
    """A module's fixture `performed`: the themes' one trace by each backend."""
    done: dict[str, Performed] = {}

    @pytest.fixture
    def performed(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Performed:
        if backend not in done:
            folder = Path(os.path.realpath(tmp_path_factory.mktemp("themes")))
            done[backend] = perform(themes, traced, backend, folder, **options)
        return done[backend]

    return performed


def checked_each(themes: Mapping[str, Writer]) -> Callable[..., None]:
    """A module's `test_theme`."""

    @pytest.mark.parametrize("theme", themes)
    def test_theme(performed: Performed, theme: str) -> None:
        performed.check(theme)

    return test_theme
