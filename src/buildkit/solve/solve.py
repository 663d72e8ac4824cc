"""One solve: open a lease and a job, ask the frontend, build what it wants, write the outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from buildkit.core.aio import gather_all
from buildkit.core.errors import BuildkitError, Exhausted, InvalidInput, MaterialsDetail
from buildkit.core.explanation import Explanation
from buildkit.core.identity import new_id
from buildkit.core.progress import Stream
from buildkit.core.result import Attestation, Result
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.frontend import Frontend
from buildkit.frontend.requestopts import KEY, capture
from buildkit.solve.bridge import BuildBridge
from buildkit.solve.outputs import Outputs
from buildkit.solve.provenance.wanted import Wanted, parse_wanted
from buildkit.solve.reading import Reader
from buildkit.solve.refs import FrontendRequest, LazyRef, own
from buildkit.solve.request import SolveRequest, SolveResponse
from buildkit.solver.job import Job, Solver
from buildkit.solver.record import StepRecords
from buildkit.source.image import Images
from buildkit.source.pull import Pulls
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.solve.provenance.usage import Machine
    from buildkit.store.store import Store

Explained = Callable[[Sequence[Explanation]], None]
"""Hears why each step ran."""

_SHOWN = "frontend."
"""What a frontend's metadata begins with that clients are to see among the exporters' responses."""


@dataclass(frozen=True, slots=True)
class Builder:
    """What solving needs: the parts that every build shares."""

    worker: Worker
    solver: Solver[Ref | None]
    images: Images
    frontends: Mapping[str, Frontend]
    pulls: Pulls
    steps: StepRecords
    environment: Mapping[str, object] = field(default_factory=dict[str, object])
    """What provenance says of this place."""

    async def solve(
        self,
        request: SolveRequest,
        progress: Stream,
        *,
        driver: Frontend | None = None,
        explained: Explained | None = None,
    ) -> SolveResponse:
        """Run one build to its end; ``progress`` gets everything that happens and is closed by the caller.

        ``driver`` is the frontend of a request that has neither a frontend nor a definition: the client itself.

        ``explained`` gets why each step ran, also when the build fails.

        Raises `BuildkitError` with the vertex and the source lines that it comes from.
        """
        started = time.time_ns()
        attested = parse_wanted(request.frontend_attrs)
        asked = FrontendRequest(request.frontend, request.frontend_attrs)
        store = self.worker.store
        outputs = Outputs.open(request, store, self.worker.sessions, self.images.registry)
        async with (
            store.lease() as lease,
            self.solver.job(request.id, session=request.session, progress=progress, hold=lease.hold) as job,
        ):
            with (
                self.worker.leases.lent(request.session, lease),
                self._traced(request),
                self.pulls.lent(request.session, request.pull),
                _watched(request, attested) as machine,
            ):
                building = BuildBridge(
                    self.worker,
                    job,
                    lease,
                    progress,
                    request.session,
                    request.entitlements,
                    self.frontends,
                    self.images,
                    request.policies,
                    request.policy_session,
                )
                since = time.time_ns()
                try:
                    wanted = await self._ask(building, request, driver)
                    result = await evaluate(wanted, job)
                except BaseException as error:
                    await self._learn(
                        request, job, lease, since, explained if isinstance(error, BuildkitError) else None
                    )
                    raise
                await self._learn(request, job, lease, since, explained)
                if request.session_exporters:
                    outputs = await outputs.chosen(result, request)
                if outputs.exporters:
                    made = await _attested(wanted, Reader(store, job, lease))
                    if attested is not None:
                        telling = partial(
                            _predicate, new_id(), started, attested, self.environment, asked, machine, job, store
                        )
                        for platform, ref in _built(wanted).items():
                            said = _attestation(partial(telling, ref), attested)
                            made[platform] = (*made.get(platform, ()), said)
                    result = replace(result, attestations=made)
                result = replace(result, metadata={**result.metadata, KEY: capture(request.frontend_attrs)})
                response, images = await outputs.write(result, request, lease, progress)
                response = {**_shown(result), **response}
                if request.session_exporters:
                    await outputs.conclude(response, request)
                predicates = {}
                if request.provenance:
                    recorded = replace(attested or Wanted(), mode="max", version="v1", usage=True, complete=False)
                    telling = partial(
                        _predicate, new_id(), started, recorded, self.environment, asked, machine, job, store
                    )
                    predicates = {platform: telling(ref) for platform, ref in _built(wanted).items()}
        return SolveResponse(response, result.metadata, predicates, images)

    def _traced(self, request: SolveRequest) -> AbstractContextManager[None]:
        """The steps of a request belong to its client's trace."""
        if not request.trace_parent:
            return nullcontext()
        from buildkit.worker.traces import lent

        return lent(self.worker.trace_parents, request.session, request.trace_parent)

    async def _learn(
        self, request: SolveRequest, job: Job[Ref | None], lease: Lease, since: int, explained: Explained | None
    ) -> None:
        """Keep the records of what ran, so that a later build can be explained, and explain this one."""
        if explained is None and not job.did("executed", "failed"):
            return
        from buildkit.solve.explain import Explainer, hiding_of, ignored_by, scope_of

        sessions = self.worker.sessions
        records = job.all_records if explained is not None else []
        explainer = Explainer(
            self.steps,
            self.worker.store,
            scope_of(request, sessions),
            since,
            lease,
            await hiding_of(records, sessions.find(request.session)),
            ignored_by(request),
            job.ordinals,
        )
        if explained is not None:
            explained(await explainer.explain(records))
        with suppress(Exhausted):  # a full disk has failed the build already, or is none of its business
            explainer.save(job.ended("executed", "loaded", "failed"))

    async def _ask(self, building: BuildBridge, request: SolveRequest, driver: Frontend | None) -> Result[LazyRef]:
        if request.definition is not None:
            if request.frontend:
                raise InvalidInput("cannot solve with both Definition and Frontend specified")
            ref = await building.solve(request.definition) if request.definition.ops else None
            return Result({"": ref})
        if request.frontend:
            found = await building.forward(request.frontend, request.frontend_attrs, request.frontend_inputs)
        elif driver is not None:
            found = await driver.solve(building.bridge(), request.frontend_attrs, request.frontend_inputs)
        else:
            raise InvalidInput("neither a frontend nor a definition is given")
        refs = {platform: None if ref is None else own(ref) for platform, ref in found.refs.items()}
        attestations = {platform: tuple(map(_own, listed)) for platform, listed in found.attestations.items()}
        return Result(refs, found.single, found.metadata, attestations)


async def evaluate(wanted: Result[LazyRef], job: Job[Ref | None]) -> Result[Ref]:
    """Build every ref of a result, all at once."""

    async def one(ref: LazyRef | None) -> Ref | None:
        return None if ref is None else await ref.evaluate(job)

    found = await gather_all(one(ref) for ref in wanted.refs.values())
    return Result(dict(zip(wanted.refs, found, strict=True)), wanted.single, wanted.metadata)


def _shown(result: Result[Ref]) -> dict[str, str]:
    """What a frontend says of its result to whoever asked for the build."""
    found = {key: value for key, value in result.metadata.items() if key.startswith(_SHOWN)}
    return {key: value.decode("utf-8", "replace") for key, value in found.items()}


def _own(one: Attestation[object]) -> Attestation[LazyRef]:
    ref = None if one.ref is None else own(one.ref)
    return Attestation(one.kind, one.predicate_type, one.content, ref, one.path, one.subjects, one.metadata)


async def _attested(wanted: Result[LazyRef], reader: Reader) -> dict[str, tuple[Attestation[Ref], ...]]:
    if not wanted.attestations:
        return {}
    from buildkit.solve.statements import read_statements

    return await read_statements(wanted.attestations, reader)


def _attestation(predicate: Callable[[], bytes], wanted: Wanted) -> Attestation[Ref]:
    from buildkit.solve.provenance import predicate as slsa1
    from buildkit.solve.provenance import slsa02

    kind = slsa1.PREDICATE_TYPE if wanted.version == "v1" else slsa02.PREDICATE_TYPE
    metadata = {"inline-only": b"true"} if wanted.inline_only else {}
    return Attestation("in-toto", kind, path=wanted.filename, metadata=metadata, late=predicate)


def _watched(request: SolveRequest, attested: Wanted | None) -> AbstractContextManager[Machine | None]:
    """What the build's machine does, where that is to be told."""
    if not request.provenance and not (attested is not None and attested.usage):
        return nullcontext()
    from buildkit.solve.provenance.usage import watching

    return watching()


def _incomplete(locals: Sequence[str]) -> BuildkitError:
    lines = ["provenance materials are incomplete", ""]
    lines += ["The build requested complete provenance materials, but not all dependencies could be captured."]
    if locals:
        lines += ["", "Uncaptured local sources:"]
        lines += [line for name in locals for line in (f"  - {name}", "    reason: local_source")]
    return BuildkitError("\n".join(lines)).detailed(MaterialsDetail(tuple(locals)))


def _built(wanted: Result[LazyRef]) -> dict[str, LazyRef]:
    """The refs that something is to be said about."""
    return {platform: ref for platform, ref in wanted.refs.items() if ref is not None and ref.edge is not None}


def _predicate(
    id: str,
    started: int,
    attested: Wanted,
    environment: Mapping[str, object],
    root: FrontendRequest,
    machine: Machine | None,
    job: Job[Ref | None],
    store: Store,
    ref: LazyRef,
) -> bytes:
    """The provenance of a ref; ``root`` is what the build was asked for, ``machine`` what it ran on."""
    from buildkit.core.gojson import go_json
    from buildkit.solve.provenance.capture import capture
    from buildkit.solve.provenance.layers import layers_of_steps
    from buildkit.solve.provenance.predicate import Run, predicate
    from buildkit.solve.provenance.slsa02 import to_slsa02

    records = job.records
    run = Run(
        id=id,
        started=started,
        finished=time.time_ns(),
        builder=attested.builder,
        reproducible=attested.reproducible,
        environment=environment,
    )
    if attested.usage:
        from buildkit.solve.provenance.usage import usage_of_steps

        run = replace(run, steps=usage_of_steps(records), machine=machine.samples() if machine is not None else ())
    asked = ref.request or FrontendRequest("", {})
    captured = capture(ref.definition, records, asked.frontend, asked.options, root if ref.request else None)
    if attested.complete and not captured.is_complete:
        raise _incomplete(captured.locals)
    layers = layers_of_steps(job, ref.edge, store) if attested.mode == "max" and ref.edge is not None else {}
    made = predicate(captured, run, mode=attested.mode, layers=layers)
    return go_json(made if attested.version == "v1" else to_slsa02(made)).encode()
