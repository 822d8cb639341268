# SPDX-License-Identifier: MIT
"""Many lists under one attach: each theme is a process of its own, one after the other, and a test of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.native.expected import check_events, check_results
from tests.native.script import Script, Steps
from tests.native.tracing import Trace, trace

Writer = Callable[[Script, Steps, Path], None]


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
    themes: Mapping[str, Writer], traced: Collection[str], backend: str, folder: Path, **options: Any
) -> Performed:
    """A theme has a folder of its own, and may have helpers."""
    script = Script(traced=traced)
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
