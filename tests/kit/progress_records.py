"""Recorded progress (JSON lines as BuildKit prints them) as batches of updates, and how to play them on a display."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from buildkit.core.errors import Range, SourceDetail
from buildkit.core.progress import LogUpdate, ProgressGroup, StatusUpdate, Update, VertexUpdate, WarningUpdate

GOLDEN = Path(__file__).parent.parent / "golden" / "progress"
PACE = 100_000_000


def nanoseconds(text: str | None) -> int | None:
    if not text:
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def batch_of(record: dict[str, Any]) -> list[Update]:
    batch: list[Update] = []
    for v in record.get("vertexes", ()):
        group = ProgressGroup(**v["progressGroup"]) if "progressGroup" in v else None
        times = nanoseconds(v.get("started")), nanoseconds(v.get("completed"))
        batch.append(
            VertexUpdate(
                v["digest"],
                v.get("name", ""),
                tuple(v.get("inputs", ())),
                *times,
                v.get("cached", False),
                v.get("error", ""),
                group,
            )
        )
    for s in record.get("statuses", ()):
        times = nanoseconds(s["timestamp"]) or 0, nanoseconds(s.get("started")), nanoseconds(s.get("completed"))
        batch.append(
            StatusUpdate(s["vertex"], s["id"], s.get("name", ""), s.get("current", 0), s.get("total", 0), *times)
        )
    for log in record.get("logs", ()):
        content = b64decode(log["data"])
        batch.append(LogUpdate(log["vertex"], log.get("stream", 0), content, nanoseconds(log["timestamp"]) or 0))
    for w in record.get("warnings", ()):
        info = w.get("sourceInfo") or {}
        ranges = tuple(
            Range(*(r[end].get(part, 0) for end in ("start", "end") for part in ("line", "character")))
            for r in w.get("range", ())
        )
        source = SourceDetail(
            info.get("filename", ""), b64decode(info.get("data", "")), info.get("language", ""), ranges
        )
        detail = tuple(b64decode(line) for line in w.get("detail", ()))
        batch.append(WarningUpdate(w["vertex"], w["level"], b64decode(w["short"]), detail, w.get("url", ""), source))
    return batch


def records(name: str) -> Iterator[list[Update]]:
    """The batches recorded in ``tests/golden/progress/<name>.jsonl``."""
    for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines():
        yield batch_of(json.loads(line))


def newest(batch: list[Update]) -> int:
    """The latest time that a batch mentions."""
    times = [0]
    for update in batch:
        if isinstance(update, LogUpdate):
            times.append(update.timestamp)
        elif isinstance(update, StatusUpdate | VertexUpdate):
            times += [update.started or 0, update.completed or 0]
    return max(times)


class Clock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def play(display: Any, batches: Iterator[list[Update]], clock: Clock) -> None:
    """Feed a display as `buildkit.cli.display.modes.follow` would have at the recorded times."""
    due = 0
    for batch in batches:
        clock.now = max(clock.now, newest(batch))
        display.take(batch)
        if clock.now >= due:
            due = clock.now + PACE
            display.refresh()
    display.finish()
