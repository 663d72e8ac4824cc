"""Live progress in a terminal: a block of lines that is drawn again and again in place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from buildkit.cli.display.colors import FAINT, RESET, Colors, read_colors
from buildkit.cli.display.plain import print_failures
from buildkit.cli.display.screen import Screen
from buildkit.cli.display.trace import Interval, Trace, VertexState, is_canceled, seconds_of
from buildkit.cli.units import format_bytes
from buildkit.core.progress import StatusUpdate, Update, WarningUpdate
from buildkit.core.values import dataclass

_HIDE_CURSOR = "\x1b[?25l"
_SHOW_CURSOR = "\x1b[?25h"
_SECOND = 1_000_000_000
_MARGIN = 10
_LOG_LINES = 6
_KEPT_LINES = 10_000
_NARROWEST_NAME = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the block: a vertex, one of its statuses, or a warning."""

    name: str
    intervals: Sequence[Interval]
    done: bool = False
    size: str = ""
    color: str = ""
    screen: Screen | None = None


class TTYDisplay:
    """Draws on ``out``, whose size ``size()`` tells as (columns, lines)."""

    def __init__(
        self,
        out: BinaryIO,
        size: Callable[[], tuple[int, int]],
        *,
        phase: str = "Building",
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._out = out
        self._size = size
        self._phase = phase
        self._clock = clock
        self._colors, self._complaints = read_colors(environment)
        wanted = environment.get("BUILDKIT_TTY_LOG_LINES", "")
        self._log_lines = int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted) else _LOG_LINES
        self._width, self._height = size()
        self._trace = Trace(screen=self._new_screen, kept_lines=_KEPT_LINES, clock=clock)
        self._drawn = -1
        """Lines drawn below the title; -1 before the first time."""

    def _new_screen(self) -> Screen:
        return Screen(self._window_height(), self._width - _MARGIN)

    def _window_height(self) -> int:
        return max(_LOG_LINES, min(self._log_lines, self._height - _LOG_LINES - 1))

    def take(self, batch: Sequence[Update]) -> None:
        """Learn; nothing is drawn before `refresh`."""
        self._trace.take(batch)

    def refresh(self) -> None:
        """Draw the block anew, as tall as the terminal allows."""
        self._draw(complete=False)

    def finish(self) -> None:
        """Draw every line a last time, then the output of failed steps."""
        self._draw(complete=True)
        print_failures(self._trace, self._out, lambda vertex: list(vertex.lines))
        self._out.flush()

    def _draw(self, *, complete: bool) -> None:
        width_before = self._width
        self._width, self._height = self._size()
        for complaint in self._complaints:
            self._out.write(f"{complaint}\n".encode())
        self._complaints = []
        rows = _rows(self._trace, self._colors)
        windows = _windows(rows, self._height, self._window_height())
        if not complete:
            hidden = sum(len(screen.rows) for screen in windows)
            rows = _fit(rows, self._height - 2 - hidden)
        lines = [self._title(complete)]
        for row in rows:
            lines += self._row(row, windows)
        back = f"\x1b[{self._drawn + 1}A" if self._drawn >= 0 else ""
        gone = max(self._drawn + 1 - len(lines), 0)
        erased = f"{(' ' * self._width + chr(10)) * gone}\x1b[{gone}A" if gone else ""
        if width_before != self._width:
            back += "\x1b[0G\x1b[J"
        text = f"{back}\x1b[0G{_HIDE_CURSOR}{''.join(lines)}{erased}\x1b[0G{_SHOW_CURSOR}"
        self._drawn = len(lines) - 1
        self._out.write(text.encode(errors="replace"))
        self._out.flush()

    def _title(self, complete: bool) -> str:
        counted = self._trace.visible()
        done = sum(vertex.completed for vertex in counted)
        now = self._clock()
        start = now if self._trace.start is None else self._trace.start + self._trace.skew
        finished = "FINISHED" if complete and done and done == len(counted) else ""
        took = (now - start) / _SECOND
        return _fill(f"[+] {self._phase} {took:.1f}s ({done}/{len(counted)}) {finished}", "", self._width) + "\n"

    def _row(self, row: Row, windows: list[Screen]) -> list[str]:
        took = seconds_of(row.intervals, self._clock() - self._trace.skew)
        timer = f" {took if took >= 0.05 else 0:3.1f}s"
        left = self._width - len(" => ") - len(timer) - 2
        size = f" {row.size}" if row.size and left + len(row.size) > 20 else ""
        left -= len(size)
        if left < _NARROWEST_NAME:
            return []
        text = _fill(f" => {_cut(row.name, left)}{size}", timer, self._width - 1)
        lines = [f"{row.color}{text}\n{RESET}" if row.done and row.color else text + "\n"]
        if row.screen in windows and row.screen is not None:
            row.screen.resize(self._window_height(), self._width - _MARGIN)
            row.screen.shown += 1
            lines += [f"{FAINT} => => # {line}\n{RESET}" for line in row.screen.rows]
        return lines


def _rows(trace: Trace, colors: Colors) -> list[Row]:
    rows: list[Row] = []
    for vertex in trace.vertices:
        rows.append(_vertex_row(vertex, colors))
        rows += [_status_row(status, colors) for status in vertex.statuses.values() if status.started is not None]
        rows += [_warning_row(warning, vertex, colors) for warning in vertex.warnings]
    return rows


def _vertex_row(vertex: VertexState, colors: Colors) -> Row:
    name, color, error = vertex.update.name, colors.run, vertex.update.error
    if error:
        canceled = is_canceled(error)
        name, color = (f"CANCELED {name}", colors.cancel) if canceled else (f"ERROR {name}", colors.error)
    if vertex.update.cached:
        name = f"CACHED {name}"
    return Row(name, vertex.intervals, vertex.completed, color=color, screen=vertex.screen)


def _status_row(status: StatusUpdate, colors: Colors) -> Row:
    size = ""
    if status.total:
        size = f"{format_bytes(status.current)} / {format_bytes(status.total)}"
    elif status.current:
        size = format_bytes(status.current)
    interval = (status.started or 0, status.completed)
    return Row(f"=> {status.id}", [interval], status.completed is not None, size, colors.run)


def _warning_row(warning: WarningUpdate, vertex: VertexState, colors: Colors) -> Row:
    return Row(f"WARN: {warning.short.decode(errors='replace')}", vertex.intervals[-1:], False, color=colors.cancel)


def _windows(rows: Sequence[Row], height: int, window_height: int) -> list[Screen]:
    """Which running steps show their output: the most talkative, as many as there is room for."""
    going = [row for row in rows if not row.done]
    talking = [row.screen for row in going if row.screen is not None and row.screen.written]
    talking.sort(key=lambda screen: screen.written + screen.shown * 50, reverse=True)
    room = height - 2 - len(going)
    return talking[: max(room - 1, 0) // (window_height + 3)]


def _fit(rows: list[Row], limit: int) -> list[Row]:
    """The last ``limit`` rows; done ones among them give way to rows further up that still go on."""
    if limit <= 0:
        return []
    above, kept = rows[:-limit], rows[-limit:]
    waiting = [row for row in above if not row.done]
    room = len(waiting)
    below: list[Row] = []
    for row in kept:
        if row.done and room:
            room -= 1
        else:
            below.append(row)
    return waiting[room:] + below


def _cut(text: str, cells: int) -> str:
    """Control characters replaced, and no wider than ``cells`` terminal cells."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if text.isascii():
        return text[:cells]
    while _cells(text) > cells:
        text = text[:-1]
    return text


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _fill(left: str, right: str, width: int) -> str:
    """``left`` and ``right`` at the two ends of a line of ``width`` cells."""
    return (left + " " * (width - _cells(left) - len(right)) + right)[: max(width, 0) if left.isascii() else None]
