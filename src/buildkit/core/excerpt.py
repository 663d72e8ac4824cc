"""Lines of a file around a place, with a marker: how a fault is shown."""

from __future__ import annotations

import re

from buildkit.core.errors import BuildkitError, InvalidInput, NotFound, SourceDetail

_RULE = "-" * 20
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"|\'([^\']+)\'')
_SUGGESTION = " (did you mean"
_LONGEST, _HEAD, _TAIL = 500, 300, 100


def readable(text: str) -> str:
    """Text that no terminal takes for a command: control characters escaped, the middle of a very long one left out."""
    left = len(text) - _HEAD - _TAIL
    if len(text) <= _LONGEST:
        return "".join(map(_readable, text))
    return f"{readable(text[:_HEAD])} ... {left} characters ... {readable(text[-_TAIL:])}"


def _readable(character: str) -> str:
    if character.isprintable() or character in "\n\t\r":
        return character
    return f"\\x{ord(character) - 0xDC00:02x}" if "\udc80" <= character <= "\udcff" else ascii(character)[1:-1]


def excerpts(error: BuildkitError) -> list[str]:
    """An excerpt of each source that the error points to, outermost last."""
    about = error.message if isinstance(error, InvalidInput | NotFound) else ""
    shown = (excerpt(detail, about) for detail in error.details if isinstance(detail, SourceDetail))
    return [text for text in shown if text]


def excerpt(source: SourceDetail, message: str = "") -> str:
    """The lines around the fault, numbered, the faulty ones marked and the characters at fault pointed at.

    Those are known from the place itself, or are the word that ``message`` names and the marked line holds.
    """
    lines = source.content.decode(errors="replace").split("\n")
    spans = [(one.start_line, max(one.start_line, one.end_line)) for one in source.ranges]
    if not spans:
        return ""
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    if not 1 <= first <= len(lines):
        return ""
    start, end = _widen(first, min(last, len(lines)), len(lines))
    out = [f"{source.filename}:{first}", _RULE]
    for number in range(start, end + 1):
        marked = any(low <= number <= high for low, high in spans)
        out.append(f" {number:3d} | {'>>>' if marked else '   '} {readable(lines[number - 1])}")
        caret = _caret(source, number, lines[number - 1])
        if marked and not caret and message:
            caret = _caret_below(_words_of(message), lines[number - 1])
            message = "" if caret else message
        if caret:
            out.append(f"     |     {caret}")
    return "\n".join([*out, _RULE]) + "\n"


def _widen(start: int, end: int, count: int) -> tuple[int, int]:
    """Two lines of context, or four around a single line, shared by both sides."""
    wanted, taken = (4 if start == end else 2), 0
    while taken < wanted:
        if start > 1:
            start -= 1
            taken += 1
        if end != count:
            end += 1
            taken += 1
        taken += 1
    return start, end


def _caret(source: SourceDetail, number: int, line: str) -> str:
    """Carets below the characters at fault; nothing where only whole lines are known."""
    for one in source.ranges:
        if one.start_line == one.end_line == number and one.end_character > 0:
            blanks = "".join("\t" if c == "\t" else " " for c in line[: one.start_character])
            return blanks + "^" * max(min(one.end_character + 1, len(line)) - one.start_character, 1)
    return ""


def _words_of(message: str) -> list[str]:
    """What a message may be about, likeliest first: what it quotes, and the words after its last colon."""
    said = message.split(_SUGGESTION)[0]
    quoted = [(found[1] or found[2]).replace('\\"', '"') for found in _QUOTED.finditer(said)]
    _, colon, tail = said.rpartition(": ")
    after = [tail.strip(), *tail.split()] if colon else []
    return [word for word in (*quoted, *after) if word]


def _caret_below(words: list[str], line: str) -> str:
    for word in words:
        for one in (word, word.lstrip("/"), word.lstrip("-")):
            found = re.search(rf"(?<!\w){re.escape(one)}(?!\w)", line) if one else None
            if found is not None:
                blanks = "".join("\t" if c == "\t" else " " for c in line[: found.start()])
                return blanks + "^" * len(one)
    return ""
