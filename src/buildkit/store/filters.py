"""Filters of ``du`` and ``prune``: containerd's selector language over the fields of a usage record.

``type==exec.cachemount,description~=/apt/`` is one filter whose comma means *and*; of several filters any
one suffices. A field alone asks whether it is present. Source: containerd ``pkg/filters``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

Fields = Mapping[str, str]
"""The fields that are present, by dotted path; the value of a mere flag is ``""``."""

_FIELD = re.compile(r"[A-Za-z0-9_]+")
_VALUE = re.compile(r"[^\s,]+")
_QUOTES = '"/|'
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_DIGITS = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Selector:
    """One comparison; operator ``""`` asks for presence."""

    field: str
    operator: str = ""
    value: str = ""

    def matches(self, fields: Fields) -> bool:
        """Whether the record with these fields passes."""
        found = fields.get(self.field)
        if self.operator == "==":
            return found == self.value
        if self.operator == "!=":
            return (found or "") != self.value
        if self.operator == "~=":
            return found is not None and re.search(self.value, found) is not None
        return found is not None


def parse_filters(texts: Sequence[str]) -> Callable[[Fields], bool]:
    """A predicate that holds when any of the filters does; no filter lets everything pass.

    Raises `InvalidInput` with the place of the mistake.
    """
    parsed = [_Parser(text).parse() for text in texts]
    if not parsed:
        return lambda fields: True
    return lambda fields: any(all(one.matches(fields) for one in selectors) for selectors in parsed)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> list[Selector]:
        if not self._text:
            return []
        out = [self._selector()]
        while self._peek():
            if self._peek() != ",":
                raise self._mistake(f"unexpected input: {self._peek()}")
            self._at += 1
            out.append(self._selector())
        return out

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _selector(self) -> Selector:
        path = [self._field()]
        while self._peek() == ".":
            self._at += 1
            path.append(self._field())
        field = ".".join(path)
        if self._peek() in ("", ","):
            return Selector(field)
        self._skip_space()
        start = self._at
        while self._peek() in tuple("=!~"):
            self._at += 1
        operator = self._text[start : self._at]
        if not operator:
            raise self._mistake('expected an operator ("=="|"!="|"~=")')
        if operator not in ("==", "!=", "~="):
            self._at = start
            raise self._mistake(f'unsupported operator "{operator}"')
        value = self._value(operator)
        if operator == "~=":
            try:
                re.compile(value)
            except re.error as error:
                raise self._mistake(f"{value!r} is not a regular expression: {error}") from error
        return Selector(field, operator, value)

    def _field(self) -> str:
        self._skip_space()
        if self._peek() and self._peek() in _QUOTES:
            return self._quoted('"')
        match = _FIELD.match(self._text, self._at)
        if match is None:
            raise self._mistake("expected field or quoted")
        self._at = match.end()
        return match[0]

    def _value(self, operator: str) -> str:
        self._skip_space()
        if self._peek() and self._peek() in _QUOTES:
            return self._quoted(_QUOTES if operator == "~=" else '"')
        match = _VALUE.match(self._text, self._at)
        if match is None:
            raise self._mistake("expected value or quoted")
        self._at = match.end()
        return match[0]

    def _quoted(self, allowed: str) -> str:
        start, quote = self._at, self._peek()
        if quote not in allowed:
            raise self._mistake("invalid quote encountered")
        self._at += 1
        out: list[str] = []
        while (char := self._peek()) != quote:
            if char in ("", "\n"):
                self._at = start
                raise self._mistake("quoted literal not terminated")
            self._at += 1
            out.append(self._escaped(quote) if char == "\\" else char)
        self._at += 1
        return "".join(out)

    def _escaped(self, quote: str) -> str:
        char = self._peek()
        self._at += 1
        if char == quote:
            return char
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char in _DIGITS:
            return self._numbered(_DIGITS[char], 16)
        if char and char in "01234567":
            self._at -= 1
            return self._numbered(3, 8)
        raise self._mistake("illegal escape sequence")

    def _numbered(self, count: int, base: int) -> str:
        digits = self._text[self._at : self._at + count]
        try:
            number = int(digits, base)
            if len(digits) != count or not digits.isalnum():
                raise ValueError
            self._at += count
            return chr(number)
        except (ValueError, OverflowError):
            raise self._mistake("illegal numeric escape sequence") from None

    def _mistake(self, what: str) -> InvalidInput:
        before, here, after = self._text[: self._at], self._peek(), self._text[self._at + 1 :]
        place = f"{before} >|{here}|< {after}" if here else before
        return InvalidInput(f"filters: parse error: [{place}]: {what}")
