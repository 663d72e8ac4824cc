"""Removing trees in the background: on ext4 removing a directory takes milliseconds, and nobody needs to wait."""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

from buildkit.fs.removal import remove


class Eraser:
    """One thread at a time that removes what it is given; it does not keep the process alive."""

    def __init__(self) -> None:
        self._waiting: deque[Path] = deque()
        self._lock = threading.Condition()
        self._running = False

    @property
    def busy(self) -> bool:
        """Whether something is still to be removed."""
        return self._running

    def erase(self, path: Path) -> None:
        """Remove a tree soon."""
        with self._lock:
            self._waiting.append(path)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="eraser", daemon=True).start()

    def finish(self) -> None:
        """Wait until all is removed."""
        with self._lock:
            self._lock.wait_for(lambda: not self._running)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    self._lock.notify_all()
                    return
                path = self._waiting.popleft()
            erase(path)


def erase(path: Path) -> None:
    """Remove a tree, however deep; what cannot be removed stays."""
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove(path.name, parent)
    except OSError:
        return
    finally:
        os.close(parent)
