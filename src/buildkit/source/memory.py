"""Digests of local files, remembered from build to build by what `buildkit.fs.filehash` calls a stamp.

Files that were made together have inodes close to each other and are asked for together: what is known of 256
neighbouring inodes is one row of the database, a page.
"""

from __future__ import annotations

import os
import time
from struct import Struct, error
from typing import TypeAlias

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.fs.filehash import Memory, Stamp, stamp_of

KEPT_SECONDS = 30 * 24 * 3600
"""Pages that were not written for so long are dropped."""
LARGE = 64 << 10
"""Bytes; received files from this size on are remembered beyond the process: the others are read again quickly."""
_MOST = 64
"""Pages kept in memory between two steps of a build: 5 MB."""
_ALGORITHM = "sha256:"
_KEY = Struct("<QQ")
_SEAL = Struct("<qqqIII")
_ENTRY = Struct(f"<B{_SEAL.size}s32s")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file_pages (page BLOB PRIMARY KEY, entries BLOB NOT NULL, written INTEGER NOT NULL)
WITHOUT ROWID;
"""
_Page: TypeAlias = dict[int, tuple[bytes, bytes]]
"""By the inode's lowest byte: the rest of the stamp, the digest."""


class FileMemory(Memory):
    """Stamps and digests in the database. An entry is true for ever: whatever changes a file changes its stamp."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pages: dict[bytes, _Page] = {}
        self._written: set[bytes] = set()
        self._tidied = False
        db.ensure(_SCHEMA)

    def get(self, stamp: Stamp) -> Digest | None:
        """The digest of the file that had this stamp, if it is remembered."""
        try:
            page, slot, seal = _place(stamp)
        except error:
            return None
        found = self._page(page).get(slot)
        return _ALGORITHM + found[1].hex() if found is not None and found[0] == seal else None

    def put(self, stamp: Stamp, digest: Digest) -> None:
        """Remember a digest, at the latest from `save` on."""
        try:
            page, slot, seal = _place(stamp)
        except error:  # numbers that no filesystem of ours has
            return
        self._page(page)[slot] = seal, bytes.fromhex(digest.removeprefix(_ALGORITHM))
        self._written.add(page)

    def save(self) -> None:
        """Write what was put, and let go of the pages if they are many."""
        pages, (written, self._written) = self._pages, (self._written, set())
        if len(pages) > _MOST:
            self._pages = {}
        if not written:
            return
        now = int(time.time())
        rows = [(key, _packed(pages.get(key, {})), now) for key in written]
        with self._db.transaction():
            if not self._tidied:
                self._tidied = True
                self._db.execute("DELETE FROM file_pages WHERE written < ?", (now - KEPT_SECONDS,))
            self._db.execute_many("INSERT OR REPLACE INTO file_pages VALUES (?, ?, ?)", rows)

    def _page(self, key: bytes) -> _Page:
        page = self._pages.get(key)
        if page is None:
            rows = self._db.execute("SELECT entries FROM file_pages WHERE page = ?", (key,))
            page = self._pages[key] = _unpacked(rows[0][0]) if rows else {}
        return page


class Fresh(Memory):
    """Digests that were computed while files were written, before another memory."""

    def __init__(self, older: Memory | None) -> None:
        self._found: dict[Stamp, Digest] = {}
        self._older = older

    def get(self, stamp: Stamp) -> Digest | None:
        """See `FileMemory.get`."""
        found = self._found.get(stamp)
        return found if found is not None or self._older is None else self._older.get(stamp)

    def put(self, stamp: Stamp, digest: Digest) -> None:
        """See `FileMemory.put`."""
        if self._older is not None:
            self._older.put(stamp, digest)

    def remember(self, status: os.stat_result, digest: Digest) -> None:
        """A file was written and nobody else writes it."""
        stamp = stamp_of(status)
        self._found[stamp] = digest
        if status.st_size >= LARGE:
            self.put(stamp, digest)

    def save(self) -> None:
        """See `FileMemory.save`."""
        if self._older is not None:
            self._older.save()


def _place(stamp: Stamp) -> tuple[bytes, int, bytes]:
    """Its page, where it is there, and what must be equal."""
    device, inode, *rest = stamp
    return _KEY.pack(device, inode >> 8), inode & 0xFF, _SEAL.pack(*rest)


def _packed(page: _Page) -> bytes:
    return b"".join([_ENTRY.pack(slot, seal, digest) for slot, (seal, digest) in list(page.items())])


def _unpacked(entries: bytes) -> _Page:
    try:
        return {slot: (seal, digest) for slot, seal, digest in _ENTRY.iter_unpack(entries)}
    except error:
        return {}
