"""Builds whose inputs are known need no network: in this process, and by our daemon."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from tests.kit.daemon_process import our_buildkitd
from tests.kit.explaining import Project, shell_image
from tests.kit.peers import buildkitd
from tests.kit.registry import registry
from tests.kit.webs import Origin, git_web_server, web_server

pytestmark = [pytest.mark.root, pytest.mark.net]


@pytest.fixture(scope="module", params=["embedded", "daemon"])
def where(request, tmp_path_factory):
    """Who builds."""
    if request.param == "embedded":
        yield ("--root", str(tmp_path_factory.mktemp("engine") / "state"))
        return
    with our_buildkitd(tmp_path_factory.mktemp("daemon")) as address:
        yield ("--addr", address)


@pytest.fixture
def project(tmp_path, capsys, where):
    return Project(tmp_path / "project", capsys, where)


class Outside:
    """An image, a file and a repository on servers that can be stopped."""

    def __init__(self, folder):
        self._servers = ExitStack()
        for name in ("registry", "image", "git"):
            (folder / name).mkdir()
        self.image = shell_image(folder / "image", self._servers.enter_context(registry(folder / "registry")))
        self.file = self._servers.enter_context(web_server()).put("/file", b"one")
        Origin(folder / "git").commit(a="1")
        self.git = self._servers.enter_context(git_web_server(folder / "git")) + "/app.git#main"

    def stop(self):
        self._servers.close()


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    found = Outside(tmp_path / "outside")
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def known(project, outside):
    """A project that was built once, whose servers have gone since."""
    text = f"FROM {outside.image}\nADD {outside.file} /f\nADD {outside.git} /g\nCOPY a /a\n"
    project.write(Dockerfile=text + "RUN cat /f /g/a /a > /all\n", a="first").build()
    outside.stop()
    return project.write(a="second")


@pytest.mark.parametrize("pull", ["missing", "fallback", "never"])
def test_a_build_whose_inputs_are_known_needs_no_network(known, tmp_path, pull):
    assert known.run("build", f"--pull={pull}", "-o", str(tmp_path / "out"), str(known.context)) == 0
    assert (tmp_path / "out" / "all").read_text() == "one1second"


def test_asking_is_what_is_done_by_default_and_what_fails_then(known, capsys):
    for flags in ((), ("--pull=always",)):
        capsys.readouterr()
        assert known.run("build", *flags, str(known.context)) == 1
        assert "refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["FROM {0}/never:1", "FROM scratch\nADD http://{0}/f /", "FROM scratch\nADD http://{0}/a.git#b /"]
)
def test_what_was_never_seen_is_named_when_asking_is_forbidden(project, capsys, line):
    project.write(Dockerfile=line.format("127.0.0.1:9"))
    assert project.run("build", "--pull=never", str(project.context)) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:9" in told and "--pull=never forbids asking for it" in told


def test_another_daemon_refuses_by_the_name_of_the_option(tmp_path, capsys):
    with buildkitd(tmp_path) as daemon:
        project = Project(tmp_path / "project", capsys, ("--addr", daemon.address)).write(Dockerfile="FROM scratch\n")
        for option in ("--pull=missing", "--pull=fallback", "--pull=never", "--explain", "--explain=json"):
            capsys.readouterr()
            assert project.run("build", option, str(project.context)) == 1
            told = capsys.readouterr().err
            assert f"error: failed to solve: {option.replace('=json', '')}: this daemon cannot do that" in told
        project.write(Dockerfile="FROM scratch\nCOPY Dockerfile /\n")
        assert project.run("build", "--pull", str(project.context)) == 0
