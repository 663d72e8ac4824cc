"""The services beside control: content, health, reflection, traces."""

import pytest
from tests.kit.daemons import running_daemon

from buildkit.api import health_pb2, reflection_pb2
from buildkit.core.digest import sha256
from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, NotFound, Unavailable

CONTENT = "containerd.services.content.v1.Content"


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


def put(peer, folder, content):
    from buildkit.store.content import ContentStore

    return ContentStore(peer.config.root / folder).put(content)


@pytest.mark.row("A9")
@pytest.mark.parametrize("folder", ["content", "history"])
async def test_blobs_of_builds_and_of_history_are_read_whole_and_in_parts(peer, folder):
    content = bytes(range(256)) * 10_000
    digest = put(peer, folder, content)
    assert (await peer.ask(CONTENT, "Info", digest=digest)).info.size == len(content)
    parts = await peer.listing("Read", CONTENT, digest=digest)
    assert b"".join(part.data for part in parts) == content
    (part,) = await peer.listing("Read", CONTENT, digest=digest, offset=100, size=7)
    assert (part.offset, part.data) == (100, content[100:107])


@pytest.mark.row("A10")
@pytest.mark.parametrize("namespace", [[], ["buildkit"], ["other"]])
async def test_content_is_the_same_whatever_its_namespace_is_called(peer, namespace):
    digest = put(peer, "content", b"x")
    found = await peer.ask(CONTENT, "Info", {"containerd-namespace": namespace} if namespace else {}, digest=digest)
    assert found.info.digest == digest


@pytest.mark.row("A9")
async def test_content_can_only_be_read(peer):
    digest = put(peer, "content", b"x")
    for name, fields in (("Delete", {"digest": digest}), ("Update", {}), ("Abort", {})):
        with pytest.raises(FailedPrecondition, match="read-only content store"):
            await peer.ask(CONTENT, name, **fields)
    with pytest.raises(FailedPrecondition, match="read-only content store"):
        await peer.channel.call(f"/{CONTENT}/Write").receive()


@pytest.mark.row("A9")
async def test_what_is_not_there_or_no_digest_is_told(peer):
    with pytest.raises(NotFound):
        await peer.ask(CONTENT, "Info", digest=sha256(b"nothing"))
    with pytest.raises(InvalidInput):
        await peer.ask(CONTENT, "Info", digest="../../etc/passwd")
    with pytest.raises(InvalidInput, match="offset"):
        await peer.listing("Read", CONTENT, digest=put(peer, "content", b"x"), offset=5)


@pytest.mark.row("A9")
async def test_blobs_are_listed_by_filter(peer):
    digest = put(peer, "content", b"x")
    put(peer, "content", b"y")
    (answer,) = await peer.listing("List", CONTENT, filters=[f"digest=={digest}"])
    assert [one.digest for one in answer.info] == [digest]


@pytest.mark.row("A6")
async def test_the_daemon_says_that_it_serves(peer):
    request = health_pb2.HealthCheckRequest(service="moby.buildkit.v1.Control")
    answer = await peer.channel.unary("/grpc.health.v1.Health/Check", request.SerializeToString())
    assert health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(NotFound):
        request = health_pb2.HealthCheckRequest(service="nope")
        await peer.channel.unary("/grpc.health.v1.Health/Check", request.SerializeToString())


async def reflect(peer, version, **question):
    call = peer.channel.call(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    call.send_all([reflection_pb2.ServerReflectionRequest(**question).SerializeToString()])
    call.end()
    return reflection_pb2.ServerReflectionResponse.FromString(await call.receive())


@pytest.mark.row("A1", "A7")
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services(peer, version):
    answer = await reflect(peer, version, list_services="*")
    assert [one.name for one in answer.list_services_response.service] == [
        "containerd.services.content.v1.Content",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "moby.buildkit.v1.Control",
        "moby.buildkit.v1.frontend.LLBBridge",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        "pybuildkit.v1.Builds",
    ]


@pytest.mark.row("A7")
async def test_reflection_describes_messages_with_all_they_need(peer):
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    answer = await reflect(peer, "v1", file_containing_symbol="moby.buildkit.v1.Control")
    files = [FileDescriptorProto.FromString(one) for one in answer.file_descriptor_response.file_descriptor_proto]
    assert {name for file in files for name in file.dependency} <= {file.name for file in files}
    answer = await reflect(peer, "v1", file_containing_symbol="no.such.Thing")
    assert answer.error_response.error_code == 5


@pytest.mark.row("A8")
async def test_traces_are_refused_as_nobody_collects_them(peer):
    with pytest.raises(Unavailable, match="trace collector not configured"):
        await peer.channel.unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export", b"")


async def test_a_malformed_message_is_told_by_name(peer):
    with pytest.raises(InvalidInput, match="malformed SolveRequest"):
        await peer.channel.unary("/moby.buildkit.v1.Control/Solve", b"\xff\xff")
    with pytest.raises(BuildkitError, match="unknown method Nope"):
        await peer.channel.unary("/moby.buildkit.v1.Control/Nope", b"")
