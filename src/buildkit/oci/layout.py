"""OCI image layouts: a directory (or tar of one) with blobs by digest and an ``index.json`` that names images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from buildkit.core.digest import Digest, algorithm, hasher, hex_of, parse_digest, sha256
from buildkit.core.errors import Corrupt, NotFound
from buildkit.core.identity import new_id
from buildkit.core.values import replace
from buildkit.oci import spec
from buildkit.oci.spec import Descriptor, Index

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
_MARKER = b'{"imageLayoutVersion":"1.0.0"}'
_BLOCK = 1 << 20


class Layout:
    """An OCI layout directory. Blobs appear whole or not at all; so does each new ``index.json``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path) -> Layout:
        """Make the directory a layout if it is not one yet."""
        (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        layout = cls(root)
        if not (root / "oci-layout").exists():
            layout._replace("oci-layout", _MARKER)
        if not (root / "index.json").exists():
            layout.write_index(Index(spec.OCI_INDEX, ()))
        return layout

    def path(self, digest: Digest) -> Path:
        """Where a blob is or would be; raises `InvalidInput` when ``digest`` is not one."""
        parse_digest(digest)
        return self.root / "blobs" / algorithm(digest) / hex_of(digest)

    def index(self) -> Index:
        """``index.json``; an absent one is empty. Raises `Corrupt`."""
        try:
            return spec.parse_index((self.root / "index.json").read_bytes())
        except FileNotFoundError:
            return Index(spec.OCI_INDEX, ())

    def find(self, name: str) -> Descriptor | None:
        """The image that ``index.json`` calls ``name`` (tag or full name), or whose digest it is."""
        for descriptor in self.index().manifests:
            names = (descriptor.annotations.get(REF_NAME), descriptor.annotations.get(IMAGE_NAME), descriptor.digest)
            if name in names:
                return descriptor
        return None

    def size(self, digest: Digest) -> int:
        """Bytes of a blob; raises `NotFound`."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            raise NotFound(f"content {digest} in {self.root}: not found") from None

    def open(self, digest: Digest) -> BinaryIO:
        """A blob's bytes, unchecked; raises `NotFound`."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except OSError:
            raise NotFound(f"content {digest} in {self.root}: not found") from None

    def read(self, digest: Digest) -> bytes:
        """A small blob, checked; raises `NotFound` or `Corrupt`."""
        with self.open(digest) as source:
            content = source.read(spec.MANIFEST_SIZE_LIMIT + 1)
        if len(content) > spec.MANIFEST_SIZE_LIMIT:
            raise Corrupt(f"content {digest} in {self.root} is too large for a document")
        if hasher(algorithm(digest), content).hexdigest() != hex_of(digest):
            raise Corrupt(f"content {digest} in {self.root} does not have that digest")
        return content

    def put(self, content: bytes) -> Digest:
        """Store a small blob."""
        digest = sha256(content)
        if not self.path(digest).exists():
            self._replace(f"blobs/sha256/{hex_of(digest)}", content)
        return digest

    def take(self, digest: Digest, source: BinaryIO) -> None:
        """Store a blob from a stream, checked; raises `Corrupt`."""
        if self.path(digest).exists():
            return
        with self.taking(algorithm(digest)) as blob:
            while block := source.read(_BLOCK):
                blob.write(block)
            blob.commit(digest)

    @contextmanager
    def taking(self, kind: str = "sha256") -> Iterator[Taking]:
        """A blob to write and commit; one that is not committed is gone at the end."""
        partial = self.root / f".{new_id()}"
        try:
            with partial.open("xb", buffering=0) as out:
                yield Taking(self, partial, out, kind)
        finally:
            partial.unlink(missing_ok=True)

    def write_index(self, index: Index) -> None:
        """Replace ``index.json`` in one step."""
        self._replace("index.json", spec.encode(index.to_json()))

    def tag(self, descriptor: Descriptor, name: str = "", image: str = "") -> None:
        """Name an image in ``index.json``; whatever had the name loses it. Guarded against other processes.

        ``name`` is a tag; ``image`` is the full reference where there is one, and then both make the name.
        """
        import fcntl

        def named(one: Descriptor) -> tuple[str, str]:
            return one.annotations.get(REF_NAME, ""), one.annotations.get(IMAGE_NAME, "")

        lock = os.open(self.root / "index.json.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            index = self.index()
            added = {REF_NAME: name, IMAGE_NAME: image}
            annotations = {**descriptor.annotations, **{key: value for key, value in added.items() if value}}
            descriptor = replace(descriptor, annotations=annotations)
            kept = tuple(
                one
                for one in index.manifests
                if (not name or named(one) != (name, image))
                and not (one.digest == descriptor.digest and named(one) == ("", ""))
            )
            self.write_index(replace(index, manifests=(*kept, descriptor)))
        finally:
            os.close(lock)

    def _replace(self, name: str, content: bytes) -> None:
        partial = self.root / f".{new_id()}"
        try:
            with partial.open("xb") as out:
                out.write(content)
            partial.rename(self.root / name)
        finally:
            partial.unlink(missing_ok=True)


class Taking:
    """A blob on its way into a layout. ``size`` bytes of it are there."""

    def __init__(self, layout: Layout, partial: Path, out: BinaryIO, kind: str) -> None:
        self.size = 0
        self._layout = layout
        self._partial = partial
        self._out = out
        self._kind = kind
        self._running = hasher(kind)

    def write(self, block: bytes) -> None:
        """Add to it."""
        view = memoryview(block)
        while view:
            view = view[self._out.write(view) :]
        self._running.update(block)
        self.size += len(block)

    def commit(self, digest: Digest = "") -> Digest:
        """It is complete; raises `Corrupt` if its digest is another than ``digest``, if that is known."""
        found = f"{self._kind}:{self._running.hexdigest()}"
        if digest and found != digest:
            raise Corrupt(f"content for {digest} has digest {found}")
        target = self._layout.path(found)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._partial.rename(target)
        return found
