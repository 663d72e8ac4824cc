"""Folders for sockets: private, short, and gone when their process is, however it ended."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from buildkit.core.sockets import socket_folder, sweep_folders

HOLD = """
from buildkit.core.sockets import socket_folder
with socket_folder() as folder:
    open(folder + "/x", "w").close()
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def place(tmp_path_factory, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def hold() -> tuple[subprocess.Popen[str], Path]:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD], text=True, env=environ, **pipes)
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_private_and_goes_with_its_scope(place):
    with socket_folder() as folder:
        assert Path(folder).parent == place and stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        sweep_folders()
        assert os.path.isdir(folder)
    assert os.listdir(place) == []


def test_a_long_place_is_not_used(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 60)
    with socket_folder() as folder:
        assert len(folder) < 60


def test_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays(place):
    (dead, left), (alive, used) = hold(), hold()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert left.is_dir()
    sweep_folders()
    assert not left.exists() and (used / "x").exists()
    alive.communicate("\n")
    assert os.listdir(place) == []


def test_nothing_is_swept_through_a_link(place, tmp_path):
    (tmp_path / "mine").touch()
    (place / "buildkit-sockets-x").symlink_to(tmp_path)
    sweep_folders()
    assert (tmp_path / "mine").exists()
