"""Archives as build contexts: what is one, and how new its newest file is."""

from __future__ import annotations

import io
from collections.abc import Iterator

_MAGIC = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\x00")
HEADER_SIZE = 1024
"""How many bytes `is_archive` wants to see."""


def is_archive(header: bytes) -> bool:
    """Whether a file that begins so is a tar archive, perhaps compressed with bzip2, gzip or xz."""
    return header.startswith(_MAGIC) or _first_member(header)


def _first_member(header: bytes) -> bool:
    import tarfile

    if len(header) < 512:
        return False
    try:
        tarfile.TarInfo.frombuf(header[:512], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def newest_time(content: bytes) -> int | None:
    """The latest modification time of a regular file, in seconds since 1970; None if there is none.

    Raises `ValueError` when the content is no archive.
    """
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(content)), mode="r:") as archive:
            return max(_times(archive), default=None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"not a tar archive: {error}") from None


def _times(archive: object) -> Iterator[int]:
    import tarfile

    assert isinstance(archive, tarfile.TarFile)  # noqa: S101
    for member in archive:
        if member.isreg():
            yield int(member.mtime)


def _decompressed(content: bytes) -> bytes:
    if content.startswith(b"\x1f\x8b\x08"):
        import gzip

        return gzip.decompress(content)
    if content.startswith(b"BZh"):
        import bz2

        return bz2.decompress(content)
    if content.startswith(b"\xfd7zXZ\x00"):
        import lzma

        return lzma.decompress(content)
    return content
