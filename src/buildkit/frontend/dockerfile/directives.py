"""Parser directives: ``# syntax=…``, ``# escape=…`` and ``# check=…`` at the very top of a file."""

from __future__ import annotations

import json
import re

from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.gotext import lower, replace_invalid, trim_left_space
from buildkit.frontend.dockerfile.location import DockerfileError, Location, lines

_BLANKS = "\t\n\f\r "
_FORM = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=([^\n]*)\Z")
_KNOWN = frozenset(("syntax", "escape", "check"))
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Directive:
    """``value`` is the whole text, ``first_word`` what stands before its first space."""

    name: str
    value: str
    location: Location

    @property
    def first_word(self) -> str:
        """The value up to its first space: an image name, or check options."""
        return self.value.partition(" ")[0]


class DirectiveReader:
    """Reads lines until one is not a directive; knows then that no more can come."""

    def __init__(self, comment: str = "#", line: int = 0) -> None:
        self._comment = comment
        self._line = line
        self._seen: set[str] = set()
        self.finished = False

    def read(self, line: str) -> Directive | None:
        """Take one line without its end; raises `DockerfileError` for a directive given twice."""
        self._line += 1
        if self.finished:
            return None
        match = None
        if line.startswith(self._comment):
            match = _FORM.match(trim_left_space(line[len(self._comment) :]))
        name = lower(match[1]) if match else ""
        value = (match[2].strip(_BLANKS) or match[2][-1:]) if match else ""
        if name not in _KNOWN or not value:
            self.finished = True
            return None
        if name in self._seen:
            raise DockerfileError(f"only one {name} parser directive can be used")
        self._seen.add(name)
        return Directive(name, value, lines(self._line, self._line))


def find_syntax(text: str) -> Directive | None:
    """Which frontend the file asks for: ``# syntax=``, ``// syntax=`` or JSON ``{"syntax": …}``; ``#!`` is skipped."""
    body, skipped = _without_shebang(text)
    for comment in ("#", "//"):
        if found := _find("syntax", body, DirectiveReader(comment, skipped)):
            return found
    return _find_in_json("syntax", body, skipped)


def find_directive(name: str, text: str) -> Directive | None:
    """The directive of that name in ``#`` form."""
    body, skipped = _without_shebang(text)
    return _find(name, body, DirectiveReader("#", skipped))


def without_bom(text: str) -> str:
    """The text without a leading byte order mark."""
    return text.removeprefix(_BOM)


def _without_shebang(text: str) -> tuple[str, int]:
    text = without_bom(text)
    if text.startswith("#!"):
        return text.partition("\n")[2], 1
    return text, 0


def _find(name: str, text: str, reader: DirectiveReader) -> Directive | None:
    position = 0
    while position < len(text) and not reader.finished:
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        try:
            directive = reader.read(text[position:end].removesuffix("\r"))
        except DockerfileError:
            return None
        if directive is not None and directive.name == name:
            return directive
        position = end + 1
    return None


def _find_in_json(name: str, text: str, line: int) -> Directive | None:
    if trim_left_space(text[:64])[:1] not in ("{", ""):
        return None
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return Directive(name, replace_invalid(value), lines(line, line)) if isinstance(value, str) else None


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
