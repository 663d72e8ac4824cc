"""One engine per state folder: an flock that tells who holds it, and who waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25


def holder_of(path: Path) -> str:
    """The process that wrote its name into the lock file, for people to read."""
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"


@asynccontextmanager
async def root_lock(root: Path, waiting: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the lock of a state folder; while another process has it, wait, and say once for whom."""
    path = root / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        pause, told = _FIRST_PAUSE, False
        while not _try_lock(handle):
            if not told:
                waiting(holder_of(path))
                told = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()} ({' '.join(sys.argv)[:200]})\n".encode(errors="replace"), 0)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
