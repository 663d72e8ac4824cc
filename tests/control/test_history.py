import asyncio
import errno
import json
from contextlib import asynccontextmanager

import pytest
from tests.kit.daemons import CONTROL, drive, running_daemon

from buildkit.api import control_pb2 as pb
from buildkit.core.errors import BuildkitError, InvalidInput, MaterialsDetail, NotFound
from buildkit.exporter.epoch import parse_rfc3339
from buildkit.llb import local, mkfile, scratch
from buildkit.session.files import Directories
from buildkit.session.serve import lend
from buildkit.session.session import Session


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


def state(name="hello"):
    return scratch().file(mkfile(f"/{name}", b"hello"))


async def records(peer, **wanted):
    return await peer.listing("ListenBuildHistory", EarlyExit=True, **wanted)


@pytest.mark.row("A43", "A46", "A47", "A48")
async def test_a_finished_build_is_remembered(peer):
    await drive(peer, state(), ref="one", FrontendAttrs={"filename": "x"})
    (event,) = await records(peer)
    record = event.record
    assert (event.type, record.Ref, record.Frontend, record.FrontendAttrs) == (
        pb.COMPLETE,
        "one",
        "",
        {"filename": "x"},
    )
    assert (record.numTotalSteps, record.numCompletedSteps, record.numCachedSteps) == (1, 1, 0)
    assert record.CreatedAt.ToNanoseconds() < record.CompletedAt.ToNanoseconds()
    assert not record.HasField("error")


@pytest.mark.row("D158")
async def test_where_the_sources_come_from_is_remembered_and_in_the_provenance(peer):
    files = scratch().file(mkfile("/Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")).marshal().to_pb()
    given = {"vcs:source": "https://h/x.git", "vcs:revision": "abc", "vcs:localdir:context": "."}
    given |= {"vcs:localdir:dockerfile": "d", "attest:provenance": ""}
    solve = {"Frontend": "dockerfile.v0", "FrontendInputs": {"dockerfile": files, "context": files}}
    await peer.control("Solve", FrontendAttrs=given, Exporters=[{"Type": "image", "Attrs": {"name": "x/y"}}], **solve)
    (event,) = await records(peer)
    assert dict(event.record.FrontendAttrs) == given
    [document] = event.record.Result.Attestations
    parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=document.digest)
    found = json.loads(b"".join(part.data for part in parts))["runDetails"]["metadata"]
    assert found["buildkit_metadata"]["vcs"] == {
        "source": "https://h/x.git", "revision": "abc", "localdir:context": ".", "localdir:dockerfile": "d",
    }  # fmt: skip


@pytest.mark.row("A51")
async def test_when_a_build_and_its_steps_were_at_work_is_kept_as_spans(peer):
    with pytest.raises(BuildkitError):
        await drive(peer, state().file(mkfile("/no/such", b"")))
    await drive(peer, state())
    await drive(peer, state())
    (failed, first, second) = [event.record for event in await records(peer)]

    async def spans(record):
        assert record.trace.media_type == "application/vnd.buildkit.otlp.json.v0"
        parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=record.trace.digest)
        return [json.loads(line) for line in b"".join(part.data for part in parts).splitlines()]

    *steps, solve = await spans(failed)
    assert solve["Name"] == "moby.buildkit.v1.Control/Solve" and solve["ChildSpanCount"] == len(steps)
    assert {one["Parent"]["SpanID"] for one in steps} == {solve["SpanContext"]["SpanID"]}
    for one in steps:
        times = [solve["StartTime"], one["StartTime"], one["EndTime"], solve["EndTime"]]
        assert [*map(parse_rfc3339, times)] == sorted(map(parse_rfc3339, times))
    assert (steps[-1]["Name"], steps[-1]["Status"]["Code"], solve["Status"]["Code"]) == ("mkfile /no/such", 1, 1)
    assert "no such file" in steps[-1]["Status"]["Description"]
    assert [one["Name"] for one in await spans(first)][-2:] == ["load cache: mkfile /hello", solve["Name"]]
    vertex = (await spans(second))[0]["Attributes"][0]
    assert vertex["Key"] == "vertex" and vertex["Value"]["Value"].startswith("sha256:")


@pytest.mark.row("A4", "A11")
async def test_the_trace_that_is_kept_is_a_part_of_the_clients(peer):
    trace, span = "0123456789abcdef" * 2, "fedcba9876543210"
    definition = state().marshal().to_pb()
    metadata = {"traceparent": [f"00-{trace}-{span}-01"]}
    await peer.ask(CONTROL, "Solve", metadata, Ref="one", Definition=definition)
    [event] = await records(peer)
    parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=event.record.trace.digest)
    found = [json.loads(line) for line in b"".join(part.data for part in parts).splitlines()]
    assert {one["SpanContext"]["TraceID"] for one in found} == {trace} and len(found) > 1
    above = found[-1]["Parent"]
    assert (above["TraceID"], above["SpanID"], above["Remote"]) == (trace, span, True)


@pytest.mark.row("A35", "A188")
async def test_an_internal_build_is_not_remembered(peer):
    await drive(peer, state(), Internal=True)
    assert await records(peer) == []


@pytest.mark.row("A9", "A52")
async def test_a_failed_build_is_remembered_with_all_details_of_its_error(peer):
    from google.rpc.status_pb2 import Status

    with pytest.raises(BuildkitError):
        await drive(peer, state().file(mkfile("/hello/x", b"")), ref="bad")
    (event,) = await records(peer)
    assert event.record.error.message and not event.record.error.details
    blob = event.record.externalError
    assert blob.media_type == "application/vnd.googeapis.google.rpc.status+proto"
    service = "containerd.services.content.v1.Content"
    parts = await peer.listing("Read", service, digest=blob.digest)
    full = Status.FromString(b"".join(part.data for part in parts))
    assert full.message == event.record.error.message
    assert any(detail.type_url == "github.com/moby/buildkit/errdefs.Vertex+json" for detail in full.details)


@pytest.mark.row("A39", "A50")
async def test_the_progress_of_a_stored_build_is_replayed(tmp_path):
    async with running_daemon(tmp_path) as peer:
        await drive(peer, state(), ref="one")
    async with running_daemon(tmp_path) as peer:
        (event,) = await records(peer)
        assert event.record.logs.media_type == "application/vnd.buildkit.status.v0"
        messages = await peer.listing("Status", Ref="one")
        assert {vertex.name for message in messages for vertex in message.vertexes} == {"mkfile /hello"}


@pytest.mark.row("A43")
async def test_running_builds_come_first_and_pass_every_filter(peer):
    await drive(peer, state(), ref="done")
    running = asyncio.create_task(peer.control("Solve", Ref="running"))
    await peer.bridge("running", "Ping")
    events = await records(peer, Filter=["ref==nothing"])
    assert [(event.type, event.record.Ref) for event in events] == [(pb.STARTED, "running")]
    events = await records(peer, ActiveOnly=True)
    assert [event.record.Ref for event in events] == ["running"]
    await peer.bridge("running", "Return", result={})
    await running


@pytest.mark.row("A43")
async def test_listeners_hear_what_happens(peer):
    call = peer.stream("moby.buildkit.v1.Control", "ListenBuildHistory")
    await drive(peer, state(), ref="one")
    await peer.control("UpdateBuildHistory", Ref="one", Delete=True)
    events = [pb.BuildHistoryEvent.FromString(await call.receive()) for _ in range(3)]
    assert [event.type for event in events] == [pb.STARTED, pb.COMPLETE, pb.DELETED]
    call.cancel()


@pytest.mark.row("A45")
async def test_records_are_pinned_finalized_and_deleted(peer):
    await drive(peer, state(), ref="one")
    await peer.control("UpdateBuildHistory", Ref="one", Pinned=True)
    (event,) = await records(peer)
    assert event.record.pinned and event.record.Generation == 1
    await peer.control("UpdateBuildHistory", Ref="one", Finalize=True)
    await peer.control("UpdateBuildHistory", Ref="one", Delete=True)
    assert await records(peer) == []
    with pytest.raises(NotFound, match='lease "ref_nope": not found'):
        await peer.control("UpdateBuildHistory", Ref="nope", Delete=True)


@pytest.mark.row("A43")
async def test_a_limit_keeps_the_newest(peer):
    for ref in ("a", "b", "c"):
        await drive(peer, state(ref), ref=ref)
    assert [event.record.Ref for event in await records(peer, Limit=2)] == ["c", "b"]
    with pytest.raises(InvalidInput, match="invalid limit"):
        await records(peer, Limit=-1)


@pytest.mark.row("A39", "A43")
async def test_the_daemon_tells_its_clock(peer):
    call = peer.stream("moby.buildkit.v1.Control", "ListenBuildHistory", EarlyExit=True)
    assert await call.receive() is None
    (clock,) = call.response_metadata["buildkit-current-timestamp"]
    assert clock.endswith("Z")


@pytest.mark.row("A49", "E102")
async def test_a_record_has_the_provenance_of_its_result_as_a_bare_predicate(peer):
    import json

    await drive(peer, state(), FrontendAttrs={"attest:provenance": "mode=min,inline-only=true"})
    (event,) = await records(peer)
    (blob,) = event.record.Result.Attestations
    assert blob.media_type == "application/vnd.in-toto+json"
    assert blob.annotations == {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
    parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=blob.digest)
    predicate = json.loads(b"".join(part.data for part in parts))
    assert set(predicate) == {"buildDefinition", "runDetails"}
    steps = predicate["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"]
    assert steps[0]["op"]["Op"]["file"]["actions"][0]["Action"]["mkfile"]["path"] == "/hello"


@pytest.mark.row("E32", "E61", "E106")
async def test_an_image_carries_the_provenance_that_was_asked_for(peer):
    import json

    attrs = {"attest:provenance": "mode=min,inline-only=true"}
    response, _ = await drive(peer, state(), FrontendAttrs=attrs, Exporters=[{"Type": "image"}])
    assert "containerimage.config.digest" not in response.ExporterResponse

    async def blob(digest):
        parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
        return json.loads(b"".join(part.data for part in parts))

    index = await blob(response.ExporterResponse["containerimage.digest"])
    image, attestation = index["manifests"]
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    (layer,) = (await blob(attestation["digest"]))["layers"]
    statement = await blob(layer["digest"])
    assert "buildConfig" not in statement["predicate"]["buildDefinition"]["internalParameters"]


@pytest.mark.row("E103")
async def test_the_full_provenance_names_the_layers_of_every_step_also_of_cached_ones(peer):
    async def blob(digest):
        parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
        return json.loads(b"".join(part.data for part in parts))

    deep, told = state().file(mkfile("/second", b"2")), []
    for _ in range(2):
        response, _ = await drive(
            peer, deep, FrontendAttrs={"attest:provenance": "mode=max"}, Exporters=[{"Type": "image"}]
        )
        image, attestation = (await blob(response.ExporterResponse["containerimage.digest"]))["manifests"]
        (statement,) = (await blob(attestation["digest"]))["layers"]
        told.append((await blob(statement["digest"]))["predicate"]["runDetails"]["metadata"]["buildkit_metadata"])
    layers = (await blob(image["digest"]))["layers"]
    assert [one["layers"] for one in told] == [{"step0:0": [layers[:1]], "step1:0": [layers]}] * 2
    event = (await records(peer))[-1]
    [document] = event.record.Result.Attestations
    assert "layers" in (await blob(document.digest))["runDetails"]["metadata"]["buildkit_metadata"]


async def test_the_documents_of_an_image_stay_with_the_record_of_its_build(peer):
    exporters = [{"Type": "image", "Attrs": {"name": "x/y"}}]
    await drive(peer, state(), ref="one", Exporters=exporters, FrontendAttrs={"attest:provenance": "mode=min"})
    await peer.listing("Prune", all=True)
    (event,) = await records(peer)
    root = event.record.Result.Results[0]
    assert event.record.Result.ResultDeprecated == root
    assert root.media_type == "application/vnd.oci.image.index.v1+json"
    service = "containerd.services.content.v1.Content"
    index = json.loads(b"".join(part.data for part in await peer.listing("Read", service, digest=root.digest)))
    for manifest in index["manifests"]:
        parts = await peer.listing("Read", service, digest=manifest["digest"])
        config = json.loads(b"".join(part.data for part in parts))["config"]
        assert await peer.listing("Read", service, digest=config["digest"])
    assert "verifier.requestopts" in event.record.ExporterResponse


async def test_a_build_does_not_fail_because_its_history_cannot_be_kept(tmp_path, monkeypatch):
    def put(*given):
        raise OSError(errno.ENOSPC, "no space left on device")

    async with running_daemon(tmp_path) as peer:
        monkeypatch.setattr("buildkit.control.recording.store_blob", put)
        await drive(peer, state(), ref="one")
        with pytest.raises(BuildkitError, match="invalid frontend: nope"):
            await peer.control("Solve", Frontend="nope")
        assert await records(peer) == []


@pytest.mark.row("E112")
async def test_the_use_of_the_machine_is_in_records_and_in_images_of_those_who_ask(peer):
    async def told(digest):
        parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
        return json.loads(b"".join(part.data for part in parts))

    async def of_image(attest):
        exporters = [{"Type": "image"}]
        response, _ = await drive(peer, state(), FrontendAttrs={"attest:provenance": attest}, Exporters=exporters)
        index = await told(response.ExporterResponse["containerimage.digest"])
        beside = await told(index["manifests"][1]["digest"])
        statement = await told(beside["layers"][0]["digest"])
        return statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"]

    assert "sysUsage" not in await of_image("mode=max")
    assert (await of_image("mode=max,capture-usage=true"))["sysUsage"][-1]["cpuStat"]["user"] > 0
    (event, _) = await records(peer)
    (blob,) = event.record.Result.Attestations
    assert (await told(blob.digest))["runDetails"]["metadata"]["buildkit_metadata"]["sysUsage"]


@pytest.mark.row("E110")
async def test_a_build_whose_materials_must_be_known_fails_where_they_are_not(peer, tmp_path):
    attrs, exporters = {"attest:provenance": "complete-materials=true"}, [{"Type": "image"}]
    response, _ = await drive(peer, state(), FrontendAttrs=attrs, Exporters=exporters)
    assert response.ExporterResponse["containerimage.digest"]
    async with lent_directory(peer, tmp_path) as session:
        with pytest.raises(BuildkitError) as caught:
            await drive(peer, local("context"), FrontendAttrs=attrs, Exporters=exporters, Session=session)
    assert str(caught.value).startswith("provenance materials are incomplete\n\nThe build requested complete ")
    assert str(caught.value).endswith("Uncaptured local sources:\n  - context\n    reason: local_source")
    assert MaterialsDetail(("context",)) in caught.value.details


@asynccontextmanager
async def lent_directory(peer, folder):
    (folder / "lent").mkdir()
    session = Session.new(locals=Directories({"context": folder / "lent"}))
    async with lend(peer.channel, session):
        yield session.id
