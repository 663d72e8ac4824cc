"""Folders for unix sockets: the kernel takes 107 characters for the whole path, and ``TMPDIR`` may be long."""

from __future__ import annotations

import tempfile

_LONGEST = 60
"""Characters of a folder that leave room for a name below it."""


def socket_place() -> str:
    """The folder in which to make a temporary folder for sockets: the usual one, or a short one."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST else "/tmp"  # noqa: S108 - a private folder is made in it
