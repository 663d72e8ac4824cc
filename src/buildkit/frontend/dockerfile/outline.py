"""What can be set for a build: its arguments, secrets and agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.globalargs import ArgUse
from buildkit.frontend.dockerfile.location import Location
from buildkit.frontend.dockerfile.stagebuild import Need, StageBuild


@dataclass(frozen=True, slots=True)
class OutlineArg:
    """A build argument that the target uses, with the value that it has."""

    name: str
    description: str = ""
    value: str = ""
    location: Location = ()


@dataclass(frozen=True, slots=True)
class OutlineNeed:
    """A secret or an agent that the target uses."""

    name: str
    required: bool = False
    location: Location = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """The target's name and description, and what it uses, each in the order of its lines."""

    name: str = ""
    description: str = ""
    args: tuple[OutlineArg, ...] = ()
    secrets: tuple[OutlineNeed, ...] = ()
    agents: tuple[OutlineNeed, ...] = ()


def outline_of(target: StageBuild) -> Outline:
    """What a converted target uses, and what the stages use that it is made from."""
    stages = list(_behind(target))
    seen: set[str] = set()
    args: list[OutlineArg] = []
    for stage in stages:
        usage = stage.usage
        for name in sorted(_with_needs(usage.used, usage.args)):
            use = usage.args.get(name)
            if use is not None and name not in seen:
                seen.add(name)
                args.append(OutlineArg(use.definition.key, use.definition.description, use.value, use.location))
    origin = target.stage.origin
    return Outline(
        origin.name,
        origin.description,
        tuple(sorted(args, key=_line)),
        _needs([stage.usage.secrets for stage in stages]),
        _needs([stage.usage.agents for stage in stages]),
    )


def _behind(target: StageBuild) -> Iterator[StageBuild]:
    """The target, its base and what it copies from, in the order of a walk in depth, each once."""
    todo, seen = [target], set[int]()
    while todo:
        stage = todo.pop()
        if id(stage) in seen:
            continue
        seen.add(id(stage))
        yield stage
        todo += reversed([*([stage.base] if stage.base is not None else []), *stage.dependencies])


def _with_needs(used: Iterable[str], args: Mapping[str, ArgUse]) -> set[str]:
    """The names, and those that the defaults of these arguments are made of."""
    found: set[str] = set()
    todo = list(used)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += args[name].needs if name in args else ()
    return found


def _needs(uses: Iterable[Mapping[str, Need]]) -> tuple[OutlineNeed, ...]:
    found: dict[str, OutlineNeed] = {}
    for use in uses:
        for name, need in use.items():
            found.setdefault(name, OutlineNeed(name, need.required, need.location))
    return tuple(sorted(found.values(), key=_line))


def _line(entry: OutlineArg | OutlineNeed) -> int:
    return entry.location[0].start_line if entry.location else 0
