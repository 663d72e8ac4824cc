"""Patterns of ``${name#pattern}`` and ``${name/pattern/text}``: ``*`` any run of characters, ``?`` any one character.

As in the regular expressions that Go's implementation makes of them, neither matches a line end. Matching takes
time linear in the value for each piece between stars, whatever the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildkit.frontend.dockerfile.gotext import replace_invalid

_CLOSED = "}/"


class Pattern:
    """A parsed pattern; raises `ValueError` on a backslash before anything but ``* ? \\ } /``."""

    def __init__(self, text: str) -> None:
        self._pieces = tuple(_piece(p) for p in _cut(replace_invalid(text).removeprefix("\ufeff")))

    def match_start(self, value: str, *, longest: bool) -> int | None:
        """Where the shortest or longest match that begins the value ends."""
        first = self._pieces[0].match(value)
        return None if first is None else self._end(value, first.end(), longest=longest)

    def finditer(self, value: str) -> Iterator[tuple[int, int]]:
        """Every leftmost-longest match as (start, end), the way Go's ``FindAll`` goes on."""
        position = 0
        while position <= len(value):
            found = self._search(value, position)
            if found is None:
                return
            yield found
            position = max(found[1], found[0] + 1)
            if found[0] < found[1] and found[1] == len(value):
                return

    def _search(self, value: str, position: int) -> tuple[int, int] | None:
        while first := self._pieces[0].search(value, position):
            end = self._end(value, first.end(), longest=True)
            if end is not None:
                return first.start(), end
            line_end = value.find("\n", first.end())
            if line_end < 0:
                return None
            width = first.end() - first.start()
            position = max(first.start() + 1, line_end + 1 - width)
        return None

    def _end(self, value: str, position: int, *, longest: bool) -> int | None:
        ends = [position]
        for piece in self._pieces[1:]:
            found = _within_line(piece, value, ends[-1])
            if found is None:
                return None
            ends.append(found.end())
        if not longest or len(self._pieces) == 1:
            return ends[-1]
        return _last_end(self._pieces[-1], value, ends[-2])


def _within_line(piece: re.Pattern[str], value: str, position: int) -> re.Match[str] | None:
    """The first match from position on with no line end before it."""
    found = piece.search(value, position)
    return None if found is None or "\n" in value[position : found.start()] else found


def _last_end(piece: re.Pattern[str], value: str, position: int) -> int | None:
    """The end of the last match that starts before the end of the line of ``position``."""
    line_end = value.find("\n", position)
    line_end = len(value) if line_end < 0 else line_end
    if piece.pattern == "":
        return line_end
    for start in range(line_end, position - 1, -1):
        if found := piece.match(value, start):
            return found.end()
    return None


def _piece(piece: list[str | None]) -> re.Pattern[str]:
    return re.compile("".join("." if c is None else re.escape(c) for c in piece))


def _cut(text: str) -> list[list[str | None]]:
    """Pieces between stars; None stands for ``?``."""
    pieces: list[list[str | None]] = [[]]
    characters = iter(range(len(text)))
    for index in characters:
        character = text[index]
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append(None)
        elif character != "\\":
            pieces[-1].append(character)
        elif text[index + 1 : index + 2] not in _CLOSED or index + 1 == len(text):
            escaped = text[index + 1 : index + 2]
            if escaped not in ("*", "?", "\\"):
                raise ValueError(f"invalid escape '\\{escaped or chr(0xFFFD)}'")
            pieces[-1].append(escaped)
            next(characters)
    return pieces


def remove_prefix(pattern: str, value: str, *, longest: bool) -> str:
    """``${name#pattern}`` and, longest, ``${name##pattern}``."""
    end = Pattern(pattern).match_start(value, longest=longest)
    return value if end is None else value[end:]


def remove_suffix(pattern: str, value: str, *, longest: bool) -> str:
    """``${name%pattern}`` and, longest, ``${name%%pattern}``."""
    return remove_prefix(backwards(pattern), value[::-1], longest=longest)[::-1]


def replace_first(pattern: str, value: str, text: str) -> str:
    """``${name/pattern/text}``."""
    for start, end in Pattern(pattern).finditer(value):
        return value[:start] + text + value[end:]
    return value


class TooLong(Exception):
    """A text would grow beyond the limit."""


def replace_all(pattern: str, value: str, text: str, *, limit: int) -> str:
    """``${name//pattern/text}``; in ``text`` a ``$0`` is the match, ``$$`` a dollar, another ``$name`` nothing.

    Raises `TooLong` when more than ``limit`` characters are put in.
    """
    pieces: list[str] = []
    last = 0
    references = text.count("$")
    for start, end in Pattern(pattern).finditer(value):
        pieces.append(value[last:start])
        limit -= len(text) + references * (end - start)
        if limit < 0:
            raise TooLong
        if end > last or start == 0:
            pieces.append(_fill(text, value[start:end]))
        last = end
    return "".join((*pieces, value[last:]))


_REFERENCE = re.compile(r"\$(?:(\$)|([^\W]+)|\{([^\W]+)\})")


def _fill(template: str, match: str) -> str:
    if "$" not in template:
        return template

    def replacement(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        return match if "0" in (found[2], found[3]) else ""

    return _REFERENCE.sub(replacement, template)


def backwards(pattern: str) -> str:
    """Back to front, keeping each backslash before what it escapes."""
    out: list[str] = []
    index = 0
    while index < len(pattern):
        width = 2 if pattern[index] == "\\" and index + 1 < len(pattern) else 1
        out.append(pattern[index : index + width])
        index += width
    return "".join(reversed(out))
