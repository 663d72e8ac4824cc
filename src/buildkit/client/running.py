"""A build that has begun, at a daemon or in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from buildkit.client.options import SolveResponse
from buildkit.core.progress import Stream, Update
from buildkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class RunningBuild:
    """One build of a client; it lives as long as the scope that gave it."""

    _stream: Stream
    _task: asyncio.Task[SolveResponse]

    async def progress(self) -> AsyncIterator[Sequence[Update]]:
        """Everything that happens, in batches, until the end."""
        async for batch in self._stream.read():
            yield batch

    async def result(self) -> SolveResponse:
        """Wait for the end; raises the build's error."""
        return await self._task
