"""The version line that tools read: name, package, version of BuildKit that is spoken, revision."""

from __future__ import annotations

SPOKEN = "v0.32.2"
"""The release of BuildKit whose interfaces these commands have."""


def version_line(command: str = "buildctl") -> str:
    """Four words; the last one names this implementation."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("pybuildkit")
    except PackageNotFoundError:
        own = "source"
    return f"{command} github.com/moby/buildkit {SPOKEN} pybuildkit-{own}"
