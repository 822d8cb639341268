# SPDX-License-Identifier: MIT
"""docs/inventory.md has a line for each bound, map, update, loop and early return of the kernel side, and names tests
that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scripts import inventory

TESTS = inventory.ROOT / "tests"


def test_the_page_has_what_the_source_has() -> None:
    lacks, stale = inventory.differences()
    assert not lacks, "docs/inventory.md lacks a line for each of these: how it is counted, and the test that shows it"
    assert not stale, "docs/inventory.md has lines for what the source has no more"


def test_no_key_has_two_lines() -> None:
    written = [row.key for row in inventory.rows()]
    assert len(written) == len(set(written))


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for file, function in inventory.named_tests():
        path = TESTS / file
        if not path.exists() or (function and not re.search(rf"^def {function}\(", path.read_text(), re.MULTILINE)):
            missing.append((file, function))
    assert not missing


def test_every_line_names_a_test_or_says_why_there_is_none() -> None:
    assert [
        row.key for row in inventory.rows() if "none:" not in row.words and "`" not in row.words.split("|")[-1]
    ] == []


def test_what_the_core_looks_up_is_where_the_page_says() -> None:
    page = inventory.PAGE.read_text()
    places = re.findall(r"^\| `(csrc/[\w/]+\.c)` `(\w+)` \|", page, re.MULTILINE)
    assert len(places) >= 5
    for file, function in places:
        assert re.search(rf"\b{function}\(", (inventory.ROOT / file).read_text()), (file, function)


@pytest.mark.parametrize(
    ("added", "key"),
    [
        ("#define AA_THINGS_MAX 7\n", "bound AA_THINGS_MAX"),
        (
            'struct {\n\t__uint(type, BPF_MAP_TYPE_HASH);\n\t__uint(max_entries, 7);\n} aa_things SEC(".maps");\n',
            "map aa_things",
        ),
        (
            (
                "static __always_inline void aa_thing_add(__u32 key)\n{\n"
                "\tbpf_map_update_elem(&aa_things, &key, &key, BPF_ANY);\n}\n"
            ),
            "update aa_things in aa_thing_add",
        ),
        (
            (
                "__noinline int aa_thing_send(__u32 key)\n{\n"
                "\treturn bpf_ringbuf_output(&aa_ring, &key, sizeof(key), 0);\n}\n"
            ),
            "send aa_ring in aa_thing_send",
        ),
        (
            "AA_DEFINE_STEP(aa_thing_find, , __u32 i)\n{\n\tfor (; i < 7; i++)\n\t\taa_use(i);\n\treturn 0;\n}\n",
            "loop in aa_thing_find",
        ),
        (
            (
                "static __always_inline int aa_thing_take(__u32 i)\n{\n\tif (!i)\n\t\treturn 1;\n"
                "\taa_count(state_full, 1);\n\treturn 0;\n}\n"
            ),
            "returns of aa_thing_take",
        ),
    ],
    ids=["bound", "map", "update", "send", "loop", "returns"],
)
def test_what_is_added_to_the_source_is_found(tmp_path: Path, added: str, key: str) -> None:
    folder = tmp_path / "bpf"
    shutil.copytree(inventory.ROOT / "bpf", folder)
    header = folder / "filter.bpf.h"
    header.write_text(header.read_text() + added)
    lacks, stale = inventory.differences(folder)
    assert (lacks, stale) == ([key], [])
