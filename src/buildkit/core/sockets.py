"""Folders for unix sockets: the kernel takes 107 characters for the whole path, and ``TMPDIR`` may be long."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 60
"""Characters of a folder that leave room for a name below it."""

_PREFIX = "buildkit-sockets-"


def _place() -> str:
    """The folder in which to make a temporary folder for sockets: the usual one, or a short one."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST else "/tmp"  # noqa: S108 - a private folder is made in it


@contextmanager
def socket_folder() -> Iterator[str]:
    """A private folder that goes with the scope, or, if this process is killed, with the next `sweep_folders`."""
    sweep_folders()
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=_place())
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(path).is_dir():
            break
        os.close(lock)  # swept before it was locked
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep_folders() -> None:
    """Remove the folders of this user's processes that are no more: nobody locks them."""
    with os.scandir(_place()) as found:
        paths = [one.path for one in found if one.name.startswith(_PREFIX) and one.is_dir(follow_symlinks=False)]
    for path in paths:
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(folder).st_uid == os.geteuid():
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(folder)
