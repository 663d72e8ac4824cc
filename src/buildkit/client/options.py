"""What a client asks of an engine, and what it gets back: plain values, cheap to import.

Paths are as the user wrote them, relative to the working directory. Times are nanoseconds since the Unix epoch,
sizes are bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from buildkit.core.values import dataclass, field

if TYPE_CHECKING:
    from buildkit.core.explanation import Explanation
    from buildkit.core.progress import Update

    Explained = Callable[[Sequence[Explanation]], None]


def _strings() -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """One output. ``dest`` is a file or directory, ``-`` for standard output, ``""`` where the type needs none."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=_strings)
    dest: str = ""


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """One cache to export to or to import from."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=_strings)


@dataclass(frozen=True, slots=True)
class SecretOptions:
    """One secret: a value, or the content of a file or of an environment variable; else it is looked for as ``id``."""

    id: str
    path: str = ""
    env: str = ""
    value: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SSHOptions:
    """One agent: sockets or keys; ``raw`` hands a socket through as it is."""

    id: str
    paths: tuple[str, ...] = ()
    raw: bool = False


@dataclass(frozen=True, slots=True)
class RegistryTLS:
    """How to trust one registry's token server: PEM files."""

    host: str
    insecure: bool = False
    authorities: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    """(certificate, key)"""


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """One build. Either ``frontend`` is named or ``definition`` (serialized ``pb.Definition``) is given."""

    frontend: str = ""
    frontend_attrs: Mapping[str, str] = field(default_factory=_strings)
    definition: bytes | None = None
    locals: Mapping[str, str] = field(default_factory=_strings)
    """Directories that the build may read, by name."""
    oci_layouts: Mapping[str, str] = field(default_factory=_strings)
    outputs: tuple[OutputOptions, ...] = ()
    exports: tuple[CacheOptions, ...] = ()
    imports: tuple[CacheOptions, ...] = ()
    secrets: tuple[SecretOptions, ...] = ()
    ssh: tuple[SSHOptions, ...] = ()
    allow: tuple[str, ...] = ()
    source_policy: str = ""
    """JSON text of a ``pb.Policy``; ``""`` for none."""
    registry_tls: tuple[RegistryTLS, ...] = ()
    proxy_network: bool = False
    keep_times: bool = False
    """Write the times that files really have into layers, and the time of the build into the image."""
    frontend_inputs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Serialized ``pb.Definition`` of what the frontend is to take for its inputs, by name (``dockerfile``)."""
    ref: str = ""
    """The build's id; ``""`` lets the client choose one."""
    pull: str = ""
    """When names of sources are looked up: ``always`` (also ``""``), ``missing``, ``fallback`` or ``never``."""
    explained: Explained | None = None
    """Hears, once the steps are done, well or badly, why each of those that ran did."""


@dataclass(frozen=True, slots=True)
class SolveResponse:
    """How a build that succeeded ended: what the exporters and the frontend have to say."""

    exporter: Mapping[str, str] = field(default_factory=_strings)
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One thing that takes space in an engine's state."""

    id: str
    size: int
    created: int
    last_used: int | None = None
    usage_count: int = 0
    parents: tuple[str, ...] = ()
    description: str = ""
    record_type: str = ""
    mutable: bool = False
    in_use: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What to keep. 0 is no limit of that kind; ``all`` takes internal records too."""

    filters: tuple[str, ...] = ()
    all: bool = False
    keep_duration: int = 0
    """Nanoseconds: what was used since stays."""
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


class Build(Protocol):
    """One running build. Leaving its scope early cancels it."""

    def progress(self) -> AsyncIterator[Sequence[Update]]:
        """Everything that happens, in batches, until the build ends, well or badly."""

    async def result(self) -> SolveResponse:
        """Wait for the end; raises the `buildkit.core.errors.BuildkitError` that made the build fail."""


class Client(Protocol):
    """An engine to talk to, for as long as the scope of whoever opened it lasts."""

    def build(self, options: SolveOptions) -> AbstractAsyncContextManager[Build]:
        """Start a build."""

    async def usage(self, filters: Sequence[str] = ()) -> list[UsageRecord]:
        """What takes space, smallest first."""

    def prune(self, options: PruneOptions) -> AsyncIterator[UsageRecord]:
        """Free space; yields each record once it is gone."""
