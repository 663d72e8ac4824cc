from __future__ import annotations

import json

import pytest

from buildkit.core.errors import FailedPrecondition, InvalidInput, PermissionDenied
from buildkit.source.policy import apply_policies, from_pb, parse_policy

BUSYBOX = "docker-image://docker.io/library/busybox:1.34.1"


def policy(*rules: dict):
    """Rules in the form of a policy file; selector may be just the identifier."""
    full = [
        r | {"selector": {"identifier": r["selector"]} if isinstance(r["selector"], str) else r["selector"]}
        for r in rules
    ]
    return from_pb(parse_policy(json.dumps({"version": 1, "rules": full}).encode(), "p.json"))


def deny(selector, **selector_fields) -> dict:
    return {"action": "DENY", "selector": {"identifier": selector, **selector_fields}}


def allow(selector) -> dict:
    return {"action": "ALLOW", "selector": selector}


def convert(selector, to="", attrs=None, **fields) -> dict:
    updates = {"identifier": to, "attrs": attrs or {}}
    return {"action": "CONVERT", "selector": {"identifier": selector, **fields}, "updates": updates}


def result(identifier, *rules, attrs=None):
    return apply_policies([policy(*rules)], identifier, attrs or {})


@pytest.mark.row("L182")
def test_a_denied_source_is_named():
    with pytest.raises(PermissionDenied) as caught:
        result(BUSYBOX, deny("docker-image://*"))
    assert str(caught.value) == f'source "{BUSYBOX}" denied by policy: source denied by policy'


@pytest.mark.row("L181")
def test_the_last_allow_or_deny_wins():
    assert result(BUSYBOX, deny("*"), allow(BUSYBOX))[0] == BUSYBOX
    with pytest.raises(PermissionDenied):
        result(BUSYBOX, allow(BUSYBOX), deny("*"))
    assert result(BUSYBOX, deny("git://*"))[0] == BUSYBOX


@pytest.mark.row("L180", "L181")
def test_sources_are_matched_exactly_by_wildcard_or_by_regex():
    exact = "docker-image://docker.io/library/busybox:*"
    assert result(BUSYBOX, deny(exact, match_type="EXACT"))[0] == BUSYBOX
    with pytest.raises(PermissionDenied):
        result(BUSYBOX, deny(r"busybox:[0-9.]+$", match_type="REGEX"))
    with pytest.raises(PermissionDenied):
        result(BUSYBOX, deny(exact, matchType=0))
    assert result("docker-image://x.y", deny("docker-image://xzy"))[0] == "docker-image://x.y"


@pytest.mark.row("L181", "L183")
def test_a_converted_source_is_judged_anew_with_what_was_matched_put_in():
    wildcard = convert("docker-image://docker.io/library/*:*", "docker-image://mirror.example/${1}:$2-x")
    assert result(BUSYBOX, wildcard)[0] == "docker-image://mirror.example/busybox:1.34.1-x"
    regex = convert("library/(?P<name>[a-z]+):.*", "library/${name}:pinned", match_type="REGEX")
    assert result(BUSYBOX, regex)[0] == "docker-image://docker.io/library/busybox:pinned"
    with pytest.raises(PermissionDenied, match=r"mirror\.example"):
        result(BUSYBOX, deny("docker-image://mirror.example/*"), wildcard)


@pytest.mark.row("L181")
def test_conversions_without_end_are_stopped():
    with pytest.raises(FailedPrecondition, match="too many mutations"):
        result("a", convert("a", "b"), convert("b", "a"))


@pytest.mark.row("L184")
def test_attributes_are_conditions_and_can_be_set():
    url = "https://example.com/file"
    pinned = convert(url, attrs={"http.checksum": "sha256:x"})
    assert result(url, pinned) == (url, {"http.checksum": "sha256:x"})
    constraint = {"key": "http.checksum", "value": "^sha256:", "condition": "MATCHES"}
    rule = deny(url, constraints=[constraint])
    assert result(url, rule)[0] == url
    with pytest.raises(PermissionDenied):
        result(url, rule, attrs={"http.checksum": "sha256:x"})
    unpinned = deny(url, constraints=[{"key": "http.checksum", "value": "sha256:x", "condition": "NOTEQUAL"}])
    assert result(url, unpinned, pinned)[1] == {"http.checksum": "sha256:x"}


@pytest.mark.parametrize(
    "rule", [deny("(", match_type="REGEX"), deny("a**"), {"action": "CONVERT", "selector": BUSYBOX}]
)
def test_a_rule_that_cannot_be_read_is_refused(rule):
    with pytest.raises(InvalidInput):
        result(BUSYBOX, rule)


@pytest.mark.row("L185")
@pytest.mark.parametrize("text", ["{", "[]", '{"rules":[{"action":"MAYBE"}]}', '{"rules":1}'])
def test_a_broken_policy_file_is_named(text):
    with pytest.raises(InvalidInput, match=r'failed to unmarshal source-policy-file "p\.json"'):
        parse_policy(text.encode(), "p.json")
