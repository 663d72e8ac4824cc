"""The daemon as a process."""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kit.daemons import Peer, connected, drive

from buildkit.llb import mkfile, scratch

COMMAND = (sys.executable, "-m", "buildkit.daemon.main")


@contextmanager
def process(folder, *words, until_ready=True):
    """A daemon that has said that it is ready."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NOTIFY_SOCKET": str(folder / "notify")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(environ["NOTIFY_SOCKET"])
        command = [*COMMAND, "--config", folder / "none", "--root", folder / "root", "--oci-worker-snapshotter=native"]
        running = subprocess.Popen([*command, *words], env=environ, stderr=subprocess.PIPE, text=True)
        try:
            if until_ready:
                with open(os.pidfd_open(running.pid), "rb") as ended:
                    told, _, _ = select.select([manager, ended], [], [])
                assert manager in told, running.stderr.read()
                assert manager.recv(100) == b"READY=1"
            yield running
        finally:
            running.kill()
            running.wait()
            running.stderr.close()
            (folder / "notify").unlink()


def run(*words):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*COMMAND, *words], env=environ, capture_output=True, text=True)


@pytest.mark.row("B18")
def test_the_version_has_four_words_for_drivers():
    words = run("--version").stdout.split()
    assert words[:3] == ["buildkitd", "github.com/moby/buildkit", "v0.32.2"] and len(words) == 4


def test_a_bad_command_line_is_told_in_one_line():
    found = run("--nope")
    assert (found.returncode, found.stderr) == (2, "buildkitd: flag provided but not defined: -nope\n")
    found = run("--oci-worker-selinux")
    assert (found.returncode, found.stderr) == (1, "buildkitd: --oci-worker-selinux: SELinux is not supported yet\n")


@pytest.mark.row("B62")
def test_a_daemon_makes_files_with_the_modes_that_it_means(tmp_path):
    before = os.umask(0o77)
    try:
        with process(tmp_path, f"--addr=unix://{tmp_path}/s") as daemon:
            assert "Umask:\t0000\n" in Path(f"/proc/{daemon.pid}/status").read_text()
    finally:
        os.umask(before)


@pytest.mark.row("B20", "B21", "B61", "B66")
def test_a_daemon_is_alone_on_its_folder_and_stops_when_told(tmp_path):
    address = f"unix://{tmp_path}/s"
    with process(tmp_path, "--addr", address) as first:
        second = run("--root", str(tmp_path / "root"), "--addr", address)
        assert second.returncode == 1 and "another instance running?" in second.stderr
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 0
        log = first.stderr.read()
        assert f"running server on {tmp_path}/s" in log and "stopping server" in log
    assert not (tmp_path / "s").exists()


@pytest.mark.row("B20")
async def test_a_running_build_ends_before_the_daemon_does(tmp_path):
    import asyncio

    with process(tmp_path, f"--addr=unix://{tmp_path}/s") as daemon:
        async with connected(tmp_path / "s") as channel:
            peer = Peer(channel, None)
            solving = asyncio.create_task(peer.control("Solve", Ref="one"))
            await peer.bridge("one", "Ping")
            daemon.send_signal(signal.SIGTERM)
            while (tmp_path / "s").exists():
                await asyncio.sleep(0.01)
            await peer.bridge("one", "Return", result={})
            await solving
        assert await asyncio.to_thread(daemon.wait) == 0


@pytest.mark.row("B20")
async def test_a_second_signal_stops_at_once(tmp_path):
    import asyncio

    from buildkit.core.errors import BuildkitError

    with process(tmp_path, f"--addr=unix://{tmp_path}/s") as daemon:
        async with connected(tmp_path / "s") as channel:
            peer = Peer(channel, None)
            solving = asyncio.create_task(peer.control("Solve", Ref="one"))
            await peer.bridge("one", "Ping")
            daemon.send_signal(signal.SIGTERM)
            while (tmp_path / "s").exists():
                await asyncio.sleep(0.01)
            daemon.send_signal(signal.SIGTERM)
            with pytest.raises(BuildkitError):
                await solving
        assert await asyncio.to_thread(daemon.wait) == 0


@pytest.mark.row("A53")
async def test_a_killed_daemon_comes_back_with_what_it_knew(tmp_path):
    state = scratch().file(mkfile("/hello", b"hello"))
    with process(tmp_path, f"--addr=unix://{tmp_path}/s") as daemon:
        async with connected(tmp_path / "s") as channel:
            await drive(Peer(channel, None), state, ref="one")
        daemon.kill()
        daemon.wait()
    with process(tmp_path, f"--addr=unix://{tmp_path}/s"):
        async with connected(tmp_path / "s") as channel:
            peer = Peer(channel, None)
            (event,) = await peer.listing("ListenBuildHistory", EarlyExit=True)
            assert event.record.Ref == "one"
            _, statuses = await drive(peer, state)
            assert any(vertex.cached for status in statuses for vertex in status.vertexes)


@pytest.mark.row("B60")
async def test_a_socket_is_taken_from_systemd(tmp_path):
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "s"))
        given.listen()
        script = f"import os; os.dup2({given.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        script += "os.environ['LISTEN_FDS'] = '1'; from buildkit.daemon.main import main; main()"
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        words = ["--addr=fd://", "--root", str(tmp_path / "root"), "--oci-worker-snapshotter=native"]
        daemon = subprocess.Popen(
            [sys.executable, "-c", script, *words], env=environ, pass_fds=[given.fileno()], stderr=subprocess.DEVNULL
        )
        try:
            async with connected(tmp_path / "s") as channel:
                found = await Peer(channel, None).control("Info")
                assert found.buildkitVersion.version == "v0.32.2"
        finally:
            daemon.terminate()
            daemon.wait()


@pytest.mark.row("B62")
def test_modes_of_what_a_daemon_makes_are_not_masked(tmp_path):
    with process(tmp_path, "--addr", f"unix://{tmp_path}/s") as running, open(f"/proc/{running.pid}/status") as status:
        assert "Umask:\t0000\n" in status.readlines()
