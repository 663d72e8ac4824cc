"""Projects with a Dockerfile, built by the real command: in this process, or in one of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from buildkit.cli.main import main

SOURCES = Path(__file__).parent.parent.parent / "src"
_RUN = "import sys; from buildkit.cli.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that tell the failure."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def cached(self) -> int:
        """How many steps came from the cache."""
        return sum(line.endswith(" CACHED") for line in self.err.splitlines())


def command(*arguments: str | Path) -> Ended:
    """Run ``buildctl`` in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="replace", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(one) for one in arguments])
    return Ended(status, *(one.buffer.getvalue().decode(errors="replace") for one in (out, err)))


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start ``buildctl`` as a process of its own, in a process group of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(SOURCES)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    words = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.Popen(words, env=environment, text=True, process_group=0, **{**pipes, **options})


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process that was started."""
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


class ImageTar:
    """One exported image: an OCI layout in a tar."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.files = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        return self.files["blobs/" + descriptor["digest"].replace(":", "/")]

    @cached_property
    def digest(self) -> str:
        return str(json.loads(self.files["index.json"])["manifests"][0]["digest"])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self.blob({"digest": self.digest})))

    @cached_property
    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.blob(self.manifest["config"])))

    @property
    def diff_ids(self) -> list[str]:
        return list(self.config["rootfs"]["diff_ids"])

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in self.manifest["layers"]]

    def times(self) -> set[int]:
        """The modification times in the last layer."""
        with tarfile.open(fileobj=io.BytesIO(self.blob(self.manifest["layers"][-1]))) as tar:
            return {int(member.mtime) for member in tar}


def describe(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """``-rw-r--r-- 0:0 content``: an entry on one line."""
    kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO}
    kinds |= {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK}
    if member.islnk():
        return f"= {member.linkname}"
    words = f"{stat.filemode(kinds.get(member.type, stat.S_IFREG) | member.mode)} {member.uid}:{member.gid}"
    if member.issym():
        return f"{words} -> {member.linkname}"
    return f"{words} {tar.extractfile(member).read().decode(errors='replace')}" if member.isreg() else words  # type: ignore[union-attr]


class Project:
    """A context, a state folder and a place for outputs, in one folder. ``base`` is an OCI layout called ``base``."""

    def __init__(self, folder: Path, base: str = "") -> None:
        self.folder, self.base = folder, base
        self.context = folder / "context"
        self.context.mkdir(parents=True, exist_ok=True)

    def write(self, **files: str | bytes) -> Project:
        """Write files of the context, ``__`` in a name is a slash."""
        for name, content in files.items():
            self.put(name.replace("__", "/"), content)
        return self

    def put(self, name: str, content: str | bytes = "") -> Path:
        """Write one file of the context."""
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def arguments(self, dockerfile: str | bytes | None, *more: str | Path, root: str = "state") -> list[str]:
        """The command line that builds a Dockerfile."""
        if dockerfile is not None:
            self.put("Dockerfile", dockerfile)
        words = ["build", "--root", self.folder / root, "--progress", "plain", *more]
        if self.base:
            layout, _, digest = self.base.partition("@")
            words += ["--oci-layout", f"base={layout}", "--opt", f"context:base=oci-layout://base@{digest}"]
        return [*map(str, words), str(self.context)]

    def run(self, dockerfile: str | bytes | None, *more: str | Path, root: str = "state") -> Ended:
        """Build in this process, whatever comes of it."""
        return command(*self.arguments(dockerfile, *more, root=root))

    def build(self, dockerfile: str | bytes | None, *more: str | Path, root: str = "state") -> Ended:
        """Build in this process; it has to succeed."""
        ended = self.run(dockerfile, *more, root=root)
        assert ended.status == 0, ended.err
        return ended

    def fail(self, dockerfile: str | bytes | None, *more: str | Path, root: str = "state") -> str:
        """Build in this process; it has to fail with one error line, which is the answer."""
        ended = self.run(dockerfile, *more, root=root)
        assert ended.status == 1 and len(ended.errors) == 1 and "Traceback" not in ended.err, ended.err
        return ended.errors[0]

    def start(self, dockerfile: str | None, *more: str | Path, root: str = "state") -> subprocess.Popen[str]:
        """Build in a process of its own."""
        return start(*self.arguments(dockerfile, *more, root=root))

    def image(self, dockerfile: str | None, *more: str | Path, output: str = "", root: str = "state") -> ImageTar:
        """Build and export an OCI image."""
        path = self.folder / "image.tar"
        self.build(dockerfile, "-o", f"type=oci,dest={path}{output}", *more, root=root)
        return ImageTar(path)

    def tree(self, dockerfile: str | None, *more: str | Path, root: str = "state") -> dict[str, str]:
        """Build and list the whole result, an entry a line."""
        path = self.folder / "tree.tar"
        self.build(dockerfile, "-o", f"type=tar,dest={path}", *more, root=root)
        with tarfile.open(path) as tar:
            return {one.name.rstrip("/"): describe(tar, one) for one in tar}

    def text(self, dockerfile: str | None, *more: str | Path, path: str = "out", root: str = "state") -> str:
        """Build and read one file of the result."""
        folder = self.folder / "delivered"
        shutil.rmtree(folder, ignore_errors=True)
        self.build(dockerfile, "-o", f"type=local,dest={folder}", *more, root=root)
        return (folder / path).read_text()

    def du(self, root: str = "state") -> Ended:
        """What takes space."""
        return command("du", "--root", self.folder / root)


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, as this process sees them."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [path for path in (line.split()[4] for line in lines) if path.startswith(f"{folder}/")]
