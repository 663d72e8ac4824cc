"""“Did you mean …?”"""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.frontend.dockerfile.gotext import lower, upper

_NEAR = 3


def nearest(word: str, options: Iterable[str], *, case_sensitive: bool = True) -> str:
    """The option fewer than three edits away, the first of the nearest; ``""`` if none or if ``word`` is one."""
    wanted = word if case_sensitive else lower(word)
    candidates = list(options if case_sensitive else map(lower, options))
    if wanted in candidates:
        return ""
    found, best = "", _NEAR
    size = len(wanted)
    first, second = size // _NEAR, 2 * size // _NEAR
    head, middle, tail = wanted[:first], wanted[first:second], wanted[second:]
    for candidate in candidates:
        # two edits leave one of three parts as it is
        if not -_NEAR < len(candidate) - size < _NEAR or not (
            head in candidate or middle in candidate or tail in candidate
        ):
            continue
        if (distance := _distance(wanted, candidate, best)) < best:
            found, best = candidate, distance
            if best == 1:
                break
    return found if case_sensitive else _in_case_of(found, word)


def suggestion(word: str, options: Iterable[str], *, case_sensitive: bool = True) -> str:
    """`` (did you mean X?)`` to append to a message, or nothing."""
    found = nearest(word, options, case_sensitive=case_sensitive)
    return f" (did you mean {found}?)" if found else ""


def _in_case_of(found: str, word: str) -> str:
    if word == lower(word):
        return lower(found)
    return upper(found) if word == upper(word) else found


def _distance(one: str, other: str, limit: int) -> int:
    """Edits between the words, or ``limit`` when there are at least that many; time linear in the words."""
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = {column: column for column in range(min(limit, len(other)) + 1)}
    for index, character in enumerate(one, 1):
        above, row = row, {}
        for column in range(max(0, index - limit), min(len(other), index + limit) + 1):
            cost = above.get(column, limit) + 1
            if column:
                changed = other[column - 1] != character
                cost = min(cost, row.get(column - 1, limit) + 1, above.get(column - 1, limit) + changed)
            row[column] = min(cost, limit)
        if min(row.values()) >= limit:
            return limit
    return row.get(len(other), limit)
