"""Networks kept ready: making one takes longer than many a step, and nothing of a step's stays in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_all
from contextlib import asynccontextmanager
from functools import partial

from buildkit.core.aio import outlast
from buildkit.core.errors import BuildkitError
from buildkit.executor.attachments import Attachments
from buildkit.executor.cni import Attachment
from buildkit.executor.enclosure import Enclosure

_KEPT_SECONDS = 300.0
"""How long a network above the wanted number is kept without use."""

_TRUSTED_SECONDS = 10.0
"""How long a network is taken to work without asking the plugins."""


class Pool:
    """Attachments to one network, lent to one container at a time. Lives on one event loop."""

    def __init__(self, attachments: Attachments, enclosure: Enclosure, size: int) -> None:
        """``size`` of them are kept however long they are not used."""
        self._attachments = attachments
        self._enclosure = enclosure
        self._size = size
        self._idle: list[tuple[float, Attachment]] = []
        self._coming: list[Future[Attachment]] = []
        self._lent: dict[str, Attachment] = {}
        self._trimming: asyncio.TimerHandle | None = None

    def fill(self) -> None:
        """Begin to make as many as are to be kept."""
        while len(self._idle) + len(self._coming) + len(self._lent) < self._size:
            self._coming.append(self._enclosure.submit(self._attachments.open))

    @asynccontextmanager
    async def lent(self, hostname: str = "", *, altered: bool = False) -> AsyncIterator[Attachment]:
        """A network for the scope; one of its own for a ``hostname``. ``altered``: it must not be used again."""
        attachment, left = await self._take(hostname)
        self._lent[attachment.id] = attachment
        try:
            if left is not None:
                raise left
            yield attachment
        finally:
            del self._lent[attachment.id]
            if altered or hostname:
                await self._drop(attachment, altered=altered)
            else:
                self._keep(attachment)

    def close(self) -> None:
        """Leave the network with everything; blocks."""
        if self._trimming is not None:
            self._trimming.cancel()
        for future in self._coming:
            try:
                self._idle.append((0.0, future.result()))
            except (BuildkitError, OSError):
                continue
        left = [*self._lent.values(), *(attachment for _, attachment in self._idle)]
        self._coming.clear()
        self._idle.clear()
        wait_for_all([self._close(attachment) for attachment in left])

    async def _take(self, hostname: str) -> tuple[Attachment, asyncio.CancelledError | None]:
        while self._idle and not hostname:
            since, attachment = self._idle.pop()
            if time.monotonic() - since < _TRUSTED_SECONDS:
                return attachment, None
            found = asyncio.wrap_future(self._enclosure.submit(partial(self._attachments.works, attachment)))
            left = await outlast(found)
            if found.result() or left is not None:
                return attachment, left
            await self._drop(attachment)
        coming = self._coming.pop(0) if self._coming and not hostname else None
        made = asyncio.wrap_future(coming or self._enclosure.submit(partial(self._attachments.open, hostname)))
        left = await outlast(made)
        if left is not None and made.exception() is not None:
            raise left
        return made.result(), left

    def _keep(self, attachment: Attachment) -> None:
        self._idle.append((time.monotonic(), attachment))
        if len(self._idle) > self._size and self._trimming is None:
            self._trimming = asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._trim)

    def _trim(self) -> None:
        """Drop what has not been used for long, as far as more than enough are there."""
        self._trimming = None
        now = time.monotonic()
        while len(self._idle) + len(self._lent) > self._size and self._idle:
            since, attachment = self._idle[0]
            if now - since < _KEPT_SECONDS:
                self._trimming = asyncio.get_running_loop().call_later(since + _KEPT_SECONDS - now, self._trim)
                return
            del self._idle[0]
            self._close(attachment)

    async def _drop(self, attachment: Attachment, *, altered: bool = False) -> None:
        left = await outlast(asyncio.wrap_future(self._close(attachment, altered=altered)))
        if left is not None:
            raise left

    def _close(self, attachment: Attachment, *, altered: bool = False) -> Future[None]:
        return self._enclosure.submit(partial(self._attachments.close, attachment, altered=altered))
