"""Local sources whose directory is at the other end of a wire."""

import os

import pytest
from tests.kit.steps import Asker, Op
from tests.kit.stores import files_of, store_at
from tests.kit.wires import borrowed

from buildkit.session.files import Directories
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.local import Locals
from buildkit.source.source import Sources


async def build(store, tmp_path, *, key="k", **attrs):
    """Fetch the directory ``context`` once; gives its files and what the step noted."""
    lent = Session.new(shared_key=key, locals=Directories({"context": tmp_path / "context"}))
    async with borrowed(lent, tmp_path) as session:
        sessions = Sessions()
        async with sessions.attach(session), store.lease() as lease:
            asker = Asker(session)
            source = Sources(Locals(sessions, store)).open(Op("local://context", attrs))
            ref = await source.snapshot(asker, lease)
            return await files_of(store, ref, lease), asker.facts


@pytest.mark.row("A157", "L41")
async def test_an_unchanged_directory_moves_nothing_but_stats(tmp_path):
    (tmp_path / "context" / "d").mkdir(parents=True)
    (tmp_path / "context" / "d" / "f").write_bytes(os.urandom(1000).hex().encode())
    async with store_at(tmp_path) as store:
        files, first = await build(store, tmp_path)
        assert files == {"d/f": (tmp_path / "context" / "d" / "f").read_text()}
        again, second = await build(store, tmp_path)
        assert again == files
        assert (first["changed"], second["changed"]) == (True, False)
        assert second["received"] < 200 < first["received"]


@pytest.mark.row("A157")
async def test_changed_and_removed_files_are_noticed(tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "old").write_text("old")
    (context / "same").write_text("same")
    async with store_at(tmp_path) as store:
        await build(store, tmp_path)
        (context / "old").unlink()
        (context / "new").write_text("new")
        files, notes = await build(store, tmp_path)
        assert files == {"new": "new", "same": "same"}
        assert notes["changed"]


@pytest.mark.row("L45")
async def test_without_a_differ_everything_is_sent_again(tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "f").write_text("x" * 5000)
    async with store_at(tmp_path) as store:
        await build(store, tmp_path)
        _, notes = await build(store, tmp_path, **{"local.differ": "none"})
        assert notes["received"] > 5000


@pytest.mark.row("A132", "L44")
async def test_other_clients_and_other_hints_have_copies_of_their_own(tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "f").write_text("x" * 5000)
    async with store_at(tmp_path) as store:
        for key, hint in (("a", ""), ("b", ""), ("a", "hint")):
            _, notes = await build(store, tmp_path, key=key, **{"local.sharedkeyhint": hint})
            assert notes["received"] > 5000


@pytest.mark.parametrize("mode", [0o644, 0o4755])
async def test_digests_computed_on_the_way_are_those_of_the_files(tmp_path, mode):
    from buildkit.fs.filehash import hash_file, stamp_of
    from buildkit.fs.receive import Receiver
    from buildkit.fs.send import Sender, SentTree
    from buildkit.source.memory import Fresh

    source, target = tmp_path / "source", tmp_path / "target"
    for place in (source, target):
        place.mkdir()
    for name, size in (("small", 9), ("large", 700_000), ("empty", 0)):
        (source / name).write_bytes(os.urandom(size))
        (source / name).chmod(mode)
    memory = Fresh(None)
    trees = [SentTree(str(source), owner=(os.geteuid(), os.getegid()))]
    with Sender(trees) as sender, Receiver(target, remember=memory.remember) as receiver:
        while not receiver.done:
            sender.take(receiver.feed(sender.produce()))
    fd = os.open(target, os.O_RDONLY)
    for name in ("small", "large"):
        status = os.stat(name, dir_fd=fd)
        assert memory.get(stamp_of(status)) == hash_file(name, fd, status, "")
    os.close(fd)
