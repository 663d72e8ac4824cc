"""What explanations do not show."""

from __future__ import annotations

import pytest

from buildkit.core.explanation import Change
from buildkit.solve.hiding import HIDDEN, Hiding

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----"


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        ("hunter22", "echo hunter22", "echo"),
        ("hunter22", None, "hunter22"),
        ("it's me", "sh -c 'echo '\"'\"''", "echo 'it'\"'\"'s me'"),
        ('a "b" c', "x", r"say a \"b\" c"),
        (KEY, "x", "echo MIIEvQIBADANBg"),
    ],
)
def test_where_one_side_has_a_secret_none_is_shown(value, old, new):
    found = Hiding.of([value]).change(Change("command", "", old, new))
    assert {found.old, found.new} <= {HIDDEN, None} and (found.old is None) is (old is None)


def test_a_secret_of_a_few_letters_hides_nothing():
    assert Hiding.of(["a", "", "\n"]).change(Change("env", "X", "a", "b")) == Change("env", "X", "a", "b")


@pytest.mark.parametrize("name", ["API_TOKEN", "password", "DB_PASSWORD", "aws-secret-key", "AUTH"])
def test_a_variable_named_like_a_secret_is_not_shown(name):
    assert Hiding().change(Change("env", name, "1", None)) == Change("env", name, HIDDEN, None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/x", f"https://me:{HIDDEN}@host/x"),
        ("curl https://:t0ken@host/ http://a:b@c", f"curl https://:{HIDDEN}@host/ http://a:{HIDDEN}@c"),
        ("git@host:x/y https://me@host", "git@host:x/y https://me@host"),
        ("oci-layout://lay:1@sha256:00", "oci-layout://lay:1@sha256:00"),
        ("docker-image://host:5000/a:1@sha256:00", "docker-image://host:5000/a:1@sha256:00"),
    ],
)
def test_passwords_in_addresses_are_not_shown(text, shown):
    assert Hiding().change(Change("source", text, text, None)) == Change("source", shown, shown, None)


def test_long_values_are_cut():
    found = Hiding().change(Change("command", "", "x" * 1000, "y"))
    assert found.old == "x" * 200 + "…"
