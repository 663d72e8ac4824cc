"""Choose a display by name and feed it until the build's updates end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, Protocol

from buildkit.core.errors import InvalidInput
from buildkit.core.progress import Update

MODES = ("auto", "plain", "tty", "rawjson", "quiet")

_IDLE = 0.150
_PACE = 0.100


class Display(Protocol):
    """Shows updates."""

    def take(self, batch: Sequence[Update]) -> None:
        """Learn what is new."""

    def refresh(self) -> None:
        """Show what was learned."""

    def finish(self) -> None:
        """Show everything a last time: no more will come."""


class QuietDisplay:
    """Shows nothing."""

    def take(self, batch: Sequence[Update]) -> None:
        """Show nothing."""

    def refresh(self) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Show nothing."""


def open_display(mode: str, out: BinaryIO) -> Display:
    """The display called ``mode`` (``""`` is auto), drawing on ``out``; raises `InvalidInput`."""
    if mode in ("", "auto", "tty"):
        if out.isatty():
            from buildkit.cli.display.tty import TTYDisplay

            return TTYDisplay(out, lambda: _terminal_size(out))
        if mode == "tty":
            raise InvalidInput("failed to get console: provided file is not a console")
        mode = "plain"
    if mode == "plain":
        from buildkit.cli.display.plain import PlainDisplay

        return PlainDisplay(out)
    if mode == "rawjson":
        from buildkit.cli.display.rawjson import RawJSONDisplay

        return RawJSONDisplay(out)
    if mode == "quiet":
        return QuietDisplay()
    raise InvalidInput(f"invalid progress mode {mode}")


def _terminal_size(out: BinaryIO) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except OSError:
        columns = lines = 0
    return (columns, lines) if columns > 0 and lines > 0 else (80, 10)


def _rates() -> tuple[float, float]:
    wanted = os.environ.get("TTY_DISPLAY_RATE", "")
    if wanted.isascii() and wanted.isdigit():
        return max(int(wanted) / 1000, 0.001), int(wanted) / 1000
    return _IDLE, _PACE


async def follow(
    display: Display,
    batches: AsyncIterator[Sequence[Update]],
    *,
    watch: Callable[[Sequence[Update]], None] | None = None,
) -> None:
    """Show ``batches`` until they end; at most ten times a second, and on when nothing comes.

    ``watch`` sees every batch too. ``TTY_DISPLAY_RATE`` (milliseconds) changes both rates.
    """
    idle, pace = _rates()
    clock = asyncio.get_running_loop().time
    next_turn = 0.0
    coming: asyncio.Future[Sequence[Update]] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(batches))
            done, _ = await asyncio.wait({coming}, timeout=idle)
            if not done:
                display.refresh()
                continue
            try:
                batch = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            if watch is not None:
                watch(batch)
            display.take(batch)
            if clock() >= next_turn:
                next_turn = clock() + pace
                display.refresh()
    finally:
        if coming is not None:
            coming.cancel()
        display.finish()
