"""Garbage collection by the daemon itself: soon after a build, at most once a minute.

The keys of what went are forgotten less often: nothing but their own space depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from logging import getLogger

from buildkit.core.errors import BuildkitError
from buildkit.core.memory import give_back
from buildkit.core.values import replace
from buildkit.store.gc import PrunePolicy
from buildkit.store.store import Store

log = getLogger(__name__)

DELAY = 1.0
"""Seconds from the end of a build to the collection."""
INTERVAL = 60.0
"""Seconds between two collections."""
KEYS_INTERVAL = 300.0
"""Seconds between two times that keys are forgotten."""


class Collection:
    """Prunes by the daemon's policies when told that something may have to go."""

    def __init__(
        self, store: Store, policies: Sequence[PrunePolicy], forget_keys: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._policies = tuple(replace(one, rule=f"gc policy {n}") for n, one in enumerate(policies, 1))
        self._forget_keys = forget_keys
        self._last: float | None = None
        self._keys_forgotten: float | None = None
        self._keys_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[int] | None = None

    def trigger(self) -> None:
        """Collect soon; asking again before that changes nothing. Free memory goes back once nobody asks."""
        loop = asyncio.get_running_loop()
        if self._rest is not None:
            self._rest.cancel()
        self._rest = loop.call_later(DELAY, give_back)
        if not self._policies or self._timer is not None:
            return
        at = loop.time() + DELAY
        if self._last is not None:
            at = max(at, self._last + INTERVAL)
        self._timer = loop.call_at(at, self._start)

    def _start(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self.collect())

    async def collect(self) -> int:
        """Prune now; gives the bytes that were freed."""
        freed = 0
        try:
            async for usage in self._store.prune(*self._policies):
                freed += usage.size
        except (BuildkitError, OSError) as error:
            log.error("gc error: %s", error)
        if freed:
            log.debug("gc cleaned up %d bytes", freed)
            self._keys_lost = True
        now = asyncio.get_running_loop().time()
        rested = self._keys_forgotten is None or now >= self._keys_forgotten + KEYS_INTERVAL
        if self._keys_lost and rested:
            self._keys_lost, self._keys_forgotten = False, now
            await self._forget_keys()
        return freed

    async def close(self) -> None:
        """Collect no more."""
        for timer in (self._timer, self._rest):
            if timer is not None:
                timer.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
