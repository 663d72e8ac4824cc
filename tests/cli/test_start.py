"""The file of compiled modules that commands start from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import buildkit

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from buildkit.start import Bundle
bundle = Bundle({bundle!r})
sys.meta_path.insert(0, bundle)
import colorsys, package, package.part
print(type(colorsys.__spec__.loader).__name__, package.part.ANSWER, package.part.__file__)
bundle.update()
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program that imports through a bundle; gives the words that it printed."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("ANSWER = 42\n")

    def once(*arguments):
        program = PROGRAM.format(folder=str(tmp_path), bundle=str(tmp_path / "bundle"))
        environment = {**os.environ, "PYTHONPATH": str(Path(buildkit.__file__).parents[1])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, *arguments, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    return once


def test_the_second_command_takes_its_modules_out_of_one_file(run, tmp_path):
    assert run() == ["SourceFileLoader", "42", str(tmp_path / "package/part.py")]
    assert run() == ["_Loader", "42", str(tmp_path / "package/part.py")]


def test_the_file_is_used_without_the_compiled_modules_beside_the_sources(run, tmp_path):
    run()
    shutil.rmtree(tmp_path / "package/__pycache__")
    assert run("-B") == ["_Loader", "42", str(tmp_path / "package/part.py")]
    assert not (tmp_path / "package/__pycache__").exists()


def test_a_changed_source_is_imported_anew_and_the_file_follows(run, tmp_path):
    run()
    before = (tmp_path / "bundle").read_bytes()
    (tmp_path / "package/part.py").write_text("ANSWER = 4321\n")
    assert run()[1] == "4321"
    assert (tmp_path / "bundle").read_bytes() != before
    assert run()[1] == "4321"


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"\xff" * 100, b"half"])
def test_a_damaged_file_is_no_obstacle_and_is_replaced(run, tmp_path, damage):
    run()
    path = tmp_path / "bundle"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == b"half" else damage)
    assert run()[1] == "42"
    assert run() == ["_Loader", "42", str(tmp_path / "package/part.py")]


def test_a_python_that_writes_no_bytecode_writes_no_file(run, tmp_path):
    run("-B")
    assert not (tmp_path / "bundle").exists()


def test_an_unchanged_file_is_not_written_again(run, tmp_path):
    run()
    before = (tmp_path / "bundle").stat()
    run()
    assert (tmp_path / "bundle").stat().st_ino == before.st_ino
