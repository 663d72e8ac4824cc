"""The queue of edges with a line of the log for each of their moves, for whoever looks for a mistake in the solver."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from buildkit.core.csv import parse_fields
from buildkit.solver.work import WATCH, Mover, Queue

if TYPE_CHECKING:
    from buildkit.solver.edge import EdgeState

ALL, SOME = WATCH
"""``1`` for every step; parts of the names of steps, of which ``name^`` also means those that build on it."""

log = logging.getLogger(__name__)


def watched_queue(environ: Mapping[str, str] = os.environ) -> Queue:
    """A queue that logs what the environment wants to see."""
    wanted: list[str] = []
    if environ.get(ALL) == "1":
        wanted = [""]
    elif text := environ.get(SOME, ""):
        try:
            wanted = [part for part in parse_fields(text) if part]
        except ValueError:
            log.warning("%s is not a list of names: %s", SOME, text)
    return WatchedQueue(wanted) if wanted else Queue()


class WatchedQueue(Queue):
    """Logs the moves of edges of steps whose names hold one of some texts."""

    def __init__(self, wanted: list[str]) -> None:
        super().__init__()
        self._wanted = wanted
        if not log.hasHandlers():
            logging.basicConfig(format="%(message)s")
        log.setLevel(logging.INFO)

    def _run(self) -> None:
        while self._edges:
            edge = self._edges.popleft()
            edge.queued = False
            self._move(edge)
        self._scheduled = False

    def _move(self, edge: Mover) -> None:
        """Move an edge on, and say from where to where."""
        shown = cast("EdgeState[Any]", edge)
        if not self._is_wanted(shown):
            edge.advance()
            return
        before = shown.level.name
        edge.advance()
        asked = {i: level.name for i, level in enumerate(shown.asked) if level > shown.inputs[i].level}
        log.info(
            "edge %s %r [%d]: %s -> %s of %s, %d keys, asks %s, waits for %d%s",
            shown.state.digest,
            shown.state.vertex.name,
            shown.output,
            before,
            shown.level.name,
            shown.goal.name,
            len(shown.keys),
            asked or "nobody",
            len(shown.works),
            f", failed: {shown.error}" if shown.error is not None else "",
        )

    def _is_wanted(self, edge: EdgeState[Any]) -> bool:
        below = [one.state.vertex.name for one in edge.inputs]
        for text in self._wanted:
            part = text.removesuffix("^")
            if part in edge.state.vertex.name or (part != text and any(part in name for name in below)):
                return True
        return False
