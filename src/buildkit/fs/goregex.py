"""The part of Go's regular expression language that can come out of an ignore pattern, in Python's terms."""

from __future__ import annotations

import re

from buildkit.core.pattern import Pattern

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_SETS = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ANCHORS = {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"\B"}


_REPEAT = Pattern(r"\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}")
_MOST_REPEATS = 1000


class BadRegex(ValueError):
    """Go would refuse this expression."""


def compile_go(expression: str) -> re.Pattern[str]:
    """Compile a Go expression; raises `BadRegex` where Go's compiler fails or the syntax is beyond this part."""
    out = ""
    position = 0
    while position < len(expression):
        char = expression[position]
        if char == "\\":
            piece, position = _escape(expression, position + 1)
        elif char == "[":
            piece, position = _class(expression, position + 1)
        elif char == "$":
            piece, position = r"\Z", position + 1
        elif char == "^":
            piece, position = "(?:^)", position + 1
        elif char == "{":
            piece, position = _repeat(expression, position)
        elif char in "]}":
            piece, position = "\\" + char, position + 1
        else:
            piece, position = char, position + 1
        out += piece
    try:
        return re.compile(out, re.ASCII)
    except re.error as error:
        raise BadRegex(str(error)) from None


def _repeat(expression: str, position: int) -> tuple[str, int]:
    """A counted repetition, or the brace itself when nothing of that shape follows."""
    found = _REPEAT.match(expression, position)
    if found is None:
        return r"\{", position + 1
    low = int(found[1])
    high = int(found[3] or low)
    if low > _MOST_REPEATS or high > _MOST_REPEATS or high < low:
        raise BadRegex("invalid repeat count: " + found[0])
    return found[0], found.end()


def _escape(expression: str, position: int) -> tuple[str, int]:
    char = expression[position : position + 1]
    if char in _ANCHORS and char:
        return _ANCHORS[char], position + 1
    if char.lower() in _SETS and char:
        negated = "^" if char.isupper() else ""
        return f"[{negated}{_SETS[char.lower()]}]", position + 1
    literal, position = _literal_escape(expression, position)
    return re.escape(literal), position


def _literal_escape(expression: str, position: int) -> tuple[str, int]:
    """One character written after a backslash."""
    char = expression[position : position + 1]
    if char and char in _CONTROL:
        return _CONTROL[char], position + 1
    if char and char < "\x80" and not char.isalnum():
        return char, position + 1
    if char == "x":
        found = re.compile(r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\}|\\\{([0-9A-Fa-f]{1,6})\\\}").match(
            expression, position + 1
        )
        if found and (found[1] or found[2]):
            code = int(found[1] or found[2], 16)
            if code <= 0x10FFFF:
                return chr(code), found.end()
    if char and char in "01234567":
        found = re.compile("0[0-7]{0,2}|[1-7][0-7]{1,2}").match(expression, position)
        if found:
            return chr(int(found[0], 8)), found.end()
    raise BadRegex(f"invalid escape sequence: \\{char}")


def _class(expression: str, position: int) -> tuple[str, int]:
    """A bracket expression whose ``[`` stands before ``position``."""
    out = "["
    if expression[position : position + 1] == "^":
        out += "^"
        position += 1
    first = True
    while first or expression[position : position + 1] != "]":
        char = expression[position : position + 1]
        if not char:
            raise BadRegex("missing closing ]")
        if char == "-" and not first and expression[position + 1 : position + 2] not in ("]", ""):
            raise BadRegex("invalid character class range")
        first = False
        end = expression.find(":]", position + 2) if expression.startswith("[:", position) else -1
        if end >= 0:
            out += _posix(expression[position + 2 : end])
            position = end + 2
        elif char == "\\" and expression[position + 1 : position + 2].lower() in ("d", "s", "w"):
            out += (
                expression[position : position + 2]
                if expression[position + 1] not in "sS"
                else _space(expression[position + 1])
            )
            position += 2
        else:
            low, position = _class_character(expression, position)
            high = low
            if expression[position : position + 1] == "-" and expression[position + 1 : position + 2] not in ("", "]"):
                high, position = _class_character(expression, position + 1)
                if high < low:
                    raise BadRegex("invalid character class range")
            out += f"{re.escape(low)}-{re.escape(high)}"
    return out + "]", position + 1


def _space(char: str) -> str:
    return _SETS["s"] if char == "s" else r"\x00-\x08\x0b\x0e-\x1f\x21-\U0010ffff"


def _posix(name: str) -> str:
    negated = name.startswith("^")
    members = _POSIX.get(name.removeprefix("^"))
    if members is None:
        raise BadRegex(f"invalid character class range: [:{name}:]")
    if not negated:
        return members
    inside = re.compile(f"[{members}]")
    return "".join(rf"\x{code:02x}" for code in range(128) if not inside.match(chr(code))) + r"\x80-\U0010ffff"


def _class_character(expression: str, position: int) -> tuple[str, int]:
    char = expression[position : position + 1]
    if not char:
        raise BadRegex("missing closing ]")
    if char == "\\":
        return _literal_escape(expression, position + 1)
    return char, position + 1
