"""``LLBBridge`` on the daemon's socket: gateway calls find their build by the metadata they carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from buildkit.control.blame import build_errors
from buildkit.control.builds import Build, Builds
from buildkit.control.calls import parse
from buildkit.core.errors import BuildkitError, InvalidInput, SolveDetail, Unsupported
from buildkit.frontend.frontend import Bridge, FrontendResult
from buildkit.frontend.gateway.convert import WorkerFacts
from buildkit.frontend.gateway.service import CONTAINER_METHODS, METHODS, SERVICE, BridgeService
from buildkit.llb.definition import Definition
from buildkit.rpc.server import Method, ServerCall, Streaming

BUILD_ID = "buildkit-controlapi-buildid"
_EVALUATING = ("Solve", "Evaluate", "ReadFile", "ReadDir")
"""Methods whose errors tell of the step that failed, for debuggers."""


class ClientFrontend:
    """The frontend of a build that a client drives: it waits for what the client returns."""

    def __init__(self, builds: Builds, build: Build, worker: Callable[[], WorkerFacts]) -> None:
        self._builds = builds
        self._build = build
        self._worker = worker
        self._returned: BuildkitError | None = None

    async def solve(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """Serve the bridge until the result is there."""
        service = BridgeService(bridge, options, inputs, [self._worker()])
        self._builds.serve(self._build, service)
        try:
            return await service.result()
        except BuildkitError as error:
            self._returned = error
            raise

    def forget_trees(self, error: BaseException) -> None:
        """Take the trees of the failed step out of an error of the build, unless its client put them there."""
        if isinstance(error, BuildkitError) and error is not self._returned:
            error.details = tuple(one for one in error.details if not isinstance(one, SolveDetail))


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
            try:
                return (await answer(service, request)).SerializeToString()
            except BuildkitError as error:
                if name in _EVALUATING:
                    service.explain(error)
                raise

    return Method(unary=run)


def _refused(name: str) -> Streaming:
    async def run(call: ServerCall) -> None:
        raise Unsupported(f"{name}: containers for clients and frontends are not supported yet")

    return run
