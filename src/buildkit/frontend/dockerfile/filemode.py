"""The value of ``--chmod``: octal, or symbolic as BSD's ``chmod`` reads it."""

from __future__ import annotations

import re

from buildkit.frontend.dockerfile.gotext import parse_int, parse_uint
from buildkit.frontend.dockerfile.location import DockerfileError

_CLAUSE = r"[augo]*(?:[-+=][rstwXxugo]*)+"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE})*\Z")
_HIGHEST = 0o7777


def parse_mode(text: str) -> int | str:
    """A number, or the text itself when it is symbolic and right; raises `DockerfileError`."""
    try:
        number = parse_uint(text, 32, base=8)
    except ValueError:
        number = None
    wrong = DockerfileError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    if number is not None:
        if number > _HIGHEST:
            raise wrong
        return number
    if text[:1].isdigit() and text[:1].isascii():
        try:
            parse_int(text, 16, base=8)
        except ValueError:
            raise wrong from None
    if not _SYMBOLIC.match(text):
        raise DockerfileError("invalid syntax")
    return text
