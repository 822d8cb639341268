# SPDX-License-Identifier: MIT
"""The kernels that guests can have: each has a ground that says what must work there, and none is fetched twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kernels import guest, images, machine
from tests.native.ground import GROUNDS, OTHER_GROUNDS

_ROOT = Path(__file__).resolve().parents[2]


def test_each_kernel_has_a_ground() -> None:
    assert {ground.name for ground in GROUNDS} - {"native"} == set(images.SUITES)
    assert {ground.name for ground in OTHER_GROUNDS} == set(images.OTHERS)


def test_soak_visits_known_kernels() -> None:
    text = (_ROOT / "Makefile").read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("OTHER_KERNELS ?=")]
    names = line.removeprefix("OTHER_KERNELS ?=").split()
    assert len(names) > 5
    assert set(names) <= set(images.OTHERS)


def test_what_differs_by_parameters_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = images.cache_folder() / "trixie"
    (folder / "modules").mkdir(parents=True)
    manifest = {"release": "6.12", "modules": ["a.ko"], "wanted": images._MODULES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    plain, preempting = images.fetch("trixie"), images.fetch("trixie-full")
    assert (plain.suite, plain.parameters) == ("trixie", ())
    assert (preempting.suite, preempting.parameters) == ("trixie-full", ("preempt=full",))
    assert preempting.kernel == plain.kernel == folder / "vmlinuz"


def test_an_unknown_kernel_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert guest.main(["test", "--suites", "trixie-slow"]) == machine.EXIT_GUEST
    said = capsys.readouterr().err
    assert "unknown kernel trixie-slow" in said
    assert "trixie-rt" in said
