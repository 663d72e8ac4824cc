"""Where engines are when nobody says: state directories and sockets."""

from __future__ import annotations

import os


def default_root() -> str:
    """Where an engine without a daemon keeps its state."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(home, "buildkit")


def default_sockets() -> list[str]:
    """Where a daemon listens if nobody told it otherwise."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    own = [os.path.join(runtime, "buildkit", "buildkitd.sock")] if runtime and os.geteuid() else []
    return [*own, "/run/buildkit/buildkitd.sock"]
