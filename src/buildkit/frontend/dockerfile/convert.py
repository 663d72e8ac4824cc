"""A Dockerfile, for one platform, as a definition and an image config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError
from buildkit.core.goquote import quote
from buildkit.core.platform import DEFAULT_PATH, Platform, host_platform, normalize
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile import checks, rules
from buildkit.frontend.dockerfile.bases import find_context, resolve_bases
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.directives import find_directive
from buildkit.frontend.dockerfile.dispatch import dispatch, set_user, set_workdir
from buildkit.frontend.dockerfile.epoch import NAME as EPOCH
from buildkit.frontend.dockerfile.epoch import resolve_epoch, with_epoch
from buildkit.frontend.dockerfile.globalargs import ArgUse, declare_args, platform_args, proxy_of
from buildkit.frontend.dockerfile.gotext import parse_bool
from buildkit.frontend.dockerfile.grammar import parse_program
from buildkit.frontend.dockerfile.imageconfig import ImageConfig
from buildkit.frontend.dockerfile.instructions import Add, Copy, Program, Run, Stage, Workdir
from buildkit.frontend.dockerfile.linter import CheckOptions, Linter, parse_check_options
from buildkit.frontend.dockerfile.location import DockerfileError, lines
from buildkit.frontend.dockerfile.naming import internal
from buildkit.frontend.dockerfile.options import ConvertOptions, ImageResolver
from buildkit.frontend.dockerfile.parser import decode, parse
from buildkit.frontend.dockerfile.platformspec import parse_platform
from buildkit.frontend.dockerfile.shell import ExpansionError, Lexer
from buildkit.frontend.dockerfile.stagebuild import (
    SCRATCH,
    StageBuild,
    Usage,
    check_circles,
    follow_paths,
    reachable,
)
from buildkit.frontend.dockerfile.suggest import suggestion
from buildkit.llb.definition import Definition
from buildkit.llb.env import Env
from buildkit.llb.source import local
from buildkit.llb.state import State

if TYPE_CHECKING:
    from buildkit.fs.patterns import PatternMatcher

CONTEXT = "context"
_SCAN_CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT"
_SCAN_STAGE = "BUILDKIT_SBOM_SCAN_STAGE"


@dataclass(frozen=True, slots=True)
class Converted:
    """A target, ready to be solved. ``epoch`` in seconds since 1970."""

    state: State
    image: ImageConfig
    base_image: ImageConfig | None
    epoch: int | None
    target: StageBuild
    known_caps: frozenset[str] | None = None
    scan: dict[str, State] = field(default_factory=dict)
    """What a bill of materials covers besides the result: ``context``, and stages by name."""
    ignore_cache: bool = False

    def __repr__(self) -> str:
        return f"<Converted of {self.target.name or self.target.base_name}>"

    def definition(self, local_unique_id: str = "") -> Definition:
        """The graph written down; raises `InvalidInput`."""
        if local_unique_id:
            return self.state.marshal(known_caps=self.known_caps, local_unique_id=local_unique_id)
        return self.state.marshal(known_caps=self.known_caps)


async def convert(content: bytes, options: ConvertOptions, resolver: ImageResolver) -> Converted:
    """Convert a Dockerfile; raises `DockerfileError` with places, and what the resolver and the inputs raise."""
    if not content:
        raise DockerfileError("the Dockerfile cannot be empty")
    text = decode(content)
    linter = Linter(_check_options(text, options), options.report)
    dockerfile = parse(text)
    for continuation in dockerfile.empty_continuations:
        place = lines(continuation.line, continuation.line)
        linter.run(rules.NO_EMPTY_CONTINUATION, place, rules.no_empty_continuation())
    program = parse_program(dockerfile, linter)
    if not program.stages:
        raise DockerfileError("dockerfile contains no stages to build")
    checks.check_stage_names(program.stages, linter)
    checks.check_casing(program.stages, linter)
    conversion, args = await _prepare(program, options, Lexer(dockerfile.escape), linter)
    _add_stages(program, args, conversion)
    target = _target_of(conversion)
    _bind_commands(conversion)
    needed = await resolve_bases(target, conversion, resolver)
    conversion = replace(conversion, ignore=await _ignore_patterns(conversion))
    paths = _dispatch_stages(conversion, needed)
    target.paths.add("/")
    await _finish(target, paths, conversion)
    return _converted(target, conversion)


def _check_options(text: str, options: ConvertOptions) -> CheckOptions:
    if options.check is not None:
        return options.check
    directive = find_directive("check", text)
    try:
        return parse_check_options(directive.first_word if directive is not None else "")
    except DockerfileError as error:
        raise error.prefixed("failed to parse check options: ") from None


async def _prepare(
    program: Program, options: ConvertOptions, lexer: Lexer, linter: Linter
) -> tuple[Conversion, dict[str, ArgUse]]:
    target_platform = options.target_platform
    build_platforms = tuple(options.build_platforms)
    if not build_platforms:
        build_platforms = (target_platform or host_platform(),)
    target_platform = target_platform or build_platforms[0]
    target_name = options.target or program.stages[-1].name
    predefined = platform_args(build_platforms[0], target_platform, options.build_args, target_name)
    checks.check_default_bases(program.stages, lexer, predefined, program.global_args, linter)
    variables, args = declare_args(predefined, lexer, program.global_args, options.build_args)
    epoch = None
    wanted = options.build_args.get(EPOCH)
    wanted = (variables.get(EPOCH) or None) if wanted is None else wanted
    if wanted is not None:
        epoch = await resolve_epoch(wanted, options, program, variables, lexer)
        value = "" if epoch is None else str(epoch)
        options = replace(options, build_args=with_epoch(options.build_args, value))
        if EPOCH in variables:
            variables = variables.set(EPOCH, value) if value else variables.unset(EPOCH)
    conversion = Conversion(
        options,
        build_platforms,
        target_platform,
        lexer,
        linter,
        variables,
        epoch,
        proxy_of(options.build_args),
    )
    return conversion, args


def _add_stages(program: Program, args: dict[str, ArgUse], conversion: Conversion) -> None:
    for index, stage in enumerate(program.stages):
        build = _new_stage(stage, args, conversion)
        if stage.name:
            context = find_context(stage.name, build, build.platform, conversion)
            if context is not None:
                build.named_context = context
                conversion.stages.add(build)
                build.base = None
                continue
        build.name = stage.name or f"stage-{index}"
        used = set(build.usage.used)
        conversion.stages.add(build)
        build.usage.used |= used
        build.steps = sum(isinstance(c, Add | Copy | Run | Workdir) for c in stage.commands)
        build.steps += build.base_name != SCRATCH and build.base is None
        build.ignore_cache = conversion.options.is_no_cache(stage.name)


def _new_stage(stage: Stage, args: dict[str, ArgUse], conversion: Conversion) -> StageBuild:
    origin, variables = stage.origin, conversion.global_args
    linter = conversion.linter.for_comments(origin.comments)
    known = [*variables, *args]
    try:
        base = conversion.lexer.expand(origin.base, variables)
    except ExpansionError as error:
        checks.check_from_args(known, error.unmatched, origin.location, linter)
        raise error.at(origin.location) from None
    checks.check_from_args(known, base.unmatched, origin.location, linter)
    if not base.text:
        raise DockerfileError(f"base name ({origin.base}) should not be blank", origin.location)
    usage = Usage(dict(args), set(base.matched))
    platform = None
    if origin.platform:
        platform, matched = _platform_of(stage, known, conversion, linter)
        usage.used |= matched
    return StageBuild(
        stage,
        base.text,
        stage.name,
        usage,
        conversion.epoch,
        conversion.options.multi_platform,
        platform=platform,
    )


def _platform_of(
    stage: Stage, known: list[str], conversion: Conversion, linter: Linter
) -> tuple[Platform, frozenset[str]]:
    origin, variables = stage.origin, conversion.global_args
    try:
        found = conversion.lexer.expand(origin.platform, variables)
    except ExpansionError as error:
        checks.check_from_args(known, error.unmatched, origin.location, linter)
        error.prefixed("failed to process arguments for platform : ")
        raise error.at(origin.location) from None
    checks.check_from_args(known, found.unmatched, origin.location, linter)
    checks.check_platform_flag(origin.platform, found, stage.name, origin.location, variables, linter)
    near = next((n for name in sorted(found.unmatched) if (n := suggestion(name, variables))), "")
    if not found.text:
        raise DockerfileError(f"empty platform value from expression {origin.platform}{near}", origin.location)
    try:
        return parse_platform(found.text), found.matched
    except DockerfileError as error:
        message = f"failed to parse platform {origin.platform}: {error}{near}"
        raise DockerfileError(message, origin.location, origin.location) from None


def _target_of(conversion: Conversion) -> StageBuild:
    name = conversion.options.target
    if not name:
        return conversion.stages.all[-1]
    target = conversion.stages.find(name)
    if target is None:
        near = suggestion(name, conversion.stages.names())
        raise DockerfileError(f"target stage {quote(name)} could not be found{near}")
    return target


def _bind_commands(conversion: Conversion) -> None:
    stages = conversion.stages
    for stage in list(stages.all):
        for command in stage.stage.commands:
            bound = stages.bind(command, conversion.lexer)
            stage.commands.append(bound)
            for source in bound.sources:
                stage.dependencies[source] = command
                if not source.registered:
                    stages.add(source)
    check_circles(stages.all)
    if len(stages.all) == 1:
        stages.all[0].name = ""


async def _ignore_patterns(conversion: Conversion) -> PatternMatcher | None:
    inputs = conversion.options.inputs
    patterns = await inputs.ignore_patterns() if inputs is not None else ()
    if not patterns:
        return None
    from buildkit.fs.patterns import PatternMatcher

    return PatternMatcher(patterns)


def _dispatch_stages(conversion: Conversion, needed: set[StageBuild]) -> set[str]:
    paths: set[str] = set()
    for stage in list(conversion.stages.all):
        if not conversion.options.all_stages and (stage not in needed or stage.dispatched):
            continue
        stage.inherit()
        stage.dispatched = True
        try:
            _start(stage, conversion)
        except BuildkitError as error:
            raise conversion.located(error, stage.location) from None
        for bound in stage.commands:
            try:
                dispatch(stage, bound, conversion)
            except BuildkitError as error:
                raise conversion.located(error, bound.command.location) from None
        paths |= stage.context_paths
        _note_scan(stage, conversion.global_args)
    return paths


def _start(stage: StageBuild, conversion: Conversion) -> None:
    """Take what the base image says about its containers."""
    if stage.platform is None:
        stage.platform = Platform("", "")
    config = stage.image.config
    if not any(pair.partition("=")[0] == "PATH" for pair in config.env) and stage.platform.os != "windows":
        config.env.append("PATH=" + DEFAULT_PATH)
    state = stage.state
    for pair in config.env:
        key, _, value = pair.partition("=")
        state = state.env(key, value)
    if conversion.options.hostname:
        state = state.hostname(conversion.options.hostname)
    stage.state = state
    if config.working_dir:
        set_workdir(stage, config.working_dir, stage.platform)
    if config.user:
        set_user(stage, config.user)
    stage.state = stage.state.network(conversion.options.network)


def _note_scan(stage: StageBuild, global_args: Env) -> None:
    for name in (_SCAN_CONTEXT, _SCAN_STAGE):
        value = global_args.get(name)
        for arg in stage.build_args:
            if arg.key == name and arg.value is not None:
                value = arg.value
        if value is None or not _is_enabled(stage.name, value):
            continue
        if name == _SCAN_CONTEXT:
            stage.scan_context = True
        else:
            stage.scan_stage = True


def _is_enabled(stage: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        return stage in value.split(",")


async def _finish(target: StageBuild, paths: set[str], conversion: Conversion) -> None:
    options, image = conversion.options, target.image
    image.config.labels.update(options.labels)
    conversion.linter.check()
    follow = follow_paths(paths)
    if options.inputs is not None:
        context = await options.inputs.main_context(follow)
    else:
        context = options.main_context or default_context(follow)
    conversion.late_context.target = context.output
    target.state = target.state.with_marshal_defaults(platform=conversion.target_platform)
    if options.target_platform is not None:
        image.platform = _overridden(image.platform, options.target_platform)
    image.platform = _normalized(image.platform)


def default_context(follow: list[str]) -> State:
    """The client's directory ``context``."""
    return local(CONTEXT, shared_key=CONTEXT, follow=follow, name=internal("load build context"))


def _overridden(found: Platform, wanted: Platform) -> Platform:
    same = (found.os, found.architecture) == (wanted.os, wanted.architecture)
    return Platform(
        wanted.os,
        wanted.architecture,
        found.variant if same and not wanted.variant else wanted.variant,
        found.os_version if same and not wanted.os_version else wanted.os_version,
        wanted.os_features or found.os_features,
    )


def _normalized(platform: Platform) -> Platform:
    return normalize(platform if platform.os else replace(platform, os=host_platform().os))


def _converted(target: StageBuild, conversion: Conversion) -> Converted:
    scan: dict[str, State] = {}
    if target.scan_context:
        scan["context"] = conversion.build_context
    ignore_cache = target.ignore_cache
    for stage in reachable(target):
        if stage is not target and stage.scan_stage:
            scan[stage.name] = stage.state
            ignore_cache |= stage.ignore_cache
    return Converted(
        target.state,
        target.image,
        target.base_image,
        target.epoch,
        target,
        conversion.options.known_caps,
        scan,
        ignore_cache,
    )
