"""grpcio as a client of our daemon."""

import grpc
import pytest
from tests.kit.daemons import running_daemon

from buildkit.api import control_pb2 as pb
from buildkit.core.errors import BuildkitError
from buildkit.llb import mkfile, scratch
from buildkit.rpc.status import from_status

CONTROL = "/moby.buildkit.v1.Control"
pytestmark = pytest.mark.net


@pytest.fixture
async def channel(tmp_path):
    async with running_daemon(tmp_path), grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as found:
        yield found


def unary(channel, name, response):
    return channel.unary_unary(f"{CONTROL}/{name}", lambda m: m.SerializeToString(), response.FromString)


def listing(channel, name, response):
    return channel.unary_stream(f"{CONTROL}/{name}", lambda m: m.SerializeToString(), response.FromString)


def definition(*actions):
    state = scratch()
    for action in actions:
        state = state.file(action)
    return state.marshal().to_pb()


@pytest.mark.row("A20", "A24", "A30", "A39")
async def test_a_definition_is_built_and_followed(channel):
    request = pb.SolveRequest(Ref="one", Definition=definition(mkfile("/hello", b"hi")))
    status = listing(channel, "Status", pb.StatusResponse)(pb.StatusRequest(Ref="one"))
    await unary(channel, "Solve", pb.SolveResponse)(request)
    assert dict(await status.initial_metadata())["buildkit-current-timestamp"]
    messages = [message async for message in status]
    last = messages[-1].vertexes[-1]
    assert (last.name, last.HasField("completed"), last.error) == ("mkfile /hello", True, "")


@pytest.mark.row("A60", "A61", "A63")
async def test_an_error_carries_its_details(channel):
    from google.rpc.status_pb2 import Status

    request = pb.SolveRequest(Definition=definition(mkfile("/a", b""), mkfile("/a/b", b"")))
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel, "Solve", pb.SolveResponse)(request)
    assert failure.value.code() is grpc.StatusCode.UNKNOWN
    packed = dict(failure.value.trailing_metadata())["grpc-status-details-bin"]
    error = from_status(Status.FromString(packed))
    assert isinstance(error, BuildkitError) and error.message == failure.value.details()
    assert any(type(detail).__name__ == "VertexDetail" for detail in error.details)


@pytest.mark.row("A39")
async def test_the_status_of_no_build_ends_with_not_found(channel):
    from buildkit.control import builds

    assert builds.STATUS_WAIT == 6
    with pytest.raises(grpc.aio.AioRpcError, match="no such job nope") as failure:
        [message async for message in listing(channel, "Status", pb.StatusResponse)(pb.StatusRequest(Ref="nope"))]
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.row("A24")
async def test_a_client_that_leaves_takes_its_build_with_it(channel):
    solving = unary(channel, "Solve", pb.SolveResponse)(pb.SolveRequest(Ref="one"))
    events = listing(channel, "ListenBuildHistory", pb.BuildHistoryEvent)(pb.BuildHistoryRequest())
    assert (await events.read()).type == pb.STARTED
    solving.cancel()
    event = await events.read()
    assert (event.type, event.record.error.message) == (pb.COMPLETE, "context canceled")
