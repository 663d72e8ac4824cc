"""``moby.buildkit.v1.Control``: each method is a conversion around one call of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from logging import getLogger

from buildkit.api import control_pb2 as pb
from buildkit.control import recording
from buildkit.control.attending import Attended, Wishes
from buildkit.control.blame import build_errors
from buildkit.control.builds import Build, Builds
from buildkit.control.calls import listing, parse, unary
from buildkit.control.collection import Collection
from buildkit.control.gateway import ClientFrontend
from buildkit.control.history import HistoryCalls
from buildkit.control.metrics import Metrics
from buildkit.control.progress import responses
from buildkit.control.records import buildkit_version, fields_of, policy_of, usage_to_pb
from buildkit.control.request import read_request
from buildkit.core.errors import BuildkitError
from buildkit.core.identity import new_id
from buildkit.core.values import replace
from buildkit.engine.engine import Engine
from buildkit.frontend.gateway.convert import WorkerFacts
from buildkit.rpc.server import Method, ServerCall
from buildkit.session.remote import host_session
from buildkit.solve.history import History
from buildkit.solve.record import BuildRecord
from buildkit.solve.request import SolveResponse
from buildkit.store.filters import parse_filters
from buildkit.worker.traces import parse_parent

log = getLogger(__name__)

SERVICE = "moby.buildkit.v1.Control"


def timestamp_header() -> dict[str, list[str]]:
    """The daemon's clock, for clients that show how long ago something was."""
    now = datetime.now(UTC)
    return {"buildkit-current-timestamp": [f"{now:%Y-%m-%dT%H:%M:%S.%f}000Z"]}


class Control:
    """The service of one engine."""

    def __init__(
        self,
        engine: Engine,
        builds: Builds,
        history: History,
        worker: Callable[[], WorkerFacts],
        collection: Collection,
        metrics: Metrics,
        attended: Attended,
    ) -> None:
        self._engine = engine
        self._builds = builds
        self._history = history
        self._worker = worker
        self._collection = collection
        self._metrics = metrics
        self._attended = attended

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        records = HistoryCalls(self._history)
        named = {
            "Info": unary(pb.InfoRequest, self.info),
            "ListWorkers": unary(pb.ListWorkersRequest, self.list_workers),
            "DiskUsage": unary(pb.DiskUsageRequest, self.disk_usage),
            "Prune": listing(pb.PruneRequest, self.prune),
            "Solve": Method(unary=self.solve),
            "Status": listing(pb.StatusRequest, self.status, timestamp_header),
            "ListenBuildHistory": listing(pb.BuildHistoryRequest, records.listen, timestamp_header),
            "UpdateBuildHistory": unary(pb.UpdateBuildHistoryRequest, records.update),
            "Session": Method(streaming=self.session),
        }
        return {f"/{SERVICE}/{name}": method for name, method in named.items()}

    async def info(self, request: pb.InfoRequest) -> pb.InfoResponse:
        """Who answers."""
        return pb.InfoResponse(buildkitVersion=buildkit_version())

    async def list_workers(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        """The workers that pass any of the filters."""
        passes = parse_filters(list(request.filter))
        worker = self._worker()
        found = [worker.to_pb()] if passes(fields_of(worker)) else []
        return pb.ListWorkersResponse(record=found)

    async def disk_usage(self, request: pb.DiskUsageRequest) -> pb.DiskUsageResponse:
        """What takes space."""
        usage = await self._engine.store.usage(list(request.filter), request.ageLimit / 1e9)
        return pb.DiskUsageResponse(record=[usage_to_pb(one) for one in usage])

    async def prune(self, request: pb.PruneRequest) -> AsyncIterator[pb.UsageRecord]:
        """Free space; each record once it is gone."""
        async for usage in self._engine.prune(policy_of(request)):
            yield usage_to_pb(usage)

    async def solve(self, content: bytes, call: ServerCall) -> bytes:
        """Build; answers when everything is exported."""
        message = parse(pb.SolveRequest, content)
        parent = parse_parent("".join(call.metadata.get("traceparent", ())))
        try:
            with build_errors(), self._attended.of(message.Ref) as wishes:
                response = await self._run(message, wishes, parent)
        finally:
            self._collection.trigger()
        return pb.SolveResponse(ExporterResponse=response.exporter_response).SerializeToString()

    async def _run(self, message: pb.SolveRequest, wishes: Wishes, parent: str) -> SolveResponse:
        with self._builds.running_as(message.Ref or new_id()) as build:
            request = read_request(message, build.id, self._engine.config.entitlements)
            request, explained = replace(request, pull=wishes.pull, trace_parent=parent), wishes.explained
            driver = ClientFrontend(self._builds, build, self._worker)
            record = None if request.internal else recording.begin(self._history, request)
            try:
                response = await self._engine.solve(request, build.progress, driver=driver, explained=explained)
            except BaseException as error:
                driver.forget_trees(error)
                self._remember(record, build, parent, error=error)
                raise
            self._remember(record, build, parent, response=response)
            return response

    def _remember(
        self,
        record: BuildRecord | None,
        build: Build,
        trace_parent: str,
        *,
        response: SolveResponse | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Write down how a build ended; what came of it does not depend on that."""
        if record is None:
            return
        try:
            done = recording.finish(
                self._history, record, build.progress, response=response, error=error, trace_parent=trace_parent
            )
        except (BuildkitError, OSError) as failure:
            log.error("no history is kept of build %s: %s", record.ref, failure)
            self._history.abandon(record.ref)
        else:
            self._metrics.count(done)

    async def session(self, call: ServerCall) -> None:
        """A client attaches itself for as long as the call lasts."""
        await host_session(call, self._engine.sessions)

    async def status(self, request: pb.StatusRequest) -> AsyncIterator[pb.StatusResponse]:
        """Everything that happens in a build, from its beginning to its end; of a stored one what happened."""
        record = self._history.find(request.Ref) if self._builds.find(request.Ref) is None else None
        if record is not None:
            if record.logs is not None:
                content = self._history.content.read(record.logs.digest, record.logs.size)
                for message in recording.unframed(content):
                    yield pb.StatusResponse.FromString(message)
            return
        progress = await self._builds.progress(request.Ref)
        async for batch in progress.read():
            for response in responses(batch):
                yield response
