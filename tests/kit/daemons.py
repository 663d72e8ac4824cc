"""A daemon in this process, and a client of its wire that knows the messages of every method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from buildkit.api import content_pb2, control_pb2, gateway_pb2
from buildkit.core.identity import new_id
from buildkit.daemon.config import DaemonConfig, WorkerConfig
from buildkit.daemon.listen import listen_all
from buildkit.daemon.server import open_services
from buildkit.llb.state import State
from buildkit.rpc.client import Channel, ClientCall
from buildkit.rpc.transport import attach

SERVICES = {
    service.full_name: service
    for file in (control_pb2, gateway_pb2, content_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
CONTROL = "moby.buildkit.v1.Control"
BRIDGE = "moby.buildkit.v1.frontend.LLBBridge"


class Peer:
    """A client. Requests are keyword arguments, answers are messages."""

    def __init__(self, channel: Channel, config: DaemonConfig) -> None:
        self.channel = channel
        self.config = config

    async def ask(self, service: str, name: str, metadata: dict[str, list[str]] | None = None, **fields: Any) -> Any:
        """One unary call."""
        method = SERVICES[service].methods_by_name[name]
        request = GetMessageClass(method.input_type)(**fields)
        content = await self.channel.unary(f"/{service}/{name}", request.SerializeToString(), metadata)
        return GetMessageClass(method.output_type).FromString(content)

    async def control(self, name: str, **fields: Any) -> Any:
        """A unary call of the control service."""
        return await self.ask(CONTROL, name, **fields)

    def stream(self, service: str, name: str, **fields: Any) -> ClientCall:
        """A call with many answers."""
        method = SERVICES[service].methods_by_name[name]
        call = self.channel.call(f"/{service}/{name}")
        call.send_all([GetMessageClass(method.input_type)(**fields).SerializeToString()])
        call.end()
        return call

    async def listing(self, name: str, service: str = CONTROL, **fields: Any) -> list[Any]:
        """All answers of a call."""
        kind = GetMessageClass(SERVICES[service].methods_by_name[name].output_type)
        return [kind.FromString(message) async for message in self.stream(service, name, **fields)]

    async def bridge(self, ref: str, name: str, **fields: Any) -> Any:
        """A unary call of the gateway, for one build."""
        return await self.ask(BRIDGE, name, {"buildkit-controlapi-buildid": [ref]}, **fields)


async def drive(peer: Peer, state: State, *, ref: str = "", **fields: Any) -> tuple[Any, list[Any]]:
    """A build as real clients do it: everything is sent at once. Gives the response and all statuses."""
    ref = ref or new_id()

    async def client() -> None:
        await peer.bridge(ref, "Ping")
        try:
            solved = await peer.bridge(
                ref,
                "Solve",
                Definition=state.marshal().to_pb(),
                Evaluate=True,
                allowResultReturn=True,
                allowResultArrayRef=True,
            )
        except Exception as error:
            from buildkit.rpc.status import to_status

            await peer.bridge(ref, "Return", error=to_status(error))
            return
        await peer.bridge(ref, "Return", result=solved.result)

    driving = asyncio.create_task(client())
    watching = asyncio.create_task(peer.listing("Status", Ref=ref))
    try:
        response = await peer.control("Solve", Ref=ref, **fields)
    finally:
        await asyncio.gather(driving, return_exceptions=True)
        statuses = await watching
    return response, statuses


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Channel]:
    """A channel to a unix socket."""
    made: list[Channel] = []

    def channel(wire: Any) -> Channel:
        made.append(Channel(wire.write, closed=wire.close))
        made[0].start()
        return made[0]

    transport, _ = await asyncio.get_running_loop().create_unix_connection(attach(channel), str(path))
    try:
        yield made[0]
    finally:
        transport.close()


@asynccontextmanager
async def running_daemon(folder: Path, **changes: Any) -> AsyncIterator[Peer]:
    """A daemon whose state is in ``folder``, and a client of it; ``changes`` are of its `DaemonConfig`."""
    socket = folder / "s"
    fields = {"root": folder / "root", "worker": WorkerConfig(snapshotter="native"), **changes}
    config = DaemonConfig(addresses=(f"unix://{socket}",), **fields)
    async with open_services(config) as services:
        listeners = await listen_all(config, services.server, {})
        try:
            async with connected(socket) as channel:
                yield Peer(channel, config)
        finally:
            for listener in listeners:
                listener.close()
            services.server.cancel()
            await services.drain()
