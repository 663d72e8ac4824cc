"""The corpus: Dockerfiles and what BuildKit makes of them. Reference data, unpacked beside the project, never in it."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).parents[3]
ARCHIVE = PROJECT.parent / "shared/corpus/public.tar.zst"
UNPACKED = PROJECT / ".work/corpus"


class Absent(Exception):
    """There is no corpus on this machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """One Dockerfile, what is expected, and which keys of the original are not deterministic."""

    id: str
    hand_made: bool
    content: bytes
    expected: dict[str, Any]
    unstable: dict[str, list[str]]

    def with_content(self, content: bytes) -> Case:
        """The same case with another text."""
        return replace(self, content=content)


@dataclass(frozen=True, slots=True)
class Corpus:
    """An unpacked corpus."""

    root: Path
    meta: dict[str, Any]
    unstable: dict[str, dict[str, list[str]]]

    def ids(self) -> list[str]:
        """Every case, real ones first."""
        return [
            path.stem for folder in ("", "tricky") for path in sorted((self.root / folder / "expected").glob("*.json"))
        ]

    def case(self, id: str) -> Case:
        """Read one case."""
        hand_made = id.startswith("T")
        folder = self.root / "tricky" if hand_made else self.root
        expected = json.loads((folder / "expected" / f"{id}.json").read_bytes())
        content = (folder / "dockerfiles" / f"{id}.Dockerfile").read_bytes()
        return Case(id, hand_made, content, expected, self.unstable.get(id, {}))

    def shell_cases(self) -> dict[str, Any]:
        """Words, and what the lexer makes of them."""
        return dict(json.loads((self.root / "shell.json").read_bytes()))


def open_corpus(folder: str | None = None) -> Corpus:
    """The corpus in ``folder``, or the public one, unpacked first if need be; raises `Absent`."""
    root = Path(folder) if folder else _unpacked()
    if not (root / "meta.json").exists():
        raise Absent(f"no corpus in {root}")
    unstable = root / "unstable.json"
    return Corpus(
        root,
        json.loads((root / "meta.json").read_bytes()),
        json.loads(unstable.read_bytes()) if unstable.exists() else {},
    )


def _unpacked() -> Path:
    archive = Path(os.environ.get("CORPUS_ARCHIVE", ARCHIVE))
    if not archive.exists():
        raise Absent(f"the corpus is not here ({archive}); its comparison is skipped")
    stamp = UNPACKED / f".{archive.stat().st_mtime_ns}"
    if not stamp.exists():
        UNPACKED.mkdir(parents=True, exist_ok=True)
        with _decompressed(archive) as content, tarfile.open(fileobj=content, mode="r|") as tar:
            tar.extractall(UNPACKED, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        stamp.touch()
    folders = [UNPACKED, *sorted(path for path in UNPACKED.iterdir() if path.is_dir())]
    return next((folder for folder in folders if (folder / "meta.json").exists()), UNPACKED)


def _decompressed(archive: Path) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.open(archive, "rb")
    import zstandard

    return zstandard.open(archive, "rb")
