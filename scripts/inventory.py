# SPDX-License-Identifier: MIT
"""What in the kernel side is bounded, may fail or returns early, found in its source: the keys of docs/inventory.md.

`python -m scripts.inventory` prints what the page lacks and what it has too much; nothing when both agree. Then one
line of the page is to be written by hand: how an overflow or failure is counted, and the test that provokes it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "inventory.md"

#: Definitions that are a limit by their name. What is a limit and called otherwise is found by the loops and maps.
_BOUND = re.compile(
    r"^#define (AA_[A-Z0-9_]+_(?:MAX|LIMIT|STEPS|STEPS_SHORT|STEPS_LOOPED|SLOTS|TRIED|PARTS|PLACES|WORDS|ROUND|FILES"
    r"|LENGTHS|BUCKETS|TICKETS)|AA_TICKETS|AA_SEATS|AA_SEATS_SYSTEM|AA_SPARES)\b",
    re.MULTILINE,
)
_BYTES = re.compile(r"^#define (AA_(?:PATH|NAME|WALK|DATA|NAMES|RULE_WALK|COMM)_BYTES)\b", re.MULTILINE)
_MAP = re.compile(
    r"\}\s+(aa_[a-z0-9_]+(?:##suffix)?)(?: SEC\(\"\.maps\"\), (aa_[a-z_]+(?:##suffix)?))? SEC\(\"\.maps\"\)"
)
_UPDATE = re.compile(r"\bbpf_map_update_elem\(&(aa_[a-z0-9_]+)")
_SEND = re.compile(r"\bbpf_ringbuf_(?:output|reserve)\(&(aa_[a-z0-9_]+)")
_LOOP = re.compile(r"\bfor \([^;]*;([^;]*);|\bbpf_loop\(([A-Za-z0-9_]+)|\bwhile \(([^)]*)\)")
_FUNCTION = re.compile(
    r"^(?:static __always_inline |__noinline |static )(?!const)[\w \*]*?\b(aa_\w+)\([^;{]*\)\s*\{"
    r"|^AA_DEFINE_(?:FIRST_)?STEP\((aa_\w+)[^{;]*\)\s*\{"
    r"|^int (aa_\w+)\([^;{]*\)\s*(?:/\*[^\n]*\*/\s*)?\{"
    r"|^#define (aa_\w+|AA_DEFINE_\w+)\([^)]*\)",
    re.MULTILINE,
)
_COUNTS = re.compile(
    r"\baa_count\(|\baa_settle_missed\(|\baa_begin_is_lost\(|\baa_(?:call_ends|call_begins|finish|begin_by)\("
)
_RETURN = re.compile(r"\breturn\b")
_ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|\s*$", re.MULTILINE)
_TEST = re.compile(r"`((?:native|python|core|contract)/[\w.]+)(?:::(\w+))?`")


class Row(NamedTuple):
    key: str
    words: str


def _plain(text: str) -> str:
    """Without comments; lines stay where they are."""
    return re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)


def _functions(text: str) -> Iterator[tuple[str, str]]:
    """Each function's name and text, and each macro's: from its head to the next head."""
    heads = list(_FUNCTION.finditer(text))
    for head, after in zip_longest(heads, heads[1:]):
        name = next(group for group in head.groups() if group)
        yield name, text[head.start() : after.start() if after else len(text)]


def keys(folder: Path = ROOT / "bpf") -> set[str]:
    """Of all that the page must have a line for."""
    found = set()
    for path in sorted([*folder.glob("*.h"), *folder.glob("*.c")]):
        text = _plain(path.read_text())
        found |= {f"bound {name[1]}" for name in (*_BOUND.finditer(text), *_BYTES.finditer(text))}
        found |= {f"map {name}" for each in _MAP.finditer(text) for name in each.groups() if name}
        for name, body in _functions(text):
            found |= {f"update {each[1]} in {name}" for each in _UPDATE.finditer(body)}
            found |= {f"send {each[1]} in {name}" for each in _SEND.finditer(body)}
            if _LOOP.search(body.replace("do {", "").replace("} while (0)", "")):
                found.add(f"loop in {name}")
            returns = len(_RETURN.findall(body))
            if returns > 1 and _COUNTS.search(body):
                found.add(f"returns of {name}")
    return found


def rows(page: Path = PAGE) -> list[Row]:
    return [Row(each[1], each[2]) for each in _ROW.finditer(page.read_text())]


def named_tests(page: Path = PAGE) -> set[tuple[str, str | None]]:
    """File and function of each test that the page names."""
    return {(each[1], each[2]) for each in _TEST.finditer(page.read_text())}


def differences(folder: Path = ROOT / "bpf", page: Path = PAGE) -> tuple[list[str], list[str]]:
    """What the page lacks, and what it has that the source has not."""
    there, written = keys(folder), {row.key for row in rows(page)}
    return sorted(there - written), sorted(written - there)


def main() -> int:
    lacks, stale = differences()
    for key in lacks:
        print(f"docs/inventory.md lacks a line: | `{key}` | how it is counted | test |")
    for key in stale:
        print(f"docs/inventory.md has a line that the source does not: {key}")
    return 1 if lacks or stale else 0


if __name__ == "__main__":
    sys.exit(main())
