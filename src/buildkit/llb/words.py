"""Command lines written as one string."""

from __future__ import annotations

import re

from buildkit.core.errors import InvalidInput
from buildkit.core.pattern import Pattern

_PART = Pattern(r"""(?s:[^ \t\r\n'"\\]+|'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[ \t\r\n]+)""")
_COMMENT = Pattern(r"#[^\n]*")


def split_words(command: str) -> tuple[str, ...]:
    """Words between blanks; quotes keep them together, a backslash (not within ``'``) takes the next character as it
    is, and a ``#`` where a word could begin starts a comment. Nothing is expanded. Raises `InvalidInput`.
    """
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(command):
        if word is None and (comment := _COMMENT.match(command, at)):
            at = comment.end()
            continue
        part = _PART.match(command, at)
        if part is None:
            what = "a backslash ends it" if command[at] == "\\" else f"{command[at]} is not closed"
            raise InvalidInput(f"command {command!r} can not be split into words: {what}")
        at, text = part.end(), part[0]
        if text[0] in " \t\r\n":
            words += [word] if word is not None else []
            word = None
            continue
        if text[0] in "'\"":
            text = text[1:-1] if text[0] == "'" else re.sub(r"(?s:\\(.))", r"\1", text[1:-1])
        elif text[0] == "\\":
            text = text[1]
        word = (word or "") + text
    return (*words, word) if word is not None else tuple(words)
