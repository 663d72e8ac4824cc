import asyncio
import os
import socket
import ssl
import stat

import pytest
from tests.kit.certificates import Authority
from tests.kit.daemons import connected

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.daemon.config import DaemonConfig, TlsFiles
from buildkit.daemon.listen import listen_all
from buildkit.daemon.notify import notify
from buildkit.daemon.server import daemon_lock
from buildkit.rpc.server import Method, Server


async def echo(content, call):
    return content


@pytest.fixture
async def listen(tmp_path):
    made = []

    async def start(*addresses, environ=None, **fields):
        config = DaemonConfig(root=tmp_path, addresses=addresses, **fields)
        made.extend(await listen_all(config, Server({"/t/Echo": Method(unary=echo)}), environ or {}))
        return made

    yield start
    for one in made:
        one.close()


@pytest.mark.row("A2", "B1", "B5")
async def test_a_unix_socket_is_for_its_owner_and_group_alone(listen, tmp_path):
    path = tmp_path / "new/s"
    await listen(f"unix://{path}", gid=os.getegid())
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getegid())
    async with connected(path) as channel:
        assert await channel.unary("/t/Echo", b"hi") == b"hi"


@pytest.mark.row("B1")
async def test_several_addresses_are_served_and_removed(listen, tmp_path):
    one, _, tcp = await listen(f"unix://{tmp_path}/a", f"unix://{tmp_path}/b", "tcp://127.0.0.1:0")
    async with connected(tmp_path / "a") as first, connected(tmp_path / "b") as second:
        assert await first.unary("/t/Echo", b"1") + await second.unary("/t/Echo", b"2") == b"12"
    assert tcp.shown.startswith("127.0.0.1:")
    one.close()
    assert not (tmp_path / "a").exists() and (tmp_path / "b").exists()


@pytest.mark.row("B1")
@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("/run/x", r"address /run/x does not contain proto, you meant unix:///run/x \?"),
        ("http://x", "addr http://x not supported"),
        ("tcp://localhost", "missing port"),
    ],
)
async def test_addresses_that_make_no_sense_are_refused(listen, address, text):
    with pytest.raises(InvalidInput, match=text):
        await listen(address)


async def test_a_dead_socket_is_replaced_and_a_live_one_is_not(listen, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    await listen(f"unix://{tmp_path}/s")
    with pytest.raises(FailedPrecondition, match="already in use"):
        await listen(f"unix://{tmp_path}/s")


def handshake(port, context):
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        protocol = tls.selected_alpn_protocol()
        tls.settimeout(5)
        return protocol, tls.recv(9)


def answer(port, context):
    try:
        return handshake(port, context)[1]
    except (ssl.SSLError, ConnectionError):
        return b""


@pytest.mark.row("A2", "B7")
async def test_with_an_authority_only_its_clients_get_an_answer(listen, tmp_path):
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server = ours.issue("server", "localhost")
    tls = TlsFiles(f"{server}/cert.pem", f"{server}/key.pem", ours.path)
    (listener,) = await listen("tcp://127.0.0.1:0", tls=tls)
    port = int(listener.shown.rpartition(":")[2])

    def context(pair):
        made = ssl.create_default_context(cafile=ours.path)
        made.set_alpn_protocols(["h2"])
        if pair:
            made.load_cert_chain(f"{pair}/cert.pem", f"{pair}/key.pem")
        return made

    protocol, settings = await asyncio.to_thread(handshake, port, context(ours.issue("client", "localhost")))
    assert protocol == "h2" and settings[3] == 4
    for stranger in (theirs.issue("client", "localhost"), None):
        assert await asyncio.to_thread(answer, port, context(stranger)) == b""


@pytest.mark.row("B7")
async def test_a_key_without_its_certificate_is_refused(listen):
    with pytest.raises(InvalidInput, match="you must specify key and cert file if one is specified"):
        await listen("tcp://127.0.0.1:0", tls=TlsFiles(key="k"))


@pytest.mark.row("B60")
async def test_socket_activation_needs_a_socket(listen):
    with pytest.raises(InvalidInput, match="no sockets found via socket activation"):
        await listen("fd://")


@pytest.mark.row("B61")
def test_the_service_manager_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        assert notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "n")})
        assert manager.recv(100) == b"READY=1"
    assert not notify("READY=1", {})


@pytest.mark.row("B66", "S64")
def test_a_state_folder_has_one_daemon(tmp_path):
    with daemon_lock(tmp_path):
        with pytest.raises(FailedPrecondition, match=r"could not lock .*buildkitd.lock, another instance running\?"):
            with daemon_lock(tmp_path):
                pass
    with daemon_lock(tmp_path):
        pass
