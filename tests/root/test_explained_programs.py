"""Each part of a step of a program that changes is told by itself, under the name that users know it by."""

from __future__ import annotations

import pytest
from tests.kit.images import BUSYBOX, make_image

import buildkit
from buildkit import llb
from buildkit.client.options import SecretOptions

pytestmark = pytest.mark.root

COMMAND = ["/bin/sh", "-c", ":"]
DEVICE = "example.com/device=absent"


def files(*exclude):
    return llb.local("src", exclude=exclude, name="files")


def shown(**options):
    return llb.bind("/m", files(), **options)


def made(text):
    return llb.scratch().file(llb.mkfile(f"/{text}", text), name=f"make {text}")


COMMANDS = {
    "user": ({}, {"state": lambda s: s.user("7")}, ("user", "", None, "7")),
    "workdir": ({}, {"state": lambda s: s.dir("/etc")}, ("workdir", "", "/", "/etc")),
    "hostname": ({}, {"state": lambda s: s.hostname("h")}, ("hostname", "", None, "h")),
    "platform": ({}, {"platform": "linux/386"}, ("platform", "", "linux/amd64", "linux/386")),
    "exit codes": ({}, {"valid_exit_codes": [0, 3]}, ("exit-codes", "", None, "0, 3")),
    "cgroup": ({}, {"state": lambda s: s.cgroup_parent("x")}, ("cgroup-parent", "", None, "x")),
    "hosts": (
        {"state": lambda s: s.extra_host("one", "10.0.0.1")},
        {"state": lambda s: s.extra_host("one", "10.0.0.1").extra_host("two", "10.0.0.2")},
        ("host", "", "one", "one, two"),
    ),
    "limit": (
        {"state": lambda s: s.ulimit("nofile", 100, 200).ulimit("core", 0, 0)},
        {"state": lambda s: s.ulimit("nofile", 100, 300).ulimit("core", 0, 0)},
        ("ulimit", "nofile", "100:200", "100:300"),
    ),
    "agent": (
        {},
        {"mounts": [llb.ssh(optional=True)]},
        ("mount", "/run/buildkit/ssh_agent.0", None, "ssh, mode=0600, optional"),
    ),
    "agent's variable": (
        {"state": lambda s: s.env("SSH_AUTH_SOCK", "/one")},
        {"state": lambda s: s.env("SSH_AUTH_SOCK", "/two")},
        ("env", "SSH_AUTH_SOCK", "/one", "/two"),
    ),
    "secret's owner": (
        {"mounts": [llb.secret("/s", id="x")]},
        {"mounts": [llb.secret("/s", id="x", uid=3)]},
        ("mount", "/s", "secret, id=x, mode=0400", "secret, id=x, uid=3, mode=0400"),
    ),
    "what is written is kept": (
        {"mounts": [shown(discard=True)]},
        {"mounts": [shown()]},
        ("mount", "/m", "bind, discarded", "bind"),
    ),
    "path of a mount": (
        {"mounts": [shown(readonly=True)]},
        {"mounts": [shown(readonly=True, path="d")]},
        ("mount", "/m", "bind, readonly", "bind, source=/d, readonly"),
    ),
    "cache by content": (
        {"mounts": [llb.bind("/m", made("x"), readonly=True)]},
        {"mounts": [llb.bind("/m", made("x"), readonly=True, content_cache="off")]},
        ("content-cache", "make x", "on", "off"),
    ),
    "what a cache begins with": (
        {"mounts": [llb.cache("/c", "id")]},
        {"mounts": [llb.cache("/c", "id", source=files(), path="d")]},
        ("mount", "/c", "cache", "cache, source=/d"),
    ),
}

ACTIONS = {
    "kind": (llb.rm("/bin"), llb.mkfile("/bin/x", ""), ("action", "", "rm", "mkfile")),
    "kind of what is made": (llb.mkdir("/x", 0o700), llb.mkfile("/x", "x", 0o700), ("action", "", "mkdir", "mkfile")),
    "parents": (llb.mkdir("/x"), llb.mkdir("/x", parents=True), ("parents", "", None, "true")),
    "text": (llb.mkfile("/x", "1"), llb.mkfile("/x", "2"), ("text", "", "1", "2")),
    "time": (llb.mkfile("/x", "", created=1), llb.mkfile("/x", "", created=2), ("timestamp", "", "1", "2")),
    "target": (llb.symlink("/x", "/l"), llb.symlink("/y", "/l"), ("link-target", "", "/x", "/y")),
    "link": (llb.symlink("/x", "/l"), llb.symlink("/x", "/m"), ("path", "", "/l", "/m")),
    "removed": (llb.rm("/bin"), llb.rm("/etc"), ("path", "", "/bin", "/etc")),
    "what may be absent": (llb.rm("/bin"), llb.rm("/bin", allow_not_found=True), ("allow-not-found", "", None, "true")),
    "more": (llb.rm("/bin"), llb.rm("/bin").mkfile("/x", ""), ("action", "action 2", None, "mkfile")),
}

COPIES = {
    "owner": ({"owner": llb.Owner(1, 1)}, {"owner": llb.Owner(1, 2)}, ("chown", "", "1:1", "1:2")),
    "mode": ({}, {"mode": "u+x"}, ("chmod", "", None, "u+x")),
    "links": ({}, {"follow_symlinks": True}, ("follow-links", "", None, "true")),
    "content of directories": ({}, {"contents_only": True}, ("copy-contents", "", None, "true")),
    "included": ({"include": ["*.x"]}, {"include": ["*.y"]}, ("include", "", "*.x", "*.y")),
    "excluded": ({}, {"exclude": ["*.y"]}, ("exclude", "", None, "*.y")),
    "patterns": ({}, {"allow_wildcard": True}, ("allow-wildcard", "", None, "true")),
    "parents": ({}, {"create_parents": True}, ("create-parents", "", None, "true")),
    "replaced": ({}, {"always_replace": True}, ("always-replace", "", None, "true")),
    "time": ({}, {"created": 5}, ("timestamp", "", None, "5")),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    return make_image(folder, [{"bin/sh": BUSYBOX.read_bytes(), "etc/passwd": ""}])


@pytest.fixture
def base(image):
    return llb.oci_layout(f"example.com/base@{image.root.digest}", store="base").env("PATH", "/bin")


@pytest.fixture
def why(tmp_path, image):
    """Builds a program; gives (name, reason, changes) of each step that ran."""
    source = tmp_path / "src"
    (source / "d").mkdir(parents=True)
    (source / "d" / "x").write_text("x")
    secrets = [SecretOptions("x", str(source / "d" / "x"))]
    with buildkit.Client(root=tmp_path / "state") as client:

        def build(state):
            result = client.build(
                state, locals={"src": source}, oci_layouts={"base": image.layout.root}, secrets=secrets
            )
            return [
                (one.name, one.reason, [(c.field, c.path, c.old, c.new) for c in one.changes])
                for one in result.explain()
            ]

        yield build


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_part_of_a_command(why, base, kind):
    before, after, change = COMMANDS[kind]

    def step(state=lambda s: s, **options):
        return state(base).run(COMMAND, name="step", **options).root

    why(step(**before))
    assert why(step(**after)) == [("step", "changed", [change])]
    assert why(step(**after)) == []


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_part_of_an_action(why, base, kind):
    before, after, change = ACTIONS[kind]
    why(base.file(before, name="step"))
    assert why(base.file(after, name="step")) == [("step", "changed", [change])]


@pytest.mark.parametrize("kind", COPIES)
def test_a_part_of_a_copy(why, base, kind):
    before, after, change = COPIES[kind]

    def step(**options):
        return base.file(llb.copy(files(), "d", "/d", **options), name="step")

    why(step(**before))
    assert why(step(**after)) == [("step", "changed", [change])]


def test_parts_of_a_merge_that_come_and_go_are_named(why):
    one, two, three = (made(text) for text in ("one", "two", "three"))
    why(llb.merge([one, two], name="all"))
    assert why(llb.merge([one, two, three], name="all"))[-1] == (
        "all",
        "changed",
        [("inputs", "make three", None, "make three")],
    )
    why(llb.merge([one, three, two], name="all"))
    assert why(llb.merge([three, two], name="all"))[-1][1:] == ("changed", [("inputs", "make one", "make one", None)])


def test_what_a_nested_definition_runs_is_told(why, base):
    def program(text):
        inner = base.run([*COMMAND[:2], f": {text}"], name="inner").root.marshal().to_bytes()
        return llb.nested(llb.scratch().file(llb.mkfile("d", inner), name="write"), "d", name="build")

    assert {step[0] for step in why(program("one"))} >= {"write", "inner", "build"}
    assert why(program("one")) == []
    told = why(program("two"))
    assert [step[:2] for step in told] == [("write", "changed"), ("inner", "changed"), ("build", "input")]
    assert told[1][2] == [("command", "", ": one", ": two")]


def test_a_step_that_runs_in_every_build_is_not_told_that_its_files_changed(why, base):
    step = base.run(COMMAND, mounts=[shown(path="d")], name="step").mount("/m")
    why(step)
    assert why(step) == [("step", "input", [("local", "files", None, "files")])]


def test_another_version_of_an_image_is_told_of_a_program_too(tmp_path, image):
    newer = make_image(tmp_path / "newer", [{"bin/sh": BUSYBOX.read_bytes(), "new": ""}])
    with buildkit.Client(root=tmp_path / "state") as client:
        for one in (image, newer):
            base = llb.oci_layout(f"example.com/base@{one.root.digest}", store="base").env("PATH", "/bin")
            step = base.run(COMMAND, name="step").root
            told = client.build(step, oci_layouts={"base": one.layout.root}).explain()
    assert [(step.reason, [(c.field, c.path, c.old, c.new) for c in step.changes]) for step in told] == [
        ("changed", [("image", "example.com/base", image.root.digest, newer.root.digest)])
    ] * 2
