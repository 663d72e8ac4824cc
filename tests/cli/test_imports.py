"""What is imported before the command line is parsed: start-up time is part of every cached rebuild."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ALLOWED = (Path(__file__).parent / "allowed_imports.txt").read_text().split()
STANDARD = {"__future__", "msgspec", "typing", "contextlib", "collections.abc"}
SOURCE = Path(__file__).parents[2] / "src"


def imported(statement):
    """The modules that a fresh interpreter has after a statement and had not before."""
    start = "import sys; before = set(sys.modules); sys.modules['typing_extensions'] = None"
    program = f"{start}\n{statement}\nprint('\\n'.join(set(sys.modules) - before))"
    run = [sys.executable, "-S", "-c", program]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{Path(msgspec.__file__).parents[1]}"}
    return set(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.split())


def cost_of_standard():
    return imported(";".join(f"import {name}" for name in sorted(STANDARD)))


def test_the_command_starts_with_nothing_but_the_allowed_modules():
    assert imported("import buildkit.cli.main") - cost_of_standard() - set(ALLOWED) == set()


def test_the_list_of_allowed_modules_has_nothing_to_spare():
    assert set(ALLOWED) - imported("import buildkit.cli.main") == set()


@pytest.mark.parametrize("heavy", ["asyncio", "argparse", "pathlib", "json", "ssl", "sqlite3", "google.protobuf"])
def test_bad_usage_is_told_without_heavy_modules(heavy):
    assert heavy not in imported("from buildkit.cli.main import main; assert main(['build', '--root']) == 2")
