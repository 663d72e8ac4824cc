from __future__ import annotations

import json

import pytest

from buildkit.oci.auth import Credentials
from buildkit.session.auth import DockerKeys


@pytest.mark.row("A162")
async def test_the_docker_config_is_lent_and_read_once(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"h": {"username": "u", "password": "p"}}}))
    keys = DockerKeys(path)
    assert await keys.credentials("h") == Credentials("u", "p")
    path.write_text("{}")
    assert await keys.credentials("h") == Credentials("u", "p")
    assert await keys.credentials("other") == Credentials()


@pytest.mark.row("T40")
async def test_credentials_come_from_where_docker_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    helper = tmp_path / "docker-credential-safe"
    helper.write_text('#!/bin/sh\nread host; echo \'{"Username":"u","Secret":"of \'$host\'"}\'\n')
    helper.chmod(0o755)
    auths = {"plain.example": {"auth": "YTpi"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths, "credHelpers": {"h.example": "safe"}}))
    assert await DockerKeys().credentials("plain.example") == Credentials("a", "b")
    assert await DockerKeys().credentials("h.example") == Credentials("u", "of h.example")
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": auths}))
    assert await DockerKeys().credentials("plain.example") == Credentials("a", "b")
