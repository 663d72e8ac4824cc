"""``dockerfile.v0``: the frontend around the conversion, from options to a result for every platform."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from buildkit.core.aio import gather_all
from buildkit.core.errors import BuildkitError, InvalidInput, SubrequestDetail, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.result import Attestation
from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile import sbom, subrequests, syntax
from buildkit.frontend.dockerfile.buildoptions import BuildOptions, parse_options
from buildkit.frontend.dockerfile.convert import Converted, convert
from buildkit.frontend.dockerfile.grammar import parse_program
from buildkit.frontend.dockerfile.inputs import BuildInputs, DockerfileSource
from buildkit.frontend.dockerfile.linter import Finding, Linter, Report
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.options import ConvertOptions
from buildkit.frontend.dockerfile.outline import outline_of
from buildkit.frontend.dockerfile.parser import decode, parse
from buildkit.frontend.dockerfile.platformspec import platform_id
from buildkit.frontend.dockerfile.resolvecache import CachedResolving
from buildkit.frontend.dockerfile.results import PlatformResult, assemble
from buildkit.frontend.frontend import Bridge, FrontendResult, Ref, Warning
from buildkit.llb.caps import FILE_BASE
from buildkit.llb.definition import Definition

_CAPS = frozenset(f"moby.buildkit.frontend.{name}" for name in ("inputs", "subrequests", "contexts", "gitquerystring"))


class DockerfileFrontend:
    """Builds Dockerfiles. ``forward_syntax`` hands ``# syntax=`` images to the gateway unless options say otherwise."""

    def __init__(self, *, forward_syntax: bool = False) -> None:
        self._forward_syntax = forward_syntax

    async def solve(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """See `Frontend.solve`."""
        if FILE_BASE not in bridge.llb_caps:
            raise InvalidInput("needs BuildKit 0.5 or later")
        resolving = CachedResolving(bridge.resolving)
        bridge = replace(bridge, resolving=resolving)
        parsed = parse_options(options, (bridge.platform,))
        missing, may_forward = _missing_cap(options.get("frontend.caps", ""))
        if missing is not None and not may_forward:
            raise missing
        build_inputs = BuildInputs(bridge, options, parsed, inputs)
        source = await build_inputs.read_dockerfile()
        request = syntax.find_request(decode(source.file.content), options)
        if request is not None:
            answer = await self._hand_on(request, bridge, options, inputs, source)
            if answer is not None:
                return answer
            parsed = replace(parsed, labs=request.is_labs)
        if missing is not None:
            raise missing
        build = _Build(bridge, resolving, parsed, build_inputs, source)
        question = options.get("requestid")
        return await (build.run() if question is None else build.answer(question))

    async def _hand_on(
        self,
        request: syntax.SyntaxRequest,
        bridge: Bridge,
        options: Mapping[str, str],
        inputs: Mapping[str, Definition],
        source: DockerfileSource,
    ) -> FrontendResult | None:
        """The answer of the frontend image asked for; None when the built-in frontend is to go on."""
        try:
            if syntax.wants_forward(options, self._forward_syntax):
                more = {"cmdline": request.command_line, "source": request.image}
                return await bridge.solving.forward("gateway.v0", {**options, **more}, inputs)
            if not request.is_dockerfile:
                raise Unsupported(f"frontend image {request.image} is not run; syntax=forward hands it to the gateway")
        except BuildkitError as error:
            if request.location is None:
                raise error.prefixed(f"failed with {syntax.ARGUMENT} = {request.command_line}: ") from None
            raise error.detailed(source.file.detail(request.location)) from None
        await _say(bridge, source, f"{request.image}: the built-in Dockerfile frontend is used")
        return None


def _missing_cap(text: str) -> tuple[Unsupported | None, bool]:
    """The first capability asked for that we lack, and whether an image may be asked instead."""
    missing: Unsupported | None = None
    forward = False
    for wanted in text.split(",") if text else ():
        name = wanted.partition("+")[0]
        if name not in _CAPS:
            missing = Unsupported(f"unsupported frontend capability {name}")
            if "+forward" not in wanted:
                return missing, False
            forward = True
    return missing, forward


async def _say(bridge: Bridge, source: DockerfileSource, line: str) -> None:
    if bridge.note is not None:
        await bridge.note(line)
    else:
        await bridge.warn(Warning(source.vertex, line))


@dataclass(frozen=True, slots=True)
class _Build:
    """One Dockerfile to build, or to be asked about."""

    bridge: Bridge
    resolver: CachedResolving
    options: BuildOptions
    inputs: BuildInputs
    source: DockerfileSource

    async def run(self) -> FrontendResult:
        try:
            return await self._run()
        except DockerfileError as error:
            raise error.detailed(*(self.source.file.detail(place) for place in error.locations)) from None

    async def _run(self) -> FrontendResult:
        options, scanner = self.options, None
        if options.sbom is not None:
            platform = options.build_platforms[0]
            scanner = await sbom.find_scanner(self.bridge, options.sbom, platform, options.resolve_mode)
        wanted: Sequence[Platform | None] = options.target_platforms or (None,)
        *others, last = [self._build(platform, index == 0, scanner) for index, platform in enumerate(wanted)]
        # of several failures the last platform's is reported first, as Go's scheduler has it
        found, *rest = await gather_all([last, *others])
        return assemble([*rest, found], multi_platform=options.multi_platform)

    async def _build(self, platform: Platform | None, first: bool, scanner: sbom.Scanner | None) -> PlatformResult:
        converted = await self._convert(platform, report=first)
        try:
            definition = converted.definition()
        except BuildkitError as error:
            raise error.prefixed("failed to marshal LLB definition: ") from None
        ref = await self.bridge.solving.solve(definition, cache_imports=self.options.cache_imports)
        attestations: tuple[Attestation[Ref], ...] = ()
        if scanner is not None:
            listed = scanner.scan(
                platform_id(platform), converted.state, converted.scan, ignore_cache=converted.ignore_cache
            )
            attestations = (sbom.attestation(await self.bridge.solving.solve(listed.marshal())),)
        base = converted.base_image
        return PlatformResult(
            platform,
            ref,
            converted.image.to_json().encode(),
            converted.image.platform,
            None if base is None else base.to_json().encode(),
            converted.epoch,
            attestations,
        )

    async def answer(self, question: str) -> FrontendResult:
        """Answer a subrequest."""
        content = self.source.file.content
        if question == subrequests.DESCRIBE:
            return subrequests.describe()
        if question == subrequests.TARGETS:
            return subrequests.targets(parse_program(parse(decode(content)), Linter()), content)
        if question == subrequests.LINT:
            return await self._lint()
        if question == subrequests.OUTLINE:
            return subrequests.outline(outline_of((await self._convert(None)).target), content)
        if question == subrequests.CONVERT:
            return subrequests.convert((await self._convert(None)).definition())
        raise InvalidInput(f"unsupported request {question}").detailed(SubrequestDetail(question))

    async def _lint(self) -> FrontendResult:
        findings: list[Finding] = []
        failure = None
        try:
            every_stage = not self.options.target
            await convert(
                self.source.file.content, self._settings(None, findings.append, all_stages=every_stage), self.resolver
            )
        except BuildkitError as error:
            places = error.locations if isinstance(error, DockerfileError) else ()
            failure = subrequests.Failure(str(error), subrequests.merged(places))
        return subrequests.lint(findings, failure, self.source.file)

    async def _convert(self, platform: Platform | None, *, report: bool = True) -> Converted:
        """Convert, and warn of what the checks find as they find it, also when that fails in the end."""
        if not report:
            return await convert(self.source.file.content, self._settings(platform, None), self.resolver)
        findings: asyncio.Queue[Finding | None] = asyncio.Queue()
        warning = asyncio.create_task(self._warn(findings))
        try:
            return await convert(self.source.file.content, self._settings(platform, findings.put_nowait), self.resolver)
        finally:
            findings.put_nowait(None)
            await warning

    async def _warn(self, findings: asyncio.Queue[Finding | None]) -> None:
        while (finding := await findings.get()) is not None:
            await self.bridge.warn(
                Warning(
                    self.source.vertex,
                    finding.summary,
                    detail=(finding.rule.description,),
                    url=finding.rule.url,
                    source=self.source.file,
                    ranges=finding.location,
                )
            )

    def _settings(
        self, platform: Platform | None, report: Report | None, *, all_stages: bool = False
    ) -> ConvertOptions:
        options = self.options
        return ConvertOptions(
            target=options.target,
            build_args=options.build_args,
            labels=options.labels,
            build_platforms=options.build_platforms,
            target_platform=platform,
            multi_platform=options.multi_platform,
            image_resolve_mode=options.resolve_mode,
            cache_namespace=options.cache_namespace,
            labs=options.labs,
            network=options.network,
            hostname=options.hostname,
            extra_hosts=options.extra_hosts,
            shm_size=options.shm_size,
            ulimits=options.ulimits,
            cgroup_parent=options.cgroup_parent,
            resources=options.resources,
            known_caps=self.bridge.llb_caps,
            source_file=self.source.file,
            all_stages=all_stages,
            report=report,
            inputs=self.inputs,
            check=options.check,
            no_cache=options.no_cache,
            source_time=self.inputs.source_time,
        )
