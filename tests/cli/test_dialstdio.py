"""``dial-stdio`` as a process: bytes pass as they are, and each direction ends by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from buildkit.cli.main import main

SOURCE = str(Path(__file__).parents[2] / "src")
PROGRAM = "import sys; from buildkit.cli.main import main; sys.exit(main())"


@pytest.fixture
def dialed(tmp_path):
    """The daemon's end of the connection and the process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()
        command = [sys.executable, "-c", PROGRAM, "--addr", f"unix://{tmp_path}/s", "dial-stdio"]
        environment = {**os.environ, "PYTHONPATH": SOURCE}
        with subprocess.Popen(command, stdin=-1, stdout=-1, env=environment, bufsize=0) as process:
            daemon, _ = listener.accept()
            with daemon:
                yield daemon, process


@pytest.mark.row("T9", "Z50")
def test_the_end_of_input_closes_one_half_only(dialed):
    daemon, process = dialed
    process.stdin.write(b"\x00ask")
    process.stdin.close()
    assert daemon.makefile("rb").read() == b"\x00ask"
    daemon.sendall(b"\xffanswer")
    daemon.close()
    assert process.stdout.read() == b"\xffanswer" and process.wait() == 0


@pytest.mark.row("T9")
def test_the_end_of_the_daemons_side_ends_the_command(dialed):
    daemon, process = dialed
    daemon.close()
    assert process.stdout.read() == b"" and process.wait() == 0


@pytest.mark.row("T9")
@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("/run/x", "invalid address /run/x"),
        ("tcp://x:1", "invalid address tcp://x:1 (expected unix://, got tcp://)"),
        ("unix://", "dial unix: missing address"),
        ("unix:///nowhere/x", "dial unix /nowhere/x: connect: no such file or directory"),
    ],
)
def test_only_sockets_of_this_machine_are_dialed(address, text, capsys):
    assert main(["--addr", address, "dial-stdio"]) == 1
    assert capsys.readouterr().err == f"error: {text}\n"
