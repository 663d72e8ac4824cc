"""The gateway's service, as clients of the daemon drive it."""

import asyncio
import json

import pytest
from tests.kit.daemons import running_daemon

from buildkit.api import ops_pb2, sourcepolicy_pb2
from buildkit.core.errors import BuildkitError, NotFound, SolveDetail, VertexDetail
from buildkit.core.identity import new_id
from buildkit.llb import http, mkdir, mkfile, scratch, symlink
from buildkit.rpc.status import to_status


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


class Driver:
    """A client that drives one build."""

    def __init__(self, peer, **fields):
        self.peer = peer
        self.ref = new_id()
        self.building = asyncio.create_task(peer.control("Solve", Ref=self.ref, **fields))

    async def ask(self, name, **fields):
        return await self.peer.bridge(self.ref, name, **fields)

    async def solve(self, state, **fields):
        definition = state.marshal().to_pb()
        fields = {"Evaluate": True, "allowResultReturn": True, "allowResultArrayRef": True, **fields}
        return (await self.ask("Solve", Definition=definition, **fields)).result.ref.id

    async def end(self, **fields):
        await self.ask("Return", **fields)
        return await self.building


TREE = (
    scratch().file(mkdir("/d", mode=0o711)).file(mkfile("/d/x", b"hello world", mode=0o600)).file(symlink("x", "/d/l"))
)


@pytest.mark.row("A87", "A88", "A89")
async def test_files_of_a_result_are_read_and_looked_at_through_links(peer):
    driver = Driver(peer)
    ref = await driver.solve(TREE)
    part = await driver.ask("ReadFile", Ref=ref, FilePath="d/l", Range={"Offset": 2, "Length": 4})
    assert part.Data == b"llo "
    found = (await driver.ask("StatFile", Ref=ref, Path="d/l")).stat
    assert (found.path, found.size, found.mode) == ("x", 11, 0o600)
    entries = (await driver.ask("ReadDir", Ref=ref, DirPath="d")).entries
    assert [(one.path, one.size, one.linkname) for one in entries] == [("l", 1, "x"), ("x", 11, "")]
    entries = (await driver.ask("ReadDir", Ref=ref, DirPath="d", IncludePattern="x*")).entries
    assert [one.path for one in entries] == ["x"]
    await driver.end(result={"ref": {"id": ref}})


async def test_what_cannot_be_read_is_named(peer):
    driver = Driver(peer)
    ref = await driver.solve(TREE)
    with pytest.raises(BuildkitError, match=r"^d is not a regular file"):
        await driver.ask("ReadFile", Ref=ref, FilePath="d")
    with pytest.raises(BuildkitError, match="no such file"):
        await driver.ask("StatFile", Ref=ref, Path="../../nothing")
    await driver.end(result={})


async def test_the_trees_of_a_step_that_failed_can_be_read_while_the_build_lasts(peer):
    driver = Driver(peer)
    with pytest.raises(BuildkitError, match="no such file") as caught:
        await driver.solve(TREE.file(mkfile("/made", b"1")).file(mkfile("/no/such", b"")))
    [detail] = [one for one in caught.value.details if isinstance(one, SolveDetail)]
    [given] = [id for id in detail.input_ids if id]
    assert (await driver.ask("ReadFile", Ref=given, FilePath="made")).Data == b"1"
    with pytest.raises(BuildkitError) as told:
        await driver.end(error=to_status(caught.value))
    assert any(isinstance(one, SolveDetail) for one in told.value.details)


async def test_errors_of_builds_that_nobody_drives_name_no_trees(peer):
    with pytest.raises(BuildkitError) as caught:
        await peer.control("Solve", Definition=scratch().file(mkfile("/no/such", b"")).marshal().to_pb())
    kinds = {type(one) for one in caught.value.details}
    assert VertexDetail in kinds and SolveDetail not in kinds


async def test_a_definition_of_nothing_is_an_empty_result(peer):
    definition = ops_pb2.Definition()
    assert not (await peer.control("Solve", Definition=definition)).ExporterResponse


async def test_policies_of_one_call_judge_its_sources(peer):
    driver = Driver(peer)
    rule = {"action": sourcepolicy_pb2.DENY, "selector": {"identifier": "http://127.0.0.1/*"}}
    with pytest.raises(BuildkitError, match="denied by policy"):
        await driver.solve(http("http://127.0.0.1/x"), SourcePolicies=[{"version": 1, "rules": [rule]}])
    with pytest.raises(BuildkitError, match="denied by policy"):
        source = {"identifier": "http://127.0.0.1/x"}
        await driver.ask("ResolveSourceMeta", Source=source, SourcePolicies=[{"version": 1, "rules": [rule]}])
    await driver.end(result={})


async def test_of_a_source_that_cannot_be_asked_nothing_is_told(peer):
    driver = Driver(peer)
    answer = await driver.ask("ResolveSourceMeta", Source={"identifier": "local://context"})
    assert answer.Source.identifier == "local://context"
    assert not answer.HasField("HTTP") and not answer.HasField("Git")
    with pytest.raises(BuildkitError, match="unknown scheme nope"):
        await driver.ask("ResolveSourceMeta", Source={"identifier": "nope://x"})
    await driver.end(result={})


async def test_refs_without_platforms_are_refused(peer):
    driver = Driver(peer)
    refs = {name: {"id": await driver.solve(TREE)} for name in ("a", "b")}
    with pytest.raises(BuildkitError, match="build result contains multiple refs without platforms mapping"):
        await driver.end(result={"refs": {"refs": refs}})


@pytest.mark.row("A82")
async def test_a_ping_tells_what_the_daemon_can_do_and_who_works(peer):
    driver = Driver(peer)
    ping = await driver.ask("Ping")
    for caps in (ping.FrontendAPICaps, ping.LLBCaps):
        assert [cap.ID for cap in caps] == sorted(cap.ID for cap in caps)
    frontend, llb = ({cap.ID: cap for cap in caps} for caps in (ping.FrontendAPICaps, ping.LLBCaps))
    assert llb["exec.mount.cache"].Enabled and frontend["frontend.inputs"].Enabled
    assert frontend["solve.inlinereturn"].Enabled and frontend["solve.inlinereturn"].Deprecated
    missing = frontend["gateway.exec"]
    assert not missing.Enabled and missing.DisabledReasonMsg
    assert list(ping.Workers) == list((await peer.control("ListWorkers")).record)
    await driver.end(result={})


@pytest.mark.row("A84")
async def test_refs_come_with_their_definitions(peer):
    driver = Driver(peer)
    definition = TREE.marshal().to_pb()
    solved = await driver.ask("Solve", Definition=definition, allowResultReturn=True, allowResultArrayRef=True)
    assert list(getattr(getattr(solved.result.ref, "def"), "def")) == list(getattr(definition, "def"))
    await driver.end(result={})


@pytest.mark.row("A90")
async def test_a_ref_is_made_when_that_is_asked_for(peer):
    driver = Driver(peer)
    watching = asyncio.create_task(peer.listing("Status", Ref=driver.ref))
    ref = await driver.solve(TREE.file(mkfile("/no/such", b"")), Evaluate=False)
    with pytest.raises(BuildkitError, match="no such file"):
        await driver.ask("Evaluate", Ref=ref)
    good = await driver.solve(scratch().file(mkfile("/good", b"")), Evaluate=False)
    await driver.solve(scratch().file(mkfile("/unwanted", b"")), Evaluate=False)
    await driver.ask("Evaluate", Ref=good)
    await driver.end(result={})
    started = {v.name for status in await watching for v in status.vertexes if v.HasField("started")}
    assert {"mkfile /good", "mkfile /no/such"} <= started and "mkfile /unwanted" not in started


@pytest.mark.row("A92")
async def test_a_client_reads_the_inputs_that_the_build_was_given(peer):
    definition = TREE.marshal().to_pb()
    building = asyncio.create_task(peer.control("Solve", Ref="one", FrontendInputs={"context": definition}))
    assert dict((await peer.bridge("one", "Inputs")).Definitions) == {"context": definition}
    await peer.bridge("one", "Return", result={})
    await building


@pytest.mark.row("A93")
async def test_a_client_warns(peer):
    driver = Driver(peer)
    said = {"level": 3, "short": b"short", "detail": [b"one", b"two"], "url": "https://h", "info": {"filename": "F"}}
    said["ranges"] = [{"start": {"line": 1, "character": 2}, "end": {"line": 3, "character": 4}}]
    await driver.ask("Warn", digest="sha256:" + "1" * 64, **said)
    await driver.end(result={})
    [warning] = [one for status in await peer.listing("Status", Ref=driver.ref) for one in status.warnings]
    expected = type(warning)(vertex="sha256:" + "1" * 64, **said)
    assert warning == expected


@pytest.mark.row("A104")
async def test_no_ref_is_the_empty_tree(peer):
    driver = Driver(peer)
    assert await driver.solve(scratch()) == ""
    assert (await driver.ask("ReadDir", Ref="", DirPath="/")).entries == []
    assert (await driver.ask("StatFile", Ref="", Path="/")).stat.mode & 0o777 == 0o755
    await driver.ask("Evaluate", Ref="")
    platforms = [{"ID": name, "Platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")]
    metadata = {"refs.platforms": json.dumps({"Platforms": platforms}).encode()}
    await driver.end(result={"refs": {"refs": {"amd64": {"id": ""}, "arm64": {"id": ""}}}, "metadata": metadata})


async def test_a_ref_that_is_not_there_is_named(peer):
    driver = Driver(peer)
    with pytest.raises((NotFound, BuildkitError), match="no such ref: nope"):
        await driver.ask("ReadFile", Ref="nope", FilePath="x")
    await driver.end(result={})


async def test_a_part_of_a_file_is_what_go_reads_of_it(peer):
    driver = Driver(peer)
    ref = await driver.solve(TREE)

    async def read(path, offset, length):
        return (await driver.ask("ReadFile", Ref=ref, FilePath=path, Range={"Offset": offset, "Length": length})).Data

    assert await read("d/x", 3, 0) == b""
    assert await read("d/x/", 9, -1) == b"ld"
    assert await read("d/x", 20, 5) == b""
    with pytest.raises(BuildkitError, match="negative offset"):
        await read("d/x", -1, 5)
    await driver.end(result={})


async def test_entries_of_a_directory_are_chosen_by_an_include_pattern(peer):
    driver = Driver(peer)
    ref = await driver.solve(TREE)

    async def names(path, pattern):
        return [
            one.path for one in (await driver.ask("ReadDir", Ref=ref, DirPath=path, IncludePattern=pattern)).entries
        ]

    assert await names("/", "d/x") == ["d"]
    assert await names("/", "*/x") == ["d"]
    assert await names("/d", "**") == ["l", "x"]
    with pytest.raises(BuildkitError, match=r"invalid includepatterns: \[\[\]: syntax error in pattern"):
        await names("/d", "[")
    with pytest.raises(BuildkitError, match=r"open /d/x: not a directory"):
        await names("/d/x", "")
    await driver.end(result={})


async def document(peer, digest):
    parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
    return json.loads(b"".join(part.data for part in parts))


@pytest.mark.row("A103")
async def test_a_client_returns_bytes_of_metadata_and_what_it_attests(peer):
    exporters = [{"Type": "image", "Attrs": {"name": "x/y"}}]
    driver = Driver(peer, Exporters=exporters)
    bundled = {"predicateType": "https://h/two", "predicate": {"b": 2}, "subject": []}
    files = scratch().file(mkfile("/one", b'{"a":1}').mkdir("/d").mkfile("/d/two", json.dumps(bundled).encode()))
    ref, said = await driver.solve(TREE), await driver.solve(files)
    subject = {"kind": 1, "name": "raw", "digest": ["sha256:" + "1" * 64]}
    one = {"kind": 0, "ref": {"id": said}, "path": "one", "inTotoPredicateType": "https://h/one"}
    one |= {"inTotoSubjects": [{"kind": 0}, subject], "metadata": {"any": b"\xff"}}
    bundle = {"kind": 1, "ref": {"id": said}, "path": "d"}
    platform = {"ID": "linux/amd64", "Platform": {"os": "linux", "architecture": "amd64"}}
    metadata = {"refs.platforms": json.dumps({"Platforms": [platform]}).encode(), "frontend.said": b"x"}
    metadata["containerimage.config/linux/amd64"] = b'{"os":"linux","architecture":"amd64","config":{"User":"u"}}'
    result = {"refs": {"refs": {"linux/amd64": {"id": ref}}}, "metadata": metadata}
    response = await driver.end(result={**result, "attestations": {"linux/amd64": {"attestation": [one, bundle]}}})
    assert response.ExporterResponse["frontend.said"] == "x"
    index = await document(peer, response.ExporterResponse["containerimage.digest"])
    image, beside = [await document(peer, listed["digest"]) for listed in index["manifests"]]
    assert (await document(peer, image["config"]["digest"]))["config"]["User"] == "u"
    statements = [await document(peer, layer["digest"]) for layer in beside["layers"]]
    assert [(s["predicateType"], s["predicate"]) for s in statements] == [
        ("https://h/one", {"a": 1}),
        ("https://h/two", {"b": 2}),
    ]
    names = [one["name"].partition("@")[0] for one in statements[0]["subject"]]
    assert names == ["pkg:docker/x/y", "raw"]


@pytest.mark.row("E134")
async def test_what_is_attested_must_be_regular_files(peer):
    driver = Driver(peer, Exporters=[{"Type": "image", "Attrs": {"name": "x/y"}}])
    files = scratch().file(mkdir("/d").mkdir("/d/one"))
    ref, said = await driver.solve(TREE), await driver.solve(files)
    platform = {"ID": "p", "Platform": {"os": "linux", "architecture": "amd64"}}
    metadata = {"refs.platforms": json.dumps({"Platforms": [platform]}).encode()}
    bundle = {"kind": 1, "ref": {"id": said}, "path": "d"}
    result = {"refs": {"refs": {"p": {"id": ref}}}, "metadata": metadata}
    with pytest.raises(BuildkitError, match="d/one is not a regular file"):
        await driver.end(result={**result, "attestations": {"p": {"attestation": [bundle]}}})
