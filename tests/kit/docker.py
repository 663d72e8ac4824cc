"""Docker as Debian's newest release ships it: the daemon, whose BuildKit is an oracle, and its commands."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTS = Path(__file__).parents[2] / ".work/parts"
_UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"


def part(package: str, path: str) -> str | None:
    """A program of an unpacked package, the newest release of it that is there."""
    found = sorted(PARTS.glob(f"{package}.*/{path}"), key=lambda one: ".sid/" in str(one))
    return str(found[-1]) if found else None


DOCKERD = part("docker.io", "usr/sbin/dockerd")
CONTAINERD = part("containerd", "usr/bin/containerd")
DOCKER = part("docker-cli", "usr/bin/docker")
BUILDX = {
    path.parts[-6].rpartition(".")[2]: str(path)
    for path in sorted(PARTS.glob("docker-buildx.*/usr/libexec/docker/cli-plugins/docker-buildx"))
}
"""Every release of docker-buildx that is there, by Debian's name of the suite."""
COMPOSE = part("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose")


@contextmanager
def dockerd(folder: Path, *registries: str) -> Iterator[str]:
    """A docker daemon with its state in ``folder``: the path of its socket."""
    assert DOCKERD and CONTAINERD
    config = {"features": {"containerd-snapshotter": True}, "insecure-registries": list(registries)}
    (folder / "daemon.json").write_text(json.dumps(config))
    places = [str(Path(DOCKERD).parent), str(Path(CONTAINERD).parent), os.environ["PATH"]]
    runtime = shutil.which("runc", path="/usr/sbin:/usr/bin")
    assert runtime is not None
    command = [DOCKERD, "--config-file", folder / "daemon.json", "--data-root", folder / "data"]
    command += ["--exec-root", folder / "run", "--host", f"unix://{folder}/docker.sock", "--pidfile", folder / "pid"]
    command += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    with (folder / "dockerd.log").open("wb") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PATH": os.pathsep.join(places)}, process_group=0
        )
        try:
            while "API listen on" not in (folder / "dockerd.log").read_text():
                assert running.poll() is None, (folder / "dockerd.log").read_text()
                threading.Event().wait(0.05)
            yield str(folder / "docker.sock")
        finally:
            running.terminate()
            running.wait()


@contextmanager
def builder_of(docker_socket: str, folder: Path) -> Iterator[str]:
    """The BuildKit inside a docker daemon as if it were a daemon of its own: its address."""
    path = folder / "builder.sock"
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(docker_socket)
        far_writer.write(_UPGRADE)
        assert b" 101 " in (await far_reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    async def serve() -> None:
        async with await asyncio.start_unix_server(connect, path):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait()
    try:
        yield f"unix://{path}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
