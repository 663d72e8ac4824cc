import asyncio
import io
import os

import pytest
from tests.kit.wires import borrowed, dial, listening

from buildkit.core.errors import BuildkitError, FailedPrecondition, NotFound, Unsupported
from buildkit.fs.receive import Receiver
from buildkit.fs.send import SentTree
from buildkit.oci.auth import Credentials
from buildkit.session.files import Directories
from buildkit.session.outputs import Destination, Destinations
from buildkit.session.secrets import SecretFiles, SecretSource
from buildkit.session.serve import session_methods
from buildkit.session.session import Patterns, Session
from buildkit.session.ssh import SSHAgents, agent_socket
from buildkit.session.stores import Layouts


class Keys:
    async def credentials(self, host):
        return Credentials("me", f"secret of {host}")

    async def token(self, request):
        return None

    async def key(self, host, salt):
        return None


class Streams:
    def __init__(self, streams):
        self.streams = streams

    async def open(self, id):
        if id not in self.streams:
            raise NotFound(f"no http response from session for {id}")
        return io.BytesIO(self.streams.pop(id))


def unseen(size):
    pass


@pytest.mark.row("A130", "A131")
async def test_what_a_client_does_not_lend_is_absent(tmp_path):
    async with borrowed(Session.new(shared_key="k", auth=Keys()), tmp_path) as session:
        assert session.shared_key == "k"
        assert session.auth is not None
        assert [session.locals, session.secrets, session.ssh, session.stores, session.outputs] == [None] * 5


@pytest.mark.row("A150", "A155")
async def test_a_directory_is_fetched_through_patterns(tmp_path):
    lent = tmp_path / "lent"
    (lent / "d").mkdir(parents=True)
    for name in ("a.txt", "b.md", "d/ü.txt", "d/x.o"):
        (lent / name).write_text(name)
    (lent / "link").symlink_to("b.md")
    target = tmp_path / "target"
    target.mkdir()
    async with borrowed(Session.new(locals=Directories({"context": lent})), tmp_path) as session:
        tree = session.locals.tree("context")
        wanted = Patterns(include=("**/*.txt",), exclude=("a*",), follow=("link",))
        with Receiver(target) as receiver:
            await tree.fetch(wanted, receiver, unseen)
        with pytest.raises(NotFound, match='no access allowed to dir "other"'), Receiver(target) as receiver:
            await session.locals.tree("other").fetch(Patterns(), receiver, unseen)
    found = sorted(os.fspath(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["b.md", "d", "d/ü.txt", "link"]


@pytest.mark.row("A162")
async def test_credentials_are_asked_of_the_client(tmp_path):
    async with borrowed(Session.new(auth=Keys()), tmp_path) as session:
        assert await session.auth.credentials("r.example") == Credentials("me", "secret of r.example")
        assert await session.auth.token(_request()) is None


def _request():
    from buildkit.oci.tokens import TokenRequest

    return TokenRequest("r.example", "https://auth.example", "s", ("repository:a:pull",))


@pytest.mark.row("A165")
async def test_secrets_are_asked_of_the_client(tmp_path):
    (tmp_path / "s").write_bytes(b"\x00hush")
    secrets = SecretFiles([SecretSource("one", str(tmp_path / "s"))])
    async with borrowed(Session.new(secrets=secrets), tmp_path) as session:
        assert await session.secrets.get("one") == b"\x00hush"
        with pytest.raises(NotFound, match="not found"):
            await session.secrets.get("two")


@pytest.mark.row("A169")
async def test_blobs_of_a_layout_are_read_through_the_content_service(tmp_path):
    from buildkit.oci.layout import Layout

    blob = os.urandom(3_000_000)
    digest = Layout.create(tmp_path / "layout").put(blob)
    async with borrowed(Session.new(stores=Layouts({"l": tmp_path / "layout"})), tmp_path) as session:
        assert await session.stores.size("l", digest) == len(blob)
        source = await session.stores.open("l", digest)
        with source:
            assert await asyncio.to_thread(source.read) == blob
        with pytest.raises(NotFound):
            await session.stores.size("l", "sha256:" + "0" * 64)
        with pytest.raises(NotFound):
            await session.stores.open("other", digest)


@pytest.mark.row("A159")
@pytest.mark.parametrize("size", [0, 1, 5_000_000])
async def test_a_file_appears_on_the_clients_side_when_it_is_whole(tmp_path, size):
    target = tmp_path / "out.tar"
    content = os.urandom(size)
    async with borrowed(Session.new(outputs=Destinations([Destination(file=str(target))])), tmp_path) as session:
        with pytest.raises(ZeroDivisionError):
            async with session.outputs.open_file("0", {}) as out:
                out.write(content)
                raise ZeroDivisionError
        assert not target.exists()
        async with session.outputs.open_file("0", {"a": "b"}) as out:
            await asyncio.to_thread(out.write, content)
        assert target.read_bytes() == content
        with pytest.raises(NotFound, match="exporter 1 not found"):
            async with session.outputs.open_file("1", {}) as out:
                out.write(b"x")


@pytest.mark.row("A159")
async def test_a_tree_is_merged_into_the_clients_directory(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d").mkdir(parents=True)
    (source / "d" / "new").write_text("new")
    (source / "file").write_text("replaces")
    (target / "file" / "below").mkdir(parents=True)
    (target / "mine").write_text("stays")
    async with borrowed(Session.new(outputs=Destinations([Destination(directory=str(target))])), tmp_path) as session:
        assert session.outputs.directory("0") is None
        await session.outputs.send("0", [SentTree(str(source)), SentTree(str(source), below="linux_amd64")], unseen)
    assert (target / "file").read_text() == "replaces"
    assert (target / "mine").read_text() == "stays"
    assert (target / "linux_amd64" / "d" / "new").read_text() == "new"


@pytest.mark.row("A161")
async def test_deleting_needs_both_sides(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "new").write_text("new")
    target.mkdir()
    (target / "old").write_text("old")
    places = Destinations([Destination(directory=str(target), delete=True), Destination(directory=str(target))])
    async with borrowed(Session.new(outputs=places), tmp_path) as session:
        with pytest.raises(BuildkitError, match="requires a BuildKit daemon with multi-platform local export"):
            await session.outputs.send("0", [SentTree(str(source))], unseen)
        await session.outputs.send("1", [SentTree(str(source))], unseen, whole=True)
        assert sorted(os.listdir(target)) == ["new", "old"]
        await session.outputs.send("0", [SentTree(str(source))], unseen, whole=True)
    assert os.listdir(target) == ["new"]


@pytest.mark.row("A168")
async def test_an_upload_is_read_once(tmp_path):
    async with borrowed(Session.new(uploads=Streams({"x": b"content"})), tmp_path) as session:
        source = await session.uploads.open("x")
        assert await asyncio.to_thread(source.read) == b"content"
        with pytest.raises(NotFound):
            await session.uploads.open("x")


async def _agent(path):
    """An agent that answers every request with its type and content."""
    seen = []

    async def serve(reader, writer):
        while head := await reader.read(4):
            request = await reader.readexactly(int.from_bytes(head, "big"))
            seen.append(request)
            writer.write(len(request).to_bytes(4, "big") + request[::-1])
        writer.close()

    return await asyncio.start_unix_server(serve, path), seen


def _message(content):
    return len(content).to_bytes(4, "big") + content


@pytest.mark.row("A166", "A167")
@pytest.mark.parametrize("raw", [False, True])
async def test_an_agent_is_reached_through_a_socket_of_the_daemon(tmp_path, raw):
    server, seen = await _agent(tmp_path / "agent")
    ssh = SSHAgents({"default": (str(tmp_path / "agent"), raw)})
    async with borrowed(Session.new(ssh=ssh), tmp_path) as session:
        await session.ssh.check("")
        with pytest.raises(NotFound, match="unset ssh forward key other"):
            await session.ssh.check("other")
        uid, gid = os.geteuid(), os.getegid()
        async with agent_socket(session.ssh, "", uid=uid, gid=gid) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            for request, answer in (
                (b"\x0bkeys", b"syek\x0b"),
                (b"\x11add", b"dda\x11" if raw else b"\x05"),
                (b"\x0dsign", b"ngis\x0d"),
            ):
                writer.write(_message(request))
                assert await reader.readexactly(4 + len(answer)) == _message(answer)
            writer.close()
        assert seen == [b"\x0bkeys", *([b"\x11add"] if raw else []), b"\x0dsign"]
    server.close()


@pytest.mark.row("A137")
async def test_calls_fail_when_the_client_goes(tmp_path):
    class Slow:
        async def get(self, id):
            await asyncio.Event().wait()

    async with borrowed(Session.new(secrets=Slow()), tmp_path) as session:
        asked = asyncio.create_task(session.secrets.get("x"))
        await asyncio.sleep(0)
    with pytest.raises(BuildkitError):
        await asked


async def test_a_receivers_error_reaches_the_sender(tmp_path):
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent" / "f").write_text("x")

    class Broken(Receiver):
        def feed(self, messages):
            raise FailedPrecondition("disk full")

    async with borrowed(Session.new(locals=Directories({"c": tmp_path / "lent"})), tmp_path) as session:
        with pytest.raises(FailedPrecondition, match="disk full"), Broken(tmp_path / "lent") as receiver:
            await session.locals.tree("c").fetch(Patterns(), receiver, unseen)


@pytest.mark.row("A151")
async def test_streams_of_tars_are_declared_and_not_spoken(tmp_path):
    methods, path = session_methods(Session.new(locals=Directories({}))), "/moby.filesync.v1.FileSync/TarStream"
    async with listening(methods, tmp_path / "s"):
        channel = await dial(tmp_path / "s")
        with pytest.raises(Unsupported, match="method TarStream not implemented"):
            await channel.call(path).receive()
        channel.connection.lost("over")
    assert path in methods
