# SPDX-License-Identifier: MIT
"""A static program performs lists of calls that are written down beforehand: exactly their events must come."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.call_lists import LISTS
from tests.native.script import Script
from tests.native.tracing import check_trace


@pytest.mark.parametrize("calls", LISTS)
def test_one_thread(backend: str, area: Path, calls: str) -> None:
    script = Script()
    script.main.hold()
    LISTS[calls](script, script.main, area)
    check_trace(script, area, backend)


def test_four_threads_at_once(backend: str, area: Path) -> None:
    script = Script()
    script.main.hold()
    threads = []
    for name, write in LISTS.items():
        home = area / name
        home.mkdir()
        threads.append(script.list())
        script.main.thread(threads[-1])
        # Until all four are there.
        write(script, threads[-1], home)
    for thread in threads:
        script.main.wait_thread(thread)
    check_trace(script, area, backend)
