"""The same Dockerfiles built by others: equal trees and configs."""

from __future__ import annotations

import json

import pytest
from tests.kit.cases import BUILDKIT_CASES, CASES, dockerfile, fill
from tests.kit.peers import STUBS, buildah, buildkitd
from tests.kit.projects import Project

pytestmark = [pytest.mark.net, pytest.mark.root]
EPOCH = "1700000000"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    with buildah(tmp_path_factory.mktemp("buildah")) as one:
        yield one


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with buildkitd(tmp_path_factory.mktemp("buildkitd")) as one:
        yield one


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return fill(Project(tmp_path_factory.mktemp("project")))


@pytest.mark.parametrize("case", CASES)
def test_the_tree_is_the_one_that_buildah_makes(project, other, base, case):
    project.put("Dockerfile", dockerfile(case))
    image = other.build(project.context, "--build-arg", f"BASE={base}")
    ours, theirs = project.tree(None, "--build-arg", f"BASE={base}"), other.tree(image)
    assert {path: ours[path] for path in ours.keys() - STUBS} == {path: theirs[path] for path in theirs.keys() - STUBS}


SAME = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")


@pytest.mark.parametrize("case", ["config", "words"])
def test_the_config_is_the_one_that_buildah_makes(project, other, base, case):
    project.put("Dockerfile", dockerfile(case))
    image = other.build(project.context, "--format", "docker", "--build-arg", f"BASE={base}")
    theirs = json.loads(other.run("inspect", "--type", "image", image))["Docker"]["config"]
    ours = project.image(None, "--build-arg", f"BASE={base}").config["config"]
    labels = {key: value for key, value in (theirs["Labels"] or {}).items() if key != "io.buildah.version"}
    theirs["Labels"] = labels or None
    assert {key: ours.get(key) or None for key in SAME} == {key: theirs.get(key) or None for key in SAME}


@pytest.mark.row("D15", "D84", "D85", "D86", "D89", "E38", "X24")
@pytest.mark.parametrize("case", [*CASES, *BUILDKIT_CASES])
def test_the_image_is_the_one_that_buildkit_makes_to_the_byte(project, daemon, base, case):
    project.put("Dockerfile", dockerfile(case))
    arguments = ("--opt", f"build-arg:BASE={base}", "--opt", f"build-arg:SOURCE_DATE_EPOCH={EPOCH}")
    attrs = ",rewrite-timestamp=true,compression=uncompressed,force-compression=true"
    theirs = daemon.image(project.context, project.folder / "theirs.tar", *arguments, attrs=attrs)
    ours = project.image(None, *arguments, "--keep-times", output=attrs)
    assert (ours.diff_ids, ours.config) == (theirs.diff_ids, theirs.config)
    assert ours.digest == theirs.digest
