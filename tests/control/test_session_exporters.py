"""Exporters that a client chooses when it sees the result."""

from __future__ import annotations

import json

import pytest
from tests.kit.daemons import drive, running_daemon
from tests.kit.lent_methods import offering

from buildkit.api.exporter_pb2 import (
    ExporterRequest,
    FinalizeExportRequest,
    FindExportersRequest,
    FindExportersResponse,
)
from buildkit.core.errors import BuildkitError, Unavailable
from buildkit.llb import mkfile, scratch
from buildkit.rpc.server import Method
from buildkit.session import headers


class Chooser:
    """Wants the same exporters for every result, and remembers what it was told."""

    def __init__(self, *wanted, error=None):
        self.wanted = [ExporterRequest(Type=type, Attrs=attrs) for type, attrs in wanted]
        self.error = error
        self.found = self.told = None

    async def find(self, message, call):
        self.found = FindExportersRequest.FromString(message)
        if self.error is not None:
            raise self.error
        return FindExportersResponse(exporters=self.wanted).SerializeToString()

    async def finalize(self, message, call):
        self.told = dict(FinalizeExportRequest.FromString(message).exporter_response)
        return b""

    @property
    def methods(self):
        return {headers.FIND_EXPORTERS: Method(unary=self.find), headers.FINALIZE_EXPORT: Method(unary=self.finalize)}


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


async def build(peer, methods, **fields):
    async with offering(peer.channel, "s", methods):
        state = scratch().file(mkfile("/hello", b"hello"))
        response, _ = await drive(peer, state, Session="s", EnableSessionExporter=True, **fields)
        return dict(response.ExporterResponse)


@pytest.mark.row("A36", "A170")
async def test_the_session_chooses_exporters_for_a_result_and_hears_what_came_of_them(peer):
    chooser = Chooser(("image", {"name": "x/chosen"}))
    exporters = [{"Type": "image", "Attrs": {"name": "x/asked"}}]
    response = await build(peer, chooser.methods, Exporters=exporters)
    assert len(chooser.found.refs) == 1
    assert response["image.name"] == "x/chosen" and chooser.told == response
    (event,) = await peer.listing("ListenBuildHistory", EarlyExit=True)
    assert len(event.record.Result.Results) == 2


@pytest.mark.row("A36")
async def test_without_an_exporter_in_the_request_that_of_the_session_exports(peer):
    response = await build(peer, Chooser(("image", {"name": "x/chosen", "buildinfo": "true"})).methods)
    assert response["image.name"] == "x/chosen"


@pytest.mark.row("A36", "A170")
@pytest.mark.parametrize("error", [Unavailable("no exporter callback registered"), None], ids=["silent", "absent"])
async def test_a_session_may_have_nothing_to_say(peer, error):
    methods = Chooser(error=error).methods if error else {headers.CREDENTIALS: Method(unary=None)}
    assert await build(peer, methods) == {}


async def test_an_exporter_that_is_unknown_fails_the_build(peer):
    with pytest.raises(BuildkitError, match="nope"):
        await build(peer, Chooser(("nope", {})).methods)


async def test_what_the_session_fails_with_fails_the_build(peer):
    with pytest.raises(BuildkitError, match="I can not decide"):
        await build(peer, Chooser(error=BuildkitError("I can not decide")).methods)


@pytest.mark.row("A170")
async def test_the_session_sees_what_the_frontend_says_of_the_result(peer):
    chooser = Chooser()
    text = b"FROM scratch\nLABEL a=b\n"
    files = scratch().file(mkfile("/Dockerfile", text)).marshal().to_pb()
    inputs = {"dockerfile": files, "context": files}
    async with offering(peer.channel, "s", chooser.methods):
        await peer.control(
            "Solve", Ref="1", Frontend="dockerfile.v0", FrontendInputs=inputs, Session="s", EnableSessionExporter=True
        )
    config = json.loads(chooser.found.metadata["containerimage.config"])
    assert config["config"]["Labels"] == {"a": "b"}
