"""One build at a daemon: session, solve, status and the frontend's conversation, all at once (rows A180-A186)."""

from __future__ import annotations

import asyncio

from buildkit.client.attending import attended
from buildkit.client.options import SolveOptions, SolveResponse
from buildkit.client.request import bridge_request, bridge_result, exporter_response, result_metadata, solve_request
from buildkit.client.statuses import updates_of
from buildkit.client.tracing import Span
from buildkit.core import wire
from buildkit.core.errors import BuildkitError, Canceled
from buildkit.core.progress import Stream
from buildkit.core.values import dataclass
from buildkit.rpc.client import Channel
from buildkit.rpc.status import UNKNOWN, code_of, name_of
from buildkit.session.serve import lend
from buildkit.session.session import Session

QUIET_SECONDS = 5.0
"""How long the status may be silent after the build has ended before it is given up."""
_LATE_SECONDS = 5.0

CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD_ID = "buildkit-controlapi-buildid"


def told(error: BuildkitError, what: str) -> BuildkitError:
    """The error of a call as Go's client words it: what was done, the code unless it is unknown, the message."""
    code = code_of(error)
    words = (what, "" if code == UNKNOWN else name_of(code))
    return error.prefixed("".join(f"{word}: " for word in words if word))


@dataclass(frozen=True, slots=True, eq=False)
class Solving:
    """The calls of one build."""

    channel: Channel
    options: SolveOptions
    ref: str
    session: Session
    stream: Stream

    async def run(self) -> SolveResponse:
        """The whole build; raises the error that made it fail. Cancelled, it cancels the build at the daemon."""
        span = Span.begin("build")
        try:
            response = await self._run(span)
        except BuildkitError as error:
            await span.send(self.channel, str(error))
            raise
        else:
            await span.send(self.channel)
            return response
        finally:
            self.stream.close()

    async def _run(self, span: Span) -> SolveResponse:
        request = solve_request(self.options, self.ref, self.session.id)
        try:
            await self.channel.unary(CONTROL + "ListWorkers", b"")
        except BuildkitError as error:
            raise told(error, "listing workers for Build: failed to list workers") from None
        async with attended(self.channel, self.options, self.ref):
            return await self._build(request, span)

    async def _build(self, request: bytes, span: Span) -> SolveResponse:
        status = asyncio.create_task(self._follow())
        solve = asyncio.create_task(self.channel.unary(CONTROL + "Solve", request, span.metadata))
        bridge = asyncio.create_task(self._converse())
        try:
            async with lend(self.channel, self.session):
                try:
                    response, metadata = await _outcome(solve, bridge)
                finally:
                    solve.cancel()
                    bridge.cancel()
        finally:
            try:
                await self._until_silent(status)
            finally:
                await asyncio.gather(solve, bridge, return_exceptions=True)
        exporter = exporter_response(response)
        if any(one.attrs.get("tar") for one in self.options.outputs):
            from buildkit.client.imagedirs import name_image

            name_image(self.session.outputs, exporter)
        return SolveResponse(exporter=exporter, metadata=metadata)

    async def _ask(self, method: str, request: bytes) -> bytes:
        return await self.channel.unary(_BRIDGE + method, request, {_BUILD_ID: [self.ref]})

    async def _converse(self) -> dict[str, bytes]:
        """Be the frontend: ask for the one result there is, and return it, or the error."""
        await self._ask("Ping", b"")
        try:
            response = await self._ask("Solve", bridge_request(self.options))
        except BuildkitError as error:
            from buildkit.rpc.status import to_status

            await self._ask("Return", wire.field(2, to_status(error).SerializeToString()))
            raise
        result = bridge_result(response)
        await self._ask("Return", wire.field(1, result))
        return result_metadata(result) if "requestid" in self.options.frontend_attrs else {}

    async def _follow(self) -> None:
        """Write the build's status into the stream until it ends."""
        call = self.channel.call(CONTROL + "Status")
        try:
            call.send_all([wire.text(1, self.ref)])
            call.end()
            async for message in call:
                for update in updates_of(message):
                    self.stream.write(update)
        except Canceled:
            return
        finally:
            call.cancel()

    async def _until_silent(self, status: asyncio.Task[None]) -> None:
        """Let the status end by itself; one that says nothing for a while is cancelled."""
        seen = -1
        while not status.done() and seen != len(self.stream):
            seen = len(self.stream)
            await asyncio.wait([status], timeout=QUIET_SECONDS)
        status.cancel()
        await asyncio.wait([status])
        if not status.cancelled() and (error := status.exception()) is not None:
            raise told(error, "failed to receive status") if isinstance(error, BuildkitError) else error


async def _outcome(
    solve: asyncio.Task[bytes], bridge: asyncio.Task[dict[str, bytes]]
) -> tuple[bytes, dict[str, bytes]]:
    """How both ended. A failure of the frontend shows in the solve too, and is told by that one if it comes soon."""
    await asyncio.wait([solve, bridge], return_when=asyncio.FIRST_EXCEPTION)
    if bridge.done() and bridge.exception() is not None and not solve.done():
        await asyncio.wait([solve], timeout=_LATE_SECONDS)
    if not solve.done():
        await bridge
    try:
        response = await solve
    except BuildkitError as error:
        raise told(error, "failed to solve") from None
    return response, await bridge
