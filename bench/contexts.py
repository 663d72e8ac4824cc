"""What is built: contexts and definitions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import ROOT, Peer

if TYPE_CHECKING:
    from buildkit.llb.state import State


def context(work: Path, name: str, dockerfile: str, files: int = 0) -> Path:
    """A folder with a Dockerfile and small files of some hundred bytes below ``src``."""
    folder = work / name
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile)
    for index in range(files):
        path = folder / f"src/d{index % 37}/f{index}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {index}\n" * 20)
    return folder


def many_files(folder: Path, files: int = 20_000) -> Path:
    """Files of 0.2 to 4.2 kB (2.2 on average) in 200 directories."""
    for directory in range(200):
        (folder / f"d{directory}").mkdir(parents=True)
    for index in range(files):
        text = f"file {index} of many\n" * 260
        (folder / f"d{index % 200}/f{index}").write_text(text[: 200 + index * 7919 % 4000])
    return folder


def big_file(folder: Path, megabytes: int = 500) -> Path:
    """One file, ``big``, no block of which is like another."""
    folder.mkdir()
    block = bytes(range(256)) * 4096
    with (folder / "big").open("wb") as out:
        for index in range(megabytes):
            out.write(index.to_bytes(4, "big") + block[4:])
        out.truncate(megabytes * 1_000_000)
    return folder


def definition(path: Path, state: State) -> Path:
    """Write what `buildctl build` takes from standard input."""
    path.write_bytes(state.marshal().to_bytes())
    return path


def solving(definition: Path) -> Callable[..., list[str]]:
    """Makes command lines that build a definition: of a peer and options of its build."""

    def command(peer: Peer, *options: str) -> list[str]:
        return ["sh", "-c", 'input=$1; shift; exec "$@" <"$input"', "sh", str(definition), *peer.solve(*options)]

    return command


def python(code: str) -> list[str]:
    """A command that runs code which may import ``buildkit``."""
    return [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\n{code}"]
