"""The README's program runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.root
def test_the_program_in_the_readme_builds_what_it_says(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "state"))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.bin").write_text("b")
    (tmp_path / "Dockerfile").write_text("FROM scratch AS app\nCOPY a.txt /\nFROM nowhere.invalid/x\n")
    exec(compile(program, "README.md", "exec"), {})
    site = tmp_path / "out" / "site"
    assert sorted(path.name for path in site.iterdir()) == ["a.txt", "index.html"]
    assert (site / "index.html").read_text() == "<h1>Built in Python</h1>\n"
    digest, used, *_ = capsys.readouterr().out.split()
    assert digest.startswith("sha256:") and int(used) > 0 and (tmp_path / "app.tar").stat().st_size > 0
