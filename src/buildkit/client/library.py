"""BuildKit for Python programs: clients with the same calls for an engine in this process and for a daemon.

with buildkit.Client() as client:                         # in this process; or Client("unix:///run/…")
    client.build(".", outputs=["type=oci,dest=app.tar"])  # a directory with a Dockerfile, or an llb.State
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Unpack

from buildkit.client.builds import BuildOptions, Path, Result, Source, solve_options
from buildkit.client.options import Client as Engine
from buildkit.client.options import PruneOptions, SolveOptions, SolveResponse, UsageRecord
from buildkit.client.places import default_root
from buildkit.client.tls import TLSFiles
from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.progress import Update
from buildkit.core.values import replace

if TYPE_CHECKING:
    from buildkit.core.explanation import Explanation

Progress: TypeAlias = Callable[[Sequence[Update]], None]
"""Told of everything that happens, in batches."""

T = TypeVar("T")

_AROUND: ContextVar[tuple[AsyncClient, ...]] = ContextVar("clients around", default=())
"""Clients that were opened where the program is: it goes on only once another one on the same root is open."""

_NO_TLS = TLSFiles()
_EVERYTHING = PruneOptions()


def _open(address: str, root: str, tls: TLSFiles) -> AbstractAsyncContextManager[Engine]:
    if address:
        from buildkit.client.remote import open_remote

        return open_remote(address, tls=tls)
    import pathlib

    from buildkit.client.embedded import open_embedded

    def warn(holder: str) -> None:
        import logging

        logging.getLogger("buildkit").warning("waiting for %s, which has %s", holder, root)

    return open_embedded(pathlib.Path(root), waiting=warn)


class AsyncClient:
    """A client for ``async with``: of the daemon at ``address``, else of an engine in this process.

    ``root`` is that engine's state directory: ``$XDG_DATA_HOME/buildkit`` unless given. Raises `Unavailable` when
    nobody is at the address.
    """

    def __init__(self, address: str = "", *, root: Path = "", tls: TLSFiles = _NO_TLS) -> None:
        if address and root:
            raise InvalidInput("a client has an address, or a root for an engine in this process, not both")
        self._root = "" if address else os.path.realpath(root or default_root())
        self._scope = _open(address, self._root, tls)
        self._engine: Engine | None = None

    async def __aenter__(self) -> Self:
        around = tuple(one for one in _AROUND.get() if one._engine is not None)
        if self._root and any(one._root == self._root for one in around):
            raise InvalidInput(f"a client around this one has {self._root}: use that one, or give another root")
        self._engine = await self._scope.__aenter__()
        _AROUND.set((*around, self))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None
        await self._scope.__aexit__(kind, error, trace)

    @property
    def engine(self) -> Engine:
        """What is behind it; of a daemon a `buildkit.client.remote.RemoteClient`, which can do more."""
        if self._engine is None:
            raise InvalidInput("the client is not open: use it in a with statement")
        return self._engine

    async def build(
        self, source: Source, *, progress: Progress | None = None, **options: Unpack[BuildOptions]
    ) -> Result:
        """Build; raises the `buildkit.core.errors.BuildkitError` that made it fail, with notes that show the lines of
        the program or of the Dockerfile that it is about. Cancelled, the build is too.
        """
        wanted = solve_options(source, **options)
        explanations: list[Explanation] | None = [] if options.get("explain", bool(self._root)) else None
        if explanations is not None:
            wanted = replace(wanted, explained=explanations.extend)
        try:
            response = await self._follow(wanted, progress)
        except BuildkitError as error:
            from buildkit.core.excerpt import excerpts

            for text in excerpts(error):
                error.add_note(text)
            raise
        why = None if explanations is None else tuple(explanations)
        return Result(wanted.ref, response.exporter, response.metadata, why)

    async def _follow(self, options: SolveOptions, progress: Progress | None) -> SolveResponse:
        async with self.engine.build(options) as build:
            async for batch in build.progress():
                if progress is not None:
                    progress(batch)
            return await build.result()

    async def usage(self, filters: Sequence[str] = ()) -> list[UsageRecord]:
        """What takes space, smallest first."""
        return await self.engine.usage(filters)

    def prune(self, options: PruneOptions = _EVERYTHING) -> AsyncIterator[UsageRecord]:
        """Free space; yields each record once it is gone."""
        return self.engine.prune(options)


class Client:
    """`AsyncClient` for programs without an event loop: the same calls, for ``with``. One thread uses it at a time."""

    def __init__(self, address: str = "", *, root: Path = "", tls: TLSFiles = _NO_TLS) -> None:
        self._client = AsyncClient(address, root=root, tls=tls)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        _AROUND.set((*_AROUND.get(), self._client))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._client.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def build(self, source: Source, *, progress: Progress | None = None, **options: Unpack[BuildOptions]) -> Result:
        """Build; raises the `buildkit.core.errors.BuildkitError` that made it fail. Ctrl-C cancels the build."""
        return self._run(self._client.build(source, progress=progress, **options))

    def usage(self, filters: Sequence[str] = ()) -> list[UsageRecord]:
        """What takes space, smallest first."""
        return self._run(self._client.usage(filters))

    def prune(self, options: PruneOptions = _EVERYTHING) -> list[UsageRecord]:
        """Free space; gives what is gone."""

        async def everything() -> list[UsageRecord]:
            return [record async for record in self._client.prune(options)]

        return self._run(everything())


def build(
    source: Source,
    *,
    address: str = "",
    root: Path = "",
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> Result:
    """One build, in this process unless ``address`` names a daemon; see `Client` and `BuildOptions`."""
    with Client(address, root=root) as client:
        return client.build(source, progress=progress, **options)
