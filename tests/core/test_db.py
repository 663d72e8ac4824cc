import os
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from buildkit.core.db import Database
from buildkit.core.errors import Exhausted, FailedPrecondition


def opened(path):
    db = Database(path)
    db.ensure("CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v)")
    return db


def test_rows_survive_closing(tmp_path):
    db = opened(tmp_path / "d")
    db.execute("INSERT INTO t VALUES (?, ?)", ("a", 1))
    db.close()
    assert opened(tmp_path / "d").execute("SELECT * FROM t") == [("a", 1)]


def test_a_failed_transaction_leaves_nothing_and_they_nest(tmp_path):
    db = opened(tmp_path / "d")
    with pytest.raises(RuntimeError), db.transaction():
        db.execute("INSERT INTO t VALUES ('a', 1)")
        with db.transaction():
            db.execute("INSERT INTO t VALUES ('b', 2)")
        raise RuntimeError
    with db.transaction():
        db.execute_many("INSERT INTO t VALUES (?, ?)", [("c", 3), ("d", 4)])
    assert db.execute("SELECT k FROM t ORDER BY k") == [("c",), ("d",)]


@pytest.mark.row("S63")
def test_a_file_that_is_no_database_is_set_aside(tmp_path):
    path = tmp_path / "d"
    path.write_bytes(b"not a database at all" * 100)
    assert opened(path).execute("SELECT * FROM t") == []
    assert (tmp_path / "d.bak").read_bytes().startswith(b"not a database")


def test_a_database_that_cannot_be_opened_now_is_told_and_not_set_aside(tmp_path):
    path = tmp_path / "d"
    opened(path).execute("INSERT INTO t VALUES ('a', 1)")
    path.rename(tmp_path / "kept")
    path.mkdir()
    with pytest.raises(FailedPrecondition, match=f"^database {path}: unable to open database file$"):
        Database(path)
    assert path.is_dir() and not (tmp_path / "d.bak").exists()


@pytest.mark.parametrize("damage", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_only_a_damaged_database_is_set_aside(tmp_path, monkeypatch, damage):
    path = tmp_path / "d"
    opened(path).close()
    broken = sqlite3.OperationalError("told")
    broken.sqlite_errorcode = damage
    opening, failing = Database._open, [broken]

    def open_once(self):
        if failing:
            raise failing.pop()
        return opening(self)

    monkeypatch.setattr(Database, "_open", open_once)
    try:
        Database(path)
    except (Exhausted, FailedPrecondition) as error:
        assert str(error) == f"database {path}: told"
    assert (tmp_path / "d.bak").exists() == (damage == sqlite3.SQLITE_CORRUPT)


def test_a_killed_writer_leaves_a_whole_database(tmp_path):
    script = textwrap.dedent("""
        import sys
        from buildkit.core.db import Database
        db = Database(sys.argv[1])
        db.ensure("CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v)")
        n = 0
        while True:
            with db.transaction():
                db.execute("INSERT INTO t VALUES (?, 1)", (f"{n}a",))
                db.execute("INSERT INTO t VALUES (?, 1)", (f"{n}b",))
            n += 1
            if n == 50: print("go", flush=True)
    """)
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "d")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    writer.stdout.readline()
    writer.kill()
    writer.wait()
    db = opened(tmp_path / "d")
    assert db.execute("PRAGMA integrity_check") == [("ok",)]
    count = db.execute("SELECT count(*) FROM t")[0][0]
    assert count >= 100
    assert count % 2 == 0


def test_a_full_disk_leaves_room_for_the_rows_that_free_it(tmp_path):
    db = Database(tmp_path / "db")
    db.ensure("CREATE TABLE t (content BLOB)")
    db.execute("PRAGMA max_page_count = 30")
    with pytest.raises(Exhausted, match="no space left"):
        for _ in range(40):
            db.execute("INSERT INTO t VALUES (zeroblob(4096))")
    reserve = tmp_path / "db.reserve"
    assert reserve.stat().st_blocks * 512 >= 1 << 20
    with db.making_room():
        with pytest.raises(Exhausted):
            db.execute("INSERT INTO t VALUES (zeroblob(4096))")
        assert not reserve.exists()
    assert reserve.stat().st_blocks * 512 >= 1 << 20
    db.close()


def test_the_log_stays_short_for_whoever_opens_it_next(tmp_path):
    db = Database(tmp_path / "db")
    db.ensure("CREATE TABLE t (x)")
    for number in range(1500):
        db.execute("INSERT INTO t VALUES (?)", (number,))
    assert (tmp_path / "db-wal").stat().st_size < 600 * 4096
    db.close()
