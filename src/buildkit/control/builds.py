"""The builds that clients can ask about: those that run, and for a while those that have ended.

A client sends Solve, Status, Session and its first gateway call at once, in any order; whoever comes first waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from buildkit.core.errors import AlreadyExists, NotFound, Unavailable
from buildkit.core.progress import Stream
from buildkit.core.values import dataclass
from buildkit.frontend.gateway.service import BridgeService

T = TypeVar("T")

STATUS_WAIT = 6.0
"""Seconds that Status waits for its build to begin."""
GATEWAY_WAIT = 3.0
"""Seconds that a gateway call waits for its build."""
LINGER = 10.0
"""Seconds for which the progress of a build can be read after its end."""


@dataclass(slots=True, eq=False)
class Build:
    """One build: its progress, and the service of its bridge if a client drives it."""

    id: str
    progress: Stream
    service: BridgeService | None = None
    over: bool = False


class Builds:
    """Builds by id; lives on one event loop."""

    def __init__(
        self, *, status_wait: float = STATUS_WAIT, gateway_wait: float = GATEWAY_WAIT, linger: float = LINGER
    ) -> None:
        self._status_wait = status_wait
        self._gateway_wait = gateway_wait
        self._linger = linger
        self._builds: dict[str, Build] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    async def stop(self) -> None:
        """Begin no more builds, and wait until those that run are over."""
        self._stopping = True
        while self.running:
            await self._changed.wait()

    @property
    def running(self) -> int:
        """How many builds are not over."""
        return sum(not build.over for build in self._builds.values())

    @contextmanager
    def running_as(self, id: str) -> Iterator[Build]:
        """A build, for as long as it runs; raises `AlreadyExists`, or `Unavailable` once the daemon stops."""
        if self._stopping:
            raise Unavailable("the daemon is stopping")
        there = self._builds.get(id)
        if there is not None and not there.over:
            raise AlreadyExists(f"job ID {id} exists")
        build = self._builds[id] = Build(id, Stream())
        self._tell()
        try:
            yield build
        finally:
            build.over, build.service = True, None
            build.progress.close()
            self._tell()
            asyncio.get_running_loop().call_later(self._linger, self._forget, build)

    def serve(self, build: Build, service: BridgeService) -> None:
        """A client may drive ``build`` from now on."""
        build.service = service
        self._tell()

    def find(self, id: str) -> Build | None:
        """A build that is known."""
        return self._builds.get(id)

    async def progress(self, id: str) -> Stream:
        """The progress of a build that may not have begun yet; raises `NotFound`."""

        def begun() -> Stream | None:
            build = self._builds.get(id)
            return build.progress if build is not None else None

        found = await self._wait(begun, self._status_wait)
        if found is None:
            raise NotFound(f"no such job {id}")
        return found

    async def service(self, id: str) -> BridgeService:
        """The service of a build that a client drives, which may not be ready yet; raises `NotFound`."""

        def ready() -> BridgeService | None:
            build = self._builds.get(id)
            return build.service if build is not None else None

        build = self._builds.get(id)
        found = None if build is not None and build.over else await self._wait(ready, self._gateway_wait)
        if found is None:
            raise NotFound(f"no such job {id}")
        return found

    async def _wait(self, find: Callable[[], T | None], seconds: float) -> T | None:
        try:
            async with asyncio.timeout(seconds):
                while (found := find()) is None:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return found

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _forget(self, build: Build) -> None:
        if self._builds.get(build.id) is build:
            del self._builds[build.id]
