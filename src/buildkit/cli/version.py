"""The version line that tools read: name, package, version of BuildKit that is spoken, revision."""

from __future__ import annotations

from buildkit.core import version


def version_line(command: str = "buildctl") -> str:
    """Four words; the last one names this implementation."""
    return version.version_line(command)
