"""Builds whose local directories change before, while and after they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.kit.builds import Builder

from buildkit import llb
from buildkit.ops.file import FileOp
from buildkit.session.files import Directories
from buildkit.session.session import Session
from buildkit.store.view import Changed, View

pytest.importorskip("buildkit.fs.copy")
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


async def test_only_what_the_source_selects_is_copied(builder, session, context, monkeypatch):
    for number in range(100):
        (context / f"unused{number}").touch()
    seen: list[int] = []
    copy_to = View.copy_to

    def counted(view: View, target: str) -> None:
        copy_to(view, target)
        seen.append(len(os.listdir(target)))

    monkeypatch.setattr(View, "copy_to", counted)
    await builder.build(copied("a", follow=["a"]), session())
    assert seen == [1]


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


async def test_once_it_is_copied_a_context_stays_what_it_was_for_the_whole_build(
    builder, session, context, monkeypatch
):
    execute = FileOp.execute

    async def then_change(op, inputs, step):
        results = await execute(op, inputs, step)
        (context / "a").write_text("changed")
        (context / "b").write_text("changed")
        return results

    monkeypatch.setattr(FileOp, "execute", then_change)
    source = llb.local("context")
    first = llb.scratch().file(llb.copy(source, "a", "/a"))
    built = await builder.build(first.file(llb.copy(source, "b", "/b")), session())
    assert built.files == {"a": "one", "b": "two"}


async def test_nothing_of_a_context_is_left_in_the_store(builder, session):
    await builder.build(copied("a"), session())
    assert {record.record_type for record in await builder.store.usage()} == {"regular"}


async def test_a_missing_file_is_named(builder, session):
    from buildkit.core.errors import NotFound

    with pytest.raises(NotFound, match='"/missing": not found'):
        await builder.build(copied("missing"), session())
