"""Source policies: rules that allow, deny or replace what a build begins with.

Rules of a policy are taken in order; the last ALLOW or DENY that matches wins, a CONVERT that changes something
begins all policies anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar

from buildkit.api import sourcepolicy_pb2 as policy_pb
from buildkit.core.errors import FailedPrecondition, InvalidInput, PermissionDenied
from buildkit.core.values import dataclass, field
from buildkit.fs.goregex import BadRegex, compile_go

MOST_CHANGES = 20
"""How often policies may change one source."""

E = TypeVar("E", bound=IntEnum)


class Action(IntEnum):
    """What a rule does."""

    ALLOW = 0
    DENY = 1
    CONVERT = 2


class Match(IntEnum):
    """How a rule names sources."""

    WILDCARD = 0
    EXACT = 1
    REGEX = 2


class Condition(IntEnum):
    """What an attribute must be."""

    EQUAL = 0
    NOTEQUAL = 1
    MATCHES = 2


@dataclass(frozen=True, slots=True)
class Constraint:
    """A condition on one attribute; one that is not there counts as empty."""

    key: str
    value: str
    condition: Condition = Condition.EQUAL

    def holds(self, attrs: Mapping[str, str]) -> bool:
        """Whether a source with these attributes meets it."""
        found = attrs.get(self.key, "")
        if self.condition is Condition.MATCHES:
            return _compile(self.value).search(found) is not None
        return (found == self.value) is (self.condition is Condition.EQUAL)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``to`` and ``attrs`` are what CONVERT puts in the source's place (None: it says nothing)."""

    action: Action
    identifier: str
    match: Match = Match.WILDCARD
    constraints: tuple[Constraint, ...] = ()
    to: str | None = None
    attrs: Mapping[str, str] = field(default_factory=dict[str, str])

    def matches(self, identifier: str, attrs: Mapping[str, str]) -> bool:
        """Whether the rule speaks about this source."""
        if not all(constraint.holds(attrs) for constraint in self.constraints):
            return False
        if identifier == self.identifier:
            return True
        return self.match is not Match.EXACT and self._pattern().search(identifier) is not None

    def converted(self, identifier: str) -> str:
        """The identifier to take instead; ``${1}`` stands for what the first ``*`` or group matched."""
        if self.to is None:
            raise InvalidInput("error mutating source policy: missing destination for convert rule")
        template = self.to or self.identifier
        if self.match is Match.EXACT:
            return template
        if self.match is Match.REGEX:
            return self._pattern().sub(lambda found: _expand(template, found), identifier)
        found = self._pattern().search(identifier)
        return _expand(template, found) if found is not None else identifier

    def _pattern(self) -> re.Pattern[str]:
        return _compile(self.identifier) if self.match is Match.REGEX else _wildcard(self.identifier)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order."""

    rules: tuple[Rule, ...] = ()


def apply_policies(
    policies: Sequence[Policy], identifier: str, attrs: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    """What to build instead of a source; raises `PermissionDenied` when it is denied."""
    for _ in range(MOST_CHANGES + 1):
        for policy in policies:
            changed = _apply(policy, identifier, attrs)
            if changed is not None:
                identifier, attrs = changed
                break
        else:
            return identifier, attrs
    raise FailedPrecondition("too many mutations on a single source: too many operations")


def _apply(policy: Policy, identifier: str, attrs: Mapping[str, str]) -> tuple[str, Mapping[str, str]] | None:
    denied = False
    for rule in policy.rules:
        if not rule.matches(identifier, attrs):
            continue
        if rule.action is not Action.CONVERT:
            denied = rule.action is Action.DENY
            continue
        target = rule.converted(identifier) or identifier
        merged = {**attrs, **rule.attrs}
        if (target, merged) != (identifier, dict(attrs)):
            return target, merged
    if denied:
        raise PermissionDenied(f'source "{identifier}" denied by policy: source denied by policy')
    return None


def normal_identifier(identifier: str) -> str:
    """An image's name in full, which is what rules are compared with; other identifiers as they are."""
    scheme, separator, name = identifier.partition("://")
    if scheme != "docker-image":
        return identifier
    from buildkit.oci.names import parse_reference

    try:
        return f"{scheme}{separator}{parse_reference(name).with_default_tag()}"
    except InvalidInput:
        return identifier


def from_pb(message: policy_pb.Policy) -> Policy:
    """A policy as a client sends it; raises `InvalidInput`."""
    return Policy(
        tuple(
            Rule(
                _member(Action, rule.action),
                rule.selector.identifier,
                _member(Match, rule.selector.match_type),
                tuple(
                    Constraint(one.key, one.value, _member(Condition, one.condition))
                    for one in rule.selector.constraints
                ),
                rule.updates.identifier if rule.HasField("updates") else None,
                dict(rule.updates.attrs),
            )
            for rule in message.rules
        )
    )


def parse_policy(content: bytes, name: str) -> policy_pb.Policy:
    """Read a ``--source-policy-file`` (JSON; enum values by name or number); raises `InvalidInput` naming it."""
    from google.protobuf import json_format

    try:
        raw: Any = json.loads(content)
        if not isinstance(raw, dict):
            raise ValueError("not a JSON object")
        return json_format.ParseDict(raw, policy_pb.Policy())
    except (ValueError, RecursionError, json_format.ParseError) as error:
        raise InvalidInput(f'failed to unmarshal source-policy-file "{name}": {error}') from error


def _member(kind: type[E], number: int) -> E:
    try:
        return kind(number)
    except ValueError:
        raise InvalidInput(f"source policy: unknown {kind.__name__.lower()} {number}") from None


@lru_cache(maxsize=256)
def _compile(expression: str) -> re.Pattern[str]:
    try:
        return compile_go(expression)
    except BadRegex as error:
        raise InvalidInput(f'error matching source policy: invalid regex "{expression}": {error}') from error


@lru_cache(maxsize=256)
def _wildcard(pattern: str) -> re.Pattern[str]:
    if "**" in pattern:
        raise InvalidInput(
            f'error matching source policy: failed to translate wildcard "{pattern}" to regexp: invalid wildcard: "**"'
        )
    return re.compile(r"\A" + "(.*)".join(map(re.escape, pattern.split("*"))) + r"\Z")


def _expand(template: str, found: re.Match[str]) -> str:
    """Go's ``Expand``: ``$1``, ``${1}``, ``$name``; a name that is no group is empty, ``$$`` is a dollar."""

    def value(part: re.Match[str]) -> str:
        name = part[1] or part[2]
        if name is None:
            return "$"
        try:
            return found[int(name) if name.isdecimal() else name] or ""
        except IndexError:
            return ""

    return re.sub(r"\$(?:(\w+)|\{(\w+)\}|\$)", value, template, flags=re.ASCII)
