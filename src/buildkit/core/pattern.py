"""Regular expressions that are compiled when they are first used: compiling one costs up to a millisecond."""

from __future__ import annotations

import re
from functools import cached_property


class Pattern:
    """A regular expression, given as `re` takes it."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The expression, ready."""
        return re.compile(self._text, self._flags)

    def match(self, text: str, position: int = 0) -> re.Match[str] | None:
        """A match that begins at ``position``."""
        return self.compiled.match(text, position)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """A match of the whole text."""
        return self.compiled.fullmatch(text)
