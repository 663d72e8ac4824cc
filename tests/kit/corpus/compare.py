"""Comparison of a case, key by key, and the places where we choose to differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.kit.corpus.files import Case
from tests.kit.corpus.forms import Form, in_runs

_IGNORED = frozenset(("id", "sha256", "utf8"))


@dataclass(frozen=True, slots=True)
class Difference:
    """A key of a case (``passes.amd64.llb``) with both values."""

    key: str
    expected: Any
    ours: Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A class of cases in which ours is better on purpose. ``holds`` checks expected and ours."""

    name: str
    reason: str
    holds: Callable[[Case, Difference], bool]


def _lists_targets(case: Case, difference: Difference) -> bool:
    """Ours lists as many targets as there are stages."""
    if not difference.key.startswith("subrequests.frontend.targets") or "panic" not in str(
        case.expected["subrequests"]["frontend.targets"]
    ):
        return False
    if difference.key.endswith(".panic"):
        return difference.ours is None
    stages = case.expected["instructions"]["stages"]
    return bool(difference.key.endswith(".metadata")) and len(difference.ours["result.json"]["targets"]) == len(stages)


CHOICES = (
    Choice(
        "targets-below-check-comments",
        "the original crashes on `frontend.targets` when a `# check=` comment stands above an instruction; "
        "ours lists the stages",
        _lists_targets,
    ),
)


def differences(case: Case, ours: Form) -> list[Difference]:
    """All keys that differ, without those that are not deterministic in the original."""
    return list(_differences(case, ours))


def _differences(case: Case, ours: Form) -> Iterator[Difference]:
    expected = case.expected
    for key in ("syntax", "check", "parse", "instructions"):
        yield from _below(case, key, expected.get(key), ours.get(key))
    for group in ("passes", "subrequests"):
        for name in expected[group]:
            yield from _below(case, f"{group}.{name}", expected[group][name], ours[group].get(name))
    targets = {entry["target"]: entry for entry in ours["targets"] or ()}
    for entry in expected["targets"] or ():
        name = entry["target"]
        yield from _below(case, f"targets.{name}", entry, targets.get(name))


def _below(case: Case, key: str, expected: Any, ours: Any) -> Iterator[Difference]:
    if not isinstance(expected, dict) or not isinstance(ours, dict):
        if expected != ours:
            yield Difference(key, expected, ours)
        return
    skipped = {"unstable", *case.unstable.get(key, ())}
    for name in sorted({*expected, *ours} - skipped):
        one, other = _stable(name, expected.get(name)), _stable(name, ours.get(name))
        if one != other:
            yield Difference(f"{key}.{name}", one, other)


def _stable(name: str, value: Any) -> Any:
    if value == []:
        return None
    if name == "warnings" and isinstance(value, list):
        return in_runs(value)
    if name == "metadata" and isinstance(value, dict) and isinstance(value.get("result.json"), dict):
        document = {k: _sorted_runs(v) if isinstance(v, list) else v for k, v in value["result.json"].items()}
        return value | {"result.json": document}
    return value


def _sorted_runs(entries: list[Any]) -> list[Any]:
    """Entries of one place sorted, since their order is random in the original."""

    def line(entry: Any) -> str:
        location = entry.get("location") if isinstance(entry, dict) else None
        return json.dumps([location, entry.get("ruleName") if isinstance(entry, dict) else None], sort_keys=True)

    out: list[Any] = []
    run: list[Any] = []
    for entry in entries:
        if run and line(run[-1]) != line(entry):
            out += sorted(run, key=lambda e: json.dumps(e, sort_keys=True))
            run = []
        run.append(entry)
    return out + sorted(run, key=lambda e: json.dumps(e, sort_keys=True))


def chosen(case: Case, found: list[Difference]) -> set[str] | None:
    """The choices that account for all differences, or None if one is not accounted for."""
    names: set[str] = set()
    for difference in found:
        choice = next((c for c in CHOICES if c.holds(case, difference)), None)
        if choice is None:
            return None
        names.add(choice.name)
    return names
