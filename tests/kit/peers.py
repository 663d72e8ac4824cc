"""Other builders, to compare with: buildah, and a real buildkitd where one is named."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.kit.projects import ImageTar, describe

STUBS = ("run", "run/.containerenv", "run/secrets", "etc/hosts", "etc/hostname", "etc/resolv.conf", "sys", ".")
"""Mount points that builders leave behind when the base image lacks them, each others."""


@dataclass(frozen=True)
class Buildah:
    """buildah with its storage in a folder of its own."""

    folder: Path

    def run(self, *words: str) -> str:
        storage = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "overlay"]
        for _ in range(3):
            done = subprocess.run(["buildah", *storage, *words], capture_output=True, text=True)
            if "sealing memfd copy" not in done.stderr:  # a race of its own, now and then
                break
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def build(self, context: Path, *arguments: str) -> str:
        """Build a context; gives the name of the image."""
        words = ("--isolation", "chroot", "--tls-verify=false", "--layers", "-q")
        return self.run("bud", *words, *arguments, str(context)).split()[-1]

    def tree(self, image: str) -> dict[str, str]:
        """Everything in an image, an entry a line."""
        container = self.run("from", "--pull-never", image).strip()
        try:
            root = self.run("mount", container).strip()
            archive = subprocess.run(["tar", "-C", root, "-c", "."], capture_output=True, check=True).stdout
        finally:
            self.run("rm", container)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            return {one.name.removeprefix("./"): describe(tar, one) for one in tar}


@contextmanager
def buildah(folder: Path) -> Iterator[Buildah]:
    """buildah for a scope; its mounts end with it."""
    one = Buildah(folder)
    try:
        yield one
    finally:
        one.run("umount", "--all")
        one.run("rmi", "--all", "--force")
        subprocess.run(["umount", f"{folder}/root/overlay"], capture_output=True)


@dataclass(frozen=True)
class Daemon:
    """A real buildkitd."""

    address: str

    def image(self, context: Path, output: Path, *arguments: str, attrs: str = "") -> ImageTar:
        """Build a context and export an OCI image."""
        words = [os.environ.get("PEER_BUILDCTL", "buildctl"), "--addr", self.address, "build", "--progress=plain"]
        words += ["--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}"]
        words += [*arguments, "--output", f"type=oci,dest={output}{attrs}"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return ImageTar(output)


@contextmanager
def buildkitd(folder: Path) -> Iterator[Daemon]:
    """The daemon that PEER_BUILDKITD names, for a scope; the test is skipped where none is named."""
    binary = os.environ.get("PEER_BUILDKITD")
    if not binary:
        pytest.skip("no buildkitd to compare with: PEER_BUILDKITD is not set")
    socket = folder / "s.sock"
    words = [binary, "--root", str(folder / "state"), "--addr", f"unix://{socket}", "--oci-worker-net", "host"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            while not socket.exists():
                assert process.poll() is None, (folder / "log").read_text()
                threading.Event().wait(0.02)
            yield Daemon(f"unix://{socket}")
        finally:
            process.terminate()
            process.wait()
