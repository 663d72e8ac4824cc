"""Comparison of a case, key by key, and the places where we choose to differ."""

from __future__ import annotations

import json
import re
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


Maker = Callable[[bytes], Form]
"""What we make of the same case with another text."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A class of cases in which ours is better on purpose.

    ``accounts`` says which differences of a case belong to it, and has checked what ours gives instead.
    """

    name: str
    reason: str
    accounts: Callable[[Case, list[Difference], Form, Maker], set[str]]


def _lists_targets(case: Case, found: list[Difference], ours: Form, make: Maker) -> set[str]:
    """Ours lists the stages that the file has, or says what is wrong with the file."""
    question = "frontend.targets"
    if "panic" not in case.expected["subrequests"][question]:
        return set()
    read, answer = case.expected["instructions"], ours["subrequests"][question]
    if "error" in read:
        if answer.get("error") != ours["instructions"].get("error"):
            return set()
    else:
        listed = answer["metadata"]["result.json"]["targets"]
        if [target.get("name", "") for target in listed] != [stage["name"] for stage in read["stages"]]:
            return set()
    return {d.key for d in found if d.key.startswith(f"subrequests.{question}.")}


_BASE = re.compile(r'failed to parse stage name "([^"]*)": .* must be lowercase')


def _finds_stages(case: Case, found: list[Difference], ours: Form, make: Maker) -> set[str]:
    """Ours builds what the file would give with the name of the stage in lower case, op by op."""
    names = {stage["name"] for stage in (case.expected.get("instructions") or {}).get("stages") or ()} - {""}
    wrong = {m[1] for d in found if d.key.endswith(".error") and (m := _BASE.search(json.dumps(d.expected)))}
    wrong |= {base for base in _bases(case) if base != base.lower() and base.lower() in names}
    if not any(base.lower() in names for base in wrong):
        return set()
    pattern = re.compile(rb"(?im)^(\s*from\s+(?:--\S+\s+)*)(\S+)")
    content = pattern.sub(
        lambda m: m[1] + (m[2].lower() if m[2].decode(errors="replace") in wrong else m[2]), case.content
    )
    lowered = make(content)
    keys = set()
    for difference in found:
        group, name = difference.key.split(".", 1)
        if group == "passes" and _same_build(ours[group], lowered[group], name.split(".")[0]):
            keys.add(difference.key)
        elif group == "targets" or name.startswith(("frontend.lint", "frontend.outline")):
            keys.add(difference.key)
    return keys


def _bases(case: Case) -> list[str]:
    return [stage["base"] for stage in (case.expected.get("instructions") or {}).get("stages") or ()]


def _same_build(ours: Form, lowered: Form, name: str) -> bool:
    def ops(form: Form) -> object:
        if "error" in form:
            return form["error"]
        built = form.get("refs") or {"": form.get("llb")}
        return {key: value and value["ops"] for key, value in built.items()}

    return ops(ours[name]) == ops(lowered[name])


CHOICES = (
    Choice(
        "targets-below-check-comments",
        "the original crashes on `frontend.targets` when a `# check=` comment stands above an instruction; "
        "ours lists the stages",
        _lists_targets,
    ),
    Choice(
        "stage-names-in-any-case",
        "the original takes `FROM Base` after `AS Base` for an image and refuses its capital letters; "
        "ours goes on from the stage, as if both were written in lower case",
        _finds_stages,
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


def chosen(case: Case, found: list[Difference], ours: Form, make: Maker) -> set[str] | None:
    """The choices that account for all differences, or None if one is not accounted for."""
    names: set[str] = set()
    left = {difference.key for difference in found}
    for choice in CHOICES if found else ():
        accounted = choice.accounts(case, found, ours, make) & left
        if accounted:
            names.add(choice.name)
            left -= accounted
    return None if left else names
