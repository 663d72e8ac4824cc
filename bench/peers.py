"""The builders that are compared: ours embedded, buildah, and a real buildkitd when one is named."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds (CPU of the command and, for a daemon, of its process tree)."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Peer:
    """A builder with its own state."""

    name: str
    state: Path
    daemon: int = 0
    address: str = ""

    def build(self, context: Path, output: str = "", *options: str) -> list[str]:
        """The command line that builds ``context`` (with its Dockerfile)."""
        if self.name == "ours":
            command = [
                os.environ.get("BUILDCTL", str(ROOT / ".venv/bin/buildctl")),
                "build",
                "--root",
                str(self.state),
                *frontend(context),
            ]
        elif self.name == "buildkit":
            command = [os.environ.get("PEER_BUILDCTL", "buildctl"), "--addr", self.address, "build", *frontend(context)]
        else:
            command = ["buildah", *self._storage(), "bud", "--layers", "--tls-verify=false"]
            command += ["--isolation", "chroot", "--pull=false"]
            return [*command, *options, *(["-t", output] if output else []), str(context)]
        return [*command, "--progress", "plain", *options, *(["--output", output] if output else [])]

    def _storage(self) -> list[str]:
        folders = ["--root", str(self.state / "root"), "--runroot", str(self.state / "run")]
        return [*folders, "--storage-driver", "overlay"]


def frontend(context: Path) -> list[str]:
    return ["--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}"]


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process, its reaped children and its live descendants."""
    if not pid:
        return 0.0
    ticks = 0
    pids = [pid]
    while pids:
        one = pids.pop()
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(peer: Peer, command: list[str]) -> Cost:
    """Run a command to its successful end."""
    before, daemon = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_of_tree(peer.daemon)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{peer.name}: {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu + cpu_of_tree(peer.daemon) - daemon)


@contextmanager
def peers(work: Path, names: set[str]) -> Iterator[list[Peer]]:
    """Start what needs starting; ``buildkit`` takes part when PEER_BUILDKITD names a binary."""
    found = [Peer("ours", work / "ours")]
    daemon: subprocess.Popen[bytes] | None = None
    if "buildah" in names and shutil.which("buildah"):
        found.append(Peer("buildah", work / "buildah"))
    if "buildkit" in names and (binary := os.environ.get("PEER_BUILDKITD")):
        address = f"unix://{work}/peer.sock"
        log = (work / "peer.log").open("wb")
        daemon = subprocess.Popen(
            [binary, "--root", str(work / "peer"), "--addr", address, "--oci-worker-net", "host"],
            stdout=log,
            stderr=log,
        )
        for _ in range(300):
            if (work / "peer.sock").exists():
                break
            time.sleep(0.05)
        found.append(Peer("buildkit", work / "peer", daemon.pid, address))
    try:
        yield found
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait()
