"""Trees on disk, tars in memory, and what both hold."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

from buildkit.fs.layer import apply_layer, changes_between, write_layer
from buildkit.fs.tree import walk


def plant(root: Path, *names: str) -> Path:
    """Files holding their own path, ``dir/`` directories and ``link -> target`` links; returns the root."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path, _, target = name.partition(" -> ")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if target:
            os.symlink(target, root / path)
        elif path.endswith("/"):
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_text(path)
    return root


def listing(root: Path) -> dict[str, str]:
    """Each path with its content, link target or kind."""
    found = {}
    for entry in walk(str(root)):
        mode = entry.stat.st_mode
        if stat.S_ISREG(mode):
            found[entry.path] = (root / entry.path).read_text(errors="replace")
        elif stat.S_ISLNK(mode):
            found[entry.path] = "-> " + entry.link_target
        else:
            found[entry.path] = stat.filemode(mode)[0]
    return found


def layer_of(upper: Path, lower: Path | None = None, **options) -> bytes:
    """The layer tar that leads from one tree to another."""
    parts: list[bytes] = []
    write_layer(changes_between(str(lower) if lower else None, str(upper)), parts.append, **options)
    return b"".join(parts)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def members(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getmembers()


def tar_of(*entries: tarfile.TarInfo | tuple[str, bytes | str], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar made by the standard library: ``("name", b"content")``, ``("link", "-> to")``, ``("hard", "= to")``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for given in entries:
            if isinstance(given, tarfile.TarInfo):
                archive.addfile(given, io.BytesIO(bytes(given.size)))
                continue
            name, content = given
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                arrow, _, member.linkname = content.partition(" ")
                member.type = tarfile.SYMTYPE if arrow == "->" else tarfile.LNKTYPE
            if name.endswith("/"):
                member.type, member.size, member.mode = tarfile.DIRTYPE, 0, 0o755
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def unpack(content: bytes, root: Path, **options) -> dict[str, str]:
    """Apply a tar to a directory and list what is there."""
    root.mkdir(exist_ok=True)
    apply_layer(io.BytesIO(content), str(root), **options)
    return listing(root)
