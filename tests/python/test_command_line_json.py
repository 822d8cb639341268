# SPDX-License-Identifier: MIT
"""One event, one line of JSON, and back."""

from __future__ import annotations

import json
import os

import pytest
from command_line_fakes import make_event

from aa_fileio import FileEvent, PathFlag
from aa_fileio.integrations.json_lines import NAME_FIELDS, encode_strings, event_line, exact_names

EVERY_BYTE_OF_A_NAME = bytes(value for value in range(1, 256) if value != ord("/"))


def there_and_back(event: FileEvent) -> dict[str, object]:
    line = event_line(event)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return exact_names(json.loads(line.decode("utf-8")))


@pytest.mark.parametrize("field", NAME_FIELDS)
def test_every_byte_of_a_name_comes_back(field: str) -> None:
    for value in EVERY_BYTE_OF_A_NAME:
        raw = b"/tmp/a" + bytes([value]) + b"b"
        back = there_and_back(make_event(**{field: os.fsdecode(raw)}))
        assert os.fsencode(str(back[field])) == raw
        assert not any(key.endswith("_b64") for key in back)


def test_all_bytes_of_a_name_at_once_come_back() -> None:
    back = there_and_back(make_event(path=os.fsdecode(EVERY_BYTE_OF_A_NAME)))
    assert os.fsencode(str(back["path"])) == EVERY_BYTE_OF_A_NAME


@pytest.mark.parametrize(
    "raw", [b"\xed\xa0\x80", b"\xed\xb3\xbf", b"\xf0\x9f\x98\x80", b"\xc0\xaf", "\ufffd".encode(), b"\xf4\x90\x80\x80"]
)
def test_surrogates_astral_characters_and_overlong_forms_come_back(raw: bytes) -> None:
    assert os.fsencode(str(there_and_back(make_event(path=os.fsdecode(raw)))["path"])) == raw


def test_a_name_in_utf_8_has_no_companion_and_is_readable_in_the_line() -> None:
    line = event_line(make_event(path="/tmp/café 文"))
    assert "/tmp/café 文".encode() in line
    assert b"_b64" not in line


def test_a_name_that_is_not_utf_8_shows_the_replacement_character_and_has_a_companion() -> None:
    record = json.loads(event_line(make_event(path=os.fsdecode(b"/tmp/\xff"))))
    assert record["path"] == "/tmp/\ufffd"
    assert record["path_b64"] == "L3RtcC//"


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\U000e0041", "\n"])
def test_nothing_in_a_line_moves_a_terminal_or_splits_it(character: str) -> None:
    line = event_line(make_event(path=f"/a{character}b")).decode("utf-8")
    assert line[:-1].isprintable()
    assert line.splitlines() == [line[:-1]]
    assert json.loads(line)["path"] == f"/a{character}b"


def test_fields_have_the_names_and_values_of_the_event() -> None:
    record = json.loads(event_line(make_event(path_flags=PathFlag.TRUNCATED | PathFlag.DELETED)))
    assert record["record"] == "event"
    assert set(record) == {"record", *make_event()._asdict()}
    assert record["time"] == "2026-03-04T05:06:07.000089Z"
    assert record["timestamp_ns"] == 5_000_000_000
    assert record["path_flags"] == ["truncated", "deleted"]
    assert record["new_path"] is None
    assert record["bytes"] == 12


def test_an_operation_this_version_has_no_name_for_stays_a_number() -> None:
    assert json.loads(event_line(make_event(op=99)))["op"] == 99


def test_other_strings_are_made_fit_for_a_line() -> None:
    assert encode_strings({"a": [os.fsdecode(b"\xff")], "b": 1}) == {"a": ["\ufffd"], "b": 1}


def test_a_record_without_names_stays_as_it_is() -> None:
    assert exact_names({"record": "summary", "events": 0}) == {"record": "summary", "events": 0}
