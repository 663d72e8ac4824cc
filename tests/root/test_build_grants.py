"""What the user lends and allows, in builds by the command: agents, the host's network, every capability."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.root

HOST = "FROM base\nRUN --network=host ls /sys/class/net > /out\n"
INSECURE = "FROM base\nRUN --security=insecure grep CapEff /proc/self/status > /out\n"


@pytest.mark.row("L89", "A33")
def test_the_hosts_network_is_for_builds_that_were_allowed_it(project):
    refused = project.run(HOST)
    assert refused.status == 1
    assert "network.host is not allowed" in refused.err
    assert "lo" in project.text(HOST, "--allow", "network.host")


@pytest.mark.row("L90", "A33")
def test_every_capability_is_for_builds_that_were_allowed_it(project):
    refused = project.run(INSECURE)
    assert refused.status == 1
    assert "security.insecure is not allowed" in refused.err
    assert "ff" in project.text(INSECURE, "--allow", "security.insecure")


@pytest.mark.row("T28", "L100")
def test_keys_are_lent_to_the_steps_that_ask_for_them(project, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    dockerfile = "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo lent > /out\n"
    assert project.text(dockerfile, "--ssh", f"default={key}") == "lent\n"
    refused = project.run(dockerfile.replace("type=ssh", "type=ssh,required"))
    assert refused.status == 1
    assert 'no SSH key "" forwarded from the client' in refused.err


@pytest.mark.row("T28")
def test_an_agent_that_cannot_be_lent_ends_the_build_before_it_begins(project, tmp_path):
    refused = project.run("FROM base\n", "--ssh", f"default={tmp_path}/nope")
    assert refused.status == 1
    assert f"stat {tmp_path}/nope: no such file or directory" in refused.err
