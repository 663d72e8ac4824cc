"""Reaching a daemon by its address."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest
from tests.kit.certificates import authority
from tests.kit.fake_daemon import FakeDaemon, listening

from buildkit.client.dial import dial
from buildkit.client.remote import open_remote
from buildkit.client.tls import TLSFiles
from buildkit.core.errors import InvalidInput, NotFound, Unavailable
from buildkit.rpc.server import Server
from buildkit.rpc.transport import serve


@pytest.mark.row("T4")
@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("unix://", "dial unix: missing address"),
        ("unix:///nowhere/x", "dial unix /nowhere/x: connect: no such file or directory"),
        ("dockerd:///nowhere/x", "dial dockerd /nowhere/x: connect: no such file or directory"),
        ("tcp://127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"),
        ("tcp://127.0.0.1", "dial tcp: address 127.0.0.1: missing port in address"),
        ("tcp://127.0.0.1:x", "dial tcp: lookup tcp/x: unknown port"),
        ("docker-container://box", 'exec: "docker": executable file not found in $PATH'),
    ],
)
async def test_a_daemon_that_is_not_there_is_named(address, text, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable) as raised:
        async with dial(address):
            pass
    assert raised.value.message == f'connection error: desc = "transport: Error while dialing: {text}"'


@pytest.mark.parametrize("address", ["/run/b.sock", "http://x", "foo"])
async def test_an_unknown_kind_of_address_is_refused(address):
    with pytest.raises(InvalidInput, match=f"^invalid address {address}"):
        async with dial(address):
            pass


@asynccontextmanager
async def answering(path, answer):
    """Something that says the same to everybody on a unix socket and hangs up, unless it changes to gRPC."""
    server, heard = serve(Server(FakeDaemon().methods())), []

    async def talk(reader, writer):
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if b" 101 " not in answer:
            writer.close()
            return
        inner = await asyncio.get_running_loop().create_unix_server(server, f"{path}.inner")
        far_reader, far_writer = await asyncio.open_unix_connection(f"{path}.inner")
        await asyncio.gather(_move(reader, far_writer), _move(far_reader, writer))
        inner.close()

    async with await asyncio.start_unix_server(talk, path):
        yield heard


async def _move(reader, writer):
    while content := await reader.read(65536):
        writer.write(content)
    writer.close()


@pytest.mark.row("A133")
async def test_the_builder_inside_docker_is_reached_by_an_upgrade(tmp_path):
    path = f"{tmp_path}/d"
    answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with answering(path, answer) as heard, open_remote(f"dockerd://{path}") as client:
        assert await client.workers() == []
    assert heard[0].startswith(b"POST /grpc HTTP/1.1\r\n") and b"\r\nUpgrade: h2c\r\n" in heard[0]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"", "it hung up"),
        (b"\x1b[2J 200\r\n\r\n", r"\?\[2J 200"),
    ],
)
async def test_a_daemon_that_gives_no_builder_is_named(tmp_path, answer, text):
    async with answering(f"{tmp_path}/s", answer):
        with pytest.raises(Unavailable, match=f"dockerd://{tmp_path}/s gives no access to its builder: {text}$"):
            async with dial(f"dockerd://{tmp_path}/s"):
                pass


class Hearing(Server):
    """Writes down the headers of every call."""

    def __init__(self):
        super().__init__(FakeDaemon().methods())
        self.headers = []

    def _accept(self, stream, headers, end):
        self.headers.append(dict(headers))
        super()._accept(stream, headers, end)


@pytest.mark.row("A3")
async def test_calls_name_the_host_and_the_daemon_does_not_mind(tmp_path):
    server, ca = Hearing(), authority(tmp_path)
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(serve(server), "127.0.0.1", 0)
    safe = await loop.create_server(serve(server), "127.0.0.1", 0, ssl=ca.server_context("localhost"))
    files = TLSFiles.of_directory(ca.client_directory(), "localhost")
    async with plain, safe, await loop.create_unix_server(serve(server), f"{tmp_path}/s"):
        here, there = (f"127.0.0.1:{one.sockets[0].getsockname()[1]}" for one in (plain, safe))
        for address, tls in (
            (f"unix://{tmp_path}/s", TLSFiles()),
            (f"tcp://{here}", TLSFiles()),
            (f"tcp://{there}", files),
        ):
            async with open_remote(address, tls=tls) as client:
                assert await client.workers() == []
    assert [one[b":authority"] for one in server.headers] == [b"localhost", here.encode(), b"localhost"]


@pytest.mark.row("A5")
async def test_answers_may_come_compressed_and_calls_do_not(tmp_path):
    server = Hearing()
    async with await asyncio.get_running_loop().create_unix_server(serve(server), f"{tmp_path}/s"):
        async with open_remote(f"unix://{tmp_path}/s") as client:
            await client.workers()
    [headers] = server.headers
    assert headers[b"grpc-accept-encoding"] == b"gzip" and b"grpc-encoding" not in headers


@pytest.mark.row("T3")
async def test_waiting_ends_when_the_daemon_comes(tmp_path):
    path = f"{tmp_path}/s"

    async def reach():
        async with open_remote(f"unix://{path}", wait=True, timeout=60) as client:
            return await client.workers()

    reaching = asyncio.create_task(reach())
    await asyncio.sleep(0)
    async with listening(FakeDaemon(), path):
        assert await reaching == []


@pytest.mark.row("T3")
async def test_waiting_ends_when_its_time_is_over(tmp_path):
    with pytest.raises(Unavailable, match="context deadline exceeded"):
        async with dial(f"unix://{tmp_path}/s", wait=True, timeout=0.01):
            pass


@pytest.fixture
async def secured(tmp_path):
    """A daemon on TCP that wants certificates of ``ca``."""
    ca = authority(tmp_path)
    listener = await asyncio.get_running_loop().create_server(
        serve(Server(FakeDaemon().methods())), "127.0.0.1", 0, ssl=ca.server_context("localhost")
    )
    async with listener:
        yield ca, f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@pytest.mark.row("T2")
async def test_certificates_of_a_directory_open_the_door(secured):
    ca, address = secured
    async with open_remote(address, tls=TLSFiles.of_directory(ca.client_directory(), "localhost")) as client:
        assert await client.workers() == []


@pytest.mark.row("T2")
async def test_a_daemon_without_the_right_name_is_not_trusted(secured):
    ca, address = secured
    files = TLSFiles.of_directory(ca.client_directory(), "elsewhere")
    with pytest.raises(Unavailable, match=r"authentication handshake failed: tls: .*mismatch.*elsewhere"):
        async with dial(address, files):
            pass


@pytest.mark.row("T2")
async def test_a_client_without_a_certificate_gets_nothing(secured):
    ca, address = secured
    with pytest.raises(Unavailable):
        async with open_remote(address, tls=TLSFiles(authority=ca.path, server_name="localhost")) as client:
            await client.workers()


@pytest.mark.row("T2")
def test_a_directory_without_certificates_is_named(tmp_path):
    (tmp_path / "ca.crt").write_text("")
    with pytest.raises(NotFound, match=r"one of the needed files: cert\.pem or tls\.crt"):
        TLSFiles.of_directory(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (TLSFiles(authority="/nowhere"), "could not read ca certificate: open /nowhere: no such file or directory"),
        (TLSFiles(authority="/etc/passwd"), "failed to append ca certs"),
        (TLSFiles(certificate="x"), "could not read certificate/key: no key was given"),
        (TLSFiles(certificate="/nowhere", key="/nowhere"), "could not read certificate/key: open /nowhere"),
    ],
)
async def test_files_that_are_no_certificates_are_named(files, text):
    with pytest.raises(InvalidInput, match=text):
        async with dial("unix:///x", files):
            pass


def program(directory, name, text):
    path = directory / name
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)


BRIDGE = """
import socket, sys, threading
open({log!r}, "w").write(" ".join(sys.argv[1:]))
s = socket.socket(socket.AF_UNIX); s.connect({path!r})
def copy():
    while part := s.recv(65536):
        sys.stdout.buffer.write(part); sys.stdout.buffer.flush()
threading.Thread(target=copy, daemon=True).start()
while part := sys.stdin.buffer.raw.read(65536):
    s.sendall(part)
"""


@pytest.mark.row("T5", "T8")
async def test_calls_travel_over_the_standard_streams_of_a_program(tmp_path, monkeypatch):
    program(tmp_path, "docker", BRIDGE.format(log=f"{tmp_path}/log", path=f"{tmp_path}/s"))
    monkeypatch.setenv("PATH", str(tmp_path))
    async with listening(FakeDaemon(), f"{tmp_path}/s"):
        async with open_remote("docker-container://box") as client:
            assert await client.workers() == []
    assert (tmp_path / "log").read_text() == "exec -i box buildctl dial-stdio"


@pytest.mark.row("T5")
async def test_a_program_that_fails_explains_itself(tmp_path, monkeypatch):
    program(tmp_path, "podman", "import sys; sys.exit('no such container: box')")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    with pytest.raises(Unavailable, match="has exited with exit status 1: stderr=no such container: box"):
        async with open_remote("podman-container://box") as client:
            await client.workers()
