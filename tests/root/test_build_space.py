"""What builds leave on the disk, shown and taken away; what was taken away is built again."""

from __future__ import annotations

import pytest
from tests.kit.projects import command

pytestmark = pytest.mark.root

DOCKERFILE = """FROM base
RUN --mount=type=cache,target=/c echo kept >> /c/log; head -c 300000 /dev/zero > /big
COPY f /f
RUN --mount=type=cache,target=/c cat /c/log /f > /out
"""


@pytest.fixture
def built(project):
    project.write(f="1\n").build(DOCKERFILE)
    return project


def prune(project, *arguments):
    ended = command("prune", "--root", project.folder / "state", *arguments)
    assert ended.status == 0, ended.err
    return ended.out


def types(project):
    out = command("du", "--verbose", "--root", project.folder / "state").out
    return {line.split("\t")[-1].strip() for line in out.splitlines() if line.startswith("Type:")}


def test_every_kind_of_record_is_shown(built):
    assert types(built) == {"regular", "exec.cachemount"}
    assert "mount / from exec /bin/sh -c" in command("du", "-v", "--root", built.folder / "state").out


def test_cache_mounts_alone_are_taken_away(built):
    prune(built, "--filter", "type==exec.cachemount")
    assert types(built) == {"regular"}
    assert built.build(None).cached == 3
    assert built.text(DOCKERFILE + "RUN --mount=type=cache,target=/c ls -A /c > /out\n") == ""


def test_what_was_used_lately_stays_on_request(built):
    prune(built, "--keep-duration", "1h")
    assert built.build(None).cached == 3


def test_a_pruned_build_is_built_again_and_cached_again(built):
    before = built.image(None).digest
    prune(built)
    again = built.build(None)
    assert again.cached == 0 and built.build(None).cached == 3
    assert built.image(None).digest == before and built.text(None) == "kept\n1\n"


def test_a_changed_file_rebuilds_what_depends_on_it_and_nothing_else(built):
    assert built.write(f="2\n").text(None) == "kept\n2\n"
    assert built.write(f="1\n").build(None).cached == 3


def test_pruning_everything_leaves_no_byte_of_blobs_or_trees(built):
    built.image(None)
    prune(built, "--all")
    state = built.folder / "state"
    assert list((state / "content/blobs/sha256").iterdir()) == []
    assert [one for one in (state / "snapshots/overlayfs").iterdir() if one.name.isdigit()] == []
