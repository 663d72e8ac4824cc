"""Builds whose local directories change before, while and after they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.kit.builds import Builder

from buildkit import llb
from buildkit.fs.copy import CopyOptions, copy_tree
from buildkit.ops.file import FileOp
from buildkit.session.files import Directories
from buildkit.session.session import Session
from buildkit.store.view import Changed, View

pytestmark = pytest.mark.root


@pytest.fixture
def context(tmp_path) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a").write_text("one")
    (root / "b").write_text("two")
    return root


@pytest.fixture
def builder(tmp_path) -> Builder:
    return Builder(tmp_path)


@pytest.fixture
def session(context):
    return lambda: Session.new(locals=Directories({"context": context}))


def copied(name: str, **local: object):
    return llb.scratch().file(llb.copy(llb.local("context", **local), name, f"/{name}"))


async def test_files_are_copied_out_of_a_local_directory(builder, session):
    built = await builder.build(copied("a"), session())
    assert built.files == {"a": "one"}


@pytest.mark.row("L48")
async def test_an_unchanged_file_hits_the_cache_in_another_session_and_nothing_is_copied(
    builder, session, context, monkeypatch
):
    await builder.build(copied("a"), session())
    (context / "b").write_text("does not matter")
    os.utime(context / "a")
    monkeypatch.setattr(View, "copy_to", None)
    monkeypatch.setattr(FileOp, "execute", None)
    assert (await builder.build(copied("a"), session())).files == {"a": "one"}


async def test_a_changed_file_misses_the_cache(builder, session, context):
    await builder.build(copied("a"), session())
    (context / "a").write_text("new")
    assert (await builder.build(copied("a"), session())).files == {"a": "new"}


@pytest.fixture
def copies(monkeypatch) -> list[str]:
    """The names of files whose content was copied by file steps; nothing else may copy a context."""
    from buildkit.fs import copy

    seen: list[str] = []

    def counted(source, target, size, path, check):
        seen.append(path)
        return copy_content(source, target, size, path, check)

    copy_content = copy.copy_content
    monkeypatch.setattr(copy, "copy_content", counted)
    monkeypatch.setattr(View, "copy_to", None)
    return seen


async def test_no_file_of_a_context_is_copied_that_no_step_uses(builder, session, context, copies):
    (context / "used").mkdir()
    for number in range(100):
        (context / f"unused{number}").write_text("x")
        (context / f"used/{number % 10}").write_text("y")
    source = llb.local("context")
    state = llb.scratch().file(llb.copy(source, "a", "/a")).file(llb.copy(source, "used", "/u"))
    built = await builder.build(state, session())
    assert sorted(copies) == sorted(["a", *map(str, range(10))]) and len(built.files) == 11


async def test_what_a_context_leaves_out_is_not_copied(builder, session, context, copies):
    (context / "d/deep").mkdir(parents=True)
    for name in ("d/in", "d/out", "d/deep/in", "d/deep/out", "out"):
        (context / name).write_text(name)
    source = llb.local("context", exclude=["**/out", "a"])
    copied_all = llb.scratch().file(llb.copy(source, "/", "/", contents_only=True))
    matched = copied_all.file(llb.copy(source, "*", "/all/", allow_wildcard=True, create_parents=True))
    built = await builder.build(matched, session())
    kept = ["b", "d/in", "d/deep/in"]
    assert sorted(built.files) == sorted([*kept, "all/b", "all/d/in", "all/d/deep/in"])


def test_files_of_a_context_belong_to_root_and_keep_the_rest(context, tmp_path):
    os.chown(context / "a", 12, 34)
    (context / "a").chmod(0o741)
    (tmp_path / "target").mkdir()
    roots = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (context, tmp_path / "target")]
    copy_tree(*roots, "/", "/", CopyOptions(dir_contents=True), View(str(context)).listing())
    for root in roots:
        os.close(root)
    before, after = (context / "a").stat(), (tmp_path / "target/a").stat()
    assert (after.st_uid, after.st_gid) == (0, 0)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("kind", ["gone", "link", "directory", "pipe", "other mode"])
async def test_a_file_that_becomes_something_else_fails_the_build(builder, session, context, monkeypatch, kind):
    execute = FileOp.execute

    async def late(op, inputs, step):
        path = context / "a"
        if kind == "other mode":
            path.chmod(0o700)
        else:
            path.unlink()
        if kind == "link":
            path.symlink_to("b")
        elif kind == "directory":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        return await execute(op, inputs, step)

    monkeypatch.setattr(FileOp, "execute", late)
    with pytest.raises(Changed, match="a: changed while it was being read"):
        await builder.build(copied("a"), session())


async def test_an_archive_that_changes_before_it_is_unpacked_fails_the_build(builder, session, context, monkeypatch):
    from tests.kit.images import layer_tar

    (context / "a").write_bytes(layer_tar({"x": "1"}))
    execute = FileOp.execute

    async def late(op, inputs, step):
        (context / "a").write_bytes(layer_tar({"x": "2"}))
        return await execute(op, inputs, step)

    unpacked = llb.scratch().file(llb.copy(llb.local("context"), "a", "/", unpack=True))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(FileOp, "execute", late)
        with pytest.raises(Changed, match="a: changed while it was being read"):
            await builder.build(unpacked, session())
    assert (await builder.build(unpacked, session())).files == {"x": "2"}


@pytest.mark.parametrize("content", ["ONE", "longer", ""])
async def test_a_file_that_changes_between_hashing_and_copying_fails_the_build_and_not_the_cache(
    builder, session, context, monkeypatch, content
):
    execute = FileOp.execute

    async def late(op, inputs, step):
        (context / "a").write_text(content)
        return await execute(op, inputs, step)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(FileOp, "execute", late)
        with pytest.raises(Changed, match="a: changed while it was being read"):
            await builder.build(copied("a"), session())
    assert (await builder.build(copied("a"), session())).files == {"a": content}
    (context / "a").write_text("one")
    assert (await builder.build(copied("a"), session())).files == {"a": "one"}


async def test_a_file_that_changes_between_two_steps_fails_the_later_one(builder, session, context, monkeypatch):
    execute = FileOp.execute

    async def then_change(op, inputs, step):
        results = await execute(op, inputs, step)
        (context / "a").write_text("changed")
        (context / "b").write_text("changed")
        return results

    source = llb.local("context")
    state = llb.scratch().file(llb.copy(source, "a", "/a")).file(llb.copy(source, "b", "/b"))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(FileOp, "execute", then_change)
        with pytest.raises(Changed, match="b: changed"):
            await builder.build(state, session())
    assert (await builder.build(state, session())).files == {"a": "changed", "b": "changed"}


async def test_nothing_of_a_context_is_left_in_the_store(builder, session):
    await builder.build(copied("a"), session())
    assert {record.record_type for record in await builder.store.usage()} == {"regular"}


async def test_a_missing_file_is_named(builder, session):
    from buildkit.core.errors import NotFound

    with pytest.raises(NotFound, match='"/missing": not found'):
        await builder.build(copied("missing"), session())
