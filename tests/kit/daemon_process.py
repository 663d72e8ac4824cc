"""Our daemon as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.projects import SOURCES


@contextmanager
def our_buildkitd(folder: Path, *flags: str) -> Iterator[str]:
    """Its address; state, socket and log are in ``folder``."""
    socket = folder / "s.sock"
    words = [
        sys.executable,
        "-m",
        "buildkit.daemon.main",
        "--root",
        str(folder / "state"),
        "--addr",
        f"unix://{socket}",
    ]
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        process = subprocess.Popen([*words, *flags], stdout=log, stderr=log, env=environment)
        try:
            while not socket.exists():
                assert process.poll() is None, (folder / "log").read_text()
                threading.Event().wait(0.02)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()
