"""What can be set for a build: its arguments, secrets and agents."""

from __future__ import annotations

from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.location import Location


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
