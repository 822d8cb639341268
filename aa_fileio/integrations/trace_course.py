# SPDX-License-Identifier: MIT
"""The course of a trace: events or counts from an attached manager to a writer, and the closing words."""

from __future__ import annotations

import argparse
import os
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from aa_fileio.integrations.messages import say

if TYPE_CHECKING:
    from aa_fileio import KprobeManager, Totals
    from aa_fileio.integrations.closing import Survivors
    from aa_fileio.integrations.trace_writer import TraceWriter

# Bounds what is held as objects at a time, and how long a line waits for the ones formatted with it.
EVENTS_PER_READ = 2048

#: Two signals so close together are one wish: timeout(1) sends to us and to our group.
ONE_WISH_SECONDS = 1.0
#: So long a write has to wait until a second wish ends the trace without its verdict; and so long a detach.
STUCK_SECONDS = 0.5
PATIENCE_SECONDS = 30.0


class Trace:
    """Events from an attached manager to a writer, and the closing words. Detaches on every way out."""

    #: Of the manager, beside those that the user gives.
    OPTIONS: ClassVar[dict[str, Any]] = {}

    def __init__(self, manager: KprobeManager, writer: TraceWriter, options: argparse.Namespace) -> None:
        self.failed = False
        self._manager = manager
        self._writer = writer
        self._options = options
        self._ended_at: float | None = None
        self._ending = threading.Lock()
        # Process → when it last made a call, to name those that are still running at the end.
        self._last_seen_ns: dict[int, int] = {}

    def follow(self) -> None:
        """Until the stream ends, or the reader of the output has gone."""
        from aa_fileio.integrations.trace_writer import OutputClosed, OutputFailed

        duration = getattr(self._options, "duration", None)
        if duration is not None:
            timer = threading.Timer(duration, self._end_once)
            timer.daemon = True
            timer.start()
        try:
            self._begin_output()
            self._copy_events()
            survivors = self._survivors()
            self._manager.detach()
            self._copy_events()  # what was captured between the end of the stream and the end of the probes
            self._write_end(survivors)
            self._writer.publish()
        except OutputClosed:
            pass
        except OutputFailed as error:
            self.failed = True
            say(f"{error}; the trace ends here")  # now, and not when the command is done: it may run for days
        finally:
            self._manager.detach()

    def end(self, number: int) -> None:
        """Called for a signal. The first detaches, and the stream runs dry by itself: the verdict comes. A later one
        ends at once where the verdict cannot come, because the output is blocked or the kernel does not let go."""
        if self._end_once():
            return
        waited = time.monotonic() - (self._ended_at or 0.0)
        if waited < ONE_WISH_SECONDS:
            return
        if self._writer.waits_for() > STUCK_SECONDS or waited > PATIENCE_SECONDS:
            say("the trace ends without its verdict: its output is blocked", wait=False)
            os._exit(128 + number)  # takes every descriptor along, and with them the probes

    def _end_once(self) -> bool:
        """False when the trace was ending already."""
        with self._ending:
            if self._ended_at is not None:
                return False
            self._ended_at = time.monotonic()
        # Detaching takes seconds with some backends, and the caller has to be free for the next signal.
        try:
            threading.Thread(target=self._manager.detach, name="aa-fileio-detach", daemon=True).start()
        except RuntimeError:  # no more threads for this user
            self._manager.detach(wait=False)
        return True

    def close(self) -> None:
        self._manager.close()
        self._writer.close()

    def _begin_output(self) -> None:
        self._writer.write_header()

    def _copy_events(self) -> None:
        seen = self._last_seen_ns
        while (events := self._manager.poll(max_events=EVENTS_PER_READ)) is not None:
            self._writer.write_events(events)
            for event in events:
                seen[event.pid] = event.timestamp_ns

    def _survivors(self) -> Survivors:
        from aa_fileio.integrations.closing import surviving
        from aa_fileio.integrations.notes import proc_is_ours

        if self._manager.pid is None:
            return surviving({}, 0)
        if not proc_is_ours():
            return surviving({}, self._manager.stats.watched)
        return surviving(self._last_seen_ns, self._manager.stats.watched)

    def _write_end(self, survivors: Survivors) -> None:
        from aa_fileio.integrations.closing import closing_lines, summary_object, verdict
        from aa_fileio.integrations.json_lines import encode_strings

        manager, writer, stats = self._manager, self._writer, self._manager.stats
        if writer.as_json:
            summary = summary_object(writer.events, stats, manager.backend, manager.passed_over, survivors)
            writer.write_records([encode_strings(summary)])
        else:
            writer.write_closing(closing_lines(writer.events, stats, manager.backend, survivors))
        if writer.is_file and not stats.complete:
            say(verdict(writer.events, stats, manager.backend))  # what rests on this trace may not look into it


class Top(Trace):
    """The same without events: counts, now and then and at the end."""

    OPTIONS: ClassVar[dict[str, Any]] = {"totals": True, "events": False}

    def _begin_output(self) -> None:
        """Nothing has been counted yet."""

    def _copy_events(self) -> None:
        interval = self._options.interval
        if interval is None and self._writer.is_terminal and not self._writer.as_json:
            interval = 1.0
        before = self._manager.totals()
        while self._manager.poll(interval) is not None:
            now = self._manager.totals()
            self._write_table(now.since(before), clear=self._writer.is_terminal)
            before = now

    def _write_table(self, totals: Totals, *, clear: bool = False) -> None:
        from aa_fileio.integrations.top import table_lines

        options = self._options
        if clear:
            self._writer.clear_terminal()
        self._writer.write_closing(table_lines(totals, options.by, options.sort, options.rows))

    def _write_end(self, survivors: Survivors) -> None:
        from aa_fileio.integrations.closing import summary_object, verdict_object
        from aa_fileio.integrations.json_lines import encode_strings
        from aa_fileio.integrations.top import ending, grouped, ordered, total_object

        manager, writer, options = self._manager, self._writer, self._options
        totals = manager.totals()
        stats = totals.stats
        verdict = ending(totals, stats, manager.backend)
        if writer.as_json:
            rows = ordered(grouped(totals, options.by), options.sort)
            writer.write_records(total_object(row, options.by) for row in rows[: options.rows or None])
            summary = summary_object(0, stats, manager.backend, manager.passed_over, survivors)
            summary |= {
                "calls": sum(row.calls for row in totals),
                "rows": len(rows),
                "complete": totals.complete,
                "verdict": verdict_object(totals.verdict, verdict),
            }
            writer.write_records([encode_strings(summary)])
        else:
            self._write_table(totals, clear=writer.is_terminal)
            writer.write_closing([verdict])
        if writer.is_file and not totals.complete:
            say(verdict)


def open_writer(options: argparse.Namespace, *, standard: int, owner: tuple[int, int] | None = None) -> TraceWriter:
    """owner: user and group of a file that is made, None: ours."""
    from aa_fileio.integrations.trace_writer import TraceWriter

    if options.output == "-":
        return TraceWriter.to_standard(1, as_json=options.json)
    if options.output is not None:
        return TraceWriter.to_file(options.output, as_json=options.json, owner=owner)
    return TraceWriter.to_standard(standard, as_json=options.json)
