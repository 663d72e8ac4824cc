"""Sources that are one file: what to call it, whom it belongs to, and writing it into a tree of its own."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from buildkit.core.digest import Digest
from buildkit.core.errors import Exhausted, InvalidInput
from buildkit.core.values import dataclass
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store

DEFAULT_NAME = "download"
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]*|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class FileWish:
    """The attributes ``http.filename``, ``http.perm``, ``http.uid`` and ``http.gid``; 0 and ``""`` are not given."""

    name: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0


def parse_file_wish(attrs: Mapping[str, str]) -> FileWish:
    """Read them; raises `InvalidInput`."""
    mode = _parse_integer(attrs, "http.perm")
    if not 0 <= mode <= 0o7777:
        raise InvalidInput(f"invalid http.perm {attrs['http.perm']}: not the mode of a file")
    ids = [_parse_integer(attrs, key) for key in ("http.uid", "http.gid")]
    if not all(0 <= id < 1 << 32 for id in ids):
        raise InvalidInput(f"invalid owner {ids[0]}:{ids[1]} of a file")
    return FileWish(attrs.get("http.filename", ""), mode, *ids)


def _parse_integer(attrs: Mapping[str, str], key: str) -> int:
    """As Go reads integers with base 0: ``0644`` is octal."""
    text = attrs.get(key, "0")
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise InvalidInput(f"invalid {key} {text}: not a number")
    digits = match[1]
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits
    return int(digits, 0) * (-1 if text.startswith("-") else 1)


def safe_name(text: str) -> str:
    """One component of a path, whatever ``text`` is: its last part, or ``download``."""
    name = posixpath.basename(text.strip().rstrip("/"))
    if name in ("", ".", "..") or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return DEFAULT_NAME
    while len(os.fsencode(name)) > 255:
        name = name[1:]
    return name


class FileWriter:
    """A file being written: a sink (`buildkit.oci.transport.Sink`) that digests what goes through it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self.offset = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Take the next bytes; raises `Exhausted` when the disk is full."""
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Exhausted(f"no space for a download of more than {self.offset} bytes") from error
            raise
        self._hash.update(content)
        self.offset += len(content)
        return len(content)

    def restart(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    @property
    def digest(self) -> Digest:
        """Of what was written so far."""
        return "sha256:" + self._hash.hexdigest()


class FileTree:
    """A tree with one file; see `new_file`."""

    def __init__(self, writer: FileWriter) -> None:
        self.writer = writer
        self.seconds = 0
        """The file's time of change, in seconds since 1970."""
        self.wanted = False
        """Whether the tree is to be kept."""
        self.ref: Ref | None = None
        """Set when the scope has ended with ``wanted``."""


@asynccontextmanager
async def new_file(store: Store, lease: Lease, name: str, wish: FileWish, description: str) -> AsyncIterator[FileTree]:
    """Write a file ``name``; at the end of the scope it becomes a ref if it is ``wanted`` by then."""
    async with store.draft(None, lease, description=description) as draft:
        async with draft.mounted() as root:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(root / name, flags, 0o600)
            try:
                tree = FileTree(FileWriter(fd))
                yield tree
                if tree.wanted:
                    await asyncio.to_thread(_settle, fd, wish, tree.seconds)
            finally:
                os.close(fd)
        if tree.wanted:
            tree.ref = await draft.commit()


def _settle(fd: int, wish: FileWish, seconds: int) -> None:
    if wish.uid or wish.gid:
        os.fchown(fd, wish.uid, wish.gid)
    os.fchmod(fd, wish.mode or 0o600)
    os.utime(fd, (seconds, seconds))
