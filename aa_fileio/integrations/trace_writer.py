# SPDX-License-Identifier: MIT
"""Where the trace goes: whole lines onto a descriptor, as JSON or as text."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aa_fileio.integrations import json_lines, text_lines
from aa_fileio.integrations.inherited import take_inherited
from aa_fileio.integrations.messages import say
from aa_fileio.integrations.output_file import OutputFile

if TYPE_CHECKING:
    from aa_fileio import FileEvent


class OutputClosed(Exception):
    """Whoever read the trace has gone. No mistake of anyone's: `aa-fileio attach … | head` ends like this."""


class OutputFailed(Exception):
    """The trace could not be written; what is missing from it is missing in silence, so the caller must hear of it."""


class TraceWriter:
    def __init__(self, descriptor: int, name: str, *, as_json: bool) -> None:
        self.as_json = as_json
        self.events = 0
        self._descriptor = descriptor
        self._name = name
        self._file: OutputFile | None = None
        self._writing_since: float | None = None

    @classmethod
    def to_file(cls, path: str, *, as_json: bool, owner: tuple[int, int] | None = None) -> TraceWriter:
        name = text_lines.shown(path)
        try:
            file = OutputFile(path, owner)
        except OSError as error:
            raise OutputFailed(f"cannot open {name} for the trace: {error.strerror}") from error
        writer = cls(file.descriptor, name, as_json=as_json)
        writer._file = file
        return writer

    @classmethod
    def to_standard(cls, descriptor: int, *, as_json: bool) -> TraceWriter:
        name = {1: "standard output", 2: "standard error"}[descriptor]
        if descriptor in take_inherited().closed:
            raise OutputFailed(f"{name} is closed: give -o FILE for the trace")
        return cls(descriptor, name, as_json=as_json)

    @property
    def is_file(self) -> bool:
        return self._file is not None

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def publish(self) -> None:
        """The file takes the place of the one that was there. The first write does it, too."""
        if self._file is not None:
            try:
                self._file.publish()
            except OSError as error:
                raise OutputFailed(f"cannot put the trace in place as {self._name}: {error.strerror}") from error

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def waits_for(self) -> float:
        """For how many seconds a write has been waiting for whoever takes it; 0.0 when none is."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def write_header(self) -> None:
        """Says that the probes are in."""
        if not self.as_json:
            self._write(_text_line(text_lines.HEADER))

    def write_note(self, text: str) -> None:
        """Said before the trace; into it only where a line of text on standard error would be none of its JSON."""
        if self.as_json and self._descriptor == 2:
            self.write_records([{"record": "note", "text": text}])
        else:
            say(text)

    def write_events(self, events: Iterable[FileEvent]) -> None:
        if self.as_json:
            lines = [json_lines.event_line(event) for event in events]
        else:
            lines = [_text_line(text_lines.event_line(event)) for event in events]
        self._write(b"".join(lines))
        self.events += len(lines)

    @property
    def is_terminal(self) -> bool:
        return os.isatty(self._descriptor)

    def clear_terminal(self) -> None:
        """ECMA-48: the cursor to the top left corner, and what is after it away."""
        self._write(b"\x1b[H\x1b[J")

    def write_records(self, records: Iterable[dict[str, Any]]) -> None:
        self._write(b"".join(json_lines.json_line(record) for record in records))

    def write_closing(self, lines: Iterable[str]) -> None:
        self._write(b"".join(_text_line(line) for line in lines))

    def _write(self, data: bytes) -> None:
        self.publish()
        rest = memoryview(data)
        while rest:
            self._writing_since = time.monotonic()
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # A command that shares our terminal may have made it non-blocking (the flag belongs to the open file,
                # not to the descriptor); node and ssh do.
                select.select((), (self._descriptor,), ())
            except BrokenPipeError as error:
                raise OutputClosed from error
            except OSError as error:
                raise OutputFailed(f"cannot write the trace to {self._name}: {error.strerror}") from error
            finally:
                self._writing_since = None


def _text_line(line: str) -> bytes:
    return line.encode("utf-8", "replace") + b"\n"
