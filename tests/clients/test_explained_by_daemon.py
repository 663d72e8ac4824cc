"""A daemon explains builds as the engine in the command does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from tests.kit.daemon_process import our_buildkitd
from tests.kit.explaining import DIGEST, TIME, Like, Project, shell_image
from tests.kit.projects import start
from tests.kit.registry import registry

import buildkit
from buildkit import llb

pytestmark = [pytest.mark.root, pytest.mark.net]

RUN = "[stage-1 2/3] RUN echo $A > /x"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An image with a shell."""
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield shell_image(tmp_path_factory.mktemp("base"), host)


@pytest.fixture
def address(tmp_path):
    (tmp_path / "daemon").mkdir()
    with our_buildkitd(tmp_path / "daemon") as found:
        yield found


def history(project, base):
    """What a build and changes of it are told to be."""
    text = f"FROM scratch AS files\nCOPY . /\nFROM {base}\nENV A=%s\nRUN echo $A > /x\nCOPY --from=files /d /d\n"
    project.write(Dockerfile=text % 1, d__a="1", d__b="1", **{".dockerignore": "Dockerfile\n"})
    yield project.why()
    yield project.why()
    yield project.write(Dockerfile=text % 2).why()
    yield project.write(d__a="2", d__c="new").why()
    (project.context / "d" / "b").chmod(0o600)
    yield project.why()
    yield project.write(Dockerfile=text % 1).why()
    yield project.why("--no-cache-filter", "files")
    assert project.run("prune", "--filter", "type==regular") == 0
    yield project.why()
    project.write(Dockerfile=text % 2 + "RUN test -e /none\n")
    yield project.why(status=1)
    yield project.why(status=1)


def told(project, base):
    """`history`, with what is different each time told to be there."""
    text = json.dumps(list(history(project, base)))
    for pattern in (TIME, r'(?<="result", ")[0-9a-z]{25}'):
        text = re.sub(pattern, "_", text)
    return json.loads(text)


def test_both_tell_the_same(tmp_path, capsys, base, address):
    embedded = told(Project(tmp_path / "one", capsys), base)
    assert embedded[1] == [] and all(embedded[:1] + embedded[2:])
    assert told(Project(tmp_path / "two", capsys, ("--addr", address)), base) == embedded


def test_a_program_is_told_by_a_daemon_too(address):
    with buildkit.Client(address) as client:
        for text, expected in (("one", ("new",)), ("one", ()), ("two", ("changed",))):
            result = client.build(llb.scratch().file(llb.mkfile("/x", text.encode())), explain=True)
            assert tuple(one.reason for one in result.explain()) == expected


def test_a_daemon_that_was_started_anew_remembers(tmp_path, capsys, base):
    text = f"FROM {base}\nENV A=%s\nRUN echo hi\n"
    (tmp_path / "d").mkdir()
    for value in "12":
        with our_buildkitd(tmp_path / "d") as address:
            shutil.rmtree(tmp_path / "p", ignore_errors=True)
            project = Project(tmp_path / "p", capsys, ("--addr", address)).write(Dockerfile=text % value)
            told = project.why()
    assert told == [("[2/2] RUN echo hi", "changed", "env", "A", "1", "2")]


def test_builds_at_once_are_each_explained(tmp_path, capsys, base, address):
    text = f"FROM {base}\nENV A=%s\nRUN echo shared\nRUN echo %s\n"
    projects = [Project(tmp_path / f"p{n}", capsys, ("--addr", address)) for n in range(4)]
    for n, project in enumerate(projects):
        project.write(Dockerfile=text % (1, n)).build()
        project.write(Dockerfile=text % (2, n))
    running = [
        start("--addr", address, "build", "--progress=quiet", "--explain=json", project.context) for project in projects
    ]
    for n, process in enumerate(running):
        said = [json.loads(line) for line in process.communicate()[1].splitlines() if line.startswith("{")]
        assert process.returncode == 0
        changes = {one["name"]: (one["field"], one["path"], one["old"], one["new"]) for one in said}
        assert changes[f"[3/3] RUN echo {n}"] == ("env", "A", "1", "2")
        assert set(changes) <= {"[2/3] RUN echo shared", f"[3/3] RUN echo {n}"}
        assert set(changes.values()) == {("env", "A", "1", "2")}


def test_a_client_that_was_killed_leaves_records(tmp_path, capsys, base):
    text = f"FROM {base}\nENV A=%s\nRUN echo one\nRUN echo $((40+2)); %s\n"
    (tmp_path / "d").mkdir()
    with our_buildkitd(tmp_path / "d") as address:  # which lets the build end before it does
        project = Project(tmp_path / "p", capsys, ("--addr", address)).write(Dockerfile=text % (1, "sleep 1000"))
        words = ("--addr", address, "build", "--progress=plain", "--explain", project.context)
        with start(*words, stdout=subprocess.DEVNULL) as process:
            for line in process.stderr:
                if line.rstrip().endswith(" 42"):
                    break
            process.kill()
            process.communicate()
    with our_buildkitd(tmp_path / "d"):
        told = project.write(Dockerfile=text % (2, ":")).why()
    assert told[0] == ("[2/3] RUN echo one", "changed", "env", "A", "1", "2")


def test_what_the_daemon_collected_is_told_with_its_rule(tmp_path, capsys):
    (tmp_path / "d").mkdir()
    (tmp_path / "c.toml").write_text('[[worker.oci.gcpolicy]]\nall = true\nfilters = ["type==regular"]\n')
    with our_buildkitd(tmp_path / "d", "--config", str(tmp_path / "c.toml")) as address:
        project = Project(tmp_path / "p", capsys, ("--addr", address))
        project.write(Dockerfile="FROM scratch\nCOPY a /\n", a="1").build()
        while "regular" in _kinds(project, capsys):
            pass
        rule = Like(f"gc policy 1: internal records too, matching type==regular, at {TIME}")
        assert project.why() == [("[1/1] COPY a /", "evicted", "result", Like("[0-9a-z]{25}"), None, rule)]
        assert project.write(a="2").why() == [("[1/1] COPY a /", "changed", "content", "/a", DIGEST, DIGEST)]


def _kinds(project, capsys):
    capsys.readouterr()
    assert project.run("du", "--verbose") == 0
    return capsys.readouterr().out
