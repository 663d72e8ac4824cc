"""Which line of a Python program made an op."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from buildkit.core.errors import Range
from buildkit.llb.definition import Location, SourceFile

_OURS = __name__.partition(".")[0]
_DEEPEST = 20


class Caller(NamedTuple):
    """A line of a file."""

    filename: str
    line: int


def find_caller() -> Caller | None:
    """The nearest frame outside of this package, or None when there is none close by."""
    frame = sys._getframe(1)
    for _ in range(_DEEPEST):
        name = frame.f_globals.get("__name__", "")
        if name != _OURS and not name.startswith(_OURS + "."):
            return Caller(frame.f_code.co_filename, frame.f_lineno)
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


class Programs:
    """The Python files that made a graph, each read once."""

    def __init__(self) -> None:
        self._files: dict[str, SourceFile] = {}

    def location_of(self, caller: Caller) -> Location:
        """The line, in its file as it is now; the content is empty when nobody knows it."""
        file = self._files.get(caller.filename)
        if file is None:
            file = self._files[caller.filename] = SourceFile(caller.filename, "Python", _content_of(caller.filename))
        return file.at(Range(caller.line, 0, caller.line, 0))


def _content_of(filename: str) -> bytes:
    try:
        return Path(filename).read_bytes()
    except (OSError, ValueError):
        import linecache  # where notebooks keep the programs of their cells

        return "".join(linecache.getlines(filename)).encode(errors="surrogateescape")
