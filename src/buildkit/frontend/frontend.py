"""What a frontend is, and all that it may ask of the build that runs it.

A frontend turns options into a `Result`. It reaches the world only through a `Bridge`, so the same frontend runs
in this process, in an image behind the gateway, or in a client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, Range
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.core.values import dataclass, field
from buildkit.llb.definition import Definition, SourceFile

if TYPE_CHECKING:
    from buildkit.source.attested import AttestationChain
    from buildkit.source.policy import Policy
    from buildkit.source.source import Inquiry, Known

Ref: TypeAlias = object
"""A solved tree, opaque to frontends and lazy: nothing may have run yet. None is the empty tree."""

FrontendResult: TypeAlias = Result[Ref]


@dataclass(frozen=True, slots=True)
class CacheImport:
    """A cache to look into: a type such as ``registry`` and its attributes."""

    type: str
    attrs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LayoutStore:
    """A content store that a client offers: where an ``oci-layout://`` image lies."""

    session: str
    name: str


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a reference stands for: perhaps another reference, the digest, and the config as JSON text."""

    ref: str
    digest: Digest
    config: bytes


@dataclass(frozen=True, slots=True)
class SourceMetadata:
    """What is known of a source without fetching it, beside what the policies of the build made of its name."""

    identifier: str
    attrs: Mapping[str, str]
    known: Known | None = None
    """None for sources that cannot be asked."""


class NotAnImage(BuildkitError):
    """A source policy made something else of an image reference; ``identifier`` says what."""

    def __init__(self, ref: str, identifier: str) -> None:
        super().__init__(f"ref mutated from {ref} to non-image {identifier}")
        self.identifier = identifier


@dataclass(frozen=True, slots=True)
class FileStat:
    """One file of a tree. ``mode`` has the type bits of Go's ``os.FileMode``; ``modified`` is in ns since 1970."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    modified: int = 0
    link_target: str = ""
    device_major: int = 0
    device_minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, slots=True)
class Warning:
    """Something to tell the user about a vertex: one line, more lines, a page, and the place in a file."""

    vertex: Digest
    message: str
    level: int = 1
    detail: tuple[str, ...] = ()
    url: str = ""
    source: SourceFile | None = None
    ranges: tuple[Range, ...] | None = None


class Solving(Protocol):
    """Builds things. Refs belong to the build and live as long as it does."""

    async def solve(
        self, definition: Definition, *, evaluate: bool = False, cache_imports: Sequence[CacheImport] = ()
    ) -> Ref | None:
        """The tree that a definition makes; ``evaluate`` waits until it is made. Raises `BuildkitError`."""
        ...

    async def forward(
        self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """What another frontend (``gateway.v0``) makes of the same build."""
        ...

    async def evaluate(self, ref: Ref | None) -> None:
        """Wait until a tree is made."""
        ...

    def definition_of(self, ref: Ref) -> Definition:
        """What makes a tree."""
        ...


class Resolving(Protocol):
    """Looks at sources without fetching them; shown to the user as a step named ``log_name``."""

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        """The image of a registry, or of ``store``; ``mode`` is ``default``, ``pull`` or ``local``.

        Raises `NotFound`, `NotAnImage` and what the network gives.
        """
        ...

    async def resolve_attestations(
        self, ref: str, *, platform: Platform | None, predicates: Sequence[str] = ()
    ) -> AttestationChain | None:
        """Who attested and signed the image ``ref``, a name as `resolve_image` gave it; None where nobody can."""
        ...

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        """What is known of any other source."""
        ...


class Reading(Protocol):
    """Reads trees; evaluates them first if need be. Paths are absolute or relative to the tree's root."""

    async def read_file(self, ref: Ref | None, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """A file's content or a part of it. Raises `NotFound`."""
        ...

    async def read_dir(self, ref: Ref | None, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        """The entries of a directory whose names match a shell pattern."""
        ...

    async def stat_file(self, ref: Ref | None, path: str) -> FileStat:
        """One file, links followed. Raises `NotFound`."""
        ...


@dataclass(frozen=True, slots=True)
class Bridge:
    """The build as its frontend sees it."""

    solving: Solving
    resolving: Resolving
    reading: Reading
    warn: Callable[[Warning], Awaitable[None]]
    session_id: str
    platform: Platform
    """Where steps run natively."""
    worker_platforms: Callable[[], tuple[Platform, ...]]
    """Where steps can run, the native platform first; finding out may take some milliseconds."""
    llb_caps: frozenset[str]
    """Capabilities of definitions (`buildkit.llb.caps`)."""
    caps: frozenset[str] = frozenset()
    """Capabilities of the gateway."""
    remains: Callable[[str], Ref | None] | None = None
    """A tree as a failed step saw or left it, by its name in `buildkit.core.errors.SolveDetail`."""
    stricter: Callable[[Sequence[Policy]], Bridge] | None = None
    """The same build with more source policies."""
    note: Callable[[str], Awaitable[None]] | None = None
    """Shows one line that is no warning, as a step that is done at once; None where there is no way to."""


class Frontend(Protocol):
    """Makes a result out of options."""

    async def solve(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """Build. ``inputs`` are definitions given by name; raises `BuildkitError` with its places in files."""
        ...
