"""Plain progress: numbered vertices, one line for each thing that happens, for logs and pipes.

Only one vertex is shown at a time; it keeps the floor for a while so that the lines of parallel steps do not
interleave, and gives way to finished steps, to busier ones, and to those that have waited too long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from buildkit.cli.display.trace import Trace, VertexState, is_canceled, seconds_of
from buildkit.cli.units import format_bytes
from buildkit.core.progress import StatusUpdate, Update

_SECOND = 1_000_000_000
_FLOOR_TIME = 5 * _SECOND
_LONGEST_WAIT = 10 * _SECOND
_STATUS_TIME = 5 * _SECOND
_STATUS_SHARE = 0.05
_SHORT_NAME = 72


def print_failures(trace: Trace, out: BinaryIO, lines_of: Callable[[VertexState], Sequence[bytes]]) -> None:
    """The output of every failed step once more, between two rules."""
    for vertex in trace.failed():
        out.write(b"------\n > %b:\n" % vertex.update.name.encode(errors="surrogateescape"))
        for line in lines_of(vertex):
            out.write(line + b"\n")
        out.write(b"------\n")


class PlainDisplay:
    """Prints to ``out`` (bytes)."""

    def __init__(self, out: BinaryIO, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._out = out
        self._clock = clock
        self._trace = Trace(clock=clock)
        self._numbers: dict[VertexState, int] = {}
        self._current: VertexState | None = None
        self._first = True
        self._printed_of_line: dict[VertexState, int] = {}
        self._printed_warnings: dict[VertexState, int] = {}
        self._last_status: dict[str, StatusUpdate] = {}
        self._short_names = os.environ.get("PROGRESS_NO_TRUNC") == "0"

    def take(self, batch: Sequence[Update]) -> None:
        """Learn; nothing is printed before `refresh`."""
        self._trace.take(batch)

    def refresh(self) -> None:
        """Print what is new."""
        fresh = [vertex for vertex in self._trace.fresh if not vertex.hidden]
        ended = sorted((v for v in fresh if v.completed), key=lambda v: v.ended)
        going = [v for v in fresh if not v.completed]
        before = self._current
        if before in ended:
            self._show(before)
        for vertex in ended:
            if vertex is not before:
                self._show(vertex)
        if not going:
            self._show_any(before)
        else:
            if before in going:
                self._show(before)
            self._share_floor(going, before, before is None or before in ended)
        self._out.flush()

    def finish(self) -> None:
        """Print the rest, and the output of failed steps again."""
        self.refresh()
        print_failures(self._trace, self._out, lambda vertex: list(vertex.tail))
        self._out.flush()

    def _show_any(self, before: VertexState | None) -> None:
        if before is not None and before.started and not before.completed:
            return
        for vertex in self._trace.vertices:
            if not vertex.completed and not vertex.hidden:
                return self._show(vertex)

    def _share_floor(self, going: list[VertexState], before: VertexState | None, free: bool) -> None:
        """Give the floor to the busiest vertex if it is free, to one that waited too long, or after a fair share."""
        now = self._clock()
        waited: dict[VertexState, int] = {}
        speeds: dict[VertexState, float] = {}
        best: VertexState | None = None
        for vertex in dict.fromkeys([*going, *([before] if before is not None else [])]):
            waited[vertex] = now - vertex.first_event
            speeds[vertex] = vertex.events / max(waited[vertex] / _SECOND, 1e-6)
            late = waited[vertex] > _LONGEST_WAIT and vertex is not before
            if best is None or late or speeds[best] < speeds[vertex]:
                best = vertex
        if best is None:
            return
        if before is None or free:
            return self._show(best)
        for vertex in going:
            if vertex is not before and waited[vertex] > _LONGEST_WAIT:
                return self._show(vertex)
        others = 1 - speeds[before] / (sum(speeds.values()) or 1)
        if others > 0 and _FLOOR_TIME / others < waited[before]:
            self._show(best)

    def _show(self, vertex: VertexState | None) -> None:
        if vertex is None:
            return
        number = self._numbers.setdefault(vertex, len(self._numbers) + 1)
        if vertex is not self._current:
            self._switch(vertex, number)
        open_status = self._print_statuses(vertex, number)
        for warning in vertex.warnings[self._printed_warnings.get(vertex, 0) :]:
            self._line(b"#%d WARN: %b" % (number, warning.short))
        self._printed_warnings[vertex] = len(vertex.warnings)
        self._print_lines(vertex, number)
        self._current = vertex
        if vertex.completed and not open_status:
            self._end(vertex, number)
        self._trace.fresh.pop(vertex, None)

    def _switch(self, vertex: VertexState, number: int) -> None:
        old = self._current
        if old is not None:
            if old.line_open:
                self._out.write(b"\n")
            self._printed_of_line.pop(old, None)
            old.events = 0
            self._line(b"#%d ..." % self._numbers[old])
        if not self._first:
            self._out.write(b"\n")
        self._first = False
        name = vertex.update.name
        if self._short_names and len(name) > _SHORT_NAME:
            name = name[:_SHORT_NAME] + "..."
        self._text(f"#{number} {name}")

    def _print_statuses(self, vertex: VertexState, number: int) -> bool:
        """Print statuses that moved enough; tells whether one of them is still going on."""
        still_open = False
        for id, status in vertex.statuses.items():
            if id not in vertex.fresh_statuses or not self._moved(status):
                continue
            self._last_status[id] = status
            size = ""
            if status.total:
                size = f" {format_bytes(status.current)} / {format_bytes(status.total)}"
            elif status.current:
                size = f" {format_bytes(status.current)}"
            took = ""
            if status.started is not None:
                seconds = ((status.completed or status.timestamp) - status.started) / _SECOND
                took = f" {seconds:.1f}s" if seconds > 0.01 else ""
            if status.completed is None:
                still_open = True
            self._text(f"#{number} {id}{size}{took}{' done' if status.completed is not None else ''}")
        vertex.fresh_statuses.clear()
        return still_open

    def _moved(self, status: StatusUpdate) -> bool:
        last = self._last_status.get(status.id)
        if last is None or status.completed is not None:
            return True
        share = (status.current - last.current) / status.total if status.total > 0 else 0.0
        return share >= _STATUS_SHARE or status.timestamp - last.timestamp >= _STATUS_TIME

    def _print_lines(self, vertex: VertexState, number: int) -> None:
        last = len(vertex.lines) - 1
        for index, line in enumerate(vertex.lines):
            printed = self._printed_of_line.pop(vertex, 0) if index == 0 else 0
            self._out.write(line[printed:] if printed else b"#%d %b" % (number, line))
            if index != last or not vertex.line_open:
                self._out.write(b"\n")
        if vertex.lines and vertex.line_open:
            line = vertex.lines[-1]
            vertex.lines.clear()
            vertex.lines.append(line)
            self._printed_of_line[vertex] = len(line)
        else:
            vertex.lines.clear()

    def _end(self, vertex: VertexState, number: int) -> None:
        self._current = None
        vertex.events = 0
        update = vertex.update
        if vertex.line_open:
            self._out.write(b"\n")
            vertex.line_open = False
            vertex.lines.clear()
            self._printed_of_line.pop(vertex, None)
        if is_canceled(update.error):
            self._text(f"#{number} CANCELED")
        elif update.error:
            self._text(f"#{number} ERROR: {update.error}")
        elif update.cached:
            self._text(f"#{number} CACHED")
        else:
            self._text(f"#{number} DONE {seconds_of(vertex.intervals, self._clock()):.1f}s")

    def _text(self, line: str) -> None:
        self._line(line.encode(errors="surrogateescape"))

    def _line(self, line: bytes) -> None:
        self._out.write(line + b"\n")
