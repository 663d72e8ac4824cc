from __future__ import annotations

import os
import socket
import subprocess
import tempfile

import pytest
from tests.kit.llb_ops import Ops, run, source
from tests.kit.programs import add_program
from tests.kit.rootfs import PATH, busybox_root
from tests.kit.workshop import workshop

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput, NotFound
from buildkit.session.session import Session
from buildkit.session.ssh import AgentSource, open_agents

pytestmark = pytest.mark.root

SOCKET = "/run/buildkit/ssh_agent.0"


@pytest.fixture
async def shop(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    async with workshop(tmp_path / "shop") as made:
        yield made
    assert os.listdir(tmp_path / "tmp") == []


@pytest.fixture
def base(tmp_path):
    root = busybox_root(tmp_path / "base")
    add_program(root, "/usr/bin/ssh-add")
    return f"tree://{root}"


@pytest.fixture
def key(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a key", "-f", tmp_path / "key"], check=True)
    return str(tmp_path / "key")


def step(base, script, option):
    mounts = (pb.Mount(dest="/"), pb.Mount(dest=SOCKET, input=-1, output=-1, mountType=pb.SSH, SSHOpt=option))
    made = Ops()
    first = made.add(source(base))
    env = (f"{PATH}:/usr/bin", f"SSH_AUTH_SOCK={SOCKET}")
    made.add(run("sh", "-c", script, env=env, mounts=mounts), first)
    return made.definition()


@pytest.mark.row("L100", "A167")
async def test_a_step_lists_the_keys_of_a_lent_agent_and_leaves_no_socket(shop, base, key):
    definition = step(base, "ssh-add -l > out; stat -c '%a %u %g' $SSH_AUTH_SOCK >> out", pb.SSHOpt(mode=0o600))
    async with open_agents([AgentSource(paths=(key,))]) as agents:
        async with shop.built(definition, session=Session.new(ssh=agents)) as root:
            assert "a key" in (root / "out").read_text()
            assert (root / "out").read_text().endswith("600 0 0\n")
            assert not (root / "run/buildkit/ssh_agent.0").exists()


@pytest.mark.row("L100")
async def test_a_socket_belongs_to_whom_the_op_says(shop, base, key):
    option = pb.SSHOpt(ID="mine", uid=10, gid=20, mode=0o640)
    definition = step(base, "stat -c '%a %u %g' $SSH_AUTH_SOCK > out", option)
    async with open_agents([AgentSource("mine", (key,))]) as agents:
        assert await shop.text(definition, session=Session.new(ssh=agents)) == "640 10 20\n"


@pytest.mark.row("L100")
@pytest.mark.parametrize(("id", "complaint"), [("", 'no SSH key "" forwarded'), ("x", 'no SSH key "x" forwarded')])
async def test_a_client_that_lends_no_agent_is_told_so(shop, base, id, complaint):
    with pytest.raises(NotFound, match=complaint):
        await shop.text(step(base, "true", pb.SSHOpt(ID=id)))


@pytest.mark.row("A166", "L100")
async def test_an_agent_that_is_missing_is_named(shop, base, key):
    async with open_agents([AgentSource("mine", (key,))]) as agents:
        with pytest.raises(NotFound, match="unset ssh forward key default"):
            await shop.text(step(base, "true", pb.SSHOpt()), session=Session.new(ssh=agents))


@pytest.mark.row("L100")
async def test_an_optional_agent_may_be_missing(shop, base):
    definition = step(base, f"test ! -e {SOCKET} && echo none > out", pb.SSHOpt(optional=True))
    assert await shop.text(definition) == "none\n"


async def test_an_ssh_mount_says_which_agent_it_wants(shop, base):
    made = Ops()
    first = made.add(source(base))
    mounts = (pb.Mount(dest="/"), pb.Mount(dest=SOCKET, input=-1, output=-1, mountType=pb.SSH))
    made.add(run("true", mounts=mounts), first)
    with pytest.raises(InvalidInput, match="invalid ssh mount options"):
        await shop.text(made.definition())


async def test_an_agent_that_went_away_fails_the_connection_only(shop, base, tmp_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "gone"))
    async with open_agents([AgentSource(paths=(str(tmp_path / "gone"),))]) as agents:
        definition = step(base, "ssh-add -l || echo refused > out", pb.SSHOpt(mode=0o600))
        assert await shop.text(definition, session=Session.new(ssh=agents)) == "refused\n"
