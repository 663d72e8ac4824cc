from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.errors import InvalidInput, Unavailable
from buildkit.oci.auth import ANONYMOUS, HUB_KEY, Challenge, Credentials, config_path, load_config, parse_challenges
from buildkit.oci.tokens import merge_scopes


def config(tmp_path: Path, **fields: object) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields))
    return path


def encoded(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def program(tmp_path: Path, monkeypatch, script: str) -> None:
    path = tmp_path / "docker-credential-test"
    path.write_text(f"#!/bin/sh\nread server\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_the_config_lies_where_docker_config_says():
    assert config_path({"DOCKER_CONFIG": "/x"}) == Path("/x/config.json")
    assert config_path({}) == Path.home() / ".docker/config.json"


def test_a_missing_config_is_anonymous(tmp_path):
    assert load_config(tmp_path / "nothing").credentials("h") == ANONYMOUS


@pytest.mark.row("A162")
def test_credentials_are_found_by_host_and_by_hub_key(tmp_path):
    auths = {
        "h:5000": encoded("u:p:q"),
        HUB_KEY: encoded("hub:x"),
        "https://old.example/v1/": {"username": "o", "password": "w"},
    }
    found = load_config(config(tmp_path, auths=auths))
    assert found.credentials("h:5000") == Credentials("u", "p:q")
    for host in ("docker.io", "registry-1.docker.io"):
        assert found.credentials(host) == Credentials("hub", "x")
    assert found.credentials("old.example") == Credentials("o", "w")
    assert found.credentials("other") == ANONYMOUS


@pytest.mark.row("A162")
def test_an_identity_token_comes_without_a_user(tmp_path):
    auths = {"h": {**encoded("u:"), "identitytoken": "id"}, "r": {"registrytoken": "bearer"}}
    found = load_config(config(tmp_path, auths=auths))
    assert found.credentials("h") == Credentials("", "id")
    assert found.credentials("r").bearer == "bearer"


def test_secrets_are_not_printed():
    assert "hidden" not in repr(Credentials("u", "hidden", "hidden"))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths":[1]}',
        '{"auths":{"h":1}}',
        '{"auths":{"h":{"auth":"%"}}}',
        '{"auths":{"h":{"auth":"dQ=="}}}',
    ],
)
def test_a_broken_config_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=str(path)):
        load_config(path)


def test_a_credential_program_is_asked(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, """echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"of $server\\"}" """)
    assert load_config(config(tmp_path, credsStore="test")).credentials("h") == Credentials("", "of h")
    helpers = load_config(config(tmp_path, credHelpers={"h": "test"}))
    assert helpers.credentials("h") == Credentials("", "of h")
    assert helpers.credentials("other") == ANONYMOUS


def test_a_program_without_credentials_is_anonymous(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert load_config(config(tmp_path, credsStore="test")).credentials("h") == ANONYMOUS


@pytest.mark.parametrize("script", ["echo locked >&2; exit 1", "echo nonsense"])
def test_a_failing_program_is_named(tmp_path, monkeypatch, script):
    program(tmp_path, monkeypatch, script)
    with pytest.raises(Unavailable, match="docker-credential-test"):
        load_config(config(tmp_path, credsStore="test")).credentials("h")


def test_a_program_name_cannot_be_a_path(tmp_path):
    with pytest.raises(InvalidInput, match="credential program"):
        load_config(config(tmp_path, credsStore="../x")).credentials("h")


def test_challenges_are_read_with_bearer_first():
    headers = ['Basic realm="b"', 'Bearer realm="https://a/t?x=1",service="s \\"q\\"",scope="repository:a:pull,push"']
    assert parse_challenges(headers) == [
        Challenge("bearer", {"realm": "https://a/t?x=1", "service": 's "q"', "scope": "repository:a:pull,push"}),
        Challenge("basic", {"realm": "b"}),
    ]


def test_two_challenges_in_one_header_are_told_apart():
    found = parse_challenges(['Bearer realm="r",service=s, Basic realm="b"'])
    assert [(one.scheme, one.parameters["realm"]) for one in found] == [("bearer", "r"), ("basic", "b")]


@given(st.lists(st.text(max_size=60), max_size=3))
def test_any_header_is_read_without_failing(headers):
    parse_challenges(headers)


def test_scopes_of_one_repository_are_joined():
    scopes = ["repository:h:5/a:pull", "repository:h:5/a:push,pull", "repository:b:pull"]
    assert merge_scopes(scopes) == ("repository:b:pull", "repository:h:5/a:pull,push")
