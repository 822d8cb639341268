# SPDX-License-Identifier: MIT
"""The trace as JSON, one object a line, and such an object back into the exact names.

A file name is bytes and need not be UTF-8; a line of JSON must be. Where a name is not, the field shows U+FFFD for what
cannot be shown and a second field, ``path_b64`` beside ``path``, holds the bytes. :func:`exact_names` undoes it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Flag
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aa_fileio import FileEvent

#: The fields that hold bytes chosen by others, and may therefore have a companion ending in ``_b64``.
NAME_FIELDS = ("path", "new_path", "raw_path", "comm")
_SUFFIX = "_b64"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def value_object(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of our own classes by their names, as a record of that kind."""
    record: dict[str, Any] = {"record": kind, **values}
    for name, value in list(record.items()):
        if value is None or type(value) is int:
            continue
        if name in NAME_FIELDS:
            record[name], exact = _shown_and_exact(value)
            if exact is not None:
                record[name + _SUFFIX] = exact
        else:
            record[name] = _plain(value)
    return record


def json_line(record: Mapping[str, Any]) -> bytes:
    """One line, newline included: valid UTF-8, and nothing in it that a terminal or ``splitlines`` would act upon."""
    text = _encode(record)
    if not text.isprintable():
        # JSON escapes what is below U+0020 and no more; a C1 control, a bidirectional override or U+2028 in a file
        # name would reach the reader's terminal as it is. They can only stand inside strings, where \u is allowed.
        text = "".join(c if c.isprintable() else _json_escape(c) for c in text)
    return text.encode("utf-8", "replace") + b"\n"


def event_line(event: FileEvent) -> bytes:
    """The line of an event, under its own field names; a field that does not apply is null.

    What is told of many events is put into words once.
    """
    # Asked of the event, so that a field added to it shows here without a second list to keep.
    parts = ['{"record":"event"']
    companions = ""
    for name, value in event._asdict().items():
        if type(value) is int:
            parts.append(f',"{name}":{value}')
        elif value is None:
            parts.append(f',"{name}":null')
        elif type(value) is datetime:
            parts.append(f',"{name}":"{_plain(value)}"')
        else:
            member, companion = _members(name, value)
            parts.append(member)
            companions += companion
    return f"{''.join(parts)}{companions}}}\n".encode()


@lru_cache(maxsize=8192)
def _members(name: str, value: Any) -> tuple[str, str]:
    """The field, and its companion if it needs one, each with a comma before it."""
    shown = value_object("event", {name: value})
    member, companion = (
        "".join(f",{json_line({key: shown[key]}).decode()[1:-2]}" for key in keys if key in shown)
        for keys in ((name,), (name + _SUFFIX,))
    )
    return member, companion


def exact_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed line with its names as ``FileEvent`` has them: ``os.fsencode`` gives the exact bytes of each.

    >>> import json
    >>> exact_names(json.loads('{"path": "/tmp/\\ufffd", "path_b64": "L3RtcC//"}'))
    {'path': '/tmp/\\udcff'}
    """
    exact = dict(record)
    for name in NAME_FIELDS:
        encoded = exact.pop(name + _SUFFIX, None)
        if encoded is not None:
            exact[name] = os.fsdecode(base64.b64decode(encoded, validate=True))
        elif isinstance(exact.get(name), str):
            exact[name] = os.fsdecode(exact[name].encode("utf-8"))
    return exact


def flag_names(flags: Flag) -> list[str]:
    return [flag.name.lower() for flag in flags if flag.name]


def encode_strings(value: Any) -> Any:
    """The value with every string in it made fit for a line of JSON; for what has no exact companion."""
    if isinstance(value, str):
        return _shown_and_exact(str(value))[0]
    if isinstance(value, Mapping):
        return {key: encode_strings(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode_strings(item) for item in value]
    return value


@lru_cache(maxsize=8192)  # a trace names the same few files over and over
def _shown_and_exact(name: str) -> tuple[str, str | None]:
    raw = os.fsencode(name)
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), base64.b64encode(raw).decode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # the enums are strings
        return str(value)
    if isinstance(value, datetime):
        utc = value if value.tzinfo is UTC else value.astimezone(UTC)
        return utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    if isinstance(value, Flag):
        return flag_names(value)
    return value


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
