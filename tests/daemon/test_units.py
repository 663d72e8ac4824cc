"""The units of ``examples/systemd``, run as systemd runs them."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit.daemons import Peer, connected

from buildkit.core.sockets import socket_folder

UNITS = Path(__file__).parents[2] / "examples" / "systemd"
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
sys.argv = sys.argv[2:]
from buildkit.daemon.main import main
main()
"""


def settings(name):
    """The settings of a unit by section and key, the last of each."""
    found, section = {}, ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[section, key] = value
    return found


@pytest.fixture
def runtime():
    """What ``%t`` is: a folder whose name leaves room for a socket's."""
    with socket_folder() as folder:
        yield Path(folder)


@pytest.mark.row("Z5")
async def test_the_service_serves_on_its_socket_and_says_when_it_is_ready_and_when_it_stops(tmp_path, runtime):
    service, listening = settings("buildkit.service"), settings("buildkit.socket")
    assert service["Service", "Type"] == "notify"
    path = Path(listening["Socket", "ListenStream"].replace("%t", str(runtime)))
    assert path.relative_to(runtime) == Path("buildkit/buildkitd.sock")
    program, *words = shlex.split(service["Service", "ExecStart"])
    assert Path(program).name == "buildkitd"
    path.parent.mkdir(parents=True)
    words += ["--config", str(tmp_path / "none"), "--root", str(tmp_path / "root"), "--oci-worker-snapshotter=native"]
    with socket.socket(socket.AF_UNIX) as given, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        given.bind(str(path))
        path.chmod(int(listening["Socket", "SocketMode"], 8))
        given.listen()
        manager.bind(str(runtime / "notify"))
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NOTIFY_SOCKET": str(runtime / "notify")}
        command = [sys.executable, "-c", LAUNCHER, str(given.fileno()), program, *words]
        with subprocess.Popen(command, env=environ, pass_fds=[given.fileno()], stderr=subprocess.DEVNULL) as daemon:
            try:
                assert _told(manager, daemon) == b"READY=1"
                async with connected(path) as channel:
                    assert (await Peer(channel, None).control("Info")).buildkitVersion.version
                assert path.stat().st_mode & 0o777 == 0o660
            finally:
                daemon.terminate()
            assert _told(manager, daemon) == b"STOPPING=1"
        assert daemon.returncode == 0 and path.exists()


def _told(manager, daemon):
    with open(os.pidfd_open(daemon.pid), "rb") as ended:
        ready, _, _ = select.select([manager, ended], [], [])
    return manager.recv(100) if manager in ready else b""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not there")
def test_systemd_understands_the_units(tmp_path):
    program = tmp_path / "buildkitd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/usr/local/bin/buildkitd", str(program))
        (tmp_path / unit.name).write_text(text)
    units = [str(tmp_path / unit.name) for unit in sorted(UNITS.iterdir())]
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(["systemd-analyze", "verify", *units], env=environ, capture_output=True, text=True)
    assert done.returncode == 0 and "buildkit" not in done.stderr, done.stderr
