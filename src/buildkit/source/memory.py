"""Digests of large local files, remembered from build to build by what `buildkit.fs.filehash` calls a stamp."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, MutableMapping

from buildkit.core.db import Database
from buildkit.core.digest import Digest
from buildkit.fs.filehash import Stamp, stamp_of

SMALLEST = 64 << 10
"""Bytes; reading a smaller file costs less than looking it up."""
KEPT_SECONDS = 30 * 24 * 3600
_SIZE = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file_digests (stamp TEXT PRIMARY KEY, digest TEXT NOT NULL, written INTEGER NOT NULL)
WITHOUT ROWID;
"""


class FileMemory(MutableMapping[Stamp, Digest]):
    """Stamps and digests in the database. An entry is true for ever: whatever changes a file changes its stamp."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tidied = False
        db.ensure(_SCHEMA)

    def __getitem__(self, stamp: Stamp) -> Digest:
        if stamp[_SIZE] >= SMALLEST:
            for (digest,) in self._db.execute("SELECT digest FROM file_digests WHERE stamp = ?", (_text(stamp),)):
                return str(digest)
        raise KeyError(stamp)

    def __setitem__(self, stamp: Stamp, digest: Digest) -> None:
        if stamp[_SIZE] < SMALLEST:
            return
        now = int(time.time())
        if not self._tidied:
            self._tidied = True
            self._db.execute("DELETE FROM file_digests WHERE written < ?", (now - KEPT_SECONDS,))
        self._db.execute("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?)", (_text(stamp), digest, now))

    def __delitem__(self, stamp: Stamp) -> None:
        self._db.execute("DELETE FROM file_digests WHERE stamp = ?", (_text(stamp),))

    def __iter__(self) -> Iterator[Stamp]:
        for (text,) in self._db.execute("SELECT stamp FROM file_digests"):
            yield tuple(int(part) for part in text.split())

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM file_digests")[0][0])


class Fresh(MutableMapping[Stamp, Digest]):
    """Digests that were computed while files were written, before another memory."""

    def __init__(self, older: MutableMapping[Stamp, Digest] | None) -> None:
        self._found: dict[Stamp, Digest] = {}
        self._older: MutableMapping[Stamp, Digest] = older if older is not None else {}

    def __getitem__(self, stamp: Stamp) -> Digest:
        found = self._found.get(stamp)
        return found if found is not None else self._older[stamp]

    def __setitem__(self, stamp: Stamp, digest: Digest) -> None:
        self._older[stamp] = digest

    def remember(self, status: os.stat_result, digest: Digest) -> None:
        """A file was written and nobody else writes it."""
        stamp = stamp_of(status)
        self._found[stamp] = digest
        if status.st_size >= SMALLEST:
            self._older[stamp] = digest

    def __delitem__(self, stamp: Stamp) -> None:
        self._found.pop(stamp, None)
        self._older.pop(stamp, None)

    def __iter__(self) -> Iterator[Stamp]:
        yield from {**self._found, **self._older}

    def __len__(self) -> int:
        return len({*self._found, *self._older})


def _text(stamp: Stamp) -> str:
    return " ".join(map(str, stamp))
