"""What a content digest was made of, file by file: kept so that a later change can be told by path.

A digest does not tell names: the same content selected elsewhere has the same one. So a listing is named by both.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from buildkit.core.db import Database
from buildkit.core.digest import Digest, hex_of, sha256_text
from buildkit.core.errors import FailedPrecondition
from buildkit.fs.contenthash import Listed
from buildkit.fs.filehash import hash_file
from buildkit.fs.tree import open_beneath

MOST_FILES = 50_000
"""Of larger selections only the digest is known."""
MOST_BYTES = 64 << 20
"""Of listings in the database, compressed; the oldest go first."""
_SCHEMA = """
DROP TABLE IF EXISTS listings;
CREATE TABLE IF NOT EXISTS file_listings (
    name TEXT PRIMARY KEY, created INTEGER NOT NULL, files BLOB NOT NULL
) WITHOUT ROWID;
"""


def listing_name(digest: Digest, selection: Sequence[Sequence[object]]) -> str:
    """The name of the listing behind a digest; ``selection`` has the fields of each `contenthash.Selector`."""
    return sha256_text(f"{digest} {json.dumps(selection)}")


class FileState(NamedTuple):
    """One file as its digest sees it. ``mode`` has the type bits; ``digest`` is empty for directories."""

    mode: int
    uid: int
    gid: int
    size: int
    digest: str
    link: str


class Listings:
    """Listings by `listing_name`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._ready = False

    def has(self, name: str) -> bool:
        """Whether a listing is there."""
        return bool(self._execute("SELECT 1 FROM file_listings WHERE name = ?", (name,)))

    def find(self, name: str) -> dict[str, FileState] | None:
        """The files by path, relative to the root of their tree."""
        import zlib

        for (content,) in self._execute("SELECT files FROM file_listings WHERE name = ?", (name,)):
            files = json.loads(zlib.decompress(content))
            return {path: FileState(*fields) for path, fields in files.items()}
        return None

    def put(self, name: str, files: Iterable[Listed], owner: tuple[int, int] | None) -> None:
        """Keep a listing, unless it is too long; ``owner`` stands for all owners."""
        import zlib

        listed = list(islice(files, MOST_FILES + 1))
        if len(listed) > MOST_FILES:
            return
        found = {}
        for one in listed:
            status = one.status
            uid, gid = owner or (status.st_uid, status.st_gid)
            is_dir = stat.S_ISDIR(status.st_mode)
            digest_ = "" if is_dir or not one.digest else hex_of(one.digest)
            found[one.path] = (status.st_mode, uid, gid, 0 if is_dir else status.st_size, digest_, one.link)
        content = zlib.compress(json.dumps(found, separators=(",", ":")).encode(), 1)
        self._execute("INSERT OR REPLACE INTO file_listings VALUES (?, ?, ?)", (name, time.time_ns(), content))
        self._tidy()

    def _tidy(self) -> None:
        ((total,),) = self._execute("SELECT sum(length(files)) FROM file_listings")
        while total and total > MOST_BYTES:
            ((name, size),) = self._execute("SELECT name, length(files) FROM file_listings ORDER BY created LIMIT 1")
            self._execute("DELETE FROM file_listings WHERE name = ?", (name,))
            total -= size

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if not self._ready:
            self._db.ensure(_SCHEMA)
            self._ready = True  # not before: other threads ask at the same time
        return self._db.execute(sql, values)


def digest_as(root: str, path: str, state: FileState) -> str:
    """The digest (hex) of a file as if its mode and owner were those of ``state``; "" when it cannot be read."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = open_beneath(fd, posixpath.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    finally:
        os.close(fd)
    try:
        name = posixpath.basename(path)
        size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        status = os.stat_result((state.mode, 0, 0, 1, state.uid, state.gid, size, 0, 0, 0))
        return hex_of(hash_file(name, folder, status, "", owner=(state.uid, state.gid)))
    except (OSError, FailedPrecondition):
        return ""
    finally:
        os.close(folder)
