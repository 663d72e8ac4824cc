"""The command in a place where standard streams are closed, as daemons and cron jobs may start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("word", "status"), [("help", 0), ("nonsense", 2)])
def test_a_closed_stream_does_not_change_the_exit_status(tmp_path: Path, closed: str, word: str, status: int) -> None:
    program = "from buildkit.cli.main import command; command()"
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", program, word]
    done = subprocess.run(shell, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, cwd=tmp_path, capture_output=True)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr and list(tmp_path.iterdir()) == []
