"""Every kind of change is told by its field, and what happened to earlier builds does not lead astray."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from tests.kit.explaining import DIGEST, TIME, Like, Project, shell_image
from tests.kit.projects import start
from tests.kit.registry import registry

pytestmark = [pytest.mark.root, pytest.mark.net]

READONLY = "bind, source=/a, readonly"
SECRET = "secret, id=%s, mode=0400, optional"


@pytest.fixture
def project(tmp_path, capsys):
    return Project(tmp_path / "project", capsys)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An image with a shell."""
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield shell_image(tmp_path_factory.mktemp("base"), host)


COMMANDS = {
    "network": ("RUN %secho a", ("", "--network=none "), [("network", "", "sandbox", "none")]),
    "security": ("RUN %secho b", ("", "--security=insecure "), [("security", "", "sandbox", "insecure")]),
    "an added mount": ("RUN %secho c", ("", "--mount=target=/d,source=a "), [("mount", "/d", None, READONLY)]),
    "a moved mount": (
        "RUN --mount=target=/%s,source=a echo d",
        ("c", "d"),
        [("mount", "/c", READONLY, None), ("mount", "/d", None, READONLY)],
    ),
    "a mount's source": (
        "RUN --mount=target=/c,source=%s echo d",
        ("a", "b"),
        [("mount", "/c", READONLY, "bind, source=/b, readonly")],
    ),
    "a mount that can be written": (
        "RUN --mount=target=/c,source=a%s echo d",
        ("", ",rw"),
        [("mount", "/c", READONLY, "bind, source=/a, discarded")],
    ),
    "the size of a tmpfs": (
        "RUN --mount=type=tmpfs,target=/t%s echo e",
        ("", ",size=1m"),
        [("mount", "/t", "tmpfs", "tmpfs, size=1048576")],
    ),
    "a cache": ("RUN %secho f", ("", "--mount=type=cache,target=/k "), [("mount", "/k", None, "cache, id=//k")]),
    "a secret": (
        "RUN --mount=type=secret,id=%s echo g",
        ("x", "y"),
        [("mount", "/run/secrets/x", SECRET % "x", None), ("mount", "/run/secrets/y", None, SECRET % "y")],
    ),
    "a secret variable": (
        "RUN --mount=type=secret,id=%s,env=A echo h",
        ("x", "y"),
        [("secret", "A", "x, optional", "y, optional")],
    ),
    "an ssh agent": (
        "RUN --mount=type=ssh%s echo h",
        ("", ",mode=0666"),
        [("mount", "/run/buildkit/ssh_agent.0", "ssh, mode=0600, optional", "ssh, mode=0666, optional")],
    ),
    "a here-document": ("RUN <<E\necho %s\nE", ("i", "j"), [("command", "", "echo i\n", "echo j\n")]),
    "owners": (
        "COPY --chown=%s a /d/",
        ("1:1", "u:2"),
        [("chown", "", "1:1", "u:2")],
    ),
    "modes": ("COPY --chmod=%s a /d/", ("644", "0600"), [("chmod", "", "0644", "0600")]),
    "destinations": ("COPY a /%s/", ("d", "e"), [("destination", "", "/d/", "/e/")]),
    "sources": ("COPY %s /d", ("a", "b"), [("source", "", "/a", "/b")]),
    "sources of the same content": ("COPY %s /s", ("a", "same"), [("source", "", "/a", "/same")]),
    "what is left out": ("COPY --exclude=%s d /d/", ("x", "y"), [("exclude", "", "x", "y")]),
    "one more source": (
        "COPY a %s/d/",
        ("", "b "),
        [("source", "", "/a", "/a, /b"), ("action", "action 2", None, "copy")],
    ),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_change_of(project, base, kind):
    line, (before, after), expected = COMMANDS[kind]
    project.write(a="1", b="2", same="1", d__x="1", d__y="1", d__z="1", **{".dockerignore": "Dockerfile"})
    project.write(Dockerfile=f"FROM {base}\n{line % before}\n").build()
    project.write(Dockerfile=f"FROM {base}\n{line % after}\n")
    told = project.why("--allow", "security.insecure")
    assert {change[1] for change in told} == {"changed"}
    assert [change[2:] for change in told] == expected


EDITS = {
    "a wildcard matches more": (
        "COPY *.txt /d/",
        {"b.txt": "changed", "n.txt": "new", "other": "x"},
        [("content", "/b.txt", DIGEST, DIGEST), ("file", "/n.txt", None, "file")],
    ),
    "two files of one copy": (
        "COPY a b /d/",
        {"a": "changed", "b": "too", "c": "is not copied"},
        [("content", "/a", DIGEST, DIGEST), ("content", "/b", DIGEST, DIGEST)],
    ),
    "a new directory": (
        "COPY d /d/",
        {"d/n/f": "1", "a": "is not copied"},
        [("file", "/d/n", None, "directory"), ("file", "/d/n/f", None, "file")],
    ),
    "the ignored": (
        "COPY . /d/",
        {".dockerignore": "Dockerfile\n.dockerignore\na\n"},
        [("file", "/a", "file", None)],
    ),
    "a bound file": ("RUN --mount=target=/m,source=a cat /m", {"a": "2"}, [("content", "/a", DIGEST, DIGEST)]),
    "parents": ("COPY --parents d/x /d/", {"d/x": "changed", "d/y": "too"}, [("content", "/d/x", DIGEST, DIGEST)]),
}


@pytest.mark.parametrize("kind", EDITS)
def test_files_of(project, base, kind):
    line, edits, expected = EDITS[kind]
    ignored = {".dockerignore": "Dockerfile\n.dockerignore\n"}
    files = {"a": "1", "b": "2", "b.txt": "1", "a.txt": "1", "d__x": "1", "d__y": "1"}
    project.write(Dockerfile=f"FROM {base}\n{line}\n", **ignored, **files).build()
    told = project.write(**edits).why()
    assert [change[2:] for change in told if change[1] == "changed"] == expected
    assert [change for change in told if change[1] != "changed"] == []


def test_a_linked_copy(project, base):
    project.write(Dockerfile=f"FROM {base}\nCOPY --link a /d/\n", a="1").build()
    told = project.write(a="2").why()
    copied, linked = "[2/2] COPY --link a /d/", "[2/2] LINK COPY --link a /d/"
    assert told == [
        (copied, "changed", "content", "/a", DIGEST, DIGEST),
        (Like(r"\[1/2\] FROM .*"), "evicted", "result", Like(".+"), None, "its layers were not here"),
        (linked, "input", "input", copied, None, copied),
    ]


def test_another_base_is_told_and_not_the_context(project, base):
    text = "FROM %s\nCOPY a /d/\n"
    project.write(Dockerfile=text % base, a="1").build()
    assert project.write(Dockerfile=text % "scratch").why() == [
        ("[1/1] COPY a /d/", "input", "input", "scratch", Like(r"\[1/2\] FROM .*"), "scratch")
    ]
    told = project.write(Dockerfile=text % base, a="2").why()
    assert told == [("[2/2] COPY a /d/", "changed", "content", "/a", DIGEST, DIGEST)]
    told = project.write(Dockerfile=text % "scratch", a="3").why()
    assert told == [("[1/1] COPY a /d/", "changed", "content", "/a", DIGEST, DIGEST)]


def test_a_platform_that_was_not_built_before_is_new(project):
    project.write(Dockerfile="FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /d\n", amd64="1", arm64="2")
    project.build("--platform", "linux/amd64")
    told = project.why("--platform", "linux/amd64,linux/arm64")
    assert told == [("[linux/arm64 1/1] COPY arm64 /d", "new", "", "", None, None)]


def test_the_type_of_a_file(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n", a="1").build()
    (project.context / "a").unlink()
    (project.context / "a").symlink_to("b")
    assert project.why() == [("[1/1] COPY . /", "changed", "file", "/a", "file", "link")]


def test_a_name_that_is_no_text_is_told_in_json_that_can_be_read(project):
    project.write(Dockerfile="FROM scratch\nCOPY . /\n").build()
    (project.context / os.fsdecode(b"\xff")).write_text("")
    assert project.why() == [("[1/1] COPY . /", "changed", "file", "/\udcff", None, "file")]


def test_steps_that_moved_are_not_blamed(project, base):
    project.write(Dockerfile=f"FROM {base}\nRUN echo b\nRUN echo c\n").build()
    project.write(Dockerfile=f"FROM {base}\nRUN echo a\nRUN echo b\nRUN echo c\n")
    first, second, third = "[2/4] RUN echo a", "[3/4] RUN echo b", "[4/4] RUN echo c"
    assert project.why() == [
        (first, "new", "", "", None, None),
        (second, "input", "input", first, Like(r"\[1/3\] FROM .*"), first),
        (third, "input", "input", second, None, second),
    ]


def test_a_step_that_moved_and_changed_is_known_by_its_command(project, base):
    project.write(Dockerfile=f"FROM {base}\nARG A=1\nRUN echo b $A\n").build()
    project.write(Dockerfile=f"FROM {base}\nARG A=2\nRUN echo a\nRUN --network=none echo b $A\n")
    first, second = "[2/3] RUN echo a", "[3/3] RUN --network=none echo b 2"
    assert project.why() == [
        (first, "new", "", "", None, None),
        (second, "changed", "env", "A", "1", "2"),
        (second, "changed", "network", "", "sandbox", "none"),
        (second, "changed", "input", first, Like(r"\[1/2\] FROM .*"), first),
    ]


def test_a_copy_that_moved_and_changed_is_known_by_its_destination(project, base):
    project.write(Dockerfile=f"FROM {base}\nCOPY a /d/\n", a="1", b="1").build()
    project.write(Dockerfile=f"FROM {base}\nRUN echo a\nCOPY --chown=1:1 a /d/\n")
    name, before = "[3/3] COPY --chown=1:1 a /d/", "[2/3] RUN echo a"
    assert project.why()[1:] == [
        (name, "changed", "chown", "", None, "1:1"),
        (name, "changed", "input", before, Like(r"\[1/2\] FROM .*"), before),
    ]


def test_a_step_that_takes_the_place_of_one_that_is_gone_is_compared_with_itself(project, base):
    project.write(Dockerfile=f"FROM {base}\nCOPY a /a/\nCOPY b /b/\n", a="1", b="1").build()
    project.write(Dockerfile=f"FROM {base}\nCOPY --chown=1:1 b /b/\n")
    name, before = "[2/2] COPY --chown=1:1 b /b/", Like(r"\[1/2\] FROM .*")
    assert project.why() == [
        (name, "changed", "chown", "", None, "1:1"),
        (name, "changed", "input", before, "[2/3] COPY a /a/", before),
    ]


def test_files_are_told_though_the_step_moved_while_it_was_cached(project, base):
    text = f"FROM {base} AS one\nCOPY a /%s\nFROM {base}\n%sCOPY --from=one --link / /c/\n"
    project.write(Dockerfile=text % ("x", ""), a="1").build()
    project.write(Dockerfile=text % ("x", "RUN echo more\n")).build()
    told = project.write(Dockerfile=text % ("y", "RUN echo more\n")).why()
    name = "[stage-1 3/3] COPY --from=one --link / /c/"
    assert [change for change in told if change[0] == name] == [
        (name, "changed", "file", "/x", "file", None),
        (name, "changed", "file", "/y", None, "file"),
    ]


def test_a_step_of_an_only_stage_is_the_same_when_its_label_names_the_stage(project, base):
    text = f"FROM {base} AS one\nRUN %secho a\n"
    project.write(Dockerfile=text % "").build()
    project.write(Dockerfile=text % "--mount=type=tmpfs,target=/t ")
    name = "[one 2/2] RUN --mount=type=tmpfs,target=/t echo a"
    assert project.why() == [(name, "changed", "mount", "/t", None, "tmpfs")]


def test_of_records_that_are_as_near_the_one_after_the_same_step_is_compared_with(project, base):
    text = f"FROM {base}\nENV A=%s\nWORKDIR %s\nRUN echo $A\nCOPY a /d/\n"
    for value in "12":
        project.write(Dockerfile=text % (value, "/a"), a="1").build()
    told = project.write(Dockerfile=text % ("1", "/b")).why()
    before = "[3/4] RUN echo 1"
    assert told[-1] == ("[4/4] COPY a /d/", "input", "input", before, None, before)


def test_a_stage_with_another_name_is_the_same_stage(project, base):
    text = f"FROM {base} AS %s\n%sRUN echo a > /a\nRUN echo b\nFROM scratch\nCOPY --from=%s /a /\n"
    project.write(Dockerfile=text % ("one", "", "one")).build()
    project.write(Dockerfile=text % ("two", "ENV X=1\n", "two"))
    first, second = "[two 2/3] RUN echo a > /a", "[two 3/3] RUN echo b"
    assert project.why() == [
        (first, "changed", "env", "X", None, "1"),
        (second, "changed", "env", "X", None, "1"),
        (second, "changed", "input", first, None, first),
    ]


def test_of_two_stages_only_the_changed_one_is_told(project, base):
    text = f"FROM {base} AS one\nRUN echo 1 > /x\nFROM {base} AS two\nRUN echo %s > /y\nFROM scratch\n"
    text += "COPY --from=one /x /\nCOPY --from=two /y /\n"
    project.write(Dockerfile=text % "2").build()
    assert project.write(Dockerfile=text % "3").why() == [
        ("[two 2/2] RUN echo 3 > /y", "changed", "command", "", "echo 2 > /y", "echo 3 > /y"),
        ("[stage-2 2/2] COPY --from=two /y /", "changed", "content", "/y", DIGEST, DIGEST),
    ]


def test_of_two_platforms_only_the_changed_one_is_told(project):
    flags = ("--platform", "linux/amd64,linux/arm64")
    project.write(Dockerfile="FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /d\n", amd64="1", arm64="1").build(*flags)
    told = project.write(arm64="2").why(*flags)
    assert told == [("[linux/arm64 1/1] COPY arm64 /d", "changed", "content", "/arm64", DIGEST, DIGEST)]


def test_each_of_two_equal_commands_is_compared_with_its_own(project, base):
    text = f"FROM {base}\n%sRUN echo z\nRUN echo z\n"
    project.write(Dockerfile=text % "").build()
    first, second = "[2/3] RUN echo z", "[3/3] RUN echo z"
    assert project.write(Dockerfile=text % "ENV A=1\n").why() == [
        (first, "changed", "env", "A", None, "1"),
        (second, "changed", "env", "A", None, "1"),
        (second, "changed", "input", first, None, first),
    ]


def test_each_of_two_here_documents_is_compared_with_its_own(project):
    text = "FROM scratch\nCOPY <<E /one\n%s\nE\nCOPY <<E /two\n%s\nE\n"
    name = "[internal] preparing inline document"
    project.write(Dockerfile=text % ("1", "2")).build()
    told = project.write(Dockerfile=text % ("3", "4")).why()
    assert sorted(one for one in told if one[0] == name) == [
        (name, "changed", "text", "", "1\n", "3\n"),
        (name, "changed", "text", "", "2\n", "4\n"),
    ]
    told = project.write(Dockerfile=text % ("5", "4")).why()
    assert [one for one in told if one[0] == name] == [(name, "changed", "text", "", "3\n", "5\n")]


def test_the_nearest_of_several_earlier_builds_is_compared_with(project, base):
    text = f"FROM {base}\nENV A=%s B=%s\nRUN echo hi\n"
    name = "[2/2] RUN echo hi"
    project.write(Dockerfile=text % (1, 1)).build()
    project.write(Dockerfile=text % (2, 2)).build()
    assert project.write(Dockerfile=text % (1, 1)).why() == []
    assert project.write(Dockerfile=text % (3, 1)).why() == [(name, "changed", "env", "A", "1", "3")]
    assert project.write(Dockerfile=text % (2, 3)).why() == [(name, "changed", "env", "B", "2", "3")]


def test_what_was_pruned_between_two_versions_is_told_to_be_pruned(project, base):
    text = "FROM scratch\nCOPY a /\n"
    result = Like("[0-9a-z]{25}")
    project.write(Dockerfile=text, a="1").build()
    project.write(a="2").build()
    assert project.run("prune", "--filter", "type==regular") == 0
    project.write(a="1")
    rule = Like(f"prune: matching type==regular, at {TIME}")
    assert project.why() == [("[1/1] COPY a /", "evicted", "result", result, None, rule)]
    assert project.write(a="2").why() == [("[1/1] COPY a /", "evicted", "result", result, None, rule)]
    assert project.write(a="3").why() == [("[1/1] COPY a /", "changed", "content", "/a", DIGEST, DIGEST)]


def test_stages_that_are_to_run_anew_are_named(project, base):
    text = f"FROM {base} AS one\nRUN echo 1 > /x\nFROM {base} AS two\nRUN echo 2 > /y\nFROM scratch\n"
    project.write(Dockerfile=text + "COPY --from=one /x /\nCOPY --from=two /y /\n").build()
    told = project.why("--no-cache-filter", "two")
    assert told == [("[two 2/2] RUN echo 2 > /y", "ignore-cache", "no-cache", "", None, "stages two")]


def test_a_step_that_failed_is_told_to_have_failed_and_mended_by_what_mended_it(project, base):
    text = f"FROM {base}\nRUN test -e /%s\n"
    project.write(Dockerfile=text % "none")
    error = 'process "/bin/sh -c test -e /none" did not complete successfully: exit code: 1'
    name = "[2/2] RUN test -e /none"
    assert project.why(status=1)[-1] == (name, "new", "", "", None, None)
    assert project.why(status=1) == [(name, "failed", "error", "", error, None)]
    change = ("command", "", "test -e /none", "test -e /bin")
    assert project.write(Dockerfile=text % "bin").why() == [("[2/2] RUN test -e /bin", "changed", *change)]
    assert project.why() == []


def test_steps_of_an_interrupted_build_are_remembered(project, base):
    text = f"FROM {base}\nENV A=%s\nRUN echo one\nRUN echo $((40+2)); %s\n"
    project.write(Dockerfile=text % (1, "sleep 1000"))
    state = project.root.parent / "state"
    with start("build", "--root", state, "--progress=plain", project.context, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(" 42"):
                break
        process.terminate()
        process.communicate()
    told = project.write(Dockerfile=text % (2, ":")).why()
    assert ("[2/3] RUN echo one", "changed", "env", "A", "1", "2") in told


def test_another_project_with_the_same_steps_has_a_history_of_its_own(tmp_path, capsys, base):
    text = f"FROM {base}\nENV A=%s\nRUN echo hi\n"
    one, two = (Project(tmp_path / name, capsys) for name in ("one", "two"))
    one.write(Dockerfile=text % 1).build()
    assert two.write(Dockerfile=text % 1 + "RUN echo more\n").why() == [
        ("[3/3] RUN echo more", "new", "", "", None, None)
    ]
    told = two.write(Dockerfile=text % 2 + "RUN echo more\n").why()
    assert told[0] == ("[2/3] RUN echo hi", "changed", "env", "A", "1", "2")


def test_secrets_and_passwords_are_hidden_wherever_they_are(project, base, tmp_path, capsys):
    (tmp_path / "s").write_text("correct horse\n")
    text = f"FROM {base}\nRUN --mount=type=secret,id=s echo '%s' http://me:%s@host/\n"
    flags = ("--secret", f"id=s,src={tmp_path}/s")
    project.write(Dockerfile=text % ("battery staple", "pw1")).build(*flags)
    told = project.write(Dockerfile=text % ("correct horse", "pw2")).why(*flags)
    assert [change[1:] for change in told] == [("changed", "command", "", "(hidden)", "(hidden)")]
    project.write(Dockerfile=text % ("nothing", "pw3"))
    said = json.dumps(project.why(*flags))
    assert "http://me:(hidden)@host/" in said and "pw3" not in said and "pw1" not in said
    assert "horse" not in said


def test_records_hold_no_secrets(project, base, tmp_path):
    text = (
        f'FROM {base}\nRUN --mount=type=secret,id=s --mount=type=secret,id=e,env=E [ -s /run/secrets/s -a -n "$E" ]\n'
    )
    (tmp_path / "s").write_text("correct-horse")
    (tmp_path / "e").write_text("battery-staple")
    flags = ("--secret", f"id=s,src={tmp_path}/s", "--secret", f"id=e,src={tmp_path}/e")
    told = json.dumps(project.write(Dockerfile=text).build(*flags))
    state = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*.db*"))
    assert b"step_record" in state and b"/run/secrets/s" in state
    assert b"correct-horse" not in state and b"battery-staple" not in state
    assert "horse" not in told and "staple" not in told
