"""What stages start from: images resolved, contexts loaded, triggers of base images added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from buildkit.core.aio import gather_all
from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.goquote import quote
from buildkit.core.platform import Platform
from buildkit.core.values import replace
from buildkit.frontend.dockerfile import naming
from buildkit.frontend.dockerfile.checks import check_base_platform
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.gotext import equal_fold
from buildkit.frontend.dockerfile.grammar import parse_instruction
from buildkit.frontend.dockerfile.imageconfig import ImageConfig, empty_image, parse_image
from buildkit.frontend.dockerfile.instructions import From, Onbuild
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.options import ImageResolver
from buildkit.frontend.dockerfile.parser import parse
from buildkit.frontend.dockerfile.platformspec import format_full
from buildkit.frontend.dockerfile.stagebuild import (
    SCRATCH,
    Bound,
    LoadedContext,
    NamedContext,
    StageBuild,
    as_trigger,
    follow_paths,
    reachable,
)
from buildkit.frontend.dockerfile.suggest import suggestion
from buildkit.llb.constraints import Options
from buildkit.llb.source import image
from buildkit.llb.state import State, scratch

_COMMON_NAMES = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


class _Found(NamedTuple):
    """What a base turned out to be: an image by name (``state`` None), or a filesystem."""

    name: str
    config: ImageConfig | None
    state: State | None = None
    platform: Platform | None = None


def find_context(
    name: str, stage: StageBuild, platform: Platform | None, conversion: Conversion
) -> NamedContext | None:
    """What the client put in place of ``name``, if anything."""
    inputs = conversion.options.inputs
    if inputs is None or equal_fold(name, SCRATCH) or equal_fold(name, "context"):
        return None
    return inputs.find_named_context(
        name,
        platform=platform or conversion.options.target_platform,
        mode=conversion.options.image_resolve_mode,
        follow=lambda: follow_paths(stage.paths),
    )


async def resolve_bases(target: StageBuild, conversion: Conversion, resolver: ImageResolver) -> set[StageBuild]:
    """Make every stage ready to start; returns those that the target needs. Raises `DockerfileError` and others."""
    while True:
        needed = reachable(target)
        await _resolve_missing(needed, conversion, resolver)
        found_more = False
        for stage in [stage for stage in conversion.stages.all if stage in needed]:
            stage.inherit()
            triggers = list(stage.image.config.onbuild)
            if stage.base is not None and not stage.triggers_read:
                triggers += [b.command.expression for b in stage.base.commands if isinstance(b.command, Onbuild)]
                stage.triggers_read = True
            if triggers:
                found_more |= _add_triggers(stage, triggers, conversion)
                stage.image.config.onbuild = []
        if not found_more:
            return needed


async def _resolve_missing(needed: set[StageBuild], conversion: Conversion, resolver: ImageResolver) -> None:
    work: list[tuple[StageBuild, bool]] = []
    for stage in conversion.stages.all:
        wanted = stage in needed or conversion.options.all_stages
        if stage.base is not None or stage.dispatched or stage.resolved:
            continue
        stage.resolved = wanted
        if stage.base_name == SCRATCH and stage.named_context is None:
            stage.state = scratch()
            stage.image = empty_image(conversion.target_platform)
            stage.platform = conversion.target_platform
            stage.dispatched = not stage.registered
        else:
            work.append((stage, wanted))
    # of several failures the last stage's is reported first, as Go's scheduler has it; it asks for all that have a name
    started = [(_is_name(stage.base_name), wanted, stage) for stage, wanted in work[-1:] + work[:-1]]
    asked = [stage for named, wanted, stage in started if named and wanted]
    asked += [stage for named, _, stage in started if not named]
    found = await gather_all(_find_base(stage, conversion, resolver) for stage in asked)
    results = dict(zip(asked, found, strict=True))
    for stage, _ in work:
        try:
            _start_stage(stage, results.get(stage), conversion)
        except BuildkitError as error:
            raise conversion.located(error, stage.location) from None
        if not stage.registered:
            stage.dispatched = True


def _is_name(written: str) -> bool:
    try:
        _normalized_name(written)
    except DockerfileError:
        return False
    return True


async def _find_base(stage: StageBuild, conversion: Conversion, resolver: ImageResolver) -> _Found:
    try:
        return await _ask(stage, conversion, resolver)
    except BuildkitError as error:
        raise conversion.located(error, stage.location) from None


async def _ask(stage: StageBuild, conversion: Conversion, resolver: ImageResolver) -> _Found:
    name = _normalized_name(stage.base_name)
    if stage.named_context is not None:
        loaded = await stage.named_context.load()
        return _Found(name, _config_of(loaded), loaded.state)
    platform = stage.platform or conversion.target_platform
    context = find_context(name, stage, platform, conversion)
    if context is not None:
        loaded = await context.load()
        return _Found(name, _config_of(loaded) or empty_image(platform), loaded.state, platform)
    return await _ask_registry(stage, name, platform, conversion, resolver)


def _normalized_name(written: str) -> str:
    from buildkit.oci.names import parse_reference

    try:
        return str(parse_reference(written).with_default_tag())
    except InvalidInput as error:
        raise DockerfileError(f"failed to parse stage name {quote(written)}: {error}") from None


def _config_of(loaded: LoadedContext) -> ImageConfig | None:
    return None if loaded.config is None else parse_image(loaded.config)


async def _ask_registry(
    stage: StageBuild, name: str, platform: Platform, conversion: Conversion, resolver: ImageResolver
) -> _Found:
    from buildkit.oci.names import parse_reference

    options = conversion.options
    prefix = f"[{format_full(platform)} internal]" if options.multi_platform else "[internal]"
    try:
        found = await resolver.resolve_image(
            name,
            platform=platform,
            mode=options.image_resolve_mode,
            log_name=f"{prefix} load metadata for {name}",
        )
    except BuildkitError as error:
        error.prefixed(f"{stage.base_name}: ")
        error.message += suggestion(stage.base_name, [*conversion.stages.names(), *_common_names()])
        raise
    parsed = parse_reference(stage.base_name)
    if str(parsed) != found.ref:
        try:
            parsed = parse_reference(found.ref)
        except InvalidInput as error:
            raise DockerfileError(f"failed to parse ref {quote(found.ref)}: {error}") from None
    pinned = parsed.with_digest(found.digest) if found.digest else parsed
    return _Found(str(pinned), parse_image(found.config))


def _start_stage(stage: StageBuild, found: _Found | None, conversion: Conversion) -> None:
    written = stage.base_name
    platform = stage.platform or conversion.target_platform
    if found is None:
        stage.base_name = _normalized_name(stage.base_name)
    elif found.state is not None:
        _start_from_context(stage, found)
        return
    else:
        stage.base_name = found.name
        platform = _start_from_image(stage, found, platform, conversion)
    if found is not None and _is_empty(found.config):
        stage.state = scratch()
    else:
        stage.state = _image_state(stage, platform, conversion)
        if found is not None:
            check_base_platform(written, platform, stage.image.platform, stage.location, conversion.linter)
    stage.platform = platform


def _start_from_context(stage: StageBuild, found: _Found) -> None:
    config, state = found.config, found.state
    if found.platform is None:
        stage.dispatched = True
        stage.state = state or scratch()
        if config is not None:
            stage.image = replace(config.copy(), created="")
            if config.platform.architecture and config.platform.os:
                stage.platform = config.platform
        return
    stage.base_name = found.name
    if config is not None:
        stage.base_image = config.copy()
        stage.image = replace(config.copy(), created="")
    stage.state = (state or scratch()).platform(found.platform)
    stage.platform = found.platform


def _start_from_image(stage: StageBuild, found: _Found, platform: Platform, conversion: Conversion) -> Platform:
    config = found.config
    if config is None:
        return platform
    stage.base_image = config
    stage.image = replace(config.copy(), created="")
    if stage.platform is None and conversion.options.target_platform is None:
        return _detected(config, platform, conversion.build_platforms)
    return platform


def _detected(config: ImageConfig, target: Platform, known: Sequence[Platform]) -> Platform:
    wanted = (config.platform.os, config.platform.architecture)
    if (target.os, target.architecture) == wanted:
        return target
    return next((p for p in known if (p.os, p.architecture) == wanted), target)


def _is_empty(config: ImageConfig | None) -> bool:
    return config is not None and not config.diff_ids and all(entry.empty_layer for entry in config.history)


def _image_state(stage: StageBuild, platform: Platform, conversion: Conversion) -> State:
    mode = conversion.options.image_resolve_mode
    options: Options = {
        "description": {naming.COMMAND: stage.stage.origin.text},
        "platform": platform,
        "name": stage.step_name(f"FROM {stage.base_name}", platform, {}),
        "location": conversion.place(stage.location),
    }
    return image(stage.base_name, resolve_mode=mode, **options)


def _add_triggers(stage: StageBuild, triggers: Sequence[str], conversion: Conversion) -> bool:
    try:
        commands = [_read_trigger(stage, trigger, conversion) for trigger in triggers]
    except DockerfileError as error:
        error.locations = (stage.location,)
        raise
    stage.commands = commands + stage.commands
    stage.steps += len(commands)
    return any(bound.sources for bound in commands)


def _read_trigger(stage: StageBuild, trigger: str, conversion: Conversion) -> Bound:
    dockerfile = parse(trigger)
    if len(dockerfile.nodes) != 1:
        raise DockerfileError("onbuild trigger should be a single expression")
    start, end = _first_and_last(stage.location)
    node = replace(dockerfile.nodes[0], start_line=start, end_line=end)
    command = parse_instruction(node, Linter())
    if isinstance(command, From):
        raise DockerfileError("*instructions.Stage is not a command type")
    bound = as_trigger(conversion.stages.bind(command, conversion.lexer))
    for source in bound.sources:
        stage.dependencies[source] = command
        if not source.registered:
            _refuse_endless(stage, source)
            source.trigger_of = stage
            conversion.stages.add(source)
    return bound


def _refuse_endless(stage: StageBuild, source: StageBuild) -> None:
    """A base whose trigger copies from that base would bring itself in for ever."""
    asking: StageBuild | None = stage
    while asking is not None and not asking.registered:
        if asking.stage.origin.base == source.stage.origin.base and source.base_name != SCRATCH:
            raise DockerfileError(
                f"ONBUILD of image {source.base_name} copies from an image with the same ONBUILD, without an end"
            )
        asking = asking.trigger_of


def _first_and_last(location: Location) -> tuple[int, int]:
    if not location:
        return 0, 0
    return min(r.start_line for r in location), max(r.end_line for r in location)


def _common_names() -> list[str]:
    out: list[str] = []
    for name in _COMMON_NAMES:
        out += (name, f"docker.io/library{name}", f"{name}:latest", f"docker.io/library{name}:latest")
    return out
