"""Words as a shell would read them: quotes, escapes and ``$variables``, after BuildKit's word lexer.

Quirks of that lexer that show in results are kept: a nested ``${a:-word}`` discards the part of a *split* word
that stands before it, ``<<`` glues following blanks to its word, and text that is not UTF-8 becomes U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from buildkit.core.goquote import quote
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile import wildcard
from buildkit.frontend.dockerfile.gotext import WHITESPACE, replace_invalid
from buildkit.frontend.dockerfile.location import DockerfileError

_SPACES = frozenset(WHITESPACE)
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
_MAX_NESTING = 80
_MAX_GROWTH = 1 << 20
"""Characters that the values of variables may put into one word: the kernel takes an eighth of it."""

_CLOSED_TOO_EARLY = "syntax error: missing '}'"
_NO_NAME = "syntax error: bad substitution"
_PLAIN = re.compile(r"""[^'"$<\\`]*\Z""")


@dataclass(frozen=True, slots=True)
class Expansion:
    """A word with its variables replaced, and which names had a value and which had none."""

    text: str
    words: tuple[str, ...] = ()
    matched: frozenset[str] = frozenset()
    unmatched: frozenset[str] = frozenset()


class ExpansionError(DockerfileError):
    """A word that cannot be read; carries the names met before the fault."""

    def __init__(self, message: str, matched: Iterable[str], unmatched: Iterable[str]) -> None:
        super().__init__(message)
        self.matched = frozenset(matched)
        self.unmatched = frozenset(unmatched)


@dataclass(frozen=True, slots=True)
class Lexer:
    """How to read words. ``keep_*`` leave quotes, escapes or unset variables as they were written."""

    escape: str = "\\"
    keep_quotes: bool = False
    keep_escapes: bool = False
    keep_unset: bool = False
    plain_quotes: bool = False
    """Quotes have no meaning: here-document bodies."""

    def expand(self, word: str, variables: Mapping[str, str]) -> Expansion:
        """Read all of ``word`` as one word; raises `ExpansionError`."""
        if _PLAIN.match(word):
            return Expansion(replace_invalid(word).removeprefix("\ufeff"))
        return self.read(word, variables)

    def split(self, text: str, variables: Mapping[str, str]) -> list[str]:
        """Read words parted by white space; values of variables outside quotes are split too."""
        return list(self.read(text, variables).words)

    def read(self, text: str, variables: Mapping[str, str]) -> Expansion:
        """Both readings at once."""
        reading = _Reading(self, replace_invalid(text).removeprefix("\ufeff"), variables)
        try:
            result, words = reading.run("", self.keep_escapes)
        except _Fault as fault:
            message = f"failed to process {quote(text)}: {fault}"
            raise ExpansionError(message, reading.matched, reading.unmatched) from None
        return Expansion(result, tuple(words), frozenset(reading.matched), frozenset(reading.unmatched))


class _Fault(Exception):
    pass


def _too_long() -> _Fault:
    return _Fault(f"the values of variables put more than {_MAX_GROWTH} characters into it")


class _Words:
    """Collects words. Readings nested in one another share the buffer of the word in progress."""

    def __init__(self, buffer: list[str]) -> None:
        self._buffer = buffer
        self._inside = False
        self._words: list[str] = []

    def add(self, text: str) -> None:
        for character in text:
            if character not in _SPACES:
                self.add_raw(character)
            elif self._inside and self._flush():
                self._inside = False

    def add_raw(self, text: str) -> None:
        if text:
            self._buffer.append(text)
        self._inside = True

    def finish(self) -> list[str]:
        self._flush()
        return self._words

    def _flush(self) -> bool:
        if not self._buffer:
            return False
        self._words.append("".join(self._buffer))
        self._buffer.clear()
        return True


class _Reading:
    def __init__(self, lexer: Lexer, text: str, variables: Mapping[str, str]) -> None:
        self._lexer = lexer
        self._text = text
        self._position = 0
        self._variables = variables
        self._keep_escapes = lexer.keep_escapes
        self._buffer: list[str] = []
        self._nesting = 0
        self._growth = 0
        self._stops = frozenset("$<" + lexer.escape + ("" if lexer.plain_quotes else "'\""))
        self._run_end: dict[str, re.Pattern[str]] = {}
        self.matched: set[str] = set()
        self.unmatched: set[str] = set()

    def run(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Read to ``stop`` (the end when empty), past it."""
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise _Fault(f"variables are nested more than {_MAX_NESTING} deep")
        kept, self._keep_escapes = self._keep_escapes, keep_escapes
        try:
            return self._run(stop)
        finally:
            self._keep_escapes = kept
            self._nesting -= 1

    def _run(self, stop: str) -> tuple[str, list[str]]:
        text = self._text
        result: list[str] = []
        self._buffer.clear()
        words = _Words(self._buffer)
        plain = self._plain(stop)
        while self._position < len(text):
            if (end := plain.match(text, self._position).end()) > self._position:  # type: ignore[union-attr]
                piece = text[self._position : end]
                self._position = end
                result.append(piece)
                words.add(piece)
                continue
            character = text[self._position]
            if character == stop:
                self._position += 1
                return "".join(result), words.finish()
            if character == self._lexer.escape:
                self._escaped(result, words)
            else:
                piece = self._special(character)
                result.append(piece)
                words.add(piece) if character == "$" else words.add_raw(piece)
        if stop:
            raise _Fault(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.finish()

    def _plain(self, stop: str) -> re.Pattern[str]:
        pattern = self._run_end.get(stop)
        if pattern is None:
            excluded = "".join(sorted(re.escape(c) for c in {*self._stops, *stop}))
            pattern = self._run_end[stop] = re.compile(f"[^{excluded}]*")
        return pattern

    def _escaped(self, result: list[str], words: _Words) -> None:
        escape, following = self._text[self._position], self._text[self._position + 1 : self._position + 2]
        self._position += 2
        if self._keep_escapes:
            result.append(escape)
            words.add_raw(escape)
        if following:
            result.append(following)
            words.add_raw(following)

    def _special(self, character: str) -> str:
        if character == "$":
            return self._dollar()
        if character == "'":
            return self._single_quoted()
        return self._double_quoted() if character == '"' else self._less_than()

    def _less_than(self) -> str:
        start = self._position
        self._position += 1
        if self._peek() == "<":
            self._position += 1
            while self._peek() in ("\t", "\r", " "):
                self._position += 1
        return self._text[start : self._position]

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position + 1)
        if end < 0:
            self._position = len(self._text)
            raise _Fault("unexpected end of statement while looking for matching single-quote")
        keep = self._lexer.keep_quotes
        content = self._text[self._position : end + 1] if keep else self._text[self._position + 1 : end]
        self._position = end + 1
        return content

    def _double_quoted(self) -> str:
        mark = '"' if self._lexer.keep_quotes else ""
        escape = self._lexer.escape
        result = [mark]
        self._position += 1
        while character := self._peek():
            if character == '"':
                self._position += 1
                result.append(mark)
                return "".join(result)
            if character == "$":
                result.append(self._dollar())
                continue
            self._position += 1
            if character == escape:
                if self._keep_escapes:
                    result.append(character)
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", escape):
                    self._position += 1
                    character = following
            result.append(character)
        raise _Fault("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._position += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._look_up(name)
            return self._unset(f"${name}") if value is None else value
        self._position += 1
        following = self._peek()
        if not following:
            raise _Fault(_CLOSED_TOO_EARLY)
        if following in "{}:":
            raise _Fault(_NO_NAME)
        return self._braced(self._name())

    def _braced(self, name: str) -> str:
        modifier = self._next()
        if modifier == "}":
            value = self._look_up(name)
            return self._unset(f"${{{name}}}") if value is None else value
        if modifier == "/":
            return self._replaced(name)
        null_is_unset = modifier == ":"
        operator = self._next() if null_is_unset else modifier
        shown = f":{operator or chr(0xFFFD)}" if null_is_unset else operator or "\ufffd"
        unsupported = f"unsupported modifier ({shown}) in substitution"
        trims = operator in ("#", "%")
        if (null_is_unset and trims) or (not null_is_unset and operator not in ("+", "-", "?", "#", "%")):
            raise _Fault(unsupported)
        word = self._operand("}", _CLOSED_TOO_EARLY, keep_escapes=trims)
        value = self._look_up(name)
        if value is None and self._lexer.keep_unset:
            return f"${{{name}{shown}{word}}}"
        absent = value is None or (null_is_unset and value == "")
        if operator == "-":
            return word if absent else value or ""
        if operator == "+":
            return "" if absent else word
        if operator == "?":
            if absent:
                state = "unset" if value is None else "empty"
                raise _Fault(f"{name}: {word or 'is not allowed to be ' + state}")
            return value or ""
        if trims:
            return self._trimmed(operator, word, value or "")
        raise _Fault(unsupported)

    def _trimmed(self, operator: str, pattern: str, value: str) -> str:
        longest = pattern[:1] == operator
        pattern = pattern[longest:]
        try:
            if operator == "#":
                return wildcard.remove_prefix(pattern, value, longest=longest)
            return wildcard.remove_suffix(pattern, value, longest=longest)
        except ValueError as error:
            shown = pattern if operator == "#" else wildcard.backwards(pattern)
            raise _Fault(f"invalid pattern ({shown}) in substitution: {error}") from None

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._position += 1
        pattern = self._operand("/", "syntax error: missing '/' in ${}", keep_escapes=True)
        text = self._operand("}", _CLOSED_TOO_EARLY, keep_escapes=True)
        value = self._look_up(name)
        if value is None:
            if self._lexer.keep_unset:
                return f"${{{name}/{pattern}/{text}}}"
            value = ""
        try:
            if everywhere:
                return wildcard.replace_all(pattern, value, text, limit=_MAX_GROWTH)
            return wildcard.replace_first(pattern, value, text)
        except wildcard.TooLong:
            raise _too_long() from None
        except ValueError as error:
            raise _Fault(f"invalid pattern ({pattern}) in substitution: {error}") from None

    def _operand(self, stop: str, at_end: str, *, keep_escapes: bool) -> str:
        try:
            return self.run(stop, keep_escapes)[0]
        except _Fault:
            if self._position >= len(self._text):
                raise _Fault(at_end) from None
            raise

    def _name(self) -> str:
        """A name, a number, one special parameter, or nothing."""
        text, start = self._text, self._position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._position += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self._position += 1
        else:
            while (c := self._peek()) and (c == "_" or c.isalpha() or c.isdecimal()):
                self._position += 1
        return text[start : self._position]

    def _look_up(self, name: str) -> str | None:
        value = self._variables.get(name)
        (self.unmatched if value is None else self.matched).add(name)
        self._growth += len(value or "")
        if self._growth > _MAX_GROWTH:
            raise _too_long()
        return value

    def _unset(self, written: str) -> str:
        return written if self._lexer.keep_unset else ""

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character
