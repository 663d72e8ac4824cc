import io
import json
import tarfile

import pytest
from tests.kit.bridges import ARM64, FakeBridge, sources

from buildkit.core.errors import BuildkitError
from buildkit.frontend.dockerfile.buildoptions import parse_options
from buildkit.frontend.dockerfile.inputs import BuildInputs
from buildkit.frontend.frontend import LayoutStore, SourceMetadata
from buildkit.llb.source import image
from buildkit.source.source import Known

LOCAL = {"local://dockerfile": {"Dockerfile": b"FROM a"}}


def inputs(options=None, bridge=None, **given):
    bridge = bridge or FakeBridge(LOCAL)
    options = options or {}
    return BuildInputs(bridge.bridge(), options, parse_options(options), {k: s.marshal() for k, s in given.items()})


async def context_of(options=None, bridge=None, **given):
    definition = (await inputs(options, bridge, **given).main_context(["a"])).marshal()
    return sources(definition)[0]


@pytest.mark.row("D120", "D90")
async def test_the_main_context_is_a_directory_of_the_client():
    source = await context_of()
    assert source.identifier == "local://context"
    assert source.attrs["local.followpaths"] == '["a"]'
    assert source.attrs["local.session"] == "session"


@pytest.mark.row("D129")
async def test_another_session_may_offer_a_directory():
    assert (await context_of({"local-sessionid:context": "other"})).attrs["local.session"] == "other"


@pytest.mark.row("D120", "D123")
async def test_the_main_context_can_be_a_repository():
    options = {"context": "https://example.org/a.git#b:c", "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}
    source = await context_of(options)
    assert source.identifier == "git://example.org/a.git#b:c"
    assert source.attrs["git.keepgitdir"] == "true"


@pytest.mark.row("D123")
async def test_the_dockerfile_comes_from_the_repository():
    bridge = FakeBridge({"git://example.org/a.git": {"x/Dockerfile": b"FROM b"}})
    found = await inputs({"context": "https://example.org/a.git", "filename": "x/Dockerfile"}, bridge).read_dockerfile()
    assert found.file.content == b"FROM b"


def archive():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.mtime = 1000
        tar.addfile(entry)
    return out.getvalue()


@pytest.mark.row("D120", "D122")
@pytest.mark.parametrize(
    ("content", "filename"), [(archive(), "Dockerfile"), (b"FROM x", "context")], ids=["tar", "text"]
)
async def test_a_downloaded_context_is_an_archive_or_the_dockerfile_itself(content, filename):
    bridge = FakeBridge({"https://example.org/x": {"context": content, "Dockerfile": b"FROM y"}})
    found = await inputs({"context": "https://example.org/x"}, bridge).read_dockerfile()
    assert found.file.filename == filename


@pytest.mark.row("D120")
async def test_the_main_context_can_be_an_input():
    assert (await context_of(context=image("busybox"))).identifier == "docker-image://docker.io/library/busybox:latest"


@pytest.mark.row("D122", "D154")
async def test_a_part_of_a_context_is_copied_out():
    definition = (await inputs({"contextsubdir": "sub"}, context=image("busybox")).main_context()).marshal()
    assert len(definition.ops) == 3


@pytest.mark.row("D121", "D140")
async def test_a_lowercase_dockerfile_will_do():
    bridge = FakeBridge({"local://dockerfile": {"d/dockerfile": b"FROM low"}})
    assert (await inputs({"filename": "d/Dockerfile"}, bridge).read_dockerfile()).file.content == b"FROM low"
    (source,) = sources(bridge.solved[0])
    assert json.loads(source.attrs["local.followpaths"]) == [
        "d/Dockerfile",
        "d/Dockerfile.dockerignore",
        "d/dockerfile",
    ]


@pytest.mark.row("D121")
async def test_a_missing_dockerfile_is_named():
    with pytest.raises(BuildkitError, match="failed to read dockerfile: open x: no such file"):
        await inputs({"filename": "x"}).read_dockerfile()


@pytest.mark.row("D124")
async def test_the_ignore_file_beside_the_dockerfile_wins():
    trees = {
        "local://dockerfile": {"Dockerfile": b"FROM a", "Dockerfile.dockerignore": b"own\n"},
        "local://context": {".dockerignore": b"common\n"},
    }
    found = inputs(bridge=FakeBridge(trees))
    assert await found.ignore_patterns() == ["common"]
    found = inputs(bridge=FakeBridge(trees))
    await found.read_dockerfile()
    assert await found.ignore_patterns() == ["own"]


@pytest.mark.row("D124")
async def test_remote_contexts_have_no_ignore_rules():
    assert await inputs({"context": "https://example.org/a.git"}).ignore_patterns() == []


async def named(options, bridge=None, platform=None, **given):
    context = inputs(options, bridge, **given).find_named_context("x", platform=platform, follow=lambda: ["f"])
    loaded = await context.load()
    return loaded, [] if loaded.state.output is None else sources(loaded.state.marshal())


@pytest.mark.row("D126", "D128")
async def test_a_named_context_can_be_an_image():
    bridge = FakeBridge()
    loaded, (source,) = await named({"context:x": "docker-image://alpine"}, bridge, ARM64)
    assert source.identifier == "docker-image://docker.io/library/alpine:latest"
    assert json.loads(loaded.config)["architecture"] == "arm64"
    assert bridge.resolved[0][2] == "[context x] load metadata for alpine"


@pytest.mark.row("D126")
async def test_a_named_context_for_the_platform_is_preferred():
    options = {"context:x": "docker-image://a", "context:x::linux/arm64": "docker-image://b"}
    _, (source,) = await named(options, platform=ARM64)
    assert source.identifier.endswith("/b:latest")


@pytest.mark.row("D126")
@pytest.mark.parametrize(
    ("where", "identifier"),
    [
        ("https://example.org/a.git#b", "git://example.org/a.git#b"),
        ("git@example.org:a/b", "git://example.org/a/b"),
        ("https://example.org/a.tar", "https://example.org/a.tar"),
        ("local:dir", "local://dir"),
    ],
)
async def test_a_named_context_can_be_anywhere(where, identifier):
    _, (source,) = await named({"context:x": where})
    assert source.identifier == identifier


@pytest.mark.row("D124", "D126")
async def test_a_named_directory_has_its_own_ignore_file_and_follows_what_is_used():
    bridge = FakeBridge({"local://dir": {".dockerignore": b"*.o\n"}})
    _, (source,) = await named({"context:x": "local:dir", "sharedkey:localdir:x": "k"}, bridge)
    assert source.attrs["local.excludepatterns"] == '["*.o"]'
    assert source.attrs["local.followpaths"] == '["f"]'
    assert source.attrs["local.sharedkeyhint"] == "context:x-k"


@pytest.mark.row("D126")
async def test_a_named_context_can_lie_in_a_layout_of_the_client():
    digest = "sha256:" + "1" * 64
    bridge = FakeBridge()
    _, (source,) = await named({"context:x": f"oci-layout://store@{digest}"}, bridge)
    assert source.identifier == f"oci-layout://docker.io/library/x@{digest}"
    assert bridge.stores == [LayoutStore("session", "store")]


async def test_an_image_that_stands_in_for_another_has_no_date():
    loaded, _ = await named({"context:x": "docker-image://y"}, bridge := FakeBridge())
    assert bridge.resolved
    assert "created" not in json.loads(loaded.config)


async def test_the_dockerfile_of_a_folder_may_be_spelt_small():
    bridge = FakeBridge({"local://dockerfile": {"Dockerfile": b"FROM a", "./Dockerfile": b"FROM a"}})
    await inputs({"filename": "./Dockerfile"}, bridge).read_dockerfile()
    (source,) = sources(bridge.solved[-1])
    assert source.attrs["local.followpaths"] == '["./Dockerfile","./Dockerfile.dockerignore","dockerfile"]'


@pytest.mark.row("D126", "D128")
async def test_a_named_context_can_be_an_input_with_the_config_of_an_image():
    metadata = json.dumps({"containerimage.config": "eyJvcyI6ImxpbnV4In0="})
    loaded, _ = await named({"context:x": "input:y", "input-metadata:y": metadata}, y=image("busybox"))
    assert loaded.config == b'{"os":"linux"}'


async def test_scratch_is_the_empty_context():
    assert (await named({"context:x": "docker-image://scratch"}))[0].state.output is None


@pytest.mark.row("D127")
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nothing", "invalid context specifier nothing for x"),
        ("ftp://a", "unsupported context source ftp for x"),
        ("oci-layout://a", 'oci-layout reference "a" has no digest'),
        ("oci-layout://A", 'could not parse oci-layout reference "A": repository name must be lowercase'),
        ("oci-layout://a@", 'could not parse oci-layout reference "a@": invalid reference format'),
        ("input:z", "invalid input z for x"),
        ("git:z", "invalid git context git:z"),
    ],
)
async def test_wrong_contexts_are_refused(where, message):
    with pytest.raises(BuildkitError) as caught:
        await named({"context:x": where})
    assert str(caught.value) == message


@pytest.mark.row("D127")
async def test_policies_that_lead_in_a_circle_are_noticed():
    bridge = FakeBridge(policies={"docker.io/library/a:latest": "docker-image://a"})
    with pytest.raises(BuildkitError, match="context recursion limit exceeded"):
        await named({"context:x": "docker-image://a"}, bridge)


@pytest.mark.row("D126")
async def test_a_policy_can_make_a_download_of_an_image():
    bridge = FakeBridge(policies={"docker.io/library/a:latest": "https://example.org/a.tar"})
    _, (source,) = await named({"context:x": "docker-image://a"}, bridge)
    assert source.identifier == "https://example.org/a.tar"


@pytest.mark.row("D42")
async def test_a_source_tells_its_time():
    commit = b"tree x\nauthor a <a@b> 5 +0000\ncommitter a <a@b> 7 +0100\n\nmessage"
    bridge = FakeBridge(metadata={"git://example.org/a.git": SourceMetadata("", {}, Known(commit=commit))})
    found = inputs({"context": "https://example.org/a.git"}, bridge)
    assert await found.source_time(await found.main_context(), "x") == 7


@pytest.mark.row("D42")
async def test_an_archive_is_as_old_as_its_newest_file():
    bridge = FakeBridge({"https://example.org/x": {"context": archive()}})
    found = inputs({"context": "https://example.org/x"}, bridge)
    from buildkit.llb.source import http

    assert await found.source_time(http("https://example.org/x", filename="context"), "x") == 1000
