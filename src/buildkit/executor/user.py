"""Who a process runs as: user and group names looked up in the container's own ``/etc/passwd`` and ``/etc/group``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

_MAX_FILE = 10 << 20
_MAX_ID = (1 << 32) - 1

ReadFile = Callable[[str], str]
"""Gives the text of a file of the root; "" when there is none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers the kernel knows: user, group and supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def resolve_user(name: str, read: ReadFile) -> Identity:
    """Resolve ``name``, ``uid``, ``name:group``, ``uid:gid`` or "" (root); raises `InvalidInput`.

    A number needs no entry. A lone user takes group and supplementary groups from the files; a group given
    with it leaves the supplementary groups out, as moby's user package does.
    """
    wanted, colon, wanted_group = name.partition(":")
    numeric = _as_id(wanted), _as_id(wanted_group)
    if colon and numeric[0] is not None and numeric[1] is not None:
        return Identity(numeric[0], numeric[1])
    uid, gid, found = _find_user(wanted or "0", read("/etc/passwd"))
    group_file = read("/etc/group")
    if wanted_group:
        return Identity(uid, _find_group(wanted_group, group_file))
    return Identity(uid, gid, _groups_of(found, group_file) if found else ())


def _as_id(text: str) -> int | None:
    if text == "root":
        return 0
    if text.isascii() and text.isdigit() and int(text) <= _MAX_ID:
        return int(text)
    return None


def _find_user(wanted: str, passwd: str) -> tuple[int, int, str]:
    """The first entry whose name is ``wanted``, or whose number it is."""
    number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
    for line in passwd.splitlines():
        fields = line.strip().split(":")
        if len(fields) < 4 or not (fields[2].isdigit() and fields[3].isdigit()):
            continue
        if fields[0] == wanted if number is None else int(fields[2]) == number:
            return int(fields[2]), int(fields[3]), fields[0]
    if number is None:
        raise InvalidInput(f"unable to find user {wanted}: no matching entries in passwd file")
    if number > _MAX_ID:
        raise InvalidInput(f"invalid user {wanted}: uids and gids must be in range 0-{_MAX_ID}")
    return number, 0, ""


def _find_group(wanted: str, group_file: str) -> int:
    number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
    for fields in _group_entries(group_file):
        if fields[0] == wanted if number is None else int(fields[2]) == number:
            return int(fields[2])
    if number is None:
        raise InvalidInput(f"unable to find group {wanted}: no matching entries in group file")
    if number > _MAX_ID:
        raise InvalidInput(f"invalid group {wanted}: uids and gids must be in range 0-{_MAX_ID}")
    return number


def _groups_of(user: str, group_file: str) -> tuple[int, ...]:
    return tuple(int(fields[2]) for fields in _group_entries(group_file) if user in fields[3].split(","))


def _group_entries(group_file: str) -> list[list[str]]:
    lines = (line.strip().split(":") for line in group_file.splitlines())
    return [fields for fields in lines if len(fields) >= 4 and fields[2].isdigit()]


def read_account_file(fd: int, name: str) -> str:
    """Read and close an open passwd or group file that a build made: regular, and of sane size."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput(f"{name} is not a regular file")
    with os.fdopen(fd, "rb") as file:
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise InvalidInput(f"{name!r} exceeds {_MAX_FILE} bytes")
    return content.decode(errors="surrogateescape")
