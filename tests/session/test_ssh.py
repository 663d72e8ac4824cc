from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
import subprocess

import pytest

from buildkit.core.errors import InvalidInput, NotFound
from buildkit.session.ssh import AgentSource, agent_socket, open_agents

LIST, ADD, REMOVE_ALL, LOCK, EXTENSION = 11, 17, 19, 22, 27


def message(kind, body=b""):
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "made for a test", "-f", path], check=True)
    return str(path)


def ssh_add(path, *words):
    """What ssh-add says to the agent at ``path``."""
    environ = {**os.environ, "SSH_AUTH_SOCK": path}
    return asyncio.to_thread(
        subprocess.run, ["ssh-add", *words], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


async def ask(path, *requests):
    """The types of the replies of the agent at ``path``; None where it hangs up."""
    reader, writer = await asyncio.open_unix_connection(path)
    kinds = []
    for request in requests:
        writer.write(request)
        head = await reader.read(5)
        kinds.append(head[4] if head else None)
        if head:
            await reader.readexactly(int.from_bytes(head[:4], "big") - 1)
    writer.close()
    return kinds


@pytest.mark.row("T28", "A167")
async def test_keys_are_served_by_an_agent_that_ends_with_the_scope(key):
    async with open_agents([AgentSource("mine", (key,))]) as agents, agent_socket(agents, "mine") as path:
        listed = await ssh_add(path, "-l")
        signed = await ssh_add(path, "-T", key + ".pub")
        assert "made for a test" in listed.stdout
        assert signed.returncode == 0, signed.stderr
    assert not os.path.exists(path)
    assert not os.path.exists(agents._sockets["mine"][0])


@pytest.mark.row("A167")
async def test_nobody_adds_removes_or_locks_keys_of_a_lent_agent(key):
    async with open_agents([AgentSource(paths=(key,))]) as agents, agent_socket(agents, "") as path:
        assert await ask(path, *map(message, (ADD, REMOVE_ALL, LOCK, EXTENSION, 255))) == [5] * 5
        assert (await ssh_add(path, "-D")).returncode != 0
        assert (await ssh_add(path, key)).returncode != 0
        assert "made for a test" in (await ssh_add(path, "-l")).stdout


@pytest.mark.parametrize("request_", [b"\xff\xff\xff\xff\x0b", b"\x00\x00\x00\x00", b"\x00\x04\x00\x01\x0b"])
async def test_a_message_that_no_agent_would_send_ends_the_connection(key, request_):
    async with open_agents([AgentSource(paths=(key,))]) as agents, agent_socket(agents, "default") as path:
        assert await ask(path, message(LIST), request_) == [12, None]
        assert await ask(path, message(LIST)) == [12]


@pytest.mark.row("A166")
async def test_an_agent_that_is_not_lent_is_not_there(key):
    async with open_agents([AgentSource(paths=(key,))]) as agents:
        await agents.check("")
        with pytest.raises(NotFound, match=r"^unset ssh forward key other$"):
            await agents.check("other")


@pytest.mark.row("T28")
async def test_the_default_agent_is_that_of_the_environment(key):
    async with open_agents([AgentSource("k", (key,))]) as agents, agent_socket(agents, "k") as outer:
        environ = {"SSH_AUTH_SOCK": outer}
        async with open_agents([AgentSource()], environ) as again, agent_socket(again, "") as path:
            assert "made for a test" in (await ssh_add(path, "-l")).stdout


@pytest.mark.row("A167")
async def test_a_raw_socket_need_not_be_an_agent(tmp_path):
    async def shout(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    async with await asyncio.start_unix_server(shout, tmp_path / "s"):
        async with open_agents([AgentSource("r", (str(tmp_path / "s"),), raw=True)]) as agents:
            async with agent_socket(agents, "r") as path:
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"hello")
                writer.write_eof()
                assert await reader.read() == b"HELLO"
                writer.close()


async def test_a_socket_has_the_mode_it_was_asked_for(key):
    async with open_agents([AgentSource(paths=(key,))]) as agents, agent_socket(agents, "", mode=0o640) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


async def test_open_connections_end_with_the_socket(key):
    async with open_agents([AgentSource(paths=(key,))]) as agents:
        async with agent_socket(agents, "") as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(message(LIST))
            await reader.readexactly(5)
        await reader.read()
        assert reader.at_eof()
        writer.close()


def sources(tmp_path, key):
    for name in ("a", "b"):
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(tmp_path / name))
    (tmp_path / "text").write_text("hello\n")
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    a, b, text, none = (str(tmp_path / name) for name in ("a", "b", "text", "none"))
    return {
        "no agent": (AgentSource(), "{default [] false}: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is"),
        "two sockets": (AgentSource("x", (a, b)), f'{{x [{a} {b}] false}}: .* ID: "x": only single socket allowed'),
        "key and socket": (AgentSource("x", (key, a)), "invalid combination of keys and sockets"),
        "raw key": (AgentSource("x", (key,), raw=True), "raw mode only supported with socket paths"),
        "raw pair": (AgentSource("x", (a, b), raw=True), "raw mode must supply exactly one path"),
        "nothing there": (AgentSource("x", (none,)), f"stat {none}: no such file or directory"),
        "no key": (AgentSource("x", (text,)), f"failed to parse {text}: "),
        "passphrase": (AgentSource("x", (str(locked),)), f"failed to parse {locked}: "),
    }


@pytest.mark.row("T28")
@pytest.mark.parametrize(
    "what",
    ["no agent", "two sockets", "key and socket", "raw key", "raw pair", "nothing there", "no key", "passphrase"],
)
async def test_an_agent_that_cannot_be_lent_is_refused_with_its_configuration(tmp_path, key, what):
    source, complaint = sources(tmp_path, key)[what]
    with pytest.raises(InvalidInput) as caught:
        async with open_agents([source], {}):
            pass
    assert str(caught.value).startswith("failed to convert agent config {")
    assert re.search(complaint.replace("{", "\\{").replace("[", "\\["), str(caught.value))


@pytest.mark.row("T28")
async def test_one_id_is_lent_once(key):
    with pytest.raises(InvalidInput, match='duplicate agent ID "a"'):
        async with open_agents([AgentSource("a", (key,)), AgentSource("a", (key,))]):
            pass
