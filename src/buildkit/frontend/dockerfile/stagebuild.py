"""Stages while they are converted: what each knows of itself, and how they depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile import naming
from buildkit.frontend.dockerfile.globalargs import ArgUse
from buildkit.frontend.dockerfile.gotext import lower, parse_int
from buildkit.frontend.dockerfile.imageconfig import ImageConfig
from buildkit.frontend.dockerfile.instructions import ArgDefinition, Command, Copy, From, Run, Stage
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.platformspec import format_full
from buildkit.frontend.dockerfile.shell import Lexer
from buildkit.llb.state import State, scratch

SCRATCH = "scratch"


class LoadedContext(Protocol):
    """A filesystem, and its config (JSON text) when it is an image."""

    @property
    def state(self) -> State:
        """What is in it."""
        ...

    @property
    def config(self) -> bytes | None:
        """How it starts."""
        ...


class NamedContext(Protocol):
    """What the client put in place of a stage or an image."""

    async def load(self) -> LoadedContext:
        """Bring it; raises `BuildkitError`."""
        ...


@dataclass(frozen=True, slots=True)
class Need:
    """A secret or an ssh agent that a step asks for."""

    location: Location
    required: bool


@dataclass(slots=True)
class Usage:
    """What an outline shows: arguments, secrets and agents that a stage uses."""

    args: dict[str, ArgUse] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    secrets: dict[str, Need] = field(default_factory=dict)
    agents: dict[str, Need] = field(default_factory=dict)

    def copy(self) -> Usage:
        """An independent copy."""
        return Usage(dict(self.args), set(self.used), dict(self.secrets), dict(self.agents))


@dataclass(frozen=True, slots=True)
class Bound:
    """An instruction and the stages that it reads from; ``onbuild`` when a base image asks for it."""

    command: Command
    sources: tuple[StageBuild, ...] = ()
    onbuild: bool = False


@dataclass(slots=True, eq=False)
class StageBuild:
    """One stage, or an image that COPY and RUN read from (``registered`` False until it is added)."""

    stage: Stage
    base_name: str
    name: str = ""
    """As shown to users."""
    usage: Usage = field(default_factory=Usage)
    epoch: int | None = None
    show_platform: bool = False
    registered: bool = True
    state: State = field(default_factory=scratch)
    image: ImageConfig = field(default_factory=ImageConfig)
    base_image: ImageConfig | None = None
    named_context: NamedContext | None = None
    platform: Platform | None = None
    base: StageBuild | None = None
    dependencies: dict[StageBuild, Command] = field(default_factory=dict)
    commands: list[Bound] = field(default_factory=list)
    trigger_of: StageBuild | None = None
    """The stage whose base image's triggers brought this one in."""
    dispatched: bool = False
    resolved: bool = False
    triggers_read: bool = False
    ignore_cache: bool = False
    build_args: list[ArgDefinition] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    """Names of ``build_args``."""
    context_paths: set[str] = field(default_factory=set)
    """What is read of the build context."""
    paths: set[str] = field(default_factory=set)
    """What others read of this stage; shared with its base."""
    step: int = 0
    steps: int = 0
    in_trigger: bool = False
    scan_stage: bool = False
    scan_context: bool = False
    workdir_set: bool = False
    used_once: dict[str, Location] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<StageBuild of {self.name or self.base_name}>"

    @property
    def location(self) -> Location:
        """The lines of its FROM."""
        return self.stage.origin.location

    def inherit(self) -> None:
        """Start from what the base stage has become."""
        base = self.base
        if base is None:
            return
        self.state = base.state
        self.platform = base.platform
        self.image = base.image.copy()
        self.image.config.onbuild = []
        self.base_image = base.base_image
        self.paths = base.paths
        self.workdir_set = base.workdir_set
        self.build_args += base.build_args
        self.declared |= base.declared

    def step_name(self, text: str, platform: Platform | None, variables: Mapping[str, str]) -> str:
        """The name of the next step."""
        if not self.steps:
            return text
        out = "["
        if self.show_platform and platform is not None:
            out += format_full(platform) + naming.cross_suffix(platform, variables) + " "
        if self.name:
            out += self.name + " "
        self.step += 1
        out += naming.numbered(self.step, self.steps) + "] "
        return out + ("ONBUILD " if self.in_trigger else "") + text

    def declare(self, definition: ArgDefinition) -> None:
        """Note an ARG that is in scope from here on."""
        self.build_args.append(definition)
        self.declared.add(definition.key)


class Stages:
    """All stages in order, the images that steps read from behind them."""

    def __init__(self) -> None:
        self.all: list[StageBuild] = []
        self._by_name: dict[str, StageBuild] = {}

    def add(self, stage: StageBuild) -> None:
        """Add a stage; its base is an earlier one of that name, if any."""
        self.all.append(stage)
        base = self._by_name.get(stage.base_name)
        if base is None and stage.base_name != (folded := lower(stage.base_name)):
            base = self._by_name.get(folded)
        if base is not None:
            stage.base = base
            stage.usage = base.usage.copy()
        if stage.stage.name:
            self._by_name[lower(stage.stage.name)] = stage

    def find(self, name: str) -> StageBuild | None:
        """By name, in any case."""
        return self._by_name.get(lower(name))

    def at(self, index: int) -> StageBuild:
        """By number; raises `DockerfileError`."""
        if not 0 <= index < len(self.all):
            raise DockerfileError(f"invalid stage index {index}")
        return self.all[index]

    def names(self) -> list[str]:
        """The names shown to users."""
        return [stage.name for stage in self.all if stage.name]

    def bind(self, command: Command, lexer: Lexer) -> Bound:
        """Find the stages that an instruction reads from; raises `DockerfileError`."""
        if isinstance(command, Copy) and command.source_stage:
            return Bound(command, (self._copy_source(command, lexer),))
        if isinstance(command, Run):
            return Bound(command, tuple(self._or_image(name or SCRATCH) for name in command.mount_stages))
        return Bound(command)

    def _copy_source(self, command: Copy, lexer: Lexer) -> StageBuild:
        name = command.source_stage
        if lexer.expand(name, {}).text != name:
            raise DockerfileError(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from "
                "global scope as a workaround"
            )
        try:
            index = parse_int(name)
        except ValueError:
            return self._or_image(name, command.location)
        return self.at(index)

    def _or_image(self, name: str, location: Location = ()) -> StageBuild:
        found = self.find(name)
        return found or StageBuild(Stage(From(name, location=location)), name, registered=False)


def reachable(target: StageBuild) -> set[StageBuild]:
    """The stage and everything that it is made of."""
    found: set[StageBuild] = set()
    todo = [target]
    while todo:
        stage = todo.pop()
        if stage in found:
            continue
        found.add(stage)
        if stage.base is not None:
            todo.append(stage.base)
        todo.extend(stage.dependencies)
    return found


def check_circles(stages: Iterable[StageBuild]) -> None:
    """Raise `DockerfileError` when a stage reads from itself, perhaps through others."""
    visited: set[StageBuild] = set()
    for root in stages:
        if root in visited:
            continue
        visited.add(root)
        path: list[tuple[StageBuild, Iterator[tuple[StageBuild, Command]]]] = [(root, iter(root.dependencies.items()))]
        on_path = {root}
        commands: list[Command] = []
        while path:
            stage, left = path[-1]
            step = next(left, None)
            if step is None:
                path.pop()
                on_path.discard(stage)
                del commands[-1:]
                continue
            dependency, command = step
            if dependency in on_path:
                error = DockerfileError(f"circular dependency detected on stage: {root.name}")
                error.locations = tuple(c.location for c in (*commands, command))
                raise error
            if dependency not in visited:
                visited.add(dependency)
                on_path.add(dependency)
                commands.append(command)
                path.append((dependency, iter(dependency.dependencies.items())))


def as_trigger(bound: Bound) -> Bound:
    """The same instruction, run for a base image."""
    return replace(bound, onbuild=True)


def follow_paths(paths: Iterable[str]) -> list[str]:
    """What a local source must send for these to be read; empty for everything."""
    from buildkit.llb.paths import join

    wanted = set(paths)
    return [] if "/" in wanted else sorted((join(".", path) for path in wanted), key=_bytes)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
