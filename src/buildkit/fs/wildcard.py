"""Go's ``filepath.Clean`` and ``filepath.Match`` for slash-separated paths: what BuildKit's patterns are made of."""

from __future__ import annotations

import re
from functools import lru_cache
from posixpath import normpath

from buildkit.core.errors import InvalidInput

_NEVER = "(?!)"


def clean(path: str) -> str:
    """The shortest equivalent path by text alone; the empty path is ``.``."""
    cleaned = normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def has_wildcard(name: str) -> bool:
    """Whether ``name`` holds an unescaped ``*``, ``?`` or ``[``."""
    escaped = False
    for char in name:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "*?[":
            return True
    return False


def match(pattern: str, path: str) -> bool:
    """Whether the whole ``path`` matches; ``*`` and ``?`` stop at ``/``.

    A bad pattern raises `InvalidInput` once what stands before the bad piece has matched, as in Go.
    """
    expression, whole = compile_wildcard(pattern)
    found = expression.match(path) is not None
    if found and not whole:
        raise InvalidInput(f"syntax error in pattern {pattern!r}")
    return found


@lru_cache(maxsize=512)
def compile_wildcard(pattern: str) -> tuple[re.Pattern[str], bool]:
    """The regular expression of a pattern, and False if it ends before a piece with bad syntax.

    Go never takes back where a ``*`` first found the text that follows it, except for the last piece. Atomic
    groups say the same.
    """
    pieces, whole = _pieces(pattern)
    texts = [("[^/]*?" if starred else "") + piece for starred, piece in pieces]
    last = texts.pop() + r"\Z" if whole else ""
    return re.compile("".join(f"(?>{text})" for text in texts) + last, re.DOTALL), whole


class _Bad(Exception):
    pass


def _pieces(pattern: str) -> tuple[list[tuple[bool, str]], bool]:
    """Texts with whether a star stands before each; False as the second value if a bad one follows them."""
    pieces: list[tuple[bool, str]] = []
    starred, text, position = False, "", 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            if text or not starred:
                pieces.append((starred, text))
            starred, text = True, ""
        elif char == "?":
            text += "[^/]"
        elif char == "[":
            try:
                part, position = _class(pattern, position)
            except _Bad:
                return pieces, False
            text += part
        elif char == "\\":
            if position == len(pattern):
                return pieces, False
            text += re.escape(pattern[position])
            position += 1
        else:
            text += re.escape(char)
    pieces.append((starred, text))
    return pieces, True


def _class(pattern: str, position: int) -> tuple[str, int]:
    """Read a character class whose ``[`` stands before ``position``; unlike ``?`` it may match ``/``."""
    negated = pattern[position : position + 1] == "^"
    if negated:
        position += 1
    ranges = ""
    count = 0
    while True:
        if count and pattern[position : position + 1] == "]":
            position += 1
            break
        low, position = _class_character(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_character(pattern, position + 1)
        count += 1
        if low <= high:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
    if not ranges:
        return ("." if negated else _NEVER), position
    return f"[{'^' if negated else ''}{ranges}]", position


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    char = pattern[position : position + 1]
    if char in ("", "-", "]"):
        raise _Bad
    if char == "\\":
        position += 1
        char = pattern[position : position + 1]
        if not char:
            raise _Bad
    position += 1
    if position == len(pattern):
        raise _Bad
    return char, position
