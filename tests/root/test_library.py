"""Python programs build with the engine in their own process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import buildkit
from buildkit import llb
from buildkit.core.errors import ExitError, InvalidInput, SourceDetail

pytestmark = pytest.mark.root


@pytest.fixture
def base(busybox):
    """A small base image, and where the client finds it."""
    folder, digest = busybox.split("@", 1)
    return llb.oci_layout(f"base@{digest}", store="lay"), {"oci_layouts": {"lay": folder}}


def short(result):
    return [(one.name, one.reason, [(c.field, c.path) for c in one.changes]) for one in result.explain()]


def test_a_result_explains_why_its_steps_ran(tmp_path, base):
    image, where = base
    (tmp_path / "in").mkdir()
    where["locals"] = {"in": tmp_path / "in"}

    def program(greeting):
        copied = image.file(llb.copy(llb.local("in"), "/", "/in", contents_only=True), name="copy")
        return copied.env("GREETING", greeting).run(["/bin/sh", "-c", "echo $GREETING > /said"], name="say").root

    (tmp_path / "in" / "a").write_text("a")
    with buildkit.Client(root=tmp_path / "state") as client:
        first = client.build(program("hi"), **where)
        assert {("copy", "new"), ("say", "new")} <= {(one.name, one.reason) for one in first.explain()}
        assert client.build(program("hi"), **where).explain() == ()
        assert short(client.build(program("ho"), **where)) == [("say", "changed", [("env", "GREETING")])]
        (tmp_path / "in" / "a").write_text("b")
        changed = client.build(program("ho"), **where)
        assert ("copy", "changed", [("content", "/a")]) in short(changed)
        with pytest.raises(InvalidInput, match="build with explain=True"):
            client.build(program("ho"), explain=False, **where).explain()


def test_a_step_without_inputs_is_remembered_though_nobody_asked(tmp_path):
    def program(text):
        return llb.scratch().file(llb.mkfile("/a", text), name="write")

    with buildkit.Client(root=tmp_path / "state") as client:
        client.build(program("one"), explain=False)
        assert short(client.build(program("two"))) == [("write", "changed", [("text", "")])]


def test_an_error_of_a_step_shows_the_line_of_the_program(tmp_path, base):
    image, where = base
    state = image.run(["/bin/sh", "-c", "true"]).root
    state = state.run(["/bin/sh", "-c", "exit 7"]).root  # this is the line
    with buildkit.Client(root=tmp_path / "state") as client, pytest.raises(ExitError) as caught:
        client.build(state, **where)
    assert caught.value.code == 7
    (place,) = [detail for detail in caught.value.details if isinstance(detail, SourceDetail)]
    assert (place.filename, place.language) == (__file__, "Python")
    (note,) = caught.value.__notes__
    (marked,) = [line for line in note.splitlines() if ">>>" in line]
    assert marked.endswith("# this is the line")


def test_a_file_action_that_fails_shows_its_line_too(tmp_path):
    (tmp_path / "in").mkdir()
    state = llb.scratch().file(llb.mkdir("/there"))
    state = state.file(llb.copy(llb.local("in"), "/nowhere", "/"))  # this one
    with pytest.raises(buildkit.BuildkitError, match="nowhere") as caught:
        buildkit.build(state, root=tmp_path / "state", locals={"in": tmp_path / "in"})
    assert ">>>     state = state.file(llb.copy(" in caught.value.__notes__[0]


def test_a_secret_in_memory_is_lent(tmp_path, base):
    image, where = base
    shell = image.run(["/bin/sh", "-c", "cp /s /said"], mounts=[llb.secret("/s", id="s")]).root
    said = llb.scratch().file(llb.copy(shell, "/said", "/said", mode=0o644))
    secret = buildkit.SecretOptions("s", value=b"in memory")
    buildkit.build(said, root=tmp_path / "state", secrets=[secret], outputs=[str(tmp_path / "out")], **where)
    assert (tmp_path / "out" / "said").read_text() == "in memory"


def test_a_client_within_another_of_the_same_root_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "state")
    state = llb.scratch().file(llb.mkdir("/a"))
    with buildkit.Client(root=tmp_path / "state") as client:
        with pytest.raises(InvalidInput, match=r"a client around this one has .*/state: use that one"):
            buildkit.build(state, root=tmp_path / "link")
        buildkit.build(state, root=tmp_path / "other")
        client.build(state)
    buildkit.build(state, root=tmp_path / "state")


async def test_an_async_client_within_another_is_refused_until_that_is_closed(tmp_path):
    async with buildkit.AsyncClient(root=tmp_path):
        with pytest.raises(InvalidInput, match="a client around this one"):
            async with buildkit.AsyncClient(root=tmp_path):
                pass
    async with buildkit.AsyncClient(root=tmp_path) as client:
        await client.build(llb.scratch().file(llb.mkdir("/a")))


def test_threads_with_clients_of_the_same_root_wait_for_each_other(tmp_path):
    def build(number):
        state = llb.scratch().file(llb.mkdir(f"/{number}"))
        return buildkit.build(state, root=tmp_path / "state").ref

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(build, range(4)))) == 4
