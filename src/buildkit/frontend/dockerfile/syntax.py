"""``# syntax=…``: which frontend a Dockerfile asks for, and who gets it."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.directives import find_syntax
from buildkit.frontend.dockerfile.gotext import trim_space
from buildkit.frontend.dockerfile.location import Location

ARGUMENT = "build-arg:BUILDKIT_SYNTAX"
POLICY = "syntax"
"""The option that chooses: ``builtin`` (the default) or ``forward``."""
_BUILT_IN = "dockerfile.v0"


@dataclass(frozen=True, slots=True)
class SyntaxRequest:
    """The image asked for and the whole text after ``syntax=``; ``location`` is None for the build argument."""

    image: str
    command_line: str
    location: Location | None = None

    @property
    def is_dockerfile(self) -> bool:
        """Whether the image is one of Docker's Dockerfile frontends, which the built-in one stands for."""
        from buildkit.oci.names import parse_reference

        try:
            name = parse_reference(self.image).name
        except BuildkitError:
            return False
        return name.startswith("docker.io/docker/dockerfile")

    @property
    def is_labs(self) -> bool:
        """Whether it is an image of the labs channel: ``docker/dockerfile:labs``, ``:1-labs``, ``:1.14.0-labs``, …"""
        return self.image.partition("@")[0].endswith(("-labs", ":labs"))


def find_request(text: str, options: Mapping[str, str]) -> SyntaxRequest | None:
    """What the build argument or else the file asks for; None if nothing, or if a frontend image runs us."""
    if "cmdline" in options:
        return None
    if (argument := options.get(ARGUMENT)) is not None:
        argument_image = trim_space(argument).partition(" ")[0]
        found = SyntaxRequest(argument_image, argument)
    elif directive := find_syntax(text):
        found = SyntaxRequest(directive.first_word, directive.value, directive.location)
    else:
        return None
    return None if found.image == _BUILT_IN else found


def wants_forward(options: Mapping[str, str], default: bool) -> bool:
    """Whether frontend images are run; raises `InvalidInput` for an unknown choice."""
    choice = options.get(POLICY, "forward" if default else "builtin")
    if choice not in ("builtin", "forward"):
        raise InvalidInput(f"invalid value for syntax: {choice} (builtin or forward)")
    return choice == "forward"
