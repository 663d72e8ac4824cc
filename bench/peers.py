"""The builders that are compared: ours in the command or as a daemon, buildah, and a real buildkitd where one is named.

``BUILDCTL`` and ``BUILDKITD`` name our programs, ``PEER_BUILDCTL`` and ``PEER_BUILDKITD`` the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cost import Cost, environment, measure, median

ROOT = Path(__file__).parent.parent
OUR_BUILDCTL = os.environ.get("BUILDCTL", str(ROOT / ".venv/bin/buildctl"))
OUR_BUILDKITD = os.environ.get("BUILDKITD", str(ROOT / ".venv/bin/buildkitd"))
BUILDCTL = os.environ.get("PEER_BUILDCTL", "")
BUILDKITD = os.environ.get("PEER_BUILDKITD", "")


@dataclass(frozen=True)
class Peer:
    """A builder with its own state: ``client`` is the beginning of its command line, ``daemon`` a process or 0."""

    name: str
    client: tuple[str, ...]
    daemon: int = 0

    def build(self, context: Path, output: str = "", *options: str) -> list[str]:
        """The command line that builds ``context`` (with its Dockerfile)."""
        if self.client[0] == "buildah":
            words = ["bud", "--layers", "--tls-verify=false", "--isolation", "chroot", "--pull=false"]
            return [*self.client, *words, *options, *(["-t", output] if output else []), str(context)]
        frontend = ["--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}"]
        return self.solve(*frontend, *options, *(["--output", output] if output else []))

    def solve(self, *options: str) -> list[str]:
        """The command line of another build."""
        return self.buildctl("build", "--progress", "plain", *options)

    def buildctl(self, command: str, *options: str) -> list[str]:
        """Any command of a client of BuildKit; ours without a daemon has its state behind the command."""
        if self.client[1] == "--root":
            return [self.client[0], command, *self.client[1:], *options]
        return [*self.client, command, *options]

    def measure(self, *commands: list[str]) -> Cost:
        """Run commands at once."""
        return measure(*commands, daemon=self.daemon)


@dataclass(frozen=True)
class Bench:
    """What a workload is given: a folder, the name of a base image, builders, and how often to measure."""

    work: Path
    base: str
    peers: list[Peer]
    runs: int

    @property
    def ours(self) -> Peer:
        """The engine in the command."""
        return self.peers[0]

    def interleave(self, peers: list[Peer], runs: int, command: Callable[[Peer, int], list[str]]) -> dict[str, Cost]:
        """The median cost of every peer's commands, in turns."""
        costs: dict[str, list[Cost]] = {peer.name: [] for peer in peers}
        for run in range(runs):
            for peer in peers:
                costs[peer.name].append(peer.measure(command(peer, run)))
        return {name: median(found) for name, found in costs.items()}

    @contextmanager
    def daemons(self, name: str, *, own_clients: bool = False) -> Iterator[list[Peer]]:
        """Our daemon and the real one, both new. The same client drives them: the real one where it is at hand."""
        with ExitStack() as stack:
            found = []
            for peer, daemon, client in (("ours", OUR_BUILDKITD, OUR_BUILDCTL), ("buildkit", BUILDKITD, BUILDCTL)):
                if daemon:
                    folder = self.work / f"{name}-{peer}"
                    address, pid = stack.enter_context(running(daemon, folder))
                    program = client if own_clients and client else BUILDCTL or OUR_BUILDCTL
                    found.append(Peer(peer, (program, "--addr", address), pid))
            yield found


@contextmanager
def running(program: str, folder: Path) -> Iterator[tuple[str, int]]:
    """A daemon with its state in a new folder: its address and process."""
    folder.mkdir()
    socket = folder / "s.sock"
    words = [program, "--root", str(folder / "state"), "--addr", f"unix://{socket}", "--oci-worker-net", "host"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment())
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.02)
        measure([BUILDCTL or OUR_BUILDCTL, "--addr", f"unix://{socket}", "debug", "workers"])
        yield f"unix://{socket}", process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def peers(work: Path, names: set[str]) -> Iterator[list[Peer]]:
    """Ours in the command, and what it is compared with: ``buildah``, ``buildkit``; where they are at hand."""
    found = [Peer("ours", (OUR_BUILDCTL, "--root", str(work / "ours")))]
    with ExitStack() as stack:
        if "buildah" in names and shutil.which("buildah"):
            folders = ("--root", str(work / "buildah/root"), "--runroot", str(work / "buildah/run"))
            found.append(Peer("buildah", ("buildah", *folders, "--storage-driver", "overlay")))
        if "buildkit" in names and BUILDKITD:
            address, pid = stack.enter_context(running(BUILDKITD, work / "peer"))
            found.append(Peer("buildkit", (BUILDCTL or OUR_BUILDCTL, "--addr", address), pid))
        yield found
