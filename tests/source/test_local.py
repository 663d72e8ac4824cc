from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.kit.steps import Asker, Op

from buildkit.core.db import Database
from buildkit.core.digest import sha256_text
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound, Unsupported
from buildkit.fs.contenthash import Selector
from buildkit.fs.filehash import stamp_of
from buildkit.session.files import Directories
from buildkit.session.registry import Sessions
from buildkit.session.session import LocalTree, Session
from buildkit.source.local import Locals
from buildkit.source.memory import FileMemory
from buildkit.source.source import Sources
from buildkit.store.store import Store


@pytest.fixture
def context(tmp_path) -> Path:
    root = tmp_path / "context"
    (root / "src").mkdir(parents=True)
    (root / "src" / "main.c").write_text("int main;")
    (root / "notes.log").write_text("noise")
    (root / "current").symlink_to("src/main.c")
    return root


@pytest.fixture
def sources(tmp_path) -> Sources:
    store = Store.open(tmp_path / "store", Database(tmp_path / "db"), snapshotter="native")
    return Sources(Locals(Sessions(wait=0), store))


def parts(sources: Sources) -> Locals:
    return sources._factories["local"]


def session(context: Path) -> Session:
    return Session.new(locals=Directories({"context": context}))


def open_local(sources: Sources, name: str = "context", **attrs: object):
    texts = {f"local.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in attrs.items()}
    return sources.open(Op(f"local://{name}", texts))


async def names(sources: Sources, context: Path, **attrs: object) -> list[str]:
    """What a step that mounts the source sees."""
    store = parts(sources).store
    async with parts(sources).sessions.attach(session(context)) as lender, store.lease() as lease:
        ref = await open_local(sources, **attrs).snapshot(Asker(lender), lease)
        async with store.mounted(ref, lease) as path:
            return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


@pytest.mark.row("L48")
async def test_the_key_is_good_for_one_session_only(sources):
    source = open_local(sources, includepattern=["a"], followpaths=[])
    (key,) = [key async for key in source.keys(Asker("s1"))]
    asked = '{"SessionID":"s1","IncludePatterns":["a"],"ExcludePatterns":null,"FollowPaths":[]}'
    assert key == f"session:context:{sha256_text(asked)}"
    assert source.pin == sha256_text(asked)
    (other,) = [key async for key in open_local(sources, includepattern=["a"]).keys(Asker("s2"))]
    assert other != key


@pytest.mark.row("L41", "L42")
async def test_without_a_session_there_is_nothing_to_read(sources):
    with pytest.raises(FailedPrecondition, match="could not access local files without session"):
        await anext(open_local(sources).keys(Asker()))


@pytest.mark.row("L43")
async def test_patterns_and_followed_paths_select_files(sources, context):
    assert await names(sources, context) == ["current", "notes.log", "src", "src/main.c"]
    assert await names(sources, context, excludepatterns=["*.log", "current"]) == ["src", "src/main.c"]
    assert await names(sources, context, includepattern=["src"]) == ["src", "src/main.c"]
    assert await names(sources, context, followpaths=["current"]) == ["current", "src", "src/main.c"]


@pytest.mark.row("L41")
async def test_the_tree_is_read_in_place_and_nothing_is_copied(sources, context):
    store = parts(sources).store
    async with parts(sources).sessions.attach(session(context)) as lender, store.lease() as lease:
        ref = await open_local(sources).snapshot(Asker(lender), lease)
        assert await store.checksum(ref, [Selector("/src")], lease)
        assert await store.usage() == []


@pytest.mark.row("L42")
async def test_the_preferred_session_is_asked_and_another_when_it_is_gone(sources, context, tmp_path):
    store, sessions = parts(sources).store, parts(sources).sessions
    (tmp_path / "other").mkdir()
    async with sessions.attach(session(context)) as one, sessions.attach(session(tmp_path / "other")) as two:
        async with store.lease() as lease:
            preferred = await open_local(sources, session=one.id).snapshot(Asker(two), lease)
            assert await store.read_file(preferred, "notes.log", lease, limit=9) == b"noise"
            fallback = await open_local(sources, session="gone").snapshot(Asker(one), lease)
            assert await store.read_file(fallback, "notes.log", lease, limit=9) == b"noise"
            with pytest.raises(NotFound):
                await open_local(sources, session="gone").snapshot(Asker(), lease)


@pytest.mark.row("A150")
async def test_a_directory_that_is_not_lent_is_refused(sources, context):
    async with parts(sources).sessions.attach(session(context)) as lender:
        async with parts(sources).store.lease() as lease:
            with pytest.raises(NotFound, match='no access allowed to dir "secret"'):
                await open_local(sources, "secret").snapshot(Asker(lender), lease)


async def test_a_session_that_lends_no_directories_is_refused(sources):
    async with parts(sources).sessions.attach(Session.new()) as lender:
        async with parts(sources).store.lease() as lease:
            with pytest.raises(FailedPrecondition, match="no local sources enabled"):
                await open_local(sources).snapshot(Asker(lender), lease)


async def test_a_directory_that_can_not_be_read_is_refused_by_name(sources):
    class Far:
        def tree(self, name):
            return LocalTree(name)

    async with parts(sources).sessions.attach(Session.new(locals=Far())) as lender:
        async with parts(sources).store.lease() as lease:
            with pytest.raises(Unsupported, match="context can not be read"):
                await open_local(sources).snapshot(Asker(lender), lease)


def test_a_kind_of_transfer_that_is_neither_yes_nor_no_is_refused(sources):
    with pytest.raises(InvalidInput, match=r"invalid value for local\.metadatatransfer 'perhaps'"):
        open_local(sources, metadatatransfer="perhaps")


@pytest.mark.parametrize("text", ["[", "{}", "[1]"])
def test_patterns_that_are_no_list_are_refused(sources, text):
    with pytest.raises(InvalidInput, match=r"local\.excludepatterns"):
        open_local(sources, excludepatterns=text)


class TestMemory:
    @pytest.fixture
    def file(self, context) -> Path:
        path = context / "file"
        path.write_bytes(b"0")
        return path

    async def digest(self, sources, context):
        store = parts(sources).store
        async with parts(sources).sessions.attach(session(context)) as lender, store.lease() as lease:
            ref = await open_local(sources).snapshot(Asker(lender), lease)
            return await store.checksum(ref, [Selector("/file")], lease)

    @pytest.fixture
    def memory(self, sources, tmp_path) -> FileMemory:
        memory = parts(sources).memory = FileMemory(Database(tmp_path / "memory"))
        return memory

    @pytest.fixture
    def settled(self, monkeypatch) -> None:
        monkeypatch.setattr("buildkit.fs.filehash._SETTLED", -(10**15))

    async def test_a_file_that_was_just_touched_is_not_remembered(self, sources, context, file, memory):
        await self.digest(sources, context)
        assert memory.get(stamp_of(file.stat(), (0, 0))) is None

    async def test_a_settled_file_is_not_read_again(self, sources, context, file, memory, settled, monkeypatch):
        told = await self.digest(sources, context)
        assert memory.get(stamp_of(file.stat(), (0, 0))) is not None
        monkeypatch.setattr("buildkit.fs.filehash._read", None)
        assert await self.digest(sources, context) == told

    async def test_a_changed_file_is_read_anew(self, sources, context, file, memory, settled):
        told = await self.digest(sources, context)
        before = file.stat()
        file.write_bytes(b"1")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert await self.digest(sources, context) != told

    def test_pages_are_kept_in_the_database(self, tmp_path):
        memory = FileMemory(Database(tmp_path / "memory"))
        stamps = [(1, inode, 5, 6, 7, 0o100644, 0, 0) for inode in (0, 255, 256, 2**63)]
        for stamp in stamps:
            memory.put(stamp, sha256_text(str(stamp)))
        memory.save()
        again = FileMemory(Database(tmp_path / "memory"))
        assert [again.get(stamp) for stamp in stamps] == [sha256_text(str(stamp)) for stamp in stamps]

    @pytest.mark.parametrize("at", range(8))
    def test_a_stamp_that_differs_in_any_number_is_another_file(self, tmp_path, at):
        memory = FileMemory(Database(tmp_path / "memory"))
        stamp = (1, 2, 5, 6, 7, 0o100644, 0, 0)
        memory.put(stamp, sha256_text("x"))
        assert memory.get((*stamp[:at], stamp[at] + 1, *stamp[at + 1 :])) is None

    def test_numbers_that_no_filesystem_has_are_not_remembered(self, tmp_path):
        memory = FileMemory(Database(tmp_path / "memory"))
        stamp = (1, 2, 5, 2**64, 7, 0o100644, 0, 0)
        memory.put(stamp, sha256_text("x"))
        assert memory.get(stamp) is None

    def test_a_damaged_page_is_forgotten(self, tmp_path):
        db, stamp = Database(tmp_path / "memory"), (1, 2, 5, 6, 7, 0o100644, 0, 0)
        memory = FileMemory(db)
        memory.put(stamp, sha256_text("x"))
        memory.save()
        db.execute("UPDATE file_pages SET entries = x'00'")
        assert FileMemory(db).get(stamp) is None
