"""The engine in this process, as a client: the same calls as to a daemon, with no wire between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.client.lending import open_session
from buildkit.client.options import (
    OutputOptions,
    PruneOptions,
    SolveOptions,
    SolveResponse,
    UsageRecord,
)
from buildkit.client.running import RunningBuild
from buildkit.core.entitlement import KNOWN, grant
from buildkit.core.errors import Unsupported
from buildkit.core.identity import new_id
from buildkit.core.progress import Stream
from buildkit.core.values import dataclass
from buildkit.engine.engine import Engine, EngineConfig, open_engine
from buildkit.llb.definition import Definition
from buildkit.session.session import Session
from buildkit.solve.request import ExporterRequest, SolveRequest
from buildkit.source.pull import parse_pull

if TYPE_CHECKING:
    from buildkit.client.options import Explained
    from buildkit.source.policy import Policy
    from buildkit.store.gc import Usage


@dataclass(frozen=True, slots=True)
class EmbeddedClient:
    """A client of an open engine."""

    engine: Engine

    @asynccontextmanager
    async def build(self, options: SolveOptions) -> AsyncIterator[RunningBuild]:
        """Start a build; leaving the scope early cancels it and waits until it has stopped."""
        _refuse_what_is_missing(options)
        stream = Stream()
        async with open_session(options, stream) as session, self.engine.sessions.attach(session):
            request = _request_of(options, session, self.engine.config.entitlements)
            task = asyncio.create_task(self._solve(request, stream, options.explained))
            try:
                yield RunningBuild(stream, task)
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])

    async def _solve(self, request: SolveRequest, stream: Stream, explained: Explained | None) -> SolveResponse:
        try:
            response = await self.engine.solve(request, stream, explained=explained)
        finally:
            stream.close()
        return SolveResponse(exporter=response.exporter_response, metadata=response.metadata)

    async def usage(self, filters: Sequence[str] = ()) -> list[UsageRecord]:
        """What takes space, smallest first."""
        records = [_record_of(usage) for usage in await self.engine.store.usage(filters)]
        return sorted(records, key=lambda record: record.size)

    async def prune(self, options: PruneOptions) -> AsyncIterator[UsageRecord]:
        """Free space; yields each record once it is gone."""
        from buildkit.store.gc import PrunePolicy

        policy = PrunePolicy(
            filters=options.filters,
            all=options.all,
            keep_duration=options.keep_duration / 1e9,
            reserved_space=options.reserved_space,
            max_used_space=options.max_used_space,
            min_free_space=options.min_free_space,
        )
        async for usage in self.engine.prune(policy):
            yield _record_of(usage)


@asynccontextmanager
async def open_embedded(
    root: Path, *, waiting: Callable[[str], None], last: bool = False
) -> AsyncIterator[EmbeddedClient]:
    """The engine whose state is in ``root``; ``waiting`` hears which process holds it, if one does.

    ``last``: this process ends when the engine does.
    """
    config = EngineConfig(root=root.absolute(), entitlements=frozenset(KNOWN), last=last)
    async with open_engine(config, waiting=waiting) as engine:
        yield EmbeddedClient(engine)


def _refuse_what_is_missing(options: SolveOptions) -> None:
    missing = [
        ("exporting a build cache (--export-cache)", options.exports),
        ("importing a build cache (--import-cache)", options.imports),
        ("--proxy-network", options.proxy_network),
    ]
    for name, value in missing:
        if value:
            raise Unsupported(f"{name} is not supported by the embedded engine yet")


def _request_of(options: SolveOptions, session: Session, allowed: frozenset[str]) -> SolveRequest:
    definition = None if options.definition is None else Definition.from_bytes(options.definition)
    return SolveRequest(
        id=options.ref or new_id(),
        session=session.id,
        definition=definition,
        frontend=options.frontend,
        frontend_attrs=options.frontend_attrs,
        frontend_inputs={name: Definition.from_bytes(one) for name, one in options.frontend_inputs.items()},
        exporters=tuple(_exporter_of(output) for output in options.outputs),
        entitlements=grant(options.allow, allowed),
        deterministic=not options.keep_times,
        policies=_policies(options.source_policy),
        pull=parse_pull(options.pull),
    )


def _policies(text: str) -> tuple[Policy, ...]:
    if not text:
        return ()
    from buildkit.source.policy import from_pb, parse_policy

    return (from_pb(parse_policy(text.encode(), "--source-policy-file")),)


def _exporter_of(output: OutputOptions) -> ExporterRequest:
    return ExporterRequest(output.type, output.attrs)


def _record_of(usage: Usage) -> UsageRecord:
    return UsageRecord(
        id=usage.id,
        size=usage.size,
        created=usage.created,
        last_used=usage.last_used,
        usage_count=usage.usage_count,
        parents=usage.parents,
        description=usage.description,
        record_type=usage.record_type,
        mutable=usage.mutable,
        in_use=usage.in_use,
        shared=usage.shared,
    )
