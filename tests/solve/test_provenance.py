import json

import pytest

from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.values import replace
from buildkit.llb import image, mkfile, nested, scratch
from buildkit.llb.definition import Definition
from buildkit.solve.provenance.capture import Capture, Image, Lent, capture
from buildkit.solve.provenance.predicate import Run, filter_args, image_url, materials, predicate, redact
from buildkit.solve.provenance.slsa02 import to_slsa02
from buildkit.solve.provenance.wanted import Wanted, parse_wanted
from buildkit.solve.refs import FrontendRequest
from buildkit.solver.record import StepRecord

RUN = Run(id="run", started=1_700_000_000_123_456_789, finished=1_700_000_001_000_000_000)
DIGEST = "sha256:" + "ab" * 32
AMD64 = Platform("linux", "amd64")


def captured(**fields):
    return Capture(definition=Definition(), frontend="dockerfile.v0", **fields)


@pytest.mark.row("E100", "E101")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Wanted("max")),
        ("mode=min,inline-only=true", Wanted("min", inline_only=True)),
        ("filename=x.json", Wanted(filename="x.json")),
        ("mode=full,builder-id=https://x,reproducible=1", Wanted("max", "v1", "https://x", True)),
    ],
)
def test_what_is_asked_for_is_read(text, wanted):
    assert parse_wanted({"attest:provenance": text}) == wanted
    assert parse_wanted({"build-arg:BUILDKIT_ATTEST_PROVENANCE": text}) == wanted
    assert parse_wanted({}) is None


@pytest.mark.row("E100")
@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("provenance", "mode=most", 'invalid mode "most"'),
        ("provenance", "reproducible=maybe", "failed to parse reproducible flag"),
        ("virtue", "", 'unknown attestation type "virtue"'),
    ],
)
def test_nonsense_is_refused(key, value, text):
    with pytest.raises(InvalidInput, match=text):
        parse_wanted({f"attest:{key}": value})


def test_what_is_not_built_is_refused_by_name():
    with pytest.raises(Unsupported, match="not supported yet"):
        parse_wanted({"attest:sbom": ""})


@pytest.mark.row("E105")
@pytest.mark.parametrize(
    ("found", "url"),
    [
        (Image("docker.io/library/busybox:1", DIGEST, AMD64), "pkg:docker/busybox@1?platform=linux%2Famd64"),
        (Image("127.0.0.1:5000/library/busybox", DIGEST), "pkg:docker/127.0.0.1%3A5000/library/busybox@latest"),
        (Image(f"ghcr.io/a/b@{DIGEST}", DIGEST), f"pkg:docker/ghcr.io/a/b?digest={DIGEST}"),
        (Image("base:2", DIGEST, AMD64, local=True), "pkg:oci/base@2?platform=linux%2Famd64"),
    ],
)
def test_images_have_package_urls(found, url):
    assert image_url(found) == url


@pytest.mark.row("E103", "E105")
def test_materials_are_named_with_their_digests():
    found = predicate(
        captured(
            images=(Image("busybox:1", DIGEST, AMD64),),
            git=(("https://x/y.git", "c" * 40),),
            files=(("https://x/f", DIGEST),),
        ),
        RUN,
    )
    materials = found["buildDefinition"]["resolvedDependencies"]
    assert [one["digest"] for one in materials] == [{"sha256": "ab" * 32}, {"sha1": "c" * 40}, {"sha256": "ab" * 32}]
    metadata = found["runDetails"]["metadata"]
    assert metadata["startedOn"] == "2023-11-14T22:13:20.123456789Z"
    assert metadata["buildkit_completeness"] == {"request": True, "resolvedDependencies": True}
    assert metadata["buildkit_hermetic"] is True


@pytest.mark.row("E104")
def test_the_older_version_says_the_same_its_own_way():
    whole = captured(args={"target": "t", "filename": "D"}, images=(Image("busybox:1", DIGEST, AMD64),))
    made = predicate(whole, RUN)
    found = to_slsa02(made)
    assert found["buildType"] == "https://mobyproject.org/buildkit@v1"
    assert found["materials"] == made["buildDefinition"]["resolvedDependencies"]
    assert found["invocation"]["configSource"] == {"entryPoint": "D"}
    assert found["invocation"]["parameters"]["args"] == {"target": "t"}
    assert found["invocation"]["environment"]["platform"] == "linux/amd64"
    assert found["buildConfig"] == made["buildDefinition"]["internalParameters"]["buildConfig"]
    metadata = found["metadata"]
    assert metadata["completeness"] == {"parameters": True, "environment": True, "materials": True}
    assert metadata["https://mobyproject.org/buildkit@v1#hermetic"] is True
    assert (metadata["buildInvocationID"], metadata["reproducible"]) == (RUN.id, False)


def test_the_version_is_chosen():
    assert parse_wanted({"attest:provenance": "version=v0.2"}).version == "v0.2"
    with pytest.raises(InvalidInput, match='invalid provenance version "v3"'):
        parse_wanted({"attest:provenance": "version=v3"})


@pytest.mark.row("E110")
def test_a_definition_that_a_step_makes_leaves_the_materials_incomplete():
    built = nested(scratch().file(mkfile("/d", b"")))
    metadata = predicate(capture(built.marshal(), [], "", {}), RUN)["runDetails"]["metadata"]
    assert metadata["buildkit_completeness"]["resolvedDependencies"] is False


@pytest.mark.row("E110")
def test_a_directory_of_the_client_leaves_the_materials_incomplete():
    metadata = predicate(captured(locals=("context",)), RUN)["runDetails"]["metadata"]
    assert metadata["buildkit_completeness"]["resolvedDependencies"] is False
    assert "buildkit_hermetic" not in metadata


@pytest.mark.row("E109")
@pytest.mark.parametrize(
    ("state", "directories", "hermetic"),
    [
        (image("a").run("x", network="none").root, (), True),
        (image("a").file(mkfile("/f", b"")), (), True),
        (image("a").run("x").root, (), False),
        (image("a").run("x", network="host").root, (), False),
        (image("a").run("x", network="none").root, ("context",), False),
    ],
)
def test_a_build_is_hermetic_without_network_and_without_directories_of_the_client(state, directories, hermetic):
    records = [
        StepRecord(f"sha256:{name}", "", "executed", facts={"kind": "source", "identifier": f"local://{name}"})
        for name in directories
    ]
    metadata = predicate(capture(state.marshal(), records, "", {}), RUN)["runDetails"]["metadata"]
    assert metadata.get("buildkit_hermetic", False) is hermetic


@pytest.mark.row("E114")
def test_a_builder_has_the_name_it_was_given_or_none():
    assert predicate(captured(), RUN)["runDetails"]["builder"] == {"id": ""}
    wanted = parse_wanted({"attest:provenance": "builder-id=https://ci/1"})
    assert predicate(captured(), replace(RUN, builder=wanted.builder))["runDetails"]["builder"] == {
        "id": "https://ci/1"
    }


@pytest.mark.row("E106")
def test_the_minimum_hides_arguments_labels_secrets_and_agents():
    args = {"build-arg:TOKEN": "x", "label:a": "b", "target": "t"}
    whole = captured(args=args, secrets=(Lent("s"),), agents=(Lent("default", True),))
    least, most = predicate(whole, RUN, mode="min"), predicate(whole, RUN)
    request = most["buildDefinition"]["externalParameters"]["request"]
    assert request["args"] == args and request["ssh"] == [{"id": "default", "optional": True}]
    request = least["buildDefinition"]["externalParameters"]["request"]
    assert request == {"frontend": "dockerfile.v0", "args": {"target": "t"}, "compatibilityVersion": 30}
    assert least["runDetails"]["metadata"]["buildkit_completeness"]["request"] is False
    assert "buildConfig" not in least["buildDefinition"]["internalParameters"]


@pytest.mark.row("E107")
def test_options_of_the_host_and_passwords_are_left_out():
    args = {"platform": "x", "attest:sbom": "", "cache-imports": "[]", "context": "https://me:pw@h/x.git", "a": "b"}
    assert filter_args(args) == {"context": "https://xxxxx:xxxxx@h/x.git", "a": "b"}
    assert redact("https://token@h/x") == "https://xxxxx@h/x"
    assert redact("https://h/x@y") == "https://h/x@y"


@pytest.mark.row("E103")
def test_a_git_context_is_the_source_of_the_configuration():
    url = "https://github.com/a/b.git"
    args = {"context": f"{url}#main:sub", "filename": "Dockerfile", "vcs:revision": "r"}
    found = predicate(captured(args=args, git=((f"{url}#main", "c" * 40),)), RUN)
    source = found["buildDefinition"]["externalParameters"]["configSource"]
    assert source == {"uri": f"{url}#main:sub", "digest": {"sha1": "c" * 40}, "path": "Dockerfile"}
    assert found["runDetails"]["metadata"]["buildkit_metadata"]["vcs"] == {"revision": "r"}


@pytest.mark.row("E108")
def test_steps_are_numbered_from_their_inputs_up():
    state = image("busybox:1").file(mkfile("/a", b"x")).run("true").root
    found = predicate(Capture(definition=state.marshal()), RUN)
    config = found["buildDefinition"]["internalParameters"]["buildConfig"]
    kinds = [next(iter(step["op"]["Op"]), "") for step in config["llbDefinition"]]
    assert kinds == ["source", "file", "exec", ""]
    assert [step.get("inputs") for step in config["llbDefinition"]] == [None, ["step0:0"], ["step1:0"], ["step2:0"]]
    assert sorted(config["digestMapping"].values()) == ["step0", "step1", "step2", "step3"]
    assert json.dumps(found)


def test_pins_of_a_build_are_the_digests_of_its_images():
    definition = image("busybox:1").run("true", network="none").root.marshal()
    from buildkit.core.digest import sha256

    vertex = sha256(definition.ops[0])
    facts = {"kind": "source", "identifier": "docker-image://docker.io/library/busybox:1", "pin": DIGEST}
    context = StepRecord("sha256:1", "", "executed", facts={"kind": "source", "identifier": "local://context"})
    found = capture(definition, [StepRecord(vertex, "", "executed", facts=facts), context], "", {})
    assert [(one.digest, one.platform.os) for one in found.images] == [(DIGEST, "linux")]
    assert found.locals == ("context",) and not found.network


@pytest.mark.row("E105")
def test_git_sources_are_named_by_remote_and_ref():
    from buildkit.llb import git

    definition = git("https://github.com/a/b.git", "main").marshal()
    assert [url for url, _ in capture(definition, [], "", {}).git] == ["https://github.com/a/b.git#main"]


def test_an_empty_result_has_no_steps():
    found = predicate(Capture(definition=scratch().marshal()), RUN)
    assert found["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"] == []


def test_passwords_in_addresses_of_sources_are_not_told():
    from buildkit.llb import git, http

    for state in (git("https://me:secret@h/x.git", "main"), http("https://me:secret@h/file")):
        found = capture(state.marshal(), [], "", {})
        (url,) = [url for url, _ in (*found.git, *found.files)]
        assert url in ("https://xxxxx:xxxxx@h/x.git#main", "https://xxxxx:xxxxx@h/file")
        assert "secret@" not in json.dumps(predicate(found, RUN))


def test_what_a_git_source_may_ask_for_is_told():
    from buildkit.llb import git

    found = capture(git("ssh://git@h/x.git", "main").marshal(), [], "", {})
    assert [(one.id, one.optional) for one in found.secrets] == [("GIT_AUTH_HEADER", True), ("GIT_AUTH_TOKEN", True)]
    assert [(one.id, one.optional) for one in found.agents] == [("default", True)]


@pytest.mark.row("L57")
def test_a_bundle_is_a_material_beside_its_repository_and_a_blob_is_one():
    from buildkit.llb import git, image_blob, oci_layout_blob

    digest = "c" * 64
    bundled = git("https://h/x.git", "main", bundle=f"docker-image+blob://r.example/b@sha256:{digest}", checksum="ab")
    blobs = image_blob(f"r.example/b@sha256:{digest}"), oci_layout_blob(f"r.example/b@sha256:{digest}")
    listed = [[one["uri"] for one in materials(capture(one.marshal(), [], "", {}))] for one in (bundled, *blobs)]
    assert listed == [
        ["https://h/x.git#main", "pkg:docker/r.example/b@latest?ref_type=bundle&vcs_url=https:%2F%2Fh%2Fx.git%23main"],
        [f"pkg:docker/r.example/b?digest=sha256:{digest}&ref_type=blob"],
        [f"pkg:oci/r.example/b?digest=sha256:{digest}&ref_type=blob"],
    ]


ASKED = {"filename": "Dockerfile", "build-arg:A": "b", "attest:provenance": "mode=max"}


@pytest.mark.row("E103", "E106")
@pytest.mark.parametrize(
    ("root", "mode", "told"),
    [
        (FrontendRequest("", ASKED), "max", {"args": {"build-arg:A": "b"}}),
        (FrontendRequest("", {**ASKED, "x": "y"}), "min", {"args": {"x": "y"}}),
        (FrontendRequest("gateway.v0", {}), "max", {"frontend": "gateway.v0"}),
        (FrontendRequest("", {"filename": "Dockerfile"}), "max", None),
        (FrontendRequest("dockerfile.v0", ASKED), "max", None),
        (None, "max", None),
    ],
)
def test_a_client_that_asked_a_frontend_is_told_of(root, mode, told):
    found = predicate(captured(args=ASKED, root=root), RUN, mode=mode)["buildDefinition"]["externalParameters"]
    assert found["request"].get("root", {}).get("request") == told
    if told is not None:
        source = {"path": "Dockerfile"} if root.options else {}
        assert found["request"]["root"]["configSource"] == source


@pytest.mark.row("E106")
def test_arguments_that_only_the_client_gave_are_hidden_too():
    found = predicate(captured(root=FrontendRequest("", {"build-arg:A": "b", "q": "r"})), RUN, mode="min")
    assert "build-arg" not in json.dumps(found)
    assert not found["runDetails"]["metadata"]["buildkit_completeness"]["request"]


@pytest.mark.row("E103")
def test_a_request_is_told_in_buildkits_order():
    whole = captured(args={"a": "b"}, secrets=(Lent("s"),), agents=(Lent("k"),), locals=("context",))
    request = predicate(whole, RUN)["buildDefinition"]["externalParameters"]["request"]
    assert list(request) == ["frontend", "args", "secrets", "ssh", "locals", "compatibilityVersion"]
