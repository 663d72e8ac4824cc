"""Constraints: what can be said about any op besides what it does."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from buildkit.core.platform import Platform, parse_platform
from buildkit.core.values import dataclass, replace
from buildkit.llb.callers import Caller, find_caller
from buildkit.llb.metadata import CUSTOM_NAME, NO_METADATA, LinuxResources, OpMetadata, ProgressGroup

if TYPE_CHECKING:
    from buildkit.llb.definition import Location


class Options(TypedDict, total=False):
    """Keyword arguments that every function making an op takes."""

    platform: Platform | str
    """Where the op runs, or which variant of an image is meant; text as in ``linux/arm64``."""
    ignore_cache: bool
    name: str
    """What clients show; without it a name is made from the op."""
    description: Mapping[str, str]
    export_cache: bool
    progress_group: ProgressGroup
    resources: LinuxResources
    filters: Sequence[str]
    """Filters over worker labels, in containerd's syntax."""
    local_unique_id: str
    """What keeps ``local`` sources of two builds apart when no session is named."""
    location: Location | Sequence[Location]
    caps: Sequence[str]
    """Capabilities that a daemon must have, besides those that the op implies."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """`Options` as a value."""

    platform: Platform | None = None
    filters: tuple[str, ...] = ()
    metadata: OpMetadata = NO_METADATA
    local_unique_id: str = ""
    locations: tuple[Location, ...] = ()
    caller: Caller | None = None
    """The line of the program that made the op, shown when no location is given."""

    def requiring(self, *caps: str) -> Constraints:
        """Add capabilities."""
        return replace(self, metadata=self.metadata.requiring(*caps)) if caps else self


NONE = Constraints()


def constraints_of(options: Options) -> Constraints:
    """Read the keyword arguments of the function that calls this; raises `TypeError` for one that there is not."""
    caller = find_caller()
    if not options:
        return Constraints(caller=caller)
    refuse_unknown(options, Options.__optional_keys__)
    description = dict(options.get("description", ()))
    if "name" in options:
        description[CUSTOM_NAME] = options["name"]
    location = options.get("location", ())
    return Constraints(
        platform_of(options.get("platform")),
        tuple(options.get("filters", ())),
        OpMetadata(
            options.get("ignore_cache", False),
            description,
            options.get("export_cache"),
            dict.fromkeys(options.get("caps", ()), True),
            options.get("progress_group"),
            options.get("resources"),
        ),
        options.get("local_unique_id", ""),
        tuple(location) if isinstance(location, Sequence) else (location,),
        caller,
    )


def platform_of(platform: Platform | str | None) -> Platform | None:
    """The platform that text names; raises `InvalidInput`."""
    return parse_platform(platform) if isinstance(platform, str) else platform


def refuse_unknown(options: Mapping[str, object], known: frozenset[str]) -> None:
    """Raise the `TypeError` that Python raises for unknown keyword arguments, in the name of the caller's caller."""
    if not options.keys() <= known:
        name = sys._getframe(2).f_code.co_name
        raise TypeError(f"{name}() got an unexpected keyword argument {min(options.keys() - known)!r}")
