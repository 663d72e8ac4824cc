"""The grammar of a command line: flags with their help, parsed without any import that costs time.

``--name value``, ``--name=value``, ``-n value``, ``-n=value``, ``-nvalue``; flags and words mix; ``--`` ends flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildkit.core.errors import InvalidInput
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.values import dataclass, field


class BadUsage(InvalidInput):
    """The command line makes no sense; the exit status is 2."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. ``kind`` is ``text``, ``list`` (may be repeated) or ``bool``; ``short`` is one letter.

    ``bare`` is the value of a flag that is given without one; another needs ``=``.
    """

    name: str
    help: str
    kind: str = "text"
    short: str = ""
    metavar: str = "VALUE"
    bare: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its own flags, and what its words are called (``""``: it takes none)."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    words: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was given. A flag that was not given is ``""``, no value, or False."""

    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    words: tuple[str, ...] = ()

    def text(self, name: str, default: str = "") -> str:
        """The last value."""
        return self.values[name][-1] if name in self.values else default

    def all(self, name: str) -> list[str]:
        """Every value, in order."""
        return self.values.get(name, [])

    def on(self, name: str) -> bool:
        """Whether a bool flag is set."""
        return self.text(name) in TRUE

    def given(self, *names: str) -> list[str]:
        """Those of ``names`` that were given."""
        return [name for name in names if name in self.values]


def nearest(word: str, known: Iterable[str]) -> str:
    """A question naming what was probably meant, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def parse(arguments: Sequence[str], flags: Iterable[Flag], *, stop_at_word: bool = False) -> tuple[Parsed, list[str]]:
    """Parse until the end, or until the first word with ``stop_at_word``; returns also what is left.

    Raises `BadUsage` for a flag that is unknown or lacks its value.
    """
    by_name = {f"--{flag.name}": flag for flag in flags}
    by_short = {f"-{flag.short}": flag for flag in by_name.values() if flag.short}
    parsed, words, rest = Parsed(), [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            if stop_at_word:
                return parsed, [word, *rest]
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        flag = by_name.get(name) or by_short.get(name)
        if flag is None and not word.startswith("--") and word[:2] in by_short:
            flag, equals, value = by_short[word[:2]], "=", word[2:]
            if flag.kind == "bool":
                rest.insert(0, f"-{value}")
                equals = ""
        if flag is None:
            raise BadUsage(f"unknown flag {name}{nearest(name, [*by_name, '--help'])}")
        _put(parsed, flag, value if equals else None, rest)
    return Parsed(parsed.values, tuple(words)), []


def _put(parsed: Parsed, flag: Flag, value: str | None, rest: list[str]) -> None:
    if flag.kind == "bool":
        value = "true" if value is None else value
        if value not in (*TRUE, *FALSE):
            raise BadUsage(f"--{flag.name} is yes or no: {value!r} is neither")
    elif value is None and flag.bare:
        value = flag.bare
    elif value is None:
        if not rest:
            raise BadUsage(f"--{flag.name} needs a value: --{flag.name} {flag.metavar}")
        value = rest.pop(0)
    parsed.values.setdefault(flag.name, []).append(value)


def usage_of(command: Command) -> str:
    """The help text of a command."""
    words = f" {command.words}" if command.words else ""
    lines = [f"usage: buildctl {command.name} [flags]{words}", "", command.summary, ""]
    return "\n".join([*lines, *list_flags(command.flags), *(["", command.notes] if command.notes else [])]) + "\n"


def list_flags(flags: Iterable[Flag]) -> list[str]:
    """One line for each flag."""
    lines = []
    for flag in flags:
        left = f"  {f'-{flag.short}, ' if flag.short else ''}--{flag.name}"
        if flag.kind != "bool":
            left += f"[={flag.metavar}]" if flag.bare else f" {flag.metavar}"
        lines.append(f"{left:<34}  {flag.help}" if len(left) < 34 else f"{left}\n{'':<36}{flag.help}")
    return lines


def key_values(text: str) -> list[tuple[str, str, str]]:
    """Split ``key=value,…`` (CSV quoting) into (key, value, field); raises `BadUsage` for a field without ``=``."""
    out = []
    for part in split_csv(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise BadUsage(f"invalid value {part}")
        out.append((key.lower(), value, part))
    return out


def split_csv(text: str) -> list[str]:
    """The fields of one line of CSV; raises `BadUsage`."""
    if '"' not in text:
        return text.split(",")
    from buildkit.core.csv import parse_fields

    try:
        return parse_fields(text)
    except ValueError as error:
        raise BadUsage(f"invalid value {text}: {error}") from None
