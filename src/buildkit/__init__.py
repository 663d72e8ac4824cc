"""BuildKit in Python: an embedded build engine, a client and server of its protocol, and an SDK for LLB."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildkit.client.builds import BuildOptions as BuildOptions
    from buildkit.client.builds import BuildResult as BuildResult
    from buildkit.client.library import AsyncClient as AsyncClient
    from buildkit.client.library import Client as Client
    from buildkit.client.library import build as build
    from buildkit.core.errors import BuildkitError as BuildkitError
    from buildkit.core.explanation import Change as Change
    from buildkit.core.explanation import Explanation as Explanation
    from buildkit.core.version import VERSION as VERSION

_MODULES = {
    "AsyncClient": "client.library",
    "BuildOptions": "client.builds",
    "BuildResult": "client.builds",
    "BuildkitError": "core.errors",
    "Change": "core.explanation",
    "Client": "client.library",
    "Explanation": "core.explanation",
    "VERSION": "core.version",
    "build": "client.library",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: a program pays for what it uses."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
