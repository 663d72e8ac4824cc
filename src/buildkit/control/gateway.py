"""``LLBBridge`` on the daemon's socket: gateway calls find their build by the metadata they carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from buildkit.control.blame import build_errors
from buildkit.control.builds import Build, Builds
from buildkit.control.calls import parse
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.values import dataclass
from buildkit.frontend.frontend import Bridge, FrontendResult
from buildkit.frontend.gateway.convert import WorkerFacts
from buildkit.frontend.gateway.service import CONTAINER_METHODS, METHODS, SERVICE, BridgeService
from buildkit.llb.definition import Definition
from buildkit.rpc.server import Method, ServerCall, Streaming

BUILD_ID = "buildkit-controlapi-buildid"


@dataclass(frozen=True, slots=True)
class ClientFrontend:
    """The frontend of a build that a client drives: it waits for what the client returns."""

    builds: Builds
    build: Build
    worker: Callable[[], WorkerFacts]

    async def solve(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """Serve the bridge until the result is there."""
        service = BridgeService(bridge, options, inputs, [self.worker()])
        self.builds.serve(self.build, service)
        return await service.result()


def gateway_methods(builds: Builds) -> dict[str, Method]:
    """The methods of the service by path."""
    methods = {f"/{SERVICE}/{name}": _forwarded(builds, name) for name in METHODS}
    return methods | {f"/{SERVICE}/{name}": Method(streaming=_refused(name)) for name in CONTAINER_METHODS}


def _forwarded(builds: Builds, name: str) -> Method:
    kind, answer = METHODS[name]

    async def run(content: bytes, call: ServerCall) -> bytes:
        ids = call.metadata.get(BUILD_ID, ())
        if len(ids) != 1:
            raise InvalidInput("no buildid found in context")
        service = await builds.service(ids[0])
        request = parse(kind, content)
        with build_errors():
            return (await answer(service, request)).SerializeToString()

    return Method(unary=run)


def _refused(name: str) -> Streaming:
    async def run(call: ServerCall) -> None:
        raise Unsupported(f"{name}: containers for clients and frontends are not supported yet")

    return run
