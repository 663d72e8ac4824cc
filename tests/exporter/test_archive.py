"""OCI and docker archives."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from tests.kit.exports import bench, platforms
from tests.kit.stores import FakeImage, tar_of

from buildkit.core.errors import AlreadyExists, Corrupt, InvalidInput
from buildkit.core.result import Attestation, Result
from buildkit.core.values import replace
from buildkit.exporter.exporters import open_exporter
from buildkit.store.times import DETERMINISTIC

CONFIG = b'{"os":"linux","architecture":"amd64","config":{"Env":["A=b"]}}'
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.mark.row("E2", "E62")
async def test_the_archive_is_a_sorted_layout_with_fixed_modes_and_no_times(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.stack({"a": "1"}, {"b": "2"}))
    assert archive.names[:2] == ["blobs/", "blobs/sha256/"] and archive.names == sorted(archive.names)
    assert archive.names[-2:] == ["index.json", "oci-layout"] and len(archive.names) == 8
    modes = {member.mode for member in archive.members if member.name.startswith("blobs/sha256/")}
    assert modes == {0o444} and {(m.mtime, m.uid, m.uname) for m in archive.members} == {(0, 0, "")}
    assert archive.files["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    assert archive.content.endswith(bytes(1024)) and len(archive.content) % 10240
    assert archive.content[124:136] == b"00000000000\0" and archive.content[329:345] == b"0000000\x000000000\x00"


@pytest.mark.row("E61", "E63")
async def test_the_index_and_the_response_describe_the_image(tmp_path):
    async with bench(tmp_path) as b:
        result = Result({"": await b.ref(a="1")}, metadata={"containerimage.config": CONFIG})
        archive = await b.archive(result, attrs={"name": "foo/bar:x", "source-date-epoch": "7"})
    (root,) = archive.roots
    assert list(root) == ["mediaType", "digest", "size", "annotations", "platform"]
    assert root["annotations"] == {
        "io.containerd.image.name": "docker.io/foo/bar:x",
        "org.opencontainers.image.created": "1970-01-01T00:00:07Z",
        "org.opencontainers.image.ref.name": "x",
    }
    assert root["platform"] == {"architecture": "amd64", "os": "linux"}
    assert archive.response["containerimage.digest"] == root["digest"]
    assert archive.response["containerimage.config.digest"] == archive.root["config"]["digest"]
    assert archive.response["image.name"] == "docker.io/foo/bar:x"
    assert archive.descriptor["annotations"] == {"org.opencontainers.image.created": "1970-01-01T00:00:07Z"}


@pytest.mark.row("E20")
async def test_every_name_is_normalised_and_listed(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.ref(a="1"), attrs={"name": "a,host:5000/b:c"})
        with pytest.raises(InvalidInput, match="failed to parse A: "):
            await b.archive(None, attrs={"name": "A"})
    names = [root["annotations"]["io.containerd.image.name"] for root in archive.roots]
    assert names == ["docker.io/library/a:latest", "host:5000/b:c"]
    assert archive.response["image.name"] == ",".join(names)


@pytest.mark.row("E20")
async def test_a_star_is_the_frontends_name(tmp_path):
    async with bench(tmp_path) as b:
        result = Result({"": None}, metadata={"image.name": b"given"})
        archive = await b.archive(result, attrs={"name": "*"})
    assert archive.response["image.name"] == "docker.io/library/given:latest"


@pytest.mark.row("E3", "E64")
async def test_a_docker_archive_has_what_docker_load_reads(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.ref(a="1"), "docker", {"name": "foo/bar:x"})
        with pytest.raises(InvalidInput, match="docker exporter does not currently support exporting manifest lists"):
            await b.archive(platforms(linux__amd64=None), "docker")
    (entry,) = json.loads(archive.files["manifest.json"])
    assert entry["RepoTags"] == ["foo/bar:x"] and entry["Config"] in archive.files
    assert entry["Layers"] == ["blobs/" + archive.root["layers"][0]["digest"].replace(":", "/")]
    assert archive.files["manifest.json"].startswith(b'[{"Config":"blobs/sha256/')


@pytest.mark.row("E32")
async def test_a_docker_archive_with_provenance_names_the_image_for_docker_load(tmp_path):
    said = Attestation("in-toto", "https://slsa.dev/provenance/v1", b"{}")
    async with bench(tmp_path) as b:
        result = Result({"": await b.ref(a="1")}, attestations={"": (said,)})
        archive = await b.archive(result, "docker", {"name": "foo/bar:x"})
    manifests = archive.root["manifests"]
    assert [m.get("annotations", {}).get("vnd.docker.reference.type", "") for m in manifests] == [
        "",
        "attestation-manifest",
    ]
    (entry,) = json.loads(archive.files["manifest.json"])
    image = json.loads(archive.blob(manifests[0]["digest"]))
    assert entry["RepoTags"] == ["foo/bar:x"] and entry["Config"].endswith(image["config"]["digest"].partition(":")[2])


@pytest.mark.row("E40")
async def test_without_tar_the_layout_is_a_directory(tmp_path):
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1")
        for name in ("foo:x", "bar:x", "foo:x"):
            await b.export("oci", ref, {"tar": "false", "name": name}, directory=tmp_path / "layout")
        await b.export("oci", ref, {"tar": "false"}, directory=tmp_path / "layout")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert (tmp_path / "layout" / "oci-layout").exists()
    tags = [root["annotations"]["org.opencontainers.image.ref.name"] for root in index["manifests"]]
    assert sorted(tags) == ["latest", "x", "x"]
    for root in index["manifests"]:
        assert (tmp_path / "layout" / "blobs" / root["digest"].replace(":", "/")).exists()


@pytest.mark.row("E58", "E61", "E34")
async def test_several_platforms_make_an_index(tmp_path):
    async with bench(tmp_path) as b:
        result = platforms(linux__arm64=await b.ref(a="1"), linux__amd64=await b.ref(a="2"))
        archive = await b.archive(result, attrs={"compression": "zstd", "annotation-index.k": "v"})
    found = [(m["platform"]["architecture"], m["mediaType"]) for m in archive.root["manifests"]]
    kind = "application/vnd.oci.image.manifest.v1+json"
    assert found == [("arm64", kind), ("amd64", kind)] and archive.root["annotations"] == {"k": "v"}
    assert "containerimage.config.digest" not in archive.response
    manifest = json.loads(archive.blob(archive.root["manifests"][0]["digest"]))
    assert manifest["layers"][0]["mediaType"].endswith("tar+zstd")
    assert b.statuses.done[-2] == f"exporting manifest list {archive.roots[0]['digest']}"


@pytest.mark.row("S103")
async def test_the_progress_names_every_stage(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.ref(a="1"))
        await b.export("oci", None, {"tar": "false"}, directory=tmp_path / "layout")
    root, config = archive.roots[0]["digest"], archive.root["config"]["digest"]
    stages = ["exporting layers", f"exporting manifest {root}", f"exporting config {config}", "sending tarball"]
    assert b.statuses.done[:4] == stages and "sending tarball" not in b.statuses.done[4:]


@pytest.mark.row("E51", "E52")
async def test_history_follows_the_layers(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.stack({"a": "1"}, {"b": "2"}))
    assert [(h["created_by"], h["comment"]) for h in archive.config["history"]] == [
        ("a", "buildkit.exporter.image.v0"),
        ("b", "buildkit.exporter.image.v0"),
    ]
    assert archive.config["created"] == archive.config["history"][1]["created"]


async def test_an_engine_with_fixed_times_gives_the_same_image_twice(tmp_path):
    digests = []
    for folder in (tmp_path / "1", tmp_path / "2"):
        folder.mkdir()
        async with bench(folder) as b:
            ref = await b.stack({"a": "1"}, {"b": "2"})
            archive = await b.archive(ref, times=DETERMINISTIC, created=5 * 10**9)
            digests.append(archive.response["containerimage.digest"])
            assert archive.config["created"] == "1970-01-01T00:00:05Z"
            assert archive.descriptor["annotations"]["org.opencontainers.image.created"] == "1970-01-01T00:00:05Z"
            with archive.layer(0) as layer:
                assert {member.mtime for member in layer} == {DETERMINISTIC.seconds}
    assert digests[0] == digests[1]


@pytest.mark.row("E30", "E50")
async def test_docker_types_on_demand(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(await b.ref(a="1"), attrs={"oci-mediatypes": "false", "annotation.k": "v"})
        with pytest.raises(InvalidInput, match='cannot export annotations with "oci-mediatypes=false"'):
            await b.archive(None, attrs={"oci-mediatypes": "false", "annotation-index.k": "v"})
    assert archive.root["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert archive.root["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    assert archive.root["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert archive.root["annotations"] == {"k": "v"}


@pytest.mark.row("E39", "E45")
async def test_annotations_of_single_and_multi_platform_results(tmp_path):
    async with bench(tmp_path) as b:
        with pytest.raises(InvalidInput, match="index annotations not supported for single platform export"):
            await b.archive(None, attrs={"annotation-index.k": "v"})
        with pytest.raises(InvalidInput, match="invalid annotation: no platform linux/s390x found in source"):
            await b.archive(platforms(linux__amd64=None), attrs={"annotation[linux/s390x].k": "v"})
        ignored = await b.archive(Result({"": None}), attrs={"annotation[linux/s390x].k": "v"})
        given = await b.archive(Result({"": None}, metadata={"annotation-manifest-descriptor.k": b"v"}))
    assert "annotations" not in ignored.root and given.roots[0]["annotations"]["k"] == "v"


@pytest.mark.row("E43")
async def test_unknown_attributes_become_metadata_of_the_result(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(None, attrs={"containerimage.config": CONFIG.decode()})
    assert archive.config["config"] == {"Env": ["A=b"]}


@pytest.mark.row("E55", "E87")
async def test_scratch_has_no_layers(tmp_path):
    async with bench(tmp_path) as b:
        archive = await b.archive(None)
    assert archive.root["layers"] is None and archive.config["rootfs"]["diff_ids"] is None


@pytest.mark.row("E52")
async def test_inline_cache_goes_into_the_config(tmp_path):
    async def cache():
        return {"": b"cache"}

    async with bench(tmp_path) as b:
        archive = await b.archive(None, inline_cache=cache)
    assert archive.config["moby.buildkit.cache.v0"] == "Y2FjaGU="


BOTH = ("linux/amd64", "linux/arm64")


@pytest.mark.row("E32", "E58", "E61")
async def test_attestations_for_images_alone_are_not_in_an_archive_unless_asked_for(tmp_path):
    inline = Attestation("in-toto", "p", b"{}", metadata={"inline-only": b"true"})
    result = Result({"": None}, attestations={"linux/amd64": (inline,)})
    async with bench(tmp_path) as b:
        plain = await b.archive(result)
        assert "containerimage.config.digest" in plain.response
        attested = await b.archive(result, attrs={"attestation-inline": "true"})
        assert "containerimage.config.digest" not in attested.response
        index = attested.root
        assert [one["platform"]["os"] for one in index["manifests"]] == ["linux", "unknown"]
        older = await b.archive(result, attrs={"attestation-inline": "true", "oci-artifact": "false"})
        beside = json.loads(older.blob(older.root["manifests"][1]["digest"]))
        assert beside["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        for listed in index["manifests"]:
            manifest = json.loads(attested.blob(listed["digest"]))
            for blob in (manifest["config"], *(manifest["layers"] or ())):
                assert len(attested.blob(blob["digest"])) == blob["size"]


async def test_attestations_for_images_alone_go_where_an_index_is_made_anyway(tmp_path):
    inline = Attestation("in-toto", "p", b"{}", metadata={"inline-only": b"true"})
    platforms = {name: {"ID": name, "Platform": {"os": "linux", "architecture": name[6:]}} for name in BOTH}
    metadata = {"refs.platforms": json.dumps({"Platforms": list(platforms.values())}).encode()}
    result = Result(dict.fromkeys(BOTH), False, metadata, {BOTH[0]: (inline,)})
    async with bench(tmp_path) as b:
        index = (await b.archive(result)).root
        assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64", "unknown"]


@pytest.mark.row("E30", "E31")
async def test_attestations_need_types_of_oci(tmp_path):
    result = Result({"": None}, attestations={"": (Attestation("in-toto", "p", b"{}"),)})
    async with bench(tmp_path) as b:
        with pytest.raises(InvalidInput, match="cannot export attestations with"):
            await b.archive(result, attrs={"oci-mediatypes": "false"})


async def test_a_lazy_base_image_is_fetched_into_the_archive(tmp_path):
    async with bench(tmp_path) as b:
        image = FakeImage(b.store, [tar_of(a="1")])
        archive = await b.archive(image.load(b.lease))
    (digest,) = image.blobs
    assert image.fetched == [digest] and archive.blob(digest) == image.blobs[digest]


async def test_a_damaged_blob_is_noticed_and_no_file_appears(tmp_path):
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1")
        archive = await b.archive(ref)
        (tmp_path / "out.tar").unlink()
        b.store.content.path(archive.root["layers"][0]["digest"]).write_bytes(b"x")
        with pytest.raises(Corrupt):
            await b.archive(ref)
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.row("E38")
async def test_rewritten_times_are_no_later_than_the_epoch(tmp_path):
    async with bench(tmp_path) as b:
        attrs = {"rewrite-timestamp": "true", "source-date-epoch": "1000000"}
        archive = await b.archive(await b.ref(a="1"), attrs=attrs)
    with archive.layer(0) as layer:
        assert {member.mtime for member in layer} == {1_000_000}
    label = "rewriting layers with source-date-epoch 1000000 (1970-01-12 13:46:40 +0000 UTC)"
    assert label in b.statuses.done and archive.config["created"] == "1970-01-12T13:46:40Z"


@pytest.mark.row("A160")
@pytest.mark.parametrize("type", ["oci", "docker"])
async def test_a_client_that_has_the_image_already_gets_no_second_copy(tmp_path, type):
    class Having:
        @asynccontextmanager
        async def open_file(self, exporter, metadata):
            assert metadata["containerimage.digest"]
            raise AlreadyExists("it is here")
            yield

    async with bench(tmp_path) as b:
        exporting = replace(b.exporting(), outputs=Having())
        result = Result({"": await b.ref(a="1")})
        exported = await open_exporter(type, {}).export(result, exporting)
        assert exported.response["containerimage.digest"] and "sending tarball" not in b.statuses.done
