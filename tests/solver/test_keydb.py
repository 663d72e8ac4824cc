"""The key graph in SQLite against the one in dicts."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.graphs import World, counts, vertex

from buildkit.core.db import Database
from buildkit.solver.keydb import DatabaseKeys
from buildkit.solver.keys import Link, MemoryKeys, Record

KEYS = st.sampled_from("abcd")
LINKS = st.builds(Link, st.integers(0, 1), st.sampled_from(["d1", "d2"]), st.sampled_from(["", "s"]))
NAMES = st.sampled_from(["r1", "r2", "r3"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("link"), KEYS, LINKS, st.sampled_from("bcd")),
        st.tuples(st.just("save"), KEYS, NAMES, st.integers(1, 9)),
        st.tuples(st.just("peek"), KEYS, LINKS),
        st.tuples(st.just("forget"), NAMES),
        st.tuples(st.just("collect"), st.frozensets(NAMES)),
        st.just(("reopen",)),
    ),
    max_size=30,
)


def apply(keys, step):
    match step:
        case "link", parent, link, key:
            keys.write([(parent, link, key)])
        case "save", key, name, created_at:
            keys.write(records=[Record(key, name, created_at)])
        case "peek", key, link:
            keys.match([key], link), keys.records(key)
        case "forget", name:
            keys.forget(name)
        case "collect", alive:
            keys.collect(alive.__contains__)


def picture(keys, names="abcd"):
    links = [Link(i, d, s) for i in (0, 1) for d in ("d1", "d2") for s in ("", "s")]
    return {
        key: (
            keys.knows(key),
            {link: set(keys.match([key], link)) for link in links},
            set(keys.records(key)),
            set(keys.backlinks(key)),
        )
        for key in names
    }


@pytest.mark.row("S20")
@given(STEPS)
def test_both_stores_agree_whatever_happens_and_after_reopening(steps):
    memory, db = MemoryKeys(), Database(":memory:")
    stored = DatabaseKeys(db)
    for step in steps:
        apply(memory, step)
        if step == ("reopen",):
            stored = DatabaseKeys(db)
        apply(stored, step)
    assert picture(stored) == picture(memory)
    assert picture(DatabaseKeys(db)) == picture(memory)


async def test_what_was_built_is_a_hit_in_the_next_process(tmp_path):
    db = Database(tmp_path / "cache.db")
    await World(DatabaseKeys(db)).build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1"), content=[0]))
    db.close()
    w = World(DatabaseKeys(Database(tmp_path / "cache.db")))
    assert await w.build(g := vertex("v0", "s0", "no", vertex("v1", "s1", "no"), content=[0])) == "r0"
    assert counts(g) == (2, 0)


async def test_collecting_forgets_what_is_gone_and_keys_that_lead_nowhere():
    db = Database(":memory:")
    w = World(DatabaseKeys(db))
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "s1", "r1")))
    assert w.keys.collect(lambda name: False) == 2
    assert db.execute("SELECT count(*) FROM key_link") == [(0,)]
    assert db.execute("SELECT count(*) FROM key_record") == [(0,)]


async def test_random_keys_are_not_written_to_disk():
    db = Database(":memory:")
    w = World(DatabaseKeys(db))
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "random:abc", "r1"), content=[0]))
    assert await w.build(vertex("v0", "s0", "no", vertex("v1", "random:abc", "no"), content=[0])) == "r0"
    assert not db.execute("SELECT 1 FROM key_link WHERE parent LIKE 'random:%'")
    assert not db.execute("SELECT 1 FROM key_record WHERE key LIKE 'random:%'")


def test_a_failed_transaction_leaves_neither_rows_nor_memories():
    keys = DatabaseKeys(Database(":memory:"))
    with pytest.raises(KeyError), keys.transaction():
        keys.write([("a", Link(0, "d1"), "b")], [Record("b", "r", 1)])
        raise KeyError
    assert not keys.knows("a")
    assert not keys.records("b")


@pytest.mark.row("S63")
async def test_a_corrupt_file_is_set_aside(tmp_path):
    path = tmp_path / "cache.db"
    path.write_bytes(b"garbage" * 1000)
    w = World(DatabaseKeys(Database(path)))
    assert await w.build(vertex("v0", "s0", "r0")) == "r0"
    assert (tmp_path / "cache.db.bak").read_bytes().startswith(b"garbage")


WRITER = """
    import asyncio, sys
    from buildkit.core.db import Database
    from buildkit.solver.keydb import DatabaseKeys
    from tests.kit.graphs import World, vertex

    async def main():
        w = World(DatabaseKeys(Database(sys.argv[1])))
        for i in range(100000):
            await w.build(vertex("a", f"a{i}", f"a{i}", vertex("b", f"b{i}", f"b{i}"), content=[0]))
            print(i, flush=True)

    asyncio.run(main())
"""


async def test_a_killed_process_leaves_a_consistent_graph(tmp_path):
    path = tmp_path / "cache.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as writer:
        last = [int(writer.stdout.readline()) for _ in range(30)][-1]
        writer.send_signal(signal.SIGKILL)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    w = World(DatabaseKeys(Database(path)))
    for i in range(last + 1):
        g = vertex("a", f"a{i}", "no", vertex("b", f"b{i}", "no"), content=[0])
        assert await w.build(g) == f"a{i}"
        assert counts(g) == (2, 0)
    orphans = "SELECT 1 FROM key_link WHERE key NOT IN (SELECT key FROM key_record UNION SELECT parent FROM key_link)"
    assert not sqlite3.connect(path).execute(orphans).fetchall()


def test_what_was_forgotten_can_be_learned_again_by_a_store_that_knew_only_a_part():
    db = Database(":memory:")
    written = ([("a", Link(0, "d1"), "b")], [Record("b", "r", 1)])
    DatabaseKeys(db).write(*written)
    keys = DatabaseKeys(db)
    assert keys.match(["a"], Link(0, "d1")) == {"b"}
    keys.forget("r")
    assert not keys.match(["a"], Link(0, "d1"))
    keys.write(*written)
    assert DatabaseKeys(db).match(["a"], Link(0, "d1")) == {"b"}


def test_after_many_queries_the_whole_table_is_read_and_still_learns():
    db = Database(":memory:")
    DatabaseKeys(db).write([(f"p{i}", Link(0, "d"), f"k{i}") for i in range(300)])
    keys, queries = DatabaseKeys(db), []
    execute, db.execute = db.execute, lambda *a: queries.append(a) or execute(*a)
    assert all(keys.match([f"p{i}"], Link(0, "d")) == {f"k{i}"} for i in range(300))
    assert len(queries) < 100
    keys.write([("new", Link(0, "d"), "k")])
    assert keys.match(["new"], Link(0, "d")) == {"k"} == DatabaseKeys(db).match(["new"], Link(0, "d"))


def test_what_is_read_while_nobody_builds_is_let_go_of_and_read_again(monkeypatch):
    monkeypatch.setattr("buildkit.solver.keydb._RESTING", 3)
    keys = DatabaseKeys(Database(":memory:"))
    link = Link(0, "sha256:l", "")
    keys.write([("a", link, "b")], [Record("b", "r", 1)])
    keys.rest()
    assert keys.match(("a",), link) == {"b"}
    keys.write([("c", link, "d")], [Record("d", "r", 2)])
    keys.rest()
    assert not len(keys._mirror)
    assert keys.match(("a",), link) == {"b"}
    assert {record.name for record in keys.records("d")} == {"r"}
