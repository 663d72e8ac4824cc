"""The same input gives the same image; times are what the user asked for."""

from __future__ import annotations

import os
import time

import pytest

pytestmark = pytest.mark.root

STAGES = """FROM base AS compile
RUN mkdir /out && echo made > /out/made && ln -s made /out/link
FROM base
COPY first /a/first
COPY second /b/second
RUN cat /a/first /b/second > /both
COPY --from=compile /out /out
"""
EPOCH = 1_000_000


@pytest.fixture
def stages(project):
    return project.write(first="1\n", second="2\n")


def test_two_clean_builds_give_the_same_image(stages):
    first = stages.image(STAGES, root="one")
    assert stages.image(STAGES, root="two").digest == first.digest


def test_a_build_without_cache_gives_the_same_image(stages):
    assert stages.image(STAGES).digest == stages.image(STAGES, "--no-cache").digest


def test_touching_files_changes_nothing(stages):
    before = stages.image(STAGES)
    for path in (*stages.context.iterdir(), stages.context):
        os.utime(path, (EPOCH, EPOCH))
    assert stages.build(None, "--metadata-file", stages.folder / "m").cached == 5
    assert stages.image(None).digest == before.digest == stages.image(None, root="clean").digest


def test_an_edited_file_leaves_the_layers_before_it_alone(stages):
    before = stages.image(STAGES).layers
    stages.write(second="changed\n")
    after = stages.image(STAGES).layers
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False, True]
    assert stages.image(STAGES, root="clean").layers == after


def test_layers_carry_one_time_that_zip_can_hold(stages):
    image = stages.image(STAGES)
    assert image.times() == {315532801} and image.config["created"] == "1980-01-01T00:00:01Z"


def test_real_times_are_kept_on_request(stages):
    begin = int(time.time())
    os.utime(stages.put("f"), (EPOCH, EPOCH))
    image = stages.image("FROM scratch\nCOPY f /\n", "--keep-times")
    assert image.times() == {EPOCH} and image.config["created"] >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(begin))
    assert stages.image(None).times() == {315532801}


def test_the_epoch_is_the_time_of_the_image(stages, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    created = "1970-01-12T13:46:40Z"
    assert stages.image(STAGES).config["created"] == created
    assert {one["created"] for one in stages.image(STAGES).config["history"] if "created" in one} == {created}


def test_the_epoch_reaches_steps_that_declare_it(project):
    text = "FROM base\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /out\n"
    assert project.text(text, "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}") == f"{EPOCH}\n"


def test_rewriting_clamps_times_to_the_epoch(stages):
    os.utime(stages.put("old"), (5, 5))
    os.utime(stages.put("new"), (EPOCH * 2, EPOCH * 2))
    epoch = ("--opt", f"build-arg:SOURCE_DATE_EPOCH={EPOCH}")
    text = "FROM scratch\nCOPY old new /\n"
    image = stages.image(text, *epoch, "--keep-times", output=",rewrite-timestamp=true")
    assert image.times() == {5, EPOCH} and image.config["created"] == "1970-01-12T13:46:40Z"
    assert stages.image(text, *epoch, "--keep-times").times() == {5, EPOCH * 2}


def test_a_rebuilt_step_after_a_prune_gives_the_same_layers(stages):
    from tests.kit.projects import command

    before = stages.image(STAGES)
    assert command("prune", "--all", "--root", stages.folder / "state").status == 0
    assert stages.image(STAGES).digest == before.digest


@pytest.mark.parametrize("mask", [0, 0o077])
def test_the_umask_of_who_builds_changes_nothing(stages, mask):
    text = STAGES + "WORKDIR /new/dir\nRUN --mount=type=cache,target=/deep/er/cache umask > /umask && mkdir /made\n"
    before = stages.image(text, root="one").digest
    usual = os.umask(mask)
    try:
        assert stages.image(None, root="two").digest == before
    finally:
        os.umask(usual)
