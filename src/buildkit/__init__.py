"""BuildKit in Python: an embedded build engine, a client and server of its protocol, and an SDK for LLB."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildkit import llb as llb
    from buildkit.client.builds import BuildOptions as BuildOptions
    from buildkit.client.builds import Result as Result
    from buildkit.client.library import AsyncClient as AsyncClient
    from buildkit.client.library import Client as Client
    from buildkit.client.library import Progress as Progress
    from buildkit.client.library import build as build
    from buildkit.client.options import CacheOptions as CacheOptions
    from buildkit.client.options import OutputOptions as OutputOptions
    from buildkit.client.options import PruneOptions as PruneOptions
    from buildkit.client.options import SecretOptions as SecretOptions
    from buildkit.client.options import SSHOptions as SSHOptions
    from buildkit.client.options import UsageRecord as UsageRecord
    from buildkit.client.tls import TLSFiles as TLSFiles
    from buildkit.core.errors import BuildkitError as BuildkitError
    from buildkit.core.explanation import Change as Change
    from buildkit.core.explanation import Explanation as Explanation
    from buildkit.core.progress import LogUpdate as LogUpdate
    from buildkit.core.progress import StatusUpdate as StatusUpdate
    from buildkit.core.progress import Update as Update
    from buildkit.core.progress import VertexUpdate as VertexUpdate
    from buildkit.core.progress import WarningUpdate as WarningUpdate
    from buildkit.core.version import VERSION as VERSION

_MODULES = {
    "client.builds": "BuildOptions Result",
    "client.library": "AsyncClient Client Progress build",
    "client.options": "CacheOptions OutputOptions PruneOptions SecretOptions SSHOptions UsageRecord",
    "client.tls": "TLSFiles",
    "core.errors": "BuildkitError",
    "core.explanation": "Change Explanation",
    "core.progress": "LogUpdate StatusUpdate Update VertexUpdate WarningUpdate",
    "core.version": "VERSION",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = [*_HOME, "llb"]


if not TYPE_CHECKING:  # for whom names that there are not are mistakes

    def __getattr__(name: str) -> object:
        """Import what is asked for: a program pays for what it uses."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name == "llb":
            return import_module("buildkit.llb")
        found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
