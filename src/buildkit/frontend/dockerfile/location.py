"""Where something stands in the Dockerfile, and errors that know it."""

from __future__ import annotations

from typing import TypeAlias

from buildkit.core.errors import InvalidInput, Range

Location: TypeAlias = tuple[Range, ...]
"""One `Range` per line, first to last."""


class DockerfileError(InvalidInput):
    """The Dockerfile is wrong. ``locations`` lists the places involved, the innermost first."""

    def __init__(self, message: str, *locations: Location) -> None:
        super().__init__(message)
        self.locations: tuple[Location, ...] = locations

    def at(self, location: Location) -> DockerfileError:
        """Add a place and return self."""
        self.locations = (*self.locations, location)
        return self


def lines(start: int, end: int) -> Location:
    """The whole lines ``start`` to ``end``; just ``start`` when ``end`` lies before it."""
    return tuple(Range(line, 0, line, 0) for line in range(start, max(start, end) + 1))
