"""What each file action does, in the terms of `buildkit.fs`."""

from __future__ import annotations

from collections.abc import Callable

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.fs.copy import CopyOptions, Listing, copy_tree
from buildkit.fs.places import make_directory, make_file, make_link, remove_path
from buildkit.fs.tarread import Readable
from buildkit.oci.compress import decompress
from buildkit.ops.owner import Owner

_KEEP = -1


class _Checked:
    """A stream that can be interrupted between two reads."""

    def __init__(self, stream: Readable, check: Callable[[], None]) -> None:
        self._stream = stream
        self._check = check

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""
        self._check()
        return self._stream.read(size)


def act(
    root: int,
    action: pb.FileAction,
    owner: Owner | None,
    source: int,
    listing: Listing | None,
    check: Callable[[], None],
) -> None:
    """Do it in the tree whose root is open as ``root``; a copy reads from the one open as ``source``.

    ``listing`` guards a source outside of the store. ``check`` is called meanwhile; what it raises ends a copy.
    """
    kind = action.WhichOneof("action")
    if kind == "copy":
        copy_tree(source, root, action.copy.src, action.copy.dest, _copy_options(action.copy, owner, check), listing)
    elif kind == "mkdir":
        said = action.mkdir
        time = _time(said.timestamp)
        make_directory(root, said.path, said.mode, parents=said.makeParents, owner=owner, timestamp=time)
    elif kind == "mkfile":
        file = action.mkfile
        make_file(root, file.path, file.mode, file.data, owner=owner, timestamp=_time(file.timestamp))
    elif kind == "symlink":
        link = action.symlink
        make_link(root, link.oldpath, link.newpath, owner=owner, timestamp=_time(link.timestamp))
    elif kind == "rm":
        gone = action.rm
        remove_path(root, gone.path, allow_not_found=gone.allowNotFound, wildcard=gone.allowWildcard)
    else:
        raise InvalidInput("invalid action type in file op")


def _copy_options(said: pb.FileActionCopy, owner: Owner | None, check: Callable[[], None]) -> CopyOptions:
    return CopyOptions(
        include=tuple(said.include_patterns),
        exclude=tuple(said.exclude_patterns),
        owner=owner,
        mode=None if said.mode == _KEEP or said.modeStr else said.mode,
        mode_text=said.modeStr,
        timestamp=_time(said.timestamp),
        dir_contents=said.dirCopyContents,
        follow_links=said.followSymlink,
        create_dest_path=said.createDestPath,
        allow_wildcard=said.allowWildcard,
        allow_empty_wildcard=said.allowEmptyWildcard,
        replace=said.alwaysReplaceExistingDestPaths,
        unpack=(lambda stream: _Checked(decompress(stream), check)) if said.attemptUnpackDockerCompatibility else None,
        check=check,
    )


def _time(timestamp: int) -> int | None:
    return None if timestamp == _KEEP else timestamp
