"""``moby.buildkit.v1.frontend.LLBBridge`` over a `Bridge`: one build, driven from elsewhere.

Serves clients of the daemon today; frontends in images speak the same service on their standard streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from buildkit.api import apicaps_pb2, sourcepolicy_pb2
from buildkit.api import gateway_pb2 as pb
from buildkit.core.errors import AlreadyExists, BuildkitError, InvalidInput, NotFound, SolveDetail, Unsupported
from buildkit.core.identity import new_id
from buildkit.core.result import Attestation, Result
from buildkit.core.values import replace
from buildkit.frontend.frontend import Bridge, CacheImport, FrontendResult, LayoutStore, Ref
from buildkit.frontend.gateway.caps import GATEWAY
from buildkit.frontend.gateway.convert import (
    WorkerFacts,
    attestation_from_pb,
    attestation_to_pb,
    platform_from_pb,
    stat_to_pb,
    warning_from_pb,
)
from buildkit.frontend.gateway.sources import describe_source
from buildkit.llb.definition import Definition
from buildkit.rpc import status
from buildkit.source import policy

SERVICE = "moby.buildkit.v1.frontend.LLBBridge"
CONTAINER_METHODS = (
    "NewContainer",
    "ReleaseContainer",
    "ExecProcess",
    "ReadFileContainer",
    "ReadDirContainer",
    "StatFileContainer",
)
_OCI_LAYOUT = 1


class BridgeService:
    """The refs and the result of one build that someone else drives."""

    def __init__(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition], workers: list[WorkerFacts]
    ) -> None:
        self._bridge = bridge
        self._options = options
        self._inputs = inputs
        self._workers = workers
        self._refs: dict[str, Ref] = {}
        self._result: asyncio.Future[FrontendResult] = asyncio.get_running_loop().create_future()

    async def result(self) -> FrontendResult:
        """What the driver returns, once it does; raises the error that it returns."""
        return await self._result

    async def ping(self, request: pb.PingRequest) -> pb.PongResponse:
        """What can be asked for."""
        gateway = (
            apicaps_pb2.APICap(
                ID=cap.id,
                Enabled=not cap.disabled,
                Deprecated=cap.deprecated,
                DisabledReason="not supported" if cap.disabled else "",
                DisabledReasonMsg=cap.disabled,
            )
            for cap in GATEWAY
        )
        llb = (apicaps_pb2.APICap(ID=id, Enabled=True) for id in sorted(self._bridge.llb_caps))
        workers = (worker.to_pb() for worker in self._workers)
        return pb.PongResponse(FrontendAPICaps=gateway, LLBCaps=llb, Workers=workers)

    # -- solving --

    async def solve(self, request: pb.SolveRequest) -> pb.SolveResponse:
        """A definition or a frontend, made into refs; nothing runs unless ``Evaluate`` is set."""
        bridge = self._judged(request.SourcePolicies)
        has_definition = bool(request.HasField("Definition") and getattr(request.Definition, "def"))
        if request.Frontend and has_definition:
            raise InvalidInput("cannot solve with both Definition and Frontend specified")
        imports = [CacheImport(one.Type, dict(one.Attrs)) for one in request.CacheImports]
        if request.Frontend:
            inputs = {name: Definition.from_pb(one) for name, one in request.FrontendInputs.items()}
            result = await bridge.solving.forward(request.Frontend, dict(request.FrontendOpt), inputs)
            if request.Evaluate:
                for ref in result.refs.values():
                    await self._bridge.solving.evaluate(ref)
        elif has_definition:
            definition = Definition.from_pb(request.Definition)
            ref = await bridge.solving.solve(definition, evaluate=request.Evaluate, cache_imports=imports)
            result = Result({"": ref})
        else:
            result = Result({"": None})
        return self._answer(request, result)

    def _answer(self, request: pb.SolveRequest, result: FrontendResult) -> pb.SolveResponse:
        out = pb.Result(metadata=result.metadata)
        if result.single:
            ref = self._keep(result.refs.get(""))
            if request.allowResultArrayRef:
                out.ref.CopyFrom(ref)
            else:
                out.refDeprecated = ref.id
        else:
            if not request.allowResultReturn:
                raise InvalidInput("solve did not return default result")
            kept = {platform: self._keep(ref) for platform, ref in result.refs.items()}
            if request.allowResultArrayRef:
                out.refs.SetInParent()
                for platform, ref in kept.items():
                    out.refs.refs[platform].CopyFrom(ref)
            else:
                out.refsDeprecated.refs.update({platform: ref.id for platform, ref in kept.items()})
        for key, attestations in result.attestations.items():
            for one in attestations:
                kept_ref = self._keep(one.ref) if one.ref is not None else None
                out.attestations[key].attestation.append(attestation_to_pb(one, kept_ref))
        if request.Final:
            raise Unsupported("returning the result with the last solve (Final) is not supported: call Return")
        if request.allowResultReturn:
            return pb.SolveResponse(result=out)
        return pb.SolveResponse(result=out, ref=out.ref.id or out.refDeprecated)

    def _keep(self, ref: Ref | None) -> pb.Ref:
        if ref is None:
            return pb.Ref()
        id = new_id()
        self._refs[id] = ref
        return pb.Ref(id=id, **{"def": self._bridge.solving.definition_of(ref).to_pb()})

    def _find(self, id: str) -> Ref | None:
        if not id:
            return None
        if id not in self._refs:
            raise NotFound(f"no such ref: {id}")
        return self._refs[id]

    async def evaluate(self, request: pb.EvaluateRequest) -> pb.EvaluateResponse:
        """Make a ref."""
        await self._bridge.solving.evaluate(self._find(request.Ref))
        return pb.EvaluateResponse()

    async def inputs(self, request: pb.InputsRequest) -> pb.InputsResponse:
        """The definitions that the build was given by name."""
        return pb.InputsResponse(Definitions={name: one.to_pb() for name, one in self._inputs.items()})

    # -- resolving --

    async def resolve_image_config(self, request: pb.ResolveImageConfigRequest) -> pb.ResolveImageConfigResponse:
        """What an image's name stands for."""
        store = LayoutStore(request.SessionID, request.StoreID) if request.ResolverType == _OCI_LAYOUT else None
        found = await self._judged(request.SourcePolicies).resolving.resolve_image(
            request.Ref,
            platform=platform_from_pb(request.Platform) if request.HasField("Platform") else None,
            mode=request.ResolveMode or "default",
            log_name=request.LogName,
            store=store,
        )
        return pb.ResolveImageConfigResponse(Digest=found.digest, Config=found.config, Ref=found.ref)

    async def resolve_source_meta(self, request: pb.ResolveSourceMetaRequest) -> pb.ResolveSourceMetaResponse:
        """What is known of a source without fetching it."""
        return await describe_source(self._judged(request.SourcePolicies).resolving, request)

    def _judged(self, policies: Iterable[sourcepolicy_pb2.Policy]) -> Bridge:
        """The build with the policies of one call."""
        more = [policy.from_pb(one) for one in policies]
        if not more:
            return self._bridge
        if self._bridge.stricter is None:
            raise Unsupported("source policies of a frontend are not supported here")
        return self._bridge.stricter(more)

    # -- failures --

    def explain(self, error: BuildkitError) -> None:
        """Give an error the ids under which the trees of the failed step can be read here."""
        details = tuple(self._readable(one) for one in error.details if isinstance(one, SolveDetail))
        error.details = tuple(one for one in error.details if not isinstance(one, SolveDetail))
        error.detailed(*(details or (SolveDetail((), (), b""),)))

    def _readable(self, detail: SolveDetail) -> SolveDetail:
        return replace(
            detail,
            input_ids=tuple(self._remains(id) for id in detail.input_ids),
            mount_ids=tuple(self._remains(id) for id in detail.mount_ids),
        )

    def _remains(self, id: str) -> str:
        ref = self._bridge.remains(id) if id and self._bridge.remains is not None else None
        if ref is not None:
            self._refs[id] = ref
        return id

    # -- reading --

    async def read_file(self, request: pb.ReadFileRequest) -> pb.ReadFileResponse:
        """A file of a ref, or a part of it."""
        ref = self._find(request.Ref)
        offset = length = None
        if request.HasField("Range"):
            offset, length = request.Range.Offset, request.Range.Length
            if offset < 0:
                raise InvalidInput(f"read {request.FilePath}: negative offset")
            length = None if length < 0 else length
        content = await self._bridge.reading.read_file(ref, request.FilePath, offset=offset or 0, length=length)
        return pb.ReadFileResponse(Data=content)

    async def read_dir(self, request: pb.ReadDirRequest) -> pb.ReadDirResponse:
        """The entries of a directory of a ref."""
        found = await self._bridge.reading.read_dir(
            self._find(request.Ref), request.DirPath, pattern=request.IncludePattern
        )
        return pb.ReadDirResponse(entries=[stat_to_pb(one) for one in found])

    async def stat_file(self, request: pb.StatFileRequest) -> pb.StatFileResponse:
        """The metadata of a file of a ref."""
        return pb.StatFileResponse(
            stat=stat_to_pb(await self._bridge.reading.stat_file(self._find(request.Ref), request.Path))
        )

    # -- the end --

    async def warn(self, request: pb.WarnRequest) -> pb.WarnResponse:
        """Show a warning."""
        await self._bridge.warn(warning_from_pb(request))
        return pb.WarnResponse()

    # `return` is a word of Python
    async def return_(self, request: pb.ReturnRequest) -> pb.ReturnResponse:
        """End the build with a result or with an error."""
        if self._result.done():
            raise AlreadyExists("gateway result is already set")
        if request.HasField("error"):
            self._result.set_exception(status.from_status(request.error))
        else:
            self._result.set_result(self._returned(request.result))
        return pb.ReturnResponse()

    def _returned(self, message: pb.Result) -> FrontendResult:
        kind = message.WhichOneof("result")
        refs: dict[str, Ref | None] = {}
        if kind == "refs":
            refs = {platform: self._find(ref.id) for platform, ref in message.refs.refs.items()}
        elif kind == "refsDeprecated":
            refs = {platform: self._find(id) for platform, id in message.refsDeprecated.refs.items()}
        else:
            refs = {"": self._find(message.refDeprecated if kind == "refDeprecated" else message.ref.id)}
        attestations: dict[str, tuple[Attestation[Ref], ...]] = {
            key: tuple(attestation_from_pb(one, self._find(one.ref.id)) for one in listed.attestation)
            for key, listed in message.attestations.items()
        }
        single = kind not in ("refs", "refsDeprecated")
        return Result(refs, single, dict(message.metadata), attestations)


Calls = Callable[[BridgeService, Any], Awaitable[Message]]

METHODS: Mapping[str, tuple[type[Message], Calls]] = {
    "Ping": (pb.PingRequest, BridgeService.ping),
    "Solve": (pb.SolveRequest, BridgeService.solve),
    "Evaluate": (pb.EvaluateRequest, BridgeService.evaluate),
    "Inputs": (pb.InputsRequest, BridgeService.inputs),
    "ResolveImageConfig": (pb.ResolveImageConfigRequest, BridgeService.resolve_image_config),
    "ResolveSourceMeta": (pb.ResolveSourceMetaRequest, BridgeService.resolve_source_meta),
    "ReadFile": (pb.ReadFileRequest, BridgeService.read_file),
    "ReadDir": (pb.ReadDirRequest, BridgeService.read_dir),
    "StatFile": (pb.StatFileRequest, BridgeService.stat_file),
    "Warn": (pb.WarnRequest, BridgeService.warn),
    "Return": (pb.ReturnRequest, BridgeService.return_),
}
"""Each method with the message that it takes."""
