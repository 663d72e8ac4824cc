"""Sources: the roots of a build, each known by an identifier such as ``docker-image://busybox:latest``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, runtime_checkable

from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput, NotFound
from buildkit.core.platform import Platform, host_platform
from buildkit.core.progress import Reporter
from buildkit.core.values import dataclass
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref


class SourceOp(Protocol):
    """What a definition says of a source; ``pb.SourceOp`` is one."""

    @property
    def identifier(self) -> str:
        """``scheme://name``."""

    @property
    def attrs(self) -> Mapping[str, str]:
        """Attributes such as ``image.resolvemode``."""


class Asking(Protocol):
    """Who asks for a source right now; `buildkit.solver.graph.Step` is one."""

    @property
    def progress(self) -> Reporter:
        """Where to report."""

    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions that wait for the answer."""

    def note(self, **facts: object) -> None:
        """Write facts into the record of the step."""

    def hold(self, result: Ref | None) -> None:
        """Keep a ref for as long as the jobs last that ask."""


class Source(Protocol):
    """One source, asked by every job that shares its vertex."""

    @property
    def pin(self) -> str:
        """What the name resolved to (a digest); empty before `keys` has said anything."""

    def keys(self, step: Asking) -> AsyncIterator[str]:
        """Its identities, cheapest first, before the prefix that the solver puts there.

        A key that begins with ``session:`` is good for one session only: it never matches in another build.
        """

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The tree, held by ``lease``; None is the empty tree."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What somebody wants to know of a source beyond its names and digests."""

    objects: bool = False
    """Git's objects as git stores them."""
    algorithm: str = ""
    """Of a digest of the file followed by ``suffix``: ``sha256``, ``sha384`` or ``sha512``; "" for none."""
    suffix: bytes = b""


@dataclass(frozen=True, slots=True)
class Known:
    """What can be said of a source without its tree.

    Of git: the full ``ref``, the id that it names, the id of its commit where that is another (of a tag object),
    and both objects. Of a file: its digest, name, time of change (seconds since 1970) and the digest asked for.
    """

    checksum: str = ""
    ref: str = ""
    commit_checksum: str = ""
    commit: bytes = b""
    tag: bytes = b""
    filename: str = ""
    last_modified: int | None = None
    suffixed: Digest = ""


@runtime_checkable
class Describable(Source, Protocol):
    """A source that can say something of itself."""

    async def describe(self, step: Asking, lease: Lease, inquiry: Inquiry) -> Known:
        """Ask whom it takes."""


class Factory(Protocol):
    """Makes the sources of some schemes."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """What stands before ``://``."""

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Source:
        """A source for ``scheme://name``; raises `InvalidInput`."""


class Later:
    """A factory that is made when the first of its sources is opened: a build without one does not import it."""

    def __init__(self, schemes: tuple[str, ...], make: Callable[[], Factory]) -> None:
        self.schemes = schemes
        self._make = make
        self._made: Factory | None = None

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Source:
        """See `Factory.open`."""
        if self._made is None:
            self._made = self._make()
        return self._made.open(scheme, name, attrs, platform)


class Sources:
    """Every kind of source there is."""

    def __init__(self, *factories: Factory) -> None:
        self._factories = {scheme: factory for factory in factories for scheme in factory.schemes}

    def open(self, op: SourceOp, platform: Platform | None = None) -> Source:
        """The source that ``op`` names, for this machine's platform if none is given.

        Raises `InvalidInput` when it cannot be read, `NotFound` for an unknown scheme.
        """
        scheme, separator, name = op.identifier.partition("://")
        if not separator:
            raise InvalidInput(f"failed to parse {op.identifier}: invalid")
        factory = self._factories.get(scheme)
        if factory is None:
            raise NotFound(f"unknown scheme {scheme}: not found")
        return factory.open(scheme, name, op.attrs, platform or host_platform())
