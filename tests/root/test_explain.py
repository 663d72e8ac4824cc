"""Why steps ran: each kind of change is told exactly, and what did not change is not blamed."""

from __future__ import annotations

import pytest
from tests.kit.explaining import TIME, Like, Project, shell_image
from tests.kit.images import copy_to_registry, make_image
from tests.kit.registry import registry
from tests.kit.webs import Origin, git_web_server, web_server

pytestmark = [pytest.mark.root, pytest.mark.net]


@pytest.fixture
def project(tmp_path, capsys):
    return Project(tmp_path / "project", capsys)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def base(host, tmp_path_factory):
    """An image with a shell."""
    return shell_image(tmp_path_factory.mktemp("base"), host)


RUN = "[2/2] RUN echo hi > /x"


def test_a_first_build_is_new_and_an_unchanged_one_explains_nothing(project, base):
    project.write(Dockerfile=f"FROM {base}\nENV A=1\nRUN echo hi > /x\n")
    assert (RUN, "new", "", "", None, None) in project.why()
    assert project.why() == []


def test_a_variable(project, base):
    text = f"FROM {base}\nENV A=%s B=same\nRUN echo hi > /x\n"
    project.write(Dockerfile=text % "1").build()
    assert project.write(Dockerfile=text % "2").why() == [(RUN, "changed", "env", "A", "1", "2")]


def test_a_build_argument(project, base):
    project.write(Dockerfile=f"FROM {base}\nARG A\nRUN echo hi > /x\n").build("--build-arg", "A=1")
    assert project.why("--build-arg", "A=2") == [(RUN, "changed", "env", "A", "1", "2")]
    assert project.why("--build-arg", "A=1") == []


def test_a_variable_that_comes_and_goes(project, base):
    text = f"FROM {base}\n%sRUN echo hi > /x\n"
    project.write(Dockerfile=text % "").build()
    assert project.write(Dockerfile=text % "ENV A=1\n").why() == [(RUN, "changed", "env", "A", None, "1")]


def test_a_command(project, base):
    project.write(Dockerfile=f"FROM {base}\nRUN echo one\n").build()
    project.write(Dockerfile=f"FROM {base}\nRUN echo two\n")
    assert project.why() == [("[2/2] RUN echo two", "changed", "command", "", "echo one", "echo two")]


def test_the_steps_after_a_change_are_told_to_follow_it(project, base):
    text = f"FROM {base}\nRUN echo %s\nRUN echo after\n"
    project.write(Dockerfile=text % "one").build()
    first, second = "[2/3] RUN echo two", "[3/3] RUN echo after"
    assert project.write(Dockerfile=text % "two").why() == [
        (first, "changed", "command", "", "echo one", "echo two"),
        (second, "input", "input", first, "[2/3] RUN echo one", first),
    ]


@pytest.mark.parametrize(("word", "field"), [("WORKDIR", "workdir"), ("USER", "user")])
def test_the_place_and_the_user_of_a_command(project, base, word, field):
    text = f"FROM {base}\n{word} %s\nRUN echo hi\n"
    old, new = ("/bin", "/etc") if field == "workdir" else ("u", "0")
    project.write(Dockerfile=text % old).build()
    changes = project.write(Dockerfile=text % new).why()
    assert (field, "", old, new) in [change[2:] for change in changes]
    assert {change[2] for change in changes if "RUN" in change[0]} <= {field, "input"}


def test_the_content_of_a_file(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n", a="1", d__b="2", d__c="3").build()
    (change,) = project.write(d__b="changed").why()
    assert change[:4] == ("[1/1] COPY . /", "changed", "content", "/d/b")
    assert change[4] != change[5]


def test_the_content_of_a_file_of_the_same_size(project):
    project.write(Dockerfile="FROM scratch\nCOPY a /\n", a="1", b="other").build()
    project.write(a="2", b="is not copied")
    assert [change[2:4] for change in project.why()] == [("content", "/a")]


def test_the_mode_of_a_file(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n", a="1", b="2").build()
    (project.context / "a").chmod(0o755)
    assert project.why() == [("[1/1] COPY . /", "changed", "mode", "/a", "0644", "0755")]


def test_the_mode_and_the_content_of_a_file(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n", a="1", b="2").build()
    (project.context / "a").chmod(0o755)
    project.write(a="x")
    assert [change[2:4] for change in project.why()] == [("mode", "/a"), ("content", "/a")]


def test_files_that_come_and_go_and_links_that_lead_elsewhere(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n", a="1")
    (project.context / "l").symlink_to("a")
    project.build()
    (project.context / "a").unlink()
    (project.context / "l").unlink()
    (project.context / "l").symlink_to("b")
    changes = [change[2:] for change in project.write(b="2").why()]
    assert changes == [("file", "/a", "file", None), ("file", "/b", None, "file"), ("link", "/l", "a", "b")]


def test_flags_of_a_copy(project):
    text = "FROM scratch\nCOPY %s a /x\n"
    project.write(Dockerfile=text % "--chmod=644", a="1").build()
    (change,) = project.write(Dockerfile=text % "--chmod=600").why()
    assert change[1:3] == ("changed", "chmod")


def test_a_file_of_another_stage(project, base):
    text = f'FROM {base} AS one\nENV A=%s\nRUN echo "$A" > /x; echo same > /y\nFROM scratch\nCOPY --from=one /%s /z\n'
    project.write(Dockerfile=text % ("1", "x")).build()
    changes = project.write(Dockerfile=text % ("2", "x")).why()
    assert [change[2:4] for change in changes] == [("env", "A"), ("content", "/x")]
    project.write(Dockerfile=text % ("2", "y")).build()
    changes = project.write(Dockerfile=text % ("3", "y")).why()
    assert [change[2:4] for change in changes] == [("env", "A")]


def test_the_digest_of_a_base_image(project, host, base, tmp_path):
    one = make_image(tmp_path / "one", [{"v": "1"}])
    two = make_image(tmp_path / "two", [{"v": "2"}])
    name = f"{host}/moving:1"
    copy_to_registry(one, name)
    project.write(Dockerfile=f"FROM {name}\nCOPY a /\n", a="1").build()
    copy_to_registry(two, name)
    changes = project.why("--output", f"type=tar,dest={tmp_path}/out.tar")
    digests = ("image", name, one.root.digest, two.root.digest)
    assert [change for change in changes if change[0].startswith("[2/2]")] == [("[2/2] COPY a /", "changed", *digests)]
    assert {change[2] for change in changes} == {"image"}


def test_another_base_image(project, host, tmp_path):
    text = f"FROM {host}/first:%s\nCOPY a /\n"
    for tag in "12":
        copy_to_registry(make_image(tmp_path / tag, [{"v": tag}]), f"{host}/first:{tag}")
    project.write(Dockerfile=text % "1", a="1").build()
    changes = project.write(Dockerfile=text % "2").why()
    ((_, _, field, path, old, new),) = [change for change in changes if change[0].startswith("[2/2]")]
    assert (field, path) == ("image", f"{host}/first:2")
    assert (old.partition("@")[0], new.partition("@")[0]) == (f"{host}/first:1", f"{host}/first:2")


def test_a_file_of_the_web(project):
    with web_server() as web:
        url = web.put("/file", b"one")
        project.write(Dockerfile=f"FROM scratch\nADD {url} /f\n").build()
        web.put("/file", b"two")
        changes = project.why()
        assert ("checksum", url) in [change[2:4] for change in changes]
        assert {change[2] for change in changes} <= {"checksum", "content"}


def test_a_commit(project, tmp_path):
    origin = Origin(tmp_path)
    old = origin.commit(a="1")
    with git_web_server(tmp_path) as git:
        project.write(Dockerfile=f"FROM scratch\nADD {git}/app.git#main /\n").build()
        new = origin.commit(a="2")
        changes = [change[2:] for change in project.why()]
        assert ("commit", f"{git}/app.git#main", old, new) in changes


def test_ignoring_the_cache(project, base):
    project.write(Dockerfile=f"FROM {base}\nENV A=1\nRUN echo hi > /x\n").build()
    assert (RUN, "ignore-cache", "no-cache", "", None, "every step") in project.why("--no-cache")


def test_a_result_that_was_pruned(project, base, capsys):
    project.write(Dockerfile=f"FROM {base}\nENV A=1\nRUN echo hi > /x\n").build()
    assert project.run("prune") == 0
    (change,) = [one for one in project.why() if one[0] == RUN]
    rule = Like(f"prune: everything unused, at {TIME}")
    assert change[1:] == ("evicted", "result", Like("[0-9a-z]{25}"), None, rule)


def test_a_mount(project, base):
    text = f"FROM {base}\nRUN %secho hi\n"
    project.write(Dockerfile=text % "").build()
    changes = project.write(Dockerfile=text % "--mount=type=cache,target=/c ").why()
    assert ("mount", "/c") in [change[2:4] for change in changes]


def test_secrets_are_not_shown(project, base, tmp_path):
    (tmp_path / "s").write_text("hunter2\n")
    text = f"FROM {base}\nENV NOTE=%s\nENV API_TOKEN=%s\nRUN --mount=type=secret,id=s echo hi\n"
    flags = ("--secret", f"id=s,src={tmp_path}/s")
    project.write(Dockerfile=text % ("hunter2", "abc")).build(*flags)
    changes = project.write(Dockerfile=text % ("hunter2!", "def")).why(*flags)
    assert [change[2:] for change in changes] == [
        ("env", "NOTE", "(hidden)", "(hidden)"),
        ("env", "API_TOKEN", "(hidden)", "(hidden)"),
    ]


def test_a_step_that_fails_is_explained_too(project, base):
    project.write(Dockerfile=f"FROM {base}\nENV A=1\nRUN echo hi > /x\n").build()
    project.write(Dockerfile=f"FROM {base}\nENV A=/none/x\nRUN exit 3\n")
    changes = project.why(status=1)
    assert [change[2:4] for change in changes] == [("command", ""), ("env", "A")]


def test_another_project_is_not_compared_with(tmp_path, capsys, base):
    for name in ("one", "two"):
        project = Project(tmp_path / name, capsys)
        project.write(Dockerfile=f"FROM {base}\nENV A={name}\nRUN echo hi > /x\n")
        assert [change[1] for change in project.why() if change[0] == RUN] == ["new"]


def test_people_get_sentences_after_the_progress(project, base, capsys):
    text = f"FROM {base}\nENV A=%s\nRUN echo hi > /x\n"
    project.write(Dockerfile=text % "1").build()
    project.write(Dockerfile=text % "2")
    capsys.readouterr()
    assert project.run("build", "--progress=plain", "--explain", str(project.context)) == 0
    said = capsys.readouterr().err
    assert f"\n{RUN}\n  ran because the variable A changed from 1 to 2\n" in said
    assert said.index("DONE") < said.index("ran because")
