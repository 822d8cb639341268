# SPDX-License-Identifier: MIT
"""Every configuration is taken by this kernel: what is asked for decides which programs are loaded, and which of their
parts the verifier looks at."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aa_fileio import Kind, KprobeManager, Op
from tests.native import outside
from tests.native.ground import GUEST
from tests.native.script import Script

_OPS: dict[str, dict[str, Any]] = {"default-ops": {}, "all-ops": {"ops": list(Op)}, "one-op": {"ops": [Op.READ]}}
_KINDS: dict[str, dict[str, Any]] = {"default-kinds": {}, "all-kinds": {"kinds": list(Kind)}}


class Configuration(NamedTuple):
    ops: str
    latency: bool
    follow: bool
    kinds: str
    whole_system: bool

    def __str__(self) -> str:
        words = (
            *(self.ops, "latency" if self.latency else "no-latency", "follow" if self.follow else "no-follow"),
            *(self.kinds, "system" if self.whole_system else "process"),
        )
        return "-".join(words)

    @property
    def options(self) -> dict[str, Any]:
        return {"latency": self.latency, "follow": self.follow} | _OPS[self.ops] | _KINDS[self.kinds]


_CHOICES: tuple[tuple[Any, ...], ...] = (tuple(_OPS), (True, False), (True, False), tuple(_KINDS), (False, True))
# Each value with each value of every other: an emulated machine takes up to a minute to attach one of them.
_PAIRS = (
    Configuration("default-ops", True, True, "default-kinds", False),
    Configuration("default-ops", False, False, "all-kinds", True),
    Configuration("all-ops", True, False, "all-kinds", False),
    Configuration("all-ops", False, True, "default-kinds", True),
    Configuration("one-op", True, True, "all-kinds", True),
    Configuration("one-op", False, False, "default-kinds", False),
)
# Natively all, of one process; what concerns everybody is not done to a machine that others use.
_ALL = tuple(each for each in itertools.starmap(Configuration, itertools.product(*_CHOICES)) if not each.whole_system)


@pytest.mark.native_only
def test_the_selection_has_every_pair() -> None:
    for (one, ones), (other, others) in itertools.combinations(enumerate(_CHOICES), 2):
        assert {(each[one], each[other]) for each in _PAIRS} == set(itertools.product(ones, others))


def _attach_and_detach(area: Path, backend: str, whole_system: bool, options: dict[str, Any]) -> None:
    script = Script()
    script.main.hold()
    before = outside.look()
    with script.start(area) as running:
        manager = KprobeManager(None if whole_system else running.pid, backend=backend, **options)
        manager.attach()
        assert manager.is_attached
        assert manager.backend == backend
        assert any(target.present for target in manager.targets)
        assert outside.describe(outside.look().without(before)).programs
        manager.detach()
        assert not manager.is_attached
        outside.check_gone(before)
        manager.close()
    outside.wait_gone(before)


@pytest.mark.parametrize("configuration", _PAIRS if GUEST else _ALL, ids=str)
def test_configuration(backend: str, configuration: Configuration, area: Path) -> None:
    _attach_and_detach(area, backend, configuration.whole_system, configuration.options)


# Of each shape one: by descriptor, by name, two names, what closes, what ends a program, what depends on its arguments.
@pytest.mark.native_only
@pytest.mark.parametrize("op", [Op.READ, Op.OPEN, Op.RENAME, Op.CLOSE, Op.EXEC, Op.MAP])
def test_operation_alone(backend: str, op: Op, area: Path) -> None:
    """Without latency, where it depends on the operations which programs there are."""
    _attach_and_detach(area, backend, False, {"ops": [op], "latency": False})
