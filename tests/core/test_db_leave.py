from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import buildkit
from buildkit.core.db import Database

_WRITER = """
import sys
from buildkit.core.db import Database
db = Database(sys.argv[1])
db.ensure("CREATE TABLE IF NOT EXISTS t (x)")
db.execute("INSERT INTO t VALUES (1)")
db.leave()
"""


def test_a_process_may_leave_its_database_and_the_next_one_finds_everything(tmp_path):
    path = tmp_path / "db"
    for expected in (1, 2):
        source = str(Path(buildkit.__file__).parents[1])
        subprocess.run([sys.executable, "-c", _WRITER, str(path)], check=True, env={"PYTHONPATH": source})
        assert (tmp_path / "db-wal").stat().st_size > 0
        if expected == 2:
            assert Database(path).execute("SELECT count(*) FROM t") == [(2,)]
