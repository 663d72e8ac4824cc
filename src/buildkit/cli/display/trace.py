"""What is known of a build so far, kept for drawing: vertices, their times, statuses, logs and warnings.

Times are nanoseconds since the Unix epoch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from buildkit.cli.display.screen import Screen
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, Update, VertexUpdate, WarningUpdate
from buildkit.core.values import replace

Interval = tuple[int, int | None]
"""Start and end of work; the end is None while it goes on."""

TAIL_LINES = 10
"""How many lines of a failed step plain progress repeats at the end."""

_SECOND = 1_000_000_000


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Combine overlapping intervals; one without an end swallows all that start after it."""
    merged: list[Interval] = []
    for start, stop in sorted(intervals, key=lambda interval: interval[0]):
        if not merged:
            merged.append((start, stop))
            continue
        last_start, last_stop = merged[-1]
        if last_stop is None:
            break
        if last_stop < start:
            merged.append((start, stop))
        elif stop is None or stop > last_stop:
            merged[-1] = (last_start, stop)
    return merged


def seconds_of(intervals: Iterable[Interval], now: int) -> float:
    """The sum of the intervals' lengths; those without an end last until ``now``."""
    return sum((now if stop is None else stop) - start for start, stop in intervals) / _SECOND


def is_canceled(error: str) -> bool:
    """Whether a vertex ended because its build was cancelled and not for a fault of its own."""
    return error.endswith("context canceled")


class VertexState:
    """One line of the display: a vertex, or a progress group that stands for several."""

    def __init__(
        self,
        update: VertexUpdate,
        *,
        hidden: bool = False,
        screen: Screen | None = None,
        kept_lines: int | None = None,
    ) -> None:
        self.update = update
        self.hidden = hidden
        self.screen = screen
        self.intervals: list[Interval] = []
        self.statuses: dict[str, StatusUpdate] = {}
        self.fresh_statuses: set[str] = set()
        self.warnings: list[WarningUpdate] = []
        self.lines: deque[bytes] = deque(maxlen=kept_lines)
        self.tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self.line_open = False
        self.events = 0
        self.first_event = 0
        self._spans: dict[int, int | None] = {}
        self._previous: VertexUpdate | None = None

    @property
    def started(self) -> bool:
        """Whether work on it ever began."""
        return bool(self.intervals)

    @property
    def completed(self) -> bool:
        """Whether the last stretch of work has ended."""
        return bool(self.intervals) and self.intervals[-1][1] is not None

    @property
    def ended(self) -> int:
        """When the last stretch of work ended; 0 while there is none."""
        return (self.intervals[-1][1] or 0) if self.intervals else 0

    def touch(self, now: int) -> None:
        """Count something worth showing."""
        if not self.events:
            self.first_event = now
        self.events += 1

    def span(self, update: VertexUpdate) -> bool:
        """Take over the times of an update; tells whether they are new."""
        if update.started is None:
            return False
        new = self._spans.get(update.started, -1) != update.completed
        self._spans[update.started] = update.completed
        self.intervals = merge_intervals(self._spans.items())
        return new

    def take(self, update: VertexUpdate) -> bool:
        """Take over an update of this very vertex; tells whether something to show has changed."""
        changed = update.started is not None and (update != self._previous or update.completed is not None)
        if update.started is not None:
            self._previous = update
        if update.started is not None or not self.started:
            self.update = update
        self.span(update)
        return changed

    def log(self, content: bytes, timestamp: int) -> None:
        """Append output; each line is prefixed with the seconds since the current stretch of work began."""
        parts = content.split(b"\n")
        ends_open = bool(parts[-1])
        if not ends_open:
            parts.pop()
        since = (timestamp - self.intervals[-1][0]) / _SECOND if self.intervals else 0.0
        decimals = 3 if since < 10 else 2 if since < 100 else 1
        for index, part in enumerate(parts):
            if index == 0 and self.line_open and self.lines:
                self.lines[-1] += part
                self.tail[-1] = self.lines[-1]
            else:
                self.lines.append(b"%.*f %b" % (decimals, since, part))
                self.tail.append(self.lines[-1])
        if parts:
            self.line_open = ends_open


class _Group(VertexState):
    """Vertices folded into one; hidden while only weak members have started."""

    def __init__(self, group: ProgressGroup, screen: Screen | None, kept_lines: int | None) -> None:
        super().__init__(VertexUpdate(group.id, group.name), hidden=True, screen=screen, kept_lines=kept_lines)
        self._members: dict[str, VertexUpdate] = {}

    def fold(self, member: VertexUpdate) -> None:
        self._members[member.digest] = member

    def refresh(self) -> bool:
        """Combine the members; tells whether something to show has changed."""
        was_hidden, changed = self.hidden, False
        for member in self._members.values():
            changed |= self.span(member)
            weak = member.group is not None and member.group.weak
            if (member.started is not None and not weak) or member.error:
                self.hidden = False
        combined = replace(
            self.update,
            cached=all(member.cached for member in self._members.values()),
            error=next((member.error for member in self._members.values() if member.error), ""),
        )
        changed |= combined != self.update or was_hidden != self.hidden
        self.update = combined
        return changed


class Trace:
    """All vertices seen, in the order in which they started."""

    def __init__(
        self,
        *,
        screen: Callable[[], Screen] | None = None,
        kept_lines: int | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Start empty.

        ``screen`` makes the little terminal that shows a step's output; ``kept_lines`` bounds the lines of output
        kept for each vertex (a display that prints and drops them needs no bound).
        """
        self.vertices: list[VertexState] = []
        self.by_digest: dict[str, VertexState] = {}
        self.fresh: dict[VertexState, None] = {}
        self.start: int | None = None
        self.clock = clock
        self.skew = 0
        """What to add to the builder's clock to get ours."""
        self._screen = screen
        self._kept_lines = kept_lines
        self._groups: dict[str, _Group] = {}

    def take(self, batch: Sequence[Update]) -> None:
        """Learn from a batch of updates: vertices first, since the rest refers to them."""
        regrouped: dict[_Group, None] = {}
        for update in batch:
            if isinstance(update, VertexUpdate):
                if self.start is None:
                    self.start = update.started
                if update.group is not None:
                    regrouped[self._fold(update, update.group)] = None
                else:
                    self._take_vertex(update)
        for group in regrouped:
            self._refresh(group)
        for update in batch:
            if not isinstance(update, VertexUpdate):
                self._take_detail(update)

    def _new_screen(self) -> Screen | None:
        return self._screen() if self._screen else None

    def _fold(self, update: VertexUpdate, group: ProgressGroup) -> _Group:
        state = self._groups.get(group.id)
        if state is None:
            state = self._groups[group.id] = _Group(group, self._new_screen(), self._kept_lines)
            self.by_digest[group.id] = state
        state.fold(update)
        self.by_digest[update.digest] = state
        return state

    def _refresh(self, group: _Group) -> None:
        was_hidden = group.hidden
        changed = group.refresh()
        if group.started:
            self._set_skew(group.intervals[0][0])
        if group.hidden:
            return
        if was_hidden:
            self.vertices.append(group)
        if changed:
            self._mark(group)

    def _take_vertex(self, update: VertexUpdate) -> None:
        state = self.by_digest.get(update.digest)
        if state is None:
            state = self.by_digest[update.digest] = VertexState(
                update, screen=self._new_screen(), kept_lines=self._kept_lines
            )
        was_started = state.started
        if state.take(update):
            self._mark(state)
        if state.started and not was_started:
            self._set_skew(state.intervals[0][0])
            self.vertices.append(state)

    def _take_detail(self, update: StatusUpdate | LogUpdate | WarningUpdate) -> None:
        state = self.by_digest.get(update.vertex)
        if state is None:
            return
        if isinstance(update, StatusUpdate):
            if update.started is not None or update.id in state.statuses:
                state.statuses[update.id] = update
            state.fresh_statuses.add(update.id)
        elif isinstance(update, LogUpdate):
            if state.screen is not None:
                state.screen.write(update.content)
            state.log(update.content, update.timestamp)
        else:
            state.warnings.append(update)
        self._mark(state)

    def _set_skew(self, started: int) -> None:
        if not self.skew:
            self.skew = self.clock() - started

    def _mark(self, state: VertexState) -> None:
        state.touch(self.clock())
        self.fresh[state] = None

    def visible(self) -> list[VertexState]:
        """Every vertex that counts: groups once, their members and hidden groups not at all."""
        return [state for state in dict.fromkeys(self.by_digest.values()) if not state.hidden]

    def failed(self) -> list[VertexState]:
        """Vertices that ended with an error of their own."""
        return [v for v in self.vertices if v.update.error and not is_canceled(v.update.error)]
