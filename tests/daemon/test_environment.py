import json
from pathlib import Path

import pytest
from tests.kit.daemons import running_daemon

from buildkit.core.errors import InvalidInput
from buildkit.daemon.config import DaemonConfig
from buildkit.daemon.environment import read_environment
from buildkit.daemon.toml import parse_config
from buildkit.llb import mkfile, scratch


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "provenance.d"
    folder.mkdir()
    (folder / "a.json").write_text('{"ci": "here", "runner": {"id": 1}}')
    (folder / "b.json").write_text('{"ci": "there"}')
    (folder / "c.txt").write_text("no json")
    return folder


async def provenance(peer, version):
    files = scratch().file(mkfile("/Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")).marshal().to_pb()
    inputs = {"dockerfile": files, "context": files}
    attrs = {"attest:provenance": f"version={version}"}
    exporters = [{"Type": "image", "Attrs": {"name": "x/y"}}]
    solve = {"Frontend": "dockerfile.v0", "FrontendInputs": inputs, "FrontendAttrs": attrs}
    response = await peer.control("Solve", Exporters=exporters, **solve)
    digest = response.ExporterResponse["containerimage.digest"]
    for _ in range(2):  # index, attestation manifest, statement
        document = await read(peer, digest)
        digest = (document["manifests"][-1] if "manifests" in document else document["layers"][0])["digest"]
    return (await read(peer, digest))["predicate"]


async def read(peer, digest):
    parts = await peer.listing("Read", "containerd.services.content.v1.Content", digest=digest)
    return json.loads(b"".join(part.data for part in parts))


@pytest.mark.row("E111")
async def test_provenance_says_what_the_files_of_a_folder_say_of_the_place(folder, tmp_path):
    (tmp_path / "daemon").mkdir()
    said = {"ci": "there", "runner": {"id": 1}}
    async with running_daemon(tmp_path / "daemon", environment=folder) as peer:
        internal = (await provenance(peer, "v1"))["buildDefinition"]["internalParameters"]
        assert internal.items() >= said.items() and internal["builderPlatform"].startswith("linux/")
        environment = (await provenance(peer, "v0.2"))["invocation"]["environment"]
        assert environment.items() >= said.items() and environment["platform"].startswith("linux/")
        assert "builderPlatform" not in environment


@pytest.mark.row("E111", "B30")
def test_the_folder_is_the_systems_unless_the_file_names_another(tmp_path):
    start = DaemonConfig(root=tmp_path, addresses=(), environment=Path("/etc/buildkit/provenance.d"))
    assert parse_config("", start).config.environment == start.environment
    assert parse_config('provenanceEnvDir = "/x"', start).config.environment == Path("/x")
    assert read_environment(tmp_path / "none") == {}


@pytest.mark.row("E111")
@pytest.mark.parametrize("key", ["buildConfig", "builderPlatform", "platform"])
def test_what_is_built_in_cannot_be_said_otherwise(folder, key):
    (folder / "d.json").write_text(json.dumps({key: "x"}))
    with pytest.raises(InvalidInput, match=f'key "{key}" is builtin and not allowed to be modified'):
        read_environment(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_file_that_is_no_object_is_named(folder, content):
    (folder / "d.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"failed to parse .*d\.json"):
        read_environment(folder)
