"""Include and exclude patterns as moby/patternmatcher reads them (not as git does), and the ``.dockerignore`` grammar.

``foo`` matches only at the root, and everything below what matches is matched too; ``!`` takes back; the last
pattern that speaks about a path wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.pattern import Pattern as Expression
from buildkit.fs.goregex import BadRegex, compile_go
from buildkit.fs.wildcard import clean, match

State: TypeAlias = tuple[bool, ...]
"""Which patterns matched a directory, carried to what is below it; empty where nothing is known."""

_SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_ESCAPED = frozenset(".+()$")  # braces and the bar reach the regular expression as they are, upstream too
_STAR = "[^/]*"
_NO_SLASH = "[^/-/]"
_COMPILED_STAR = f"{_NO_SLASH}*"
_SKIP = "(.*/)?"
"""Any number of names, for a double star; this and the star are as `compile_go` writes them."""
_LAZY_SKIP = "(?:.*?/)??"
_CLASS = r"\[(?:\\.|[^\]\\])*\]"
_FIXED = Expression(rf"(?:\(\?:\^\))?(?:{_CLASS}|\\[^A-Za-z0-9]|[^\\\[\](){{}}*+?|^$.])*(?:\\Z)?", re.DOTALL)
"""One length, whatever it matches."""
_LONGEST_LINE = 64 * 1024


class Pattern:
    """One pattern, compiled when it is first needed (some errors show only then)."""

    __slots__ = ("_test", "exclusion", "text")

    def __init__(self, text: str, exclusion: bool) -> None:
        self.text = text
        """The cleaned pattern without its ``!``."""
        self.exclusion = exclusion
        self._test: Callable[[str], object] | None = None

    def matches(self, path: str) -> bool:
        """Whether exactly this path matches."""
        test = self._test
        if test is None:
            test = self._test = _compile(self.text)
        return bool(test(path))


class PatternMatcher:
    """An ordered list of patterns. Syntax errors raise `InvalidInput`, some of them only at the first match."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns: list[Pattern] = []
        for given in patterns:
            text = given.strip(_SPACES)
            if not text:
                continue
            text = clean(text)
            exclusion = text.startswith("!")
            if exclusion:
                text = text[1:]
                if not text:
                    raise InvalidInput('illegal exclusion pattern: "!"')
            match(text, ".")
            self.patterns.append(Pattern(text, exclusion))
        self.has_exceptions = any(pattern.exclusion for pattern in self.patterns)
        """Whether some pattern starts with ``!``."""

    def matches(self, path: str) -> bool:
        """Whether a path, relative and slash-separated, matches itself or through one of its parents."""
        return self.matches_below(path, ())[0]

    def matches_below(self, path: str, parent: State) -> tuple[bool, State]:
        """As `matches`, for a walk: pass what the parent directory returned, keep the second value for the children.

        With an empty ``parent`` the parents of ``path`` are looked at one by one.
        """
        matched = False
        states = []
        known = len(parent) > 0
        for number, pattern in enumerate(self.patterns):
            hit = known and parent[number]
            if not hit and pattern.exclusion == matched:
                hit = pattern.matches(path) or (not known and _matches_parent(pattern, path))
            states.append(hit)
            if hit:
                matched = not pattern.exclusion
        return matched, tuple(states)


def matcher_of(what: str, patterns: Sequence[str]) -> PatternMatcher | None:
    """None for no patterns; raises an error that names ``what`` and the patterns if one of them is bad."""
    if not patterns:
        return None
    try:
        return PatternMatcher(patterns)
    except BuildkitError as error:
        raise error.prefixed(f"invalid {what}: [{' '.join(patterns)}]: ") from None


def parse_ignore(text: str) -> list[str]:
    """The patterns of a ``.dockerignore`` file; raises `InvalidInput` with the line that is too long or malformed."""
    patterns = []
    for number, raw in enumerate(text.split("\n")):
        line = raw.removesuffix("\r")
        if len(line) >= _LONGEST_LINE:
            raise InvalidInput(f"ignore file line {number + 1}: too long ({len(line)} characters)")
        if number == 0:
            line = line.removeprefix("\ufeff")
        if line.startswith("#"):
            continue
        pattern = line.strip(_SPACES)
        if not pattern:
            continue
        exception = pattern.startswith("!")
        if exception:
            pattern = pattern[1:].strip(_SPACES)
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
            if "[" in pattern or "\\" in pattern:
                _check(pattern, number + 1)
        patterns.append("!" + pattern if exception else pattern)
    return patterns


def _check(pattern: str, line: int) -> None:
    try:
        match(pattern, ".")
        _compile(pattern)
    except InvalidInput as error:
        raise error.prefixed(f"ignore file line {line}: ") from None


def _matches_parent(pattern: Pattern, path: str) -> bool:
    end = path.find("/")
    while end >= 0:
        # the parent of an absolute path's first name is the empty string
        if pattern.matches(path[:end]):
            return True
        end = path.find("/", end + 1)
    return False


def _compile(text: str) -> Callable[[str], object]:
    """Choose between equality, prefix, suffix and a regular expression, by the rules of patternmatcher."""
    kind, expression = _translate(text.removeprefix("\ufeff"))
    if kind == "exact":
        return text.__eq__
    if kind == "prefix":
        prefix = text[:-2]
        return lambda path: path.startswith(prefix)
    if kind == "suffix":
        suffix = text[2:]
        whole = suffix[1:] if suffix.startswith("/") else None
        return lambda path: path.endswith(suffix) or path == whole
    try:
        found = compile_go(expression)
    except BadRegex:
        raise InvalidInput(f"syntax error in pattern {text!r}") from None
    return re.compile(_without_backtracking(found.pattern), found.flags).search


def _without_backtracking(expression: str) -> str:
    """The same, in time that does not explode with the number of stars and double stars.

    Where what stands between them has one length and cannot be a slash unless it says so, the first place that fits
    is as good as any later one: nothing but the last star of the last name need ever be tried again. Expressions
    that say more (classes with slashes, alternatives, ``a**``) stay as they are.
    """
    runs = expression.split(_SKIP)
    stars = [run.split(_COMPILED_STAR) for run in runs]
    if not all(_FIXED.fullmatch(piece) and not _may_be_slash(piece) for pieces in stars for piece in pieces):
        return expression
    if any(not run.endswith(("/", "(?:^)")) for run in runs[:-1]):
        return expression
    *inner, last = stars
    first, *others = [*map(_eager, inner), _last(last)]
    return (
        first
        + "".join(f"(?>{_LAZY_SKIP}{run})" for run in others[:-1])
        + "".join(_LAZY_SKIP + run for run in others[-1:])
    )


def _eager(pieces: Sequence[str]) -> str:
    """Pieces with stars between, each at the first place where it fits."""
    first, *rest = pieces
    return first + "".join(f"(?>{_COMPILED_STAR}?{piece})" for piece in rest)


def _last(pieces: Sequence[str]) -> str:
    """The same with the last piece at the end."""
    *first, last = pieces
    return f"{_eager(first)}{_COMPILED_STAR}{last}" if first else last


def _may_be_slash(piece: str) -> bool:
    return any(re.fullmatch(one, "/") for one in re.findall(_CLASS, piece, re.DOTALL) if one != _NO_SLASH)


def _translate(text: str) -> tuple[str, str]:
    kind, out = "exact", "^"
    position = count = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and text.startswith("*", position):
            position += 1
            if text.startswith("/", position):
                position += 1
            if position < len(text):
                out += "(.*/)?"
                kind = "regex"
            elif kind == "exact":
                kind = "prefix"
            else:
                out += ".*"
                kind = "regex"
            if count == 0:
                kind = "suffix"
        elif char in "*?":
            out += _STAR if char == "*" else "[^/]"
            kind = "regex"
        elif char in _ESCAPED:
            out += "\\" + char
        elif char == "\\":
            out += "\\" + text[position : position + 1]
            if position < len(text):
                kind = "regex"
            position += 1
        else:
            out += char
            if char in "[]":
                kind = "regex"
        count += 1
    return kind, out + "$"
