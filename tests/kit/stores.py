"""Stores with something in them: drafts from keyword arguments, images whose blobs come when fetched."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.digest import sha256
from buildkit.core.errors import Unauthenticated
from buildkit.oci.spec import OCI_LAYER, Descriptor
from buildkit.store.lease import Lease
from buildkit.store.refs import LayerSource, Ref
from buildkit.store.store import Store


@asynccontextmanager
async def store_at(path: Path, snapshotter: str = "native") -> AsyncIterator[Store]:
    db = Database(path / "db")
    store = Store.open(path / "store", db, snapshotter=snapshotter)
    try:
        yield store
    finally:
        await store.close()
        db.close()


def change(at: Path, files: dict[str, str | None]) -> None:
    """Write files; ``__`` in a name is a slash, None deletes."""
    for name, content in files.items():
        path = at / name.replace("__", "/")
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


async def commit(store: Store, lease: Lease, parent: Ref | None = None, **files: str | None) -> Ref:
    async with store.draft(parent, lease, description="+".join(files)) as draft:
        async with draft.mounted() as at:
            change(at, files)
        return await draft.commit()


async def files_of(store: Store, ref: Ref | None, lease: Lease) -> dict[str, str]:
    """Regular files with their contents."""
    async with store.mounted(ref, lease) as at:
        return {str(p.relative_to(at)): p.read_text() for p in sorted(at.rglob("*")) if p.is_file()}


def tar_of(**files: str | None) -> bytes:
    """A layer; None whites a name out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            directory, _, base = name.replace("__", "/").rpartition("/")
            if directory:
                parent = tarfile.TarInfo(directory)
                parent.type, parent.mode, parent.uid, parent.gid = tarfile.DIRTYPE, 0o755, os.getuid(), os.getgid()
                tar.addfile(parent)
            entry = tarfile.TarInfo("/".join(filter(None, (directory, base if content is not None else f".wh.{base}"))))
            entry.size, entry.uid, entry.gid = len(content or ""), os.getuid(), os.getgid()
            tar.addfile(entry, io.BytesIO((content or "").encode()))
    return buffer.getvalue()


@dataclass
class FakeImage:
    """Gzipped layers somewhere else; ``fetched`` counts what was brought."""

    store: Store
    tars: list[bytes]
    authorized: bool = True
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = {sha256(blob): blob for blob in (gzip.compress(tar, mtime=0) for tar in self.tars)}

    @property
    def layers(self) -> list[LayerSource]:
        return [
            LayerSource(Descriptor(OCI_LAYER + "+gzip", digest, len(blob)), sha256(tar), created=1_000)
            for tar, (digest, blob) in zip(self.tars, self.blobs.items(), strict=True)
        ]

    async def fetch(self, descriptor: Descriptor) -> None:
        if not self.authorized:
            raise Unauthenticated(f"{descriptor.digest}: no")
        self.fetched.append(descriptor.digest)
        with self.store.content.ingest(descriptor.digest, descriptor.size) as ingest:
            ingest.write(self.blobs[descriptor.digest])
            ingest.commit()

    def load(self, lease: Lease) -> Ref | None:
        return self.store.import_image(self.layers, self.fetch, lease, description="pulled from test")
