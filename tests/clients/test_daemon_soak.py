"""A daemon under many builds, and killed in the middle of them: the real thing as processes.

``SOAK=200`` repeats as often; without it each test repeats a few times.
"""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.daemon.test_command import process
from tests.kit.consistency import verify_store

from buildkit.core.db import Database
from buildkit.fs.mount import mounts_below
from buildkit.store.store import Store

SOAK = int(os.environ.get("SOAK", "0"))
PROGRAM = "import sys; from buildkit.cli.main import main; sys.exit(main())"

pytestmark = [pytest.mark.net, pytest.mark.root, pytest.mark.slow]


class Client:
    """Our client; each build changes one file of the context."""

    def __init__(self, folder, base):
        self.folder = folder
        self.base = base
        self.socket = folder / "s"

    def project(self, name, number):
        context = self.folder / f"context-{name}"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(
            f"FROM {self.base} AS one\nCOPY changing /\n"
            f"RUN echo {name} && cp /changing /made && sleep 0.0{number % 5}\n"
            "FROM scratch\nCOPY --from=one /made /\n"
        )
        (context / "changing").write_bytes(os.urandom(1000) * 100 + str(number).encode())
        return context

    def start(self, name, number):
        context = self.project(name, number)
        command = [sys.executable, "-c", PROGRAM, "--addr", f"unix://{self.socket}", "build", "--progress=plain"]
        command += ["--frontend=dockerfile.v0", f"--local=context={context}", f"--local=dockerfile={context}"]
        command += ["--output", f"type=local,dest={self.folder}/out-{name}"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(command, env=environ, stdin=-3, stdout=-1, stderr=-2, text=True)

    def build(self, name, number):
        with self.start(name, number) as running:
            said = running.communicate()[0]
        assert running.returncode == 0, said
        made = (self.folder / f"out-{name}/made").read_bytes()
        assert made == (self.folder / f"context-{name}/changing").read_bytes()

    def kill_in_the_middle(self, number, victim=None):
        """Start a build, and end it or the ``victim`` without warning."""
        with self.start("killed", number) as running:
            try:
                running.wait(random.Random(number).uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                (victim or running).kill()
            running.communicate()


def flags(client):
    return (f"--addr=unix://{client.socket}", "--oci-worker-snapshotter=overlayfs")


@pytest.fixture
def client(tmp_path, base):
    return Client(tmp_path, base)


def test_build_after_build_and_six_at_once_work(client):
    with process(client.folder, *flags(client)):
        for number in range(SOAK or 10):
            client.build("one", number)
        with ThreadPoolExecutor(6) as pool:
            for number in range(max(SOAK // 20, 1)):
                list(pool.map(lambda name, number=number: client.build(name, number), "abcdef"))


def test_a_daemon_whose_clients_are_killed_goes_on(client):
    with process(client.folder, *flags(client)) as daemon:
        for number in range(SOAK // 4 or 6):
            client.kill_in_the_middle(number)
        client.build("last", 1)
        daemon.terminate()
        assert daemon.wait() == 0
    assert mounts_below(str(client.folder)) == []


async def test_a_daemon_that_was_killed_starts_again_with_a_consistent_store(client):
    root = client.folder / "root"
    for number in range(SOAK // 4 or 6):
        with process(client.folder, *flags(client)) as daemon:
            client.kill_in_the_middle(number, daemon)
        (client.socket).unlink(missing_ok=True)
    with process(client.folder, *flags(client)) as daemon:
        client.build("last", 1)
        daemon.terminate()
        assert daemon.wait() == 0
    assert mounts_below(str(client.folder)) == []
    db = Database(root / "buildkit.db")
    store = Store.open(root, db, snapshotter="overlayfs")
    assert await verify_store(store) >= 3
    await store.close()
    db.close()
