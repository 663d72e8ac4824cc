"""Who owns the files that file steps make."""

from __future__ import annotations

import errno
import os

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.executor.user import read_account_file
from buildkit.fs.tree import open_in_root

Owner = tuple[int, int]
"""User and group numbers."""


def named_inputs(owner: pb.ChownOpt) -> list[int]:
    """Numbers of the trees whose files names are looked up in."""
    options = (owner.user, owner.group)
    found = [option.byName.input for option in options if option.WhichOneof("user") == "byName"]
    for number in found:
        if number < 0:
            raise InvalidInput(f"invalid user index: {number}")
    return found


def find_owner(owner: pb.ChownOpt, roots: dict[int, int]) -> Owner:
    """Numbers for names; ``roots`` are descriptors of the trees of `named_inputs`. A name that is not found is 0.

    A user given by number alone takes the same number for the group.
    """
    uid = gid = 0
    kind = owner.user.WhichOneof("user")
    if kind == "byID":
        uid = gid = owner.user.byID
    elif kind == "byName":
        fields = _entry(roots[owner.user.byName.input], "/etc/passwd", owner.user.byName.name)
        if len(fields) > 3 and fields[2].isdigit() and fields[3].isdigit():
            uid, gid = int(fields[2]), int(fields[3])
    kind = owner.group.WhichOneof("user")
    if kind == "byID":
        gid = owner.group.byID
    elif kind == "byName":
        fields = _entry(roots[owner.group.byName.input], "/etc/group", owner.group.byName.name)
        if len(fields) > 2 and fields[2].isdigit():
            gid = int(fields[2])
    return uid, gid


def _entry(root: int, path: str, name: str) -> list[str]:
    try:
        text = read_account_file(open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK), path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise
    lines = (line.strip().split(":") for line in text.splitlines())
    return next((fields for fields in lines if fields[0] == name and name), [])
