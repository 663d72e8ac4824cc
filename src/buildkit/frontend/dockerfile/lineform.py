"""How the rest of an instruction's line is cut into arguments: flags, words, key=value pairs, JSON arrays."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from buildkit.core.goquote import quote
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.gotext import is_space, replace_invalid, trim_left_space, trim_space
from buildkit.frontend.dockerfile.location import DockerfileError

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_BYTE_SPACES = frozenset("\t\n\v\f\r \x85\xa0")
_BYTE_SPACE_RUN = re.compile("[\t\n\v\f\r \x85\xa0]+")
_STRINGS_ONLY = "when using JSON array syntax, arrays must be comprised of strings only"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values in order; ``json`` when they were written as a JSON array."""

    values: tuple[str, ...] = ()
    json: bool = False


LineForm = Callable[[str, str], Arguments]
"""Takes the rest of the line and the escape character."""


def split_command(line: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    """Keyword, flags and the rest of a line."""
    parts = _BLANKS.split(trim_space(line), maxsplit=1)
    if len(parts) == 1:
        return parts[0], (), ""
    rest, flags = _split_flags(parts[1], escape)
    return parts[0], flags, trim_space(rest)


def _split_flags(line: str, escape: str) -> tuple[str, tuple[str, ...]]:
    """Leading ``--flag`` words, unquoted, and what follows; upstream reads bytes as characters here, so do we."""
    if not line.startswith(("--", "\udc85", "\udca0")):
        return line, ()
    text = _as_bytes(line)
    flags: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in _BYTE_SPACES:
            position += 1
            continue
        if not text.startswith("--", position):
            break
        flag, quoted, position = _flag_word(text, position, escape)
        if flag == "--" and position < len(text):
            break
        if flag != "--" and (flag or quoted):
            flags.append(flag)
    return _from_bytes(text[position:]), tuple(flags)


def _flag_word(text: str, position: int, escape: str) -> tuple[str, bool, int]:
    word: list[str] = []
    mark, quoted = "", False
    while position < len(text):
        character = text[position]
        if not mark and character in _BYTE_SPACES:
            break
        position += 1
        if mark and character == mark:
            mark = ""
        elif not mark and character in "'\"":
            mark, quoted = character, True
        elif character == escape:
            if position == len(text):
                break
            word.append(text[position])
            position += 1
        else:
            word.append(character)
    return "".join(word), quoted, position


def _as_bytes(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_bytes(text: str) -> str:
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "surrogateescape")


def split_words(text: str, escape: str) -> list[str]:
    """Words parted by white space, their quotes and escapes kept as written."""
    text = replace_invalid(text)
    words: list[str] = []
    word: list[str] = []
    mark, started, position = "", False, 0
    while position < len(text):
        character = text[position]
        position += 1
        if not mark and is_space(character):
            if started or word:
                words.append("".join(word))
            word, started = [], False
            continue
        if character == mark:
            mark = ""
        elif not mark and character in "'\"":
            mark, started = character, True
        elif character == escape and mark != "'":
            if position == len(text):
                break
            word.append(character)
            character = text[position]
            position += 1
        word.append(character)
    if started or word:
        words.append("".join(word))
    return words


def parse_string(rest: str, escape: str) -> Arguments:
    """All of it is one argument."""
    return Arguments((rest,) if rest else ())


def parse_blank_separated(rest: str, escape: str) -> Arguments:
    """Arguments between blanks, with no quoting."""
    return Arguments(tuple(_BLANKS.split(rest)) if rest else ())


def parse_names(rest: str, escape: str) -> Arguments:
    """Words, each ``name`` or ``name=value``: ARG."""
    return Arguments(tuple(split_words(rest, escape)))


def parse_pairs(keyword: str) -> LineForm:
    """Triples of key, value and separator: ``key=value …``, or the old ``key value`` with an empty separator."""

    def parse(rest: str, escape: str) -> Arguments:
        words = split_words(rest, escape)
        if not words:
            return Arguments()
        if "=" not in words[0]:
            parts = _BLANKS.split(rest, maxsplit=1)
            if len(parts) < 2:
                raise DockerfileError(f"{keyword} must have two arguments")
            return Arguments((parts[0], parts[1], ""))
        values: list[str] = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                shown = quote(word)
                raise DockerfileError(f"Syntax error - can't find = in {shown}. Must be of the form: name=value")
            values += (key, value, "=")
        return Arguments(tuple(values))

    return parse


def parse_json_or_string(rest: str, escape: str) -> Arguments:
    """A JSON array of strings, or all of it as one argument."""
    return _parse_json(rest) or parse_string(rest, escape)


def parse_json_or_blank_separated(rest: str, escape: str) -> Arguments:
    """A JSON array of strings, or arguments between blanks."""
    return _parse_json(rest) or parse_blank_separated(rest, escape)


def parse_healthcheck(rest: str, escape: str) -> Arguments:
    """The type of check, then as `parse_json_or_string`."""
    text = _as_bytes(rest)
    space = _BYTE_SPACE_RUN.search(text)
    if not text or (space and space.start() == 0):
        return Arguments()
    if space is None:
        return Arguments((rest,))
    command = parse_json_or_string(_from_bytes(text[space.end() :]), escape)
    return Arguments((_from_bytes(text[: space.start()]), *command.values), command.json)


def _parse_json(rest: str) -> Arguments | None:
    """None if it is no JSON array; raises `DockerfileError` for an array of anything but strings."""
    rest = trim_left_space(rest)
    if not rest.startswith("["):
        return None
    try:
        values = json.loads(rest, parse_constant=_refuse, parse_int=_number, parse_float=_number)
    except RecursionError:
        raise DockerfileError(_STRINGS_ONLY) from None
    except ValueError:
        return None
    if not all(isinstance(value, str) for value in values):
        raise DockerfileError(_STRINGS_ONLY)
    return Arguments(tuple(map(replace_invalid, values)), json=True)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _number(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{digits} is out of range")
    return value
