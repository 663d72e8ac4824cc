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
