import asyncio
import json

import pytest
from tests.kit.bridges import FakeBridge, sources

from buildkit.core.digest import sha256_text
from buildkit.core.errors import BuildkitError, InvalidInput, Range, SourceDetail, SubrequestDetail, Unsupported
from buildkit.core.values import replace
from buildkit.frontend.dockerfile.build import DockerfileFrontend
from buildkit.frontend.frontend import CacheImport
from buildkit.llb.definition import SourceFile, SourceMap


def world(dockerfile, **trees):
    return FakeBridge({"local://dockerfile": {"Dockerfile": dockerfile.encode(), **trees}})


async def build(dockerfile, bridge=None, /, **options):
    bridge = bridge or world(dockerfile)
    named = {key if ":" in key else key.replace("_", "-"): value for key, value in options.items()}
    return bridge, await DockerfileFrontend().solve(bridge.bridge(), named, {})


@pytest.mark.row("D170", "D171")
async def test_a_build_gives_a_tree_and_the_configs():
    bridge, result = await build("FROM a\nENV x=y\nRUN z\n", platform="linux/arm64")
    assert result.single
    assert result.refs[""] is bridge.solved[-1]
    config = json.loads(result.metadata["containerimage.config"])
    assert "x=y" in config["config"]["Env"]
    assert "x=y" not in json.loads(result.metadata["containerimage.base.config"])["config"].get("Env", [])
    assert json.loads(result.metadata["refs.platforms"]) == {
        "Platforms": [{"ID": "linux/arm64", "Platform": {"architecture": "arm64", "os": "linux"}}]
    }


@pytest.mark.row("D142", "D143", "D171", "D172")
async def test_several_platforms_give_a_map():
    bridge, result = await build("FROM a\nRUN z\n", platform="linux/amd64,linux/arm64")
    assert not result.single
    assert set(result.refs) == {"linux/amd64", "linux/arm64"}
    assert json.loads(result.metadata["containerimage.config/linux/arm64"])["architecture"] == "arm64"
    assert {platform for _, platform, _ in bridge.resolved} == {"linux/amd64", "linux/arm64"}


async def test_of_several_platforms_that_fail_the_last_is_reported():
    with pytest.raises(BuildkitError, match='"arm64X"'):
        await build("ARG TARGETARCH\nFROM ${TARGETARCH}X\n", platform="linux/amd64,linux/arm64")


async def test_an_image_is_looked_up_once_for_all_stages():
    bridge, _ = await build("FROM a AS x\nFROM a AS y\nCOPY --from=x / /\n")
    assert len(bridge.resolved) == 1


@pytest.mark.row("D42", "D171")
async def test_the_epoch_is_part_of_the_result():
    _, result = await build("FROM a", world("FROM a"), **{"build-arg:SOURCE_DATE_EPOCH": "7"})
    assert result.metadata["source.date.epoch"] == b"7"


async def test_what_was_checked_says_where_it_comes_from():
    _, result = await build("FROM a", requestid="frontend.lint")
    (source,) = json.loads(result.metadata["result.json"])["sources"]
    assert list(source["definition"]["Source"]["locations"].values()) == [{}]


def names(bridge):
    shown = [one.description.get("llb.customname", "") for graph in bridge.solved for one in graph.metadata.values()]
    return {name for name in (*shown, *(name for _, _, name in bridge.resolved)) if name}


@pytest.mark.row("S102")
async def test_what_the_builder_does_by_itself_is_called_internal():
    layers = {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}
    bridge = FakeBridge(world("FROM a\nCOPY x /\n").trees, image={"rootfs": layers})
    await build("", bridge, filename="Dockerfile")
    assert names(bridge) == {
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[internal] load metadata for docker.io/library/a:latest",
        f"[1/2] FROM docker.io/library/a:latest@{sha256_text('docker.io/library/a:latest')}",
        "[2/2] COPY x /",
    }
    bridge = FakeBridge(world("FROM a AS s\nRUN x\n").trees, image={"rootfs": layers})
    await build("", bridge, platform="linux/amd64,linux/arm64")
    assert names(bridge) >= {f"[linux/{name} 2/2] RUN x" for name in ("amd64", "arm64")}
    assert names(bridge) >= {
        f"[linux/{name} internal] load metadata for docker.io/library/a:latest" for name in ("amd64", "arm64")
    }
    assert "[internal] load build definition from Dockerfile" in names(bridge)


@pytest.mark.row("D144")
async def test_the_cache_can_be_off_for_a_stage():
    text = "FROM a AS x\nRUN one\nFROM a AS y\nCOPY --from=x / /\nRUN two\n"
    bridge, _ = await build(text, no_cache="x")
    ignored = [
        m.ignore_cache for m in bridge.solved[-1].metadata.values() if "RUN" in m.description.get("llb.customname", "")
    ]
    assert sorted(ignored) == [False, True]


@pytest.mark.row("D153")
async def test_caches_to_import_go_with_the_solve():
    bridge, _ = await build("FROM a", world("FROM a"), cache_from="r")
    assert bridge.imports == [CacheImport("registry", {"ref": "r"})]


@pytest.mark.row("D177")
async def test_errors_point_into_the_dockerfile():
    with pytest.raises(BuildkitError) as caught:
        await build("FROM a\nCOPY --chmod x y\n")
    (detail,) = [d for d in caught.value.details if isinstance(d, SourceDetail)]
    assert (detail.filename, detail.ranges[0].start_line, detail.content) == (
        "Dockerfile",
        2,
        b"FROM a\nCOPY --chmod x y\n",
    )
    assert detail.definition


@pytest.mark.row("D197")
async def test_findings_are_warnings_with_a_place():
    bridge, _ = await build("FROM a\nMAINTAINER me\n")
    (warning,) = bridge.warnings
    assert warning.message.startswith("MaintainerDeprecated: ") and warning.message.endswith("(line 2)")
    assert warning.ranges[0].start_line == 2
    assert warning.vertex == bridge.solved[0].head
    assert warning.source.filename == "Dockerfile"


class _Registry(FakeBridge):
    """Sees which warnings are out while somebody waits for it."""

    async def resolve_image(self, ref, **asked):
        for _ in range(5):
            await asyncio.sleep(0)
        self.notes.append(f"{len(self.warnings)} warnings")
        return await super().resolve_image(ref, **asked)


@pytest.mark.row("D197")
async def test_nobody_waits_for_a_registry_to_see_what_was_found():
    bridge = _Registry(world("FROM a\nMAINTAINER me\nWORKDIR b\n").trees)
    await build("", bridge)
    assert bridge.notes == ["1 warnings"] and len(bridge.warnings) == 2


async def test_findings_are_told_even_if_the_build_fails():
    bridge = world("FROM a\nMAINTAINER me\nCOPY --from=9 a b\n")
    with pytest.raises(BuildkitError):
        await build("", bridge)
    assert len(bridge.warnings) == 1


@pytest.mark.row("D178")
async def test_findings_can_fail_the_build():
    with pytest.raises(InvalidInput, match="lint violation found for rules: MaintainerDeprecated"):
        await build("# check=error=true\nFROM a\nMAINTAINER me\n")


@pytest.mark.row("D6")
async def test_the_build_argument_overrides_the_check_directive():
    bridge = world("# check=error=true\nFROM a\nMAINTAINER me\n")
    await build("", bridge, **{"build-arg:BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
    assert bridge.warnings == []


@pytest.mark.row("D5")
async def test_dockers_frontend_images_are_built_in_and_that_is_said_once():
    bridge, _ = await build("# syntax=docker/dockerfile:1\nFROM a", platform="linux/amd64,linux/arm64")
    assert bridge.notes == ["docker/dockerfile:1: the built-in Dockerfile frontend is used"]
    assert bridge.forwarded == []


@pytest.mark.row("D5")
async def test_other_frontend_images_are_refused_by_name():
    with pytest.raises(Unsupported, match=r"example\.org/frontend") as caught:
        await build("", world("# syntax=example.org/frontend\nFROM a"))
    assert caught.value.details[0].ranges[0].start_line == 1


@pytest.mark.row("D5", "D157")
async def test_frontend_images_can_be_handed_on():
    bridge, _ = await build("# syntax=a/b x\nFROM a", syntax="forward")
    assert bridge.forwarded == [("gateway.v0", {"syntax": "forward", "cmdline": "a/b x", "source": "a/b"})]


@pytest.mark.row("D226")
async def test_unknown_capabilities_are_refused():
    with pytest.raises(Unsupported, match=r"unsupported frontend capability x\.y"):
        await build("FROM a", **{"frontend.caps": "moby.buildkit.frontend.inputs,x.y"})


@pytest.mark.row("D225", "D156")
async def test_unknown_questions_are_refused():
    with pytest.raises(InvalidInput, match="unsupported request what") as caught:
        await build("FROM a", requestid="what")
    assert SubrequestDetail("what") in caught.value.details


@pytest.mark.row("D221")
async def test_outline_follows_stages_and_defaults():
    text = "ARG b=1\nARG v=$b\nFROM a AS x\nRUN --mount=type=secret,id=s,required y\n"
    text += "FROM a\nARG v\nCOPY --from=x / /\nRUN $v\n"
    _, result = await build(text, requestid="frontend.outline")
    document = json.loads(result.metadata["result.json"])
    assert {arg["name"] for arg in document["args"]} >= {"v"}
    assert document["secrets"][0]["name"] == "s"


@pytest.mark.row("D223")
async def test_lint_looks_at_all_stages_and_tells_why_a_build_fails():
    text = "FROM a AS x\nRUN $y\nWORKDIR z\nFROM b\n"
    _, result = await build(text, requestid="frontend.lint")
    document = json.loads(result.metadata["result.json"])
    assert "WorkdirRelativePath" in {w["ruleName"] for w in document["warnings"]}
    _, result = await build("FROM a\nCOPY --from=9 a b\n", requestid="frontend.lint")
    assert "buildError" in json.loads(result.metadata["result.json"])
    assert result.metadata["result.statuscode"] == b"1"


@pytest.mark.row("D223")
async def test_what_lint_looked_at_is_told_with_where_its_own_steps_come_from():
    from buildkit.frontend.dockerfile.subrequests import source_json

    bridge, result = await build("FROM a\nWORKDIR z\n", requestid="frontend.lint")
    (source,) = json.loads(result.metadata["result.json"])["sources"]
    assert source["definition"]["Source"] == {"locations": {bridge.solved[0].head: {}}}
    file = SourceFile("f", "L", b"x")
    range_ = Range(2, 0, 3, 4)
    mapped = replace(bridge.solved[0], source=SourceMap((file,), {"sha256:1": ((0, (range_,)),)}))
    assert source_json(SourceFile("g", "L", b"y", mapped))["definition"]["Source"] == {
        "locations": {
            "sha256:1": {"locations": [{"ranges": [{"start": {"line": 2}, "end": {"line": 3, "character": 4}}]}]}
        },
        "infos": [{"filename": "f", "data": "eA==", "language": "L"}],
    }


@pytest.mark.row("D222")
async def test_targets_are_listed_even_below_check_comments():
    text = "FROM a AS x\n# check=skip=all\nRUN y\nFROM b AS z\n"
    _, result = await build(text, requestid="frontend.targets")
    assert [t["name"] for t in json.loads(result.metadata["result.json"])["targets"]] == ["x", "z"]


@pytest.mark.row("D155")
async def test_packages_are_listed_by_a_scanner():
    bridge, result = await build("FROM a\nRUN b\n", platform="linux/amd64", **{"attest:sbom": "generator=scan,x=y"})
    (attestation,) = result.attestations["linux/amd64"]
    assert (attestation.kind, attestation.predicate_type) == ("bundle", "https://spdx.dev/Document")
    scan = bridge.solved[-1]
    assert attestation.ref is scan
    assert {s.identifier for s in sources(scan)} == {
        "docker-image://docker.io/library/scan:latest",
        *(s.identifier for s in sources(bridge.solved[-2])),
    }


@pytest.mark.row("D52")
async def test_stage_names_are_found_in_any_case():
    bridge, _ = await build("FROM a AS Base\nRUN x\nFROM Base\nRUN y\n")
    assert [ref for ref, _, _ in bridge.resolved] == ["docker.io/library/a:latest"]


async def test_triggers_that_bring_each_other_in_for_ever_are_noticed():
    bridge = world("FROM a")
    bridge.image["config"] = {"OnBuild": ["COPY --from=b / /"]}
    with pytest.raises(InvalidInput) as caught:
        await build("", bridge)
    assert any(isinstance(d, SourceDetail) and d.ranges[0].start_line == 1 for d in caught.value.details)
