"""Blobs by digest: ``blobs/<algorithm>/<hex>``, in the layout of OCI's image-layout ``blobs`` directory.

A blob appears under its digest only when its bytes have been checked, by one rename. Nothing is synced to
disk here: `buildkit.store.store` knows what a power cut may have taken. Whoever ingests or looks a blob up
holds its digest on a lease first, so that the collector does not take it away in between.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from buildkit.core.digest import Digest, algorithm, hasher, hex_of, parse_digest, sha256, sha256_text
from buildkit.core.errors import Corrupt, FailedPrecondition, NotFound
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass

BLOCK = 1 << 20
"""Bytes read at once."""
PARTIAL_KEPT = 24 * 3600
"""Seconds that an interrupted named ingest waits to be resumed."""
_PARTIAL = "partial-"


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: size in bytes, time of its ingest in nanoseconds since the epoch."""

    digest: Digest
    size: int
    created: int


class ContentStore:
    """Verified blobs in a directory. Every method may be called from any thread."""

    def __init__(self, root: Path) -> None:
        """Open or create; leftovers of killed ingests go, resumable ones stay for `PARTIAL_KEPT` seconds."""
        self.root = root
        self._blobs = root / "blobs"
        self._ingests = root / "ingest"
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        if not self._ingests.is_dir():
            self._ingests.mkdir(parents=True)
        (self._blobs / "sha256").mkdir(parents=True, exist_ok=True)
        oldest = time.time() - PARTIAL_KEPT
        for entry in os.scandir(self._ingests):
            if not entry.name.startswith(_PARTIAL) or entry.stat(follow_symlinks=False).st_mtime < oldest:
                Path(entry.path).unlink(missing_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where the blob is or would be; raises `InvalidInput` when ``digest`` is not one."""
        parse_digest(digest)
        return self._blobs / algorithm(digest) / hex_of(digest)

    def find(self, digest: Digest) -> Blob | None:
        """The blob's size and age, or None."""
        try:
            found = self.path(digest).stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Blob(digest, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here."""
        return self.find(digest) is not None

    def get(self, digest: Digest) -> Blob:
        """Like `find`; raises `NotFound`."""
        found = self.find(digest)
        if found is None:
            raise NotFound(f"content {digest}: not found")
        return found

    def open(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, unbuffered; raises `NotFound`."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"content {digest}: not found") from None

    def read(self, digest: Digest, limit: int = 8 << 20) -> bytes:
        """A small blob as a whole; raises `NotFound`, or `Corrupt` when it is longer than ``limit`` bytes."""
        with self.open(digest) as source:
            size = os.fstat(source.fileno()).st_size
            if size > limit:
                raise Corrupt(f"content {digest}: {size} bytes are too many, the limit is {limit}")
            return source.read(size + 1)

    def verify(self, digest: Digest) -> bool:
        """Whether the stored bytes still are what the digest says; raises `NotFound`."""
        with self.open(digest) as source:
            found = hasher(algorithm(digest))
            while block := source.read(BLOCK):
                found.update(block)
            return found.hexdigest() == hex_of(digest)

    def put(self, content: bytes) -> Digest:
        """Store bytes at hand and return their digest."""
        digest = sha256(content)
        if not self.has(digest):
            with self.ingest(digest, len(content)) as ingest:
                ingest.write(content)
                ingest.commit()
        return digest

    def ingest(self, expected: Digest | None = None, size: int | None = None, *, resume: str = "") -> Ingest:
        """A place to write a blob to.

        ``expected`` and ``size`` (bytes) are checked by `Ingest.commit`. With ``resume``, a name such as
        ``layer-<digest>``, what was written stays when the scope is left without commit and the next ingest
        of that name begins after it; two at once do not share: the second begins anew.
        """
        if expected is not None:
            parse_digest(expected)
        name = new_id()
        if resume:
            wanted = _PARTIAL + hex_of(sha256_text(resume))
            with self._lock:
                if wanted not in self._busy:
                    self._busy.add(wanted)
                    name = wanted
        return Ingest(self, self._ingests / name, expected, size)

    def delete(self, digest: Digest) -> bool:
        """Remove the blob; False when it was not there."""
        try:
            self.path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def walk(self) -> Iterator[Blob]:
        """Every blob, in no order."""
        for kind in sorted(self._blobs.iterdir()):
            with os.scandir(kind) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield Blob(f"{kind.name}:{entry.name}", found.st_size, found.st_mtime_ns)

    def _settle(self, name: str) -> None:
        with self._lock:
            self._busy.discard(name)


class Ingest:
    """One blob being written. Leave the scope without `commit` and it is gone, or waits when it is resumable."""

    def __init__(self, store: ContentStore, path: Path, expected: Digest | None, size: int | None) -> None:
        self._store = store
        self._path = path
        self._expected = expected
        self._size = size
        self._resumable = path.name.startswith(_PARTIAL)
        self._hash = hasher(algorithm(expected) if expected else "sha256")
        self.offset = 0
        """Bytes written so far; more than 0 at the start when an earlier attempt is resumed."""
        try:
            self._file = path.open("ab+" if self._resumable else "xb", buffering=0)
            if self._resumable:
                self._take_up()
        except BaseException:
            store._settle(path.name)
            raise

    def _take_up(self) -> None:
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            self._hash.update(block)
            self.offset += len(block)
        if self._size is not None and self.offset > self._size:
            self.restart()

    def restart(self) -> None:
        """Forget what was written: for a server that cannot continue where the last attempt ended."""
        self._file.truncate(0)
        self._file.seek(0)
        self._hash = hasher(self._hash.name)
        self.offset = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Append; raises `Corrupt` as soon as there are more bytes than the expected size."""
        length = len(content)
        if self._size is not None and self.offset + length > self._size:
            self._spoil()
            raise Corrupt(f"{self._what()}: more than the expected {self._size} bytes")
        self._hash.update(content)
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        self.offset += length
        return length

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return f"{self._hash.name}:{self._hash.hexdigest()}"

    def commit(self, expected: Digest | None = None, size: int | None = None) -> Digest:
        """Check digest and size and let the blob appear; raises `Corrupt`, and then nothing is left."""
        if self._file.closed:
            raise FailedPrecondition(f"{self._what()}: the ingest is over")
        expected, size = expected or self._expected, self._size if size is None else size
        if size is not None and self.offset != size:
            if self.offset > size or not self._resumable:
                self._spoil()
            raise Corrupt(f"{self._what()}: got {self.offset} bytes, expected {size}")
        digest = self.digest
        if expected is not None and expected != digest:
            self._spoil()
            raise Corrupt(f"{self._what()}: got digest {digest}, expected {expected}")
        self._file.close()
        target = self._store.path(digest)
        if not target.parent.is_dir():
            target.parent.mkdir()
        os.utime(self._path)
        self._path.rename(target)
        return digest

    def _what(self) -> str:
        return f"content {self._expected}" if self._expected else "content"

    def _spoil(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self._file.close()
            if not self._resumable:
                self._path.unlink(missing_ok=True)
        self._store._settle(self._path.name)
