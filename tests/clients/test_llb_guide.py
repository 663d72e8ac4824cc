"""The guide of the SDK runs as it is printed, but for the name of the base image, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "llb.md").read_text()


@pytest.mark.net
@pytest.mark.root
@pytest.mark.row("L16", "L201", "L202", "L203", "L208")
def test_the_program_of_the_guide_prints_what_the_guide_says(base, tmp_path):
    blocks = re.findall(r"```(python|text)\n(.*?)```", GUIDE, re.DOTALL)
    program = "\n".join(text for kind, text in blocks if kind == "python")
    assert program.count('"busybox"') == 1
    (tmp_path / "program.py").write_text(program.replace('"busybox"', f'"{base}"'))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "greeting").write_text("world\nhello\n")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_DATA_HOME": str(tmp_path / "data")}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = "".join(text for kind, text in blocks if kind == "text")
    assert plain(done.stdout.replace(f"{tmp_path}/", "")) == plain(said)


def plain(text: str) -> list[str]:
    """Lines with one number for all line numbers."""
    return [re.sub(r"^ +\d+ \||(?<=py:)\d+", "N", line).rstrip() for line in text.splitlines() if line.strip()]
