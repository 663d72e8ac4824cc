"""What sources answered before, in the database: what names stood for, and the documents of images.

An answer is a hint: whoever takes one checks that what it leads to is still there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from buildkit.core.db import Database
from buildkit.core.digest import Digest, sha256

KEPT_SECONDS = 180 * 24 * 3600
"""Answers that nobody took for so long are dropped."""
LARGEST_DOCUMENT = 1 << 20
"""Bytes; larger documents are fetched each time."""
_TOUCH_SECONDS = 24 * 3600
_SCHEMA = """
CREATE TABLE IF NOT EXISTS source_answers (
    kind TEXT NOT NULL, name TEXT NOT NULL, answer TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS source_documents (digest TEXT PRIMARY KEY, content BLOB NOT NULL, used INTEGER NOT NULL);
"""


class Answers:
    """Answers by kind of question and name, and documents by digest."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tidied = False
        db.ensure(_SCHEMA)

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """The last answer."""
        rows = self._db.execute("SELECT answer, used FROM source_answers WHERE kind = ? AND name = ?", (kind, name))
        for answer, used in rows:
            now = int(time.time())
            if now - used > _TOUCH_SECONDS:
                self._db.execute("UPDATE source_answers SET used = ? WHERE kind = ? AND name = ?", (now, kind, name))
            found: dict[str, Any] = json.loads(answer)
            return found
        return None

    def put(self, kind: str, name: str, answer: Mapping[str, Any]) -> None:
        """Remember an answer in place of the one before."""
        self._tidy()
        values = (kind, name, json.dumps(answer, separators=(",", ":")), int(time.time()))
        self._db.execute("INSERT OR REPLACE INTO source_answers VALUES (?, ?, ?, ?)", values)

    def document(self, digest: Digest) -> bytes | None:
        """A document, checked."""
        for content, used in self._db.execute("SELECT content, used FROM source_documents WHERE digest = ?", (digest,)):
            if sha256(content) == digest:
                now = int(time.time())
                if now - used > _TOUCH_SECONDS:
                    self._db.execute("UPDATE source_documents SET used = ? WHERE digest = ?", (now, digest))
                return bytes(content)
        return None

    def put_document(self, digest: Digest, content: bytes) -> None:
        """Remember a document unless it is too large or of another digest algorithm than sha256."""
        if len(content) <= LARGEST_DOCUMENT and digest.startswith("sha256:"):
            self._tidy()
            values = (digest, content, int(time.time()))
            self._db.execute("INSERT OR REPLACE INTO source_documents VALUES (?, ?, ?)", values)

    def _tidy(self) -> None:
        if not self._tidied:
            self._tidied = True
            for table in ("source_answers", "source_documents"):
                self._db.execute(f"DELETE FROM {table} WHERE used < ?", (int(time.time()) - KEPT_SECONDS,))
