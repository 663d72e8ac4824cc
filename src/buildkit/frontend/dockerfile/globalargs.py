"""Arguments that hold before the first FROM: of the platforms, and of the ARGs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile.instructions import Arg, ArgDefinition
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.platformspec import format_full, format_platform
from buildkit.frontend.dockerfile.shell import Lexer
from buildkit.llb.env import Env
from buildkit.llb.mount import Proxy


@dataclass(slots=True)
class ArgUse:
    """One ARG as an outline shows it; ``needs`` are the arguments that its default is made of."""

    definition: ArgDefinition
    location: Location
    value: str = ""
    needs: set[str] = field(default_factory=set)


def platform_args(build: Platform, target: Platform, overrides: Mapping[str, str], stage: str) -> Env:
    """``BUILD*`` and ``TARGET*``, in the order that shows in names and suggestions."""
    values = (
        ("BUILDPLATFORM", format_platform(build)),
        ("BUILDOS", build.os),
        ("BUILDOSVERSION", build.os_version),
        ("BUILDARCH", build.architecture),
        ("BUILDVARIANT", build.variant),
        ("TARGETPLATFORM", format_full(target)),
        ("TARGETOS", target.os),
        ("TARGETOSVERSION", target.os_version),
        ("TARGETARCH", target.architecture),
        ("TARGETVARIANT", target.variant),
        ("TARGETSTAGE", stage or "default"),
    )
    return Env({key: overrides.get(key, value) for key, value in values})


def declare_args(
    variables: Env, lexer: Lexer, args: Sequence[Arg], overrides: Mapping[str, str]
) -> tuple[Env, dict[str, ArgUse]]:
    """Add ARGs one after another, build arguments winning over defaults; raises `DockerfileError`."""
    uses: dict[str, ArgUse] = {}
    for instruction in args:
        for definition in instruction.definitions:
            use = ArgUse(definition, instruction.location)
            value = overrides.get(definition.key)
            if value is None and definition.value is not None:
                try:
                    expansion = lexer.expand(definition.value, variables)
                except DockerfileError as error:
                    raise error.at(instruction.location) from None
                value = expansion.text
                use.needs = set(expansion.matched)
                if definition.key in use.needs:
                    use.needs.discard(definition.key)
                    use.needs |= uses[definition.key].needs if definition.key in uses else set()
            if value is not None:
                variables = variables.set(definition.key, value)
                use.value = value
                use.definition = replace(definition, value=value)
            uses[definition.key] = use
    return variables, uses


def proxy_of(build_args: Mapping[str, str]) -> Proxy | None:
    """The proxy settings among build arguments, whatever their case; None without any."""
    found: dict[str, str] = {}
    for key in sorted(build_args):
        name = key.lower()
        if name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"):
            found[name.removesuffix("_proxy")] = build_args[key]
    return Proxy(**found) if found else None
