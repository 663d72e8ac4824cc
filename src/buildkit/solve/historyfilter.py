"""Filters of build records (row A44): terms joined by commas must all hold, of several filters any one suffices.

``startedAt``, ``completedAt`` (a time, or a duration ago) and ``duration`` are compared with ``>= <= > <``;
``ref``, ``status`` and ``repository`` with containerd's operators.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from buildkit.core.csv import split_fields
from buildkit.core.errors import InvalidInput
from buildkit.frontend.dockerfile.gotext import parse_duration
from buildkit.llb.giturl import parse_git_url
from buildkit.solve.record import BuildRecord
from buildkit.store import filters

Passes = Callable[[BuildRecord], bool]

_TERM = re.compile(r"(startedAt|completedAt|duration)(>=|<=|>|<)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def parse_filters(texts: Sequence[str], now: int) -> Passes:
    """Whether a record passes any of the filters at the time ``now`` (nanoseconds); raises `InvalidInput`."""
    parsed = [_parse(text, now) for text in texts]
    if not parsed:
        return lambda record: True
    return lambda record: any(all(term(record) for term in terms) for terms in parsed)


def _parse(text: str, now: int) -> list[Passes]:
    terms: list[Passes] = []
    static: list[str] = []
    for field in split_fields(text, "failed to parse history filters"):
        match = _TERM.fullmatch(field)
        if match is None:
            static.append(field)
        else:
            terms.append(_timed(match[1], match[2], match[3], now))
    if static:
        passes = filters.parse_filters([",".join(static)])
        terms.append(lambda record: passes(_fields(record)))
    return terms


def _timed(key: str, compare: str, value: str, now: int) -> Passes:
    holds = _COMPARE[compare]
    if key == "duration":
        length = _nanoseconds(value)
        if length is None:
            raise InvalidInput(f"invalid duration {value}")
        return lambda record: holds((record.completed_at or record.created_at) - record.created_at, length)
    ago = _nanoseconds(value)
    point = _point(value) if ago is None else (now - ago) // 10**9
    if key == "startedAt":
        return lambda record: holds(record.created_at // 10**9, point)
    return lambda record: holds((record.completed_at or 0) // 10**9, point)


def _nanoseconds(text: str) -> int | None:
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _point(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"invalid time {text}") from None
    if found.tzinfo is None:
        raise InvalidInput(f"invalid time {text}")
    return int(found.timestamp())


def _fields(record: BuildRecord) -> filters.Fields:
    fields = {"ref": record.ref, "status": record.status}
    repository = record.frontend_attrs.get("vcs:source") or _remote(record.frontend_attrs.get("context", ""))
    return fields | ({"repository": repository} if repository else {})


def _remote(context: str) -> str:
    try:
        return parse_git_url(context).remote
    except InvalidInput:
        return ""
