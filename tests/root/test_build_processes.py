"""Builds as processes: how they end, wait for each other, are interrupted and killed."""

from __future__ import annotations

import os
import random
import signal
import tarfile
import threading
from pathlib import Path

import pytest
from tests.kit.projects import command, finish, mounts_below, start

pytestmark = pytest.mark.root

# Only the step itself says "at work": its name, shown before it starts, does not.
ENDLESS = "FROM base\nRUN echo 'at'' work'; sleep 1000\n"


def wait_for(process, text):
    """Read what a command says until it says ``text``."""
    said = []
    for line in process.stderr:
        said.append(line)
        if text in line:
            return
    raise AssertionError(f"ended with {process.wait()}: {''.join(said)}")


def processes_of(folder):
    """Command lines of processes that have ``folder`` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line:
            found.append(line)
    return found


def left_behind(project):
    """What should not be there once no build runs: mounts, processes, bundles, drafts, half-written outputs."""
    state = project.folder / "state"
    bundles = [one.name for one in (state / "executor").glob("*") if one.is_dir() and one.name != "runtime"]
    parts = [one.name for one in project.folder.iterdir() if one.name.startswith(".")]
    return mounts_below(project.folder) + processes_of(project.folder) + bundles + parts


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "status"),
    [("FROM base\n", [], 0), ("FROM base\nRUN false\n", [], 1), ("FROM base\n", ["--nonsense"], 2)],
)
def test_the_exit_status_tells_how_it_ended(project, dockerfile, arguments, status):
    ended = finish(project.start(dockerfile, *arguments))
    assert ended.status == status and "Traceback" not in ended.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_step_leaves_nothing(project, number, status):
    process = project.start(ENDLESS, "-o", f"type=oci,dest={project.folder}/out.tar")
    wait_for(process, "at work")
    os.killpg(process.pid, number)
    ended = finish(process)
    assert (ended.status, left_behind(project)) == (status, [])
    assert "Traceback" not in ended.err and not (project.folder / "out.tar").exists()
    assert command("prune", "--root", project.folder / "state").status == 0


def test_a_second_build_waits_for_the_first_and_says_so(project):
    project.write(gate="")
    first = project.start(
        "FROM base\nRUN --mount=type=cache,target=/c echo 'at'' work'; until [ -e /c/go ]; do :; done\n"
    )
    wait_for(first, "at work")
    second = start(*project.arguments("FROM base\nRUN echo second > /out\n", root="state"))
    wait_for(second, f"waiting for pid {first.pid} ")
    os.killpg(first.pid, signal.SIGINT)
    assert finish(first).status == 130 and finish(second).status == 0


def test_waiting_can_be_interrupted(project):
    first = project.start(ENDLESS)
    wait_for(first, "at work")
    second = start("du", "--root", project.folder / "state")
    wait_for(second, "waiting for pid")
    os.killpg(second.pid, signal.SIGINT)
    assert finish(second).status == 130
    os.killpg(first.pid, signal.SIGINT)
    assert finish(first).status == 130


STAGES = """FROM base AS one
COPY many /many
RUN cat /many/* > /all
FROM base AS two
RUN --mount=type=cache,target=/c echo x >> /c/log && seq 2000 > /numbers
FROM base
COPY --from=one /all /all
COPY --from=two /numbers /numbers
RUN cat /all /numbers | wc -l > /out
"""


@pytest.mark.slow
def test_a_build_killed_at_any_moment_is_followed_by_a_clean_and_correct_one(project, tmp_path):
    for number in range(100):
        project.put(f"many/{number}", f"{number}\n")
    output = ("-o", f"type=oci,dest={tmp_path}/image.tar")
    right = project.image(STAGES, root="reference").digest
    chance = random.Random(0)
    for number in range(25):
        process = project.start(STAGES, "--no-cache", *output)
        timer = threading.Timer(chance.uniform(0.15, 0.8), os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        finish(process)
        timer.cancel()
        if chance.random() < 0.4:
            assert project.image(STAGES).digest == right
            project.build(f"FROM base\nRUN : {number}\n")
            project.put("Dockerfile", STAGES)
            assert [one for one in left_behind(project) if not str(one).startswith(".image")] == []
    assert project.image(STAGES, "--no-cache").digest == right
    assert command("prune", "--all", "--root", tmp_path / "state").status == 0
    assert project.du().out.endswith("Total:\t\t0B\n")
    assert list((tmp_path / "state/content/blobs/sha256").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "output"), [("COPY . /x", ""), ("ADD big.tar /x", ""), ("RUN true", "type=tar,dest={folder}/pipe")]
)
def test_a_build_can_be_interrupted_while_it_works_on_files(project, line, output):
    os.mkfifo(project.folder / "pipe")
    project.put("Dockerfile", f"FROM base\n{line}\n")
    with tarfile.open(project.context / "big.tar", "w") as tar:
        for number in range(20_000):
            tar.addfile(tarfile.TarInfo(f"f{number}"))
    for number in range(5_000 if line.startswith("COPY") else 0):
        project.put(f"many/{number}", "x")
    more = ["-o", output.format(folder=project.folder)] if output else []
    process = start(*project.arguments(None, *more))
    wait_for(process, "exporting to client tarball" if output else f"/2] {line[:4]}")
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).status == 130
    assert left_behind(project) == []
