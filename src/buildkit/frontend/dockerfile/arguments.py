"""What the grammar of every instruction needs: its basics, and how many arguments it takes."""

from __future__ import annotations

from typing import TypedDict

from buildkit.frontend.dockerfile.flags import Flags
from buildkit.frontend.dockerfile.gotext import trim_space, upper
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.parser import Node


class Basics(TypedDict):
    """The fields that every instruction has."""

    keyword: str
    text: str
    location: Location
    comments: tuple[str, ...]


def basics(node: Node) -> Basics:
    """The basics of a node's instruction."""
    return {
        "keyword": node.keyword,
        "text": trim_space(node.original),
        "location": node.location,
        "comments": node.comments,
    }


def one_argument(node: Node) -> str:
    """The only argument; raises `DockerfileError`."""
    if len(node.arguments) != 1:
        raise DockerfileError(f"{upper(node.keyword)} requires exactly one argument")
    return node.arguments[0]


def some_arguments(node: Node) -> tuple[str, ...]:
    """At least one argument; raises `DockerfileError`."""
    if not node.arguments:
        raise DockerfileError(f"{upper(node.keyword)} requires at least one argument")
    return node.arguments


def no_flags(node: Node) -> None:
    """Refuse any flag; raises `DockerfileError`."""
    Flags(node.flags)
