import asyncio
import json
import sqlite3
import time
from base64 import b64decode

import pytest
from tests.kit.daemons import drive, running_daemon

from buildkit.core.digest import sha256
from buildkit.core.errors import BuildkitError, Unavailable, Unsupported, VertexDetail
from buildkit.daemon.config import WorkerConfig
from buildkit.executor.settings import DeviceSettings, NetworkSettings
from buildkit.llb import http, image, local, mkfile, scratch

LABEL = "org.mobyproject.buildkit.worker."


@pytest.fixture
async def peer(tmp_path):
    async with running_daemon(tmp_path) as found:
        yield found


def hello(text="hello"):
    return scratch().file(mkfile("/hello", text.encode()))


@pytest.mark.row("A20")
async def test_a_client_learns_who_answers(peer):
    found = (await peer.control("Info")).buildkitVersion
    assert (found.package, found.version, found.dockerfileVersion) == ("github.com/moby/buildkit", "v0.32.2", "1.26.0")
    assert found.revision.startswith("pybuildkit-")


@pytest.mark.row("A21", "S87")
async def test_a_worker_tells_its_platforms_labels_and_policies(peer):
    (worker,) = (await peer.control("ListWorkers")).record
    assert (peer.config.root / "workerid").read_text().strip() == worker.ID
    assert worker.platforms[0].OS == "linux"
    assert worker.BuildkitVersion.dockerfileVersion == "1.26.0"
    assert worker.Labels["org.mobyproject.buildkit.worker.snapshotter"] == "native"
    assert [policy.all for policy in worker.GCPolicy] == [False, False, False, True]
    assert worker.GCPolicy[0].keepDuration == 48 * 3600 * 10**9
    assert worker.GCPolicy[0].maxUsedSpace == 512 * 10**6


@pytest.mark.row("A21")
async def test_workers_are_filtered_by_id_and_label(tmp_path):
    async with running_daemon(tmp_path, worker=WorkerConfig(snapshotter="native", labels={"pool": "a"})) as peer:
        assert len((await peer.control("ListWorkers", filter=["labels.pool==a"])).record) == 1
        assert len((await peer.control("ListWorkers", filter=["labels.pool==b", "id==x"])).record) == 0


@pytest.mark.row("X60")
async def test_a_worker_says_how_it_works(tmp_path):
    settings = WorkerConfig(
        snapshotter="native",
        network=NetworkSettings("host"),
        labels={"pool": "a", f"{LABEL}hostname": "mine"},
        apparmor_profile="builder",
    )
    async with running_daemon(tmp_path, worker=settings) as peer:
        assert dict((await peer.control("ListWorkers")).record[0].Labels) == {
            f"{LABEL}executor": "oci",
            f"{LABEL}snapshotter": "native",
            f"{LABEL}hostname": "mine",
            f"{LABEL}network": "host",
            f"{LABEL}oci.process-mode": "sandbox",
            f"{LABEL}selinux.enabled": "false",
            f"{LABEL}apparmor.profile": "builder",
            "pool": "a",
        }


@pytest.mark.row("L92", "B12")
async def test_a_worker_tells_its_devices(tmp_path, caplog):
    (tmp_path / "broken.yaml").write_text("kind: x")
    spec = "cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: d, annotations: {k: v}, containerEdits: {env: [A=1]}}]"
    async with running_daemon(tmp_path, devices=DeviceSettings((str(tmp_path),), ("a.b/c",))) as peer:
        assert not (await peer.control("ListWorkers")).record[0].CDIDevices
        (tmp_path / "x.yaml").write_text(spec)
        (device,) = (await peer.control("ListWorkers")).record[0].CDIDevices
        assert f"CDI setup error {tmp_path}/broken.yaml: invalid CDI Spec" in caplog.text
        assert (device.Name, device.AutoAllow, device.OnDemand, device.Annotations) == (
            "a.b/c=d",
            True,
            False,
            {"k": "v"},
        )


@pytest.mark.row("A24", "A30", "A80", "A81", "A83", "A91", "A180")
async def test_a_client_drives_a_build_through_the_bridge(peer):
    response, statuses = await drive(peer, hello())
    names = {vertex.digest: vertex.name for status in statuses for vertex in status.vertexes}
    done = {vertex.name for status in statuses for vertex in status.vertexes if vertex.HasField("completed")}
    assert list(names.values()) == list(done) == ["mkfile /hello"]
    assert dict(response.ExporterResponse) == {}


@pytest.mark.row("A22", "A23")
async def test_usage_is_told_and_pruned(peer):
    await drive(peer, hello())
    (record,) = (await peer.control("DiskUsage")).record
    assert record.Description == "mkfile /hello" and record.Size > 0 and not record.InUse
    assert [gone.ID for gone in await peer.listing("Prune", all=True)] == [record.ID]
    assert (await peer.control("DiskUsage")).record == []


@pytest.mark.row("S44")
async def test_a_build_uses_a_record_once_and_looking_does_not(peer):
    for count in (1, 2, 3):
        began = time.time_ns()
        await drive(peer, hello().file(mkfile("/more", b"1")))
        for _ in range(2):
            top = max((await peer.control("DiskUsage")).record, key=lambda record: len(record.Parents))
            assert (top.Description, top.UsageCount) == ("mkfile /more", count)
            assert top.LastUsedAt.ToNanoseconds() >= began


@pytest.mark.row("S62")
async def test_keys_of_what_was_pruned_are_forgotten(peer):
    def keys():
        with sqlite3.connect(f"file:{peer.config.root}/buildkit.db?mode=ro", uri=True) as db:
            return [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("key_record", "key_link")]

    await drive(peer, hello().file(mkfile("/more", b"1")))
    assert keys() == [2, 1]
    await peer.listing("Prune", filter=['description=="mkfile /more"'])
    assert keys() == [1, 0]
    await peer.listing("Prune", all=True)
    assert keys() == [0, 0]


@pytest.mark.row("A26")
@pytest.mark.parametrize(
    ("version", "text"),
    [
        (99, r"unsupported compatibility-version 99: upgrade buildkit \(max supported: 30\)"),
        (11, r"unsupported compatibility-version 11 \(supported: \[10 20 30\]\)"),
    ],
)
async def test_unknown_compatibility_versions_are_refused(peer, version, text):
    with pytest.raises(BuildkitError, match=text):
        await peer.control("Solve", CompatibilityVersion=version)


@pytest.mark.row("A27", "A28", "A33")
async def test_what_is_not_known_or_not_allowed_is_refused_by_name(peer):
    with pytest.raises(BuildkitError, match='exporter "zzz" could not be found'):
        await peer.control("Solve", Exporters=[{"Type": "zzz"}])
    with pytest.raises(BuildkitError, match='unknown cache exporter: "zzz"'):
        await peer.control("Solve", Cache={"Exports": [{"Type": "zzz"}]})
    with pytest.raises(BuildkitError, match="unknown entitlement zzz"):
        await peer.control("Solve", Entitlements=["zzz"])
    with pytest.raises(BuildkitError, match=r"security\.insecure is not allowed by build daemon"):
        await peer.control("Solve", Entitlements=["security.insecure"])


@pytest.mark.row("A4")
async def test_errors_of_calls_are_logged_and_have_their_details(peer, caplog):
    with pytest.raises(BuildkitError) as caught:
        await drive(peer, scratch().file(mkfile("/no/such", b"")))
    assert any(isinstance(one, VertexDetail) for one in caught.value.details)
    told = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert f"/moby.buildkit.v1.Control/Solve returned error: {caught.value}" in told


@pytest.mark.row("A4")
async def test_that_nobody_collects_traces_is_no_error_to_log(peer, caplog):
    with pytest.raises(Unavailable):
        await peer.channel.unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export", b"")
    assert not caplog.records


async def test_what_is_missing_is_refused_by_name(peer):
    with pytest.raises(Unsupported, match="proxy network"):
        await peer.control("Solve", ProxyNetwork=True)
    with pytest.raises(Unsupported, match="ExecProcess: containers"):
        await peer.channel.call("/moby.buildkit.v1.frontend.LLBBridge/ExecProcess").receive()


@pytest.mark.row("A62")
async def test_errors_of_builds_have_no_code_as_clients_would_print_it(peer):
    with pytest.raises(BuildkitError, match="invalid frontend: nope") as failure:
        await peer.control("Solve", Frontend="nope")
    assert type(failure.value) is BuildkitError


@pytest.mark.row("A30")
async def test_an_unknown_frontend_is_refused(peer):
    with pytest.raises(BuildkitError, match="invalid frontend: nope"):
        await peer.control("Solve", Frontend="nope")


@pytest.mark.row("A105")
async def test_a_ref_of_another_build_is_not_found(peer):
    solving = asyncio.create_task(peer.control("Solve", Ref="one"))
    with pytest.raises(BuildkitError, match="no such ref: other"):
        await peer.bridge("one", "ReadFile", Ref="other", FilePath="/x")
    await peer.bridge("one", "Return", result={})
    await solving


@pytest.mark.row("A24")
async def test_a_build_id_is_taken_once(peer):
    first = asyncio.create_task(peer.control("Solve", Ref="one"))
    await peer.bridge("one", "Ping")
    with pytest.raises(BuildkitError, match="job ID one exists"):
        await peer.control("Solve", Ref="one")
    await peer.bridge("one", "Return", result={})
    await first


@pytest.mark.row("A34")
async def test_a_source_policy_judges_every_source_of_the_build(peer):
    rule = {"action": "DENY", "selector": {"identifier": "docker-image://*"}}
    with pytest.raises(BuildkitError, match=r"source \"docker-image://docker\.io/library/x:latest\" denied by policy"):
        await drive(peer, image("x"), SourcePolicy={"version": 1, "rules": [rule]})


async def test_whoever_watches_a_build_that_is_refused_is_told_of_its_end(peer):
    watching = asyncio.create_task(peer.listing("Status", Ref="one"))
    with pytest.raises(Unsupported, match="proxy network"):
        await peer.control("Solve", Ref="one", ProxyNetwork=True)
    assert await watching == []


@pytest.mark.row("S105")
async def test_a_build_check_is_a_warning_with_its_rule_its_page_and_its_lines(peer):
    text = b"FROM scratch\nCOPY Dockerfile /\nMAINTAINER \\\n me\n"
    files = scratch().file(mkfile("/Dockerfile", text)).marshal().to_pb()
    inputs = {"dockerfile": files, "context": files}
    await peer.control("Solve", Ref="one", Frontend="dockerfile.v0", FrontendInputs=inputs)
    [warning] = [one for status in await peer.listing("Status", Ref="one") for one in status.warnings]
    assert warning.level == 1 and warning.vertex == sha256(getattr(files, "def")[0])
    short = b"MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 3)"
    about = [b"The MAINTAINER instruction is deprecated, use a label instead to define an image author"]
    assert (warning.short, list(warning.detail)) == (short, about)
    assert warning.url == "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"
    info = warning.info
    assert (info.filename, info.data, info.language) == ("Dockerfile", text, "Dockerfile")
    assert list(getattr(info.definition, "def")) == list(getattr(files, "def"))
    assert [(one.start.line, one.end.line) for one in warning.ranges] == [(3, 3), (4, 4)]


@pytest.mark.row("A31")
async def test_an_epoch_among_the_build_arguments_is_the_exporters_too(peer):
    async def created(epoch, **attrs):
        exporters = [{"Type": "image", "Attrs": {"name": "x/y", **attrs}}]
        given = {"build-arg:SOURCE_DATE_EPOCH": epoch}
        response, _ = await drive(peer, hello(), Exporters=exporters, FrontendAttrs=given)
        digest = response.ExporterResponse["containerimage.config.digest"]
        parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
        return json.loads(b"".join(part.data for part in parts))["created"]

    assert await created("7") == "1970-01-01T00:00:07Z"
    assert await created("7", **{"source-date-epoch": "9"}) == "1970-01-01T00:00:09Z"
    assert not (await created("soon")).startswith("1970-01-01")


@pytest.mark.row("A68")
async def test_without_a_session_nothing_of_a_client_is_there(peer):
    with pytest.raises(BuildkitError, match="could not access local files without session"):
        await drive(peer, local("context"))
    with pytest.raises(BuildkitError, match="no active sessions"):
        await drive(peer, http("http://127.0.0.1:1/x", auth_header_secret="token"))


@pytest.mark.row("E6")
async def test_without_an_exporter_everything_is_built_all_the_same(peer):
    building = asyncio.create_task(peer.control("Solve", Ref="one"))
    ask = {"allowResultReturn": True, "allowResultArrayRef": True}
    refs = {}
    for name in ("amd64", "arm64"):
        solved = await peer.bridge("one", "Solve", Definition=hello(name).marshal().to_pb(), **ask)
        refs[name] = solved.result.ref
    assert (await peer.control("DiskUsage")).record == []
    platforms = [{"ID": name, "Platform": {"os": "linux", "architecture": name}} for name in refs]
    metadata = {"refs.platforms": json.dumps({"Platforms": platforms}).encode()}
    await peer.bridge("one", "Return", result={"refs": {"refs": refs}, "metadata": metadata})
    assert (await building).ExporterResponse == {}
    assert len((await peer.control("DiskUsage")).record) == 2


@pytest.mark.row("E8")
async def test_several_exporters_work_at_once_and_the_last_one_has_the_last_word(peer):
    exporters = [
        {"Type": "image", "Attrs": {"name": "x/one", "compression": "uncompressed"}},
        {"Type": "image", "Attrs": {"name": "x/two", "compression": "zstd", "force-compression": "true"}},
    ]
    response, statuses = await drive(peer, hello(), Exporters=exporters)
    assert response.ExporterResponse["image.name"] == "x/two"
    descriptor = json.loads(b64decode(response.ExporterResponse["containerimage.descriptor"]))
    assert descriptor["digest"] == response.ExporterResponse["containerimage.digest"]
    (event,) = await peer.listing("ListenBuildHistory", EarlyExit=True)
    made = event.record.Result.Results
    assert descriptor["digest"] == made[1].digest != made[0].digest
    seen = {v.digest: v for status in statuses for v in status.vertexes if v.name == "exporting to image"}
    one, two = seen.values()
    assert max(v.started.ToNanoseconds() for v in (one, two)) < min(v.completed.ToNanoseconds() for v in (one, two))
