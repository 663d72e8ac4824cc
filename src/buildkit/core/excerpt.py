"""Lines of a file around a place, with a marker: how a fault is shown."""

from __future__ import annotations

from buildkit.core.errors import SourceDetail

_RULE = "-" * 20


def excerpt(source: SourceDetail) -> str:
    """The lines around the fault, numbered, the faulty ones marked and, where known, the characters pointed at."""
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
        out.append(f" {number:3d} | {'>>>' if marked else '   '} {lines[number - 1]}")
        if caret := _caret(source, number, lines[number - 1]):
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
