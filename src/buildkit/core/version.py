"""Which BuildKit this speaks as, and how it names itself."""

from __future__ import annotations

VERSION = "0.1.0"
"""Of this package, which is built with it."""

PACKAGE = "github.com/moby/buildkit"
"""What tools expect to be told; the revision says who it really is."""

SPOKEN = "v0.32.2"
"""The release of BuildKit whose interfaces these commands have."""

DOCKERFILE = "1.26.0"
"""The version of the Dockerfile language that the built-in frontend reads."""


def revision() -> str:
    """This implementation and its version, in one word."""
    return f"pybuildkit-{VERSION}"


def version_line(command: str) -> str:
    """Four words, which drivers take apart: command, package, version of BuildKit that is spoken, revision."""
    return f"{command} {PACKAGE} {SPOKEN} {revision()}"
