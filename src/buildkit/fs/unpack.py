"""Unpacking an archive that lies in one root into a directory of another."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from buildkit.core.errors import BuildkitError
from buildkit.fs.extract import apply_layer
from buildkit.fs.places import Owner, explained, make_directories
from buildkit.fs.tarread import Readable, TarReader
from buildkit.fs.tree import open_beneath, open_in_root, resolve_parts


def unpack_file(
    source_root: int,
    dest_root: int,
    source: str,
    dest: str,
    decompress: Callable[[Readable], Readable],
    *,
    owner: Owner | None = None,
    timestamp: int | None = None,
) -> bool:
    """Unpack a regular file that is a tar archive, compressed or not; False if it is none.

    ``dest`` is made when missing. Whiteouts are plain files here, and no entry leaves ``dest``.
    """
    try:
        fd = open_in_root(source_root, source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return False
    with open(fd, "rb", 0) as file:
        if not _is_archive(file, decompress):
            return False
        file.seek(0)
        with explained("mkdir", dest):
            parts = resolve_parts(dest_root, dest)
            make_directories(dest_root, parts, 0o755, owner, timestamp)
            target = open_beneath(dest_root, "/".join(parts) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            apply_layer(decompress(file), target, whiteouts="none", owner=owner)
        finally:
            os.close(target)
    return True


def _is_archive(file: Readable, decompress: Callable[[Readable], Readable]) -> bool:
    try:
        return next(iter(TarReader(decompress(file))), None) is not None
    except BuildkitError:
        return False
