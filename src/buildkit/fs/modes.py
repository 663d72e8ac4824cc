"""File modes as chmod(1) writes them: octal, or clauses such as ``u+x,go-w``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from buildkit.core.errors import InvalidInput

ModeChange: TypeAlias = Callable[[int, bool], int]
"""From permission bits (with set-id and sticky) and whether it is a directory to new bits."""

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": 0o6777}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_SHIFTS = {"u": 6, "g": 3, "o": 0}


def parse_mode(text: str) -> ModeChange:
    """Compile a mode; raises `InvalidInput`."""
    if text[:1].isdigit():
        if text.strip("01234567") or len(text) > 6 or int(text, 8) & ~0o7777:
            raise _bad(text)
        absolute = int(text, 8)
        return lambda mode, is_dir: absolute
    clauses = [clause for part in text.split(",") for clause in _clauses(part, text)]

    def change(mode: int, is_dir: bool) -> int:
        new = mode
        for who, operator, permissions in clauses:
            new = _apply(new, mode, is_dir, who, operator, permissions)
        return new

    return change


def _clauses(part: str, text: str) -> list[tuple[int, str, str]]:
    """Who it is about (0 for nobody named), the operator, and the letters, for each operator of one part."""
    letters = part.lstrip("ugoa")
    who = 0
    for letter in part[: len(part) - len(letters)]:
        who |= _WHO[letter]
    found = []
    while letters:
        operator, letters = letters[0], letters[1:]
        rest = letters.lstrip("rwxXstugo")
        if operator not in "+-=" or (rest and rest[0] not in "+-="):
            raise _bad(text)
        found.append((who, operator, letters[: len(letters) - len(rest)]))
        letters = rest
    if not found:
        raise _bad(text)
    return found


def _apply(mode: int, before: int, is_dir: bool, who: int, operator: str, letters: str) -> int:
    given = copied = conditional = 0
    allowed = who or 0o7777
    for letter in letters:
        if letter in _SHIFTS:
            bits = mode >> _SHIFTS[letter] & 7
            spread = bits << 6 | bits << 3 | bits
            copied |= spread
        elif letter == "X":
            if operator == "-" or before & 0o111 or is_dir:
                conditional |= 0o111
        elif letter in "st" and who and not who & ~0o007:
            continue  # "others" have neither set-id nor sticky
        else:
            if letter == "t" and who:
                allowed |= 0o1000
            given |= _PERMISSIONS[letter]
    bits = (given | copied | conditional) & allowed
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    cleared = who | (0o1000 if who and "t" in letters else 0) if who else 0o6777
    return mode & ~cleared | bits


def _bad(text: str) -> InvalidInput:
    return InvalidInput(f"invalid mode {text!r}: expected octal digits or clauses such as u+x,go-w")
