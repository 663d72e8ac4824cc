"""What a conversion is given besides the text of the Dockerfile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from buildkit.core.digest import Digest
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field
from buildkit.frontend.dockerfile.gotext import equal_fold
from buildkit.frontend.dockerfile.linter import CheckOptions, Report
from buildkit.frontend.dockerfile.stagebuild import NamedContext
from buildkit.llb.definition import SourceFile
from buildkit.llb.metadata import LinuxResources
from buildkit.llb.mount import Device
from buildkit.llb.settings import Network
from buildkit.llb.source import ResolveMode
from buildkit.llb.state import State


class FoundImage(Protocol):
    """An image: its reference (perhaps another than asked for), its digest (may be empty), its config."""

    @property
    def ref(self) -> str:
        """With a tag or a digest."""
        ...

    @property
    def digest(self) -> Digest:
        """Of the manifest or index."""
        ...

    @property
    def config(self) -> bytes:
        """JSON text."""
        ...


class ImageResolver(Protocol):
    """Finds out what an image is."""

    async def resolve_image(
        self, ref: str, *, platform: Platform | None, mode: str = "default", log_name: str = ""
    ) -> FoundImage:
        """Look it up; raises `BuildkitError`."""
        ...


class BuildInputs(Protocol):
    """The contexts that the client offers."""

    def find_named_context(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        mode: str = "default",
        follow: Callable[[], Sequence[str]] | None = None,
    ) -> NamedContext | None:
        """What stands for the stage or image ``name``; ``follow`` tells the paths that are read, once known."""
        ...

    async def ignore_patterns(self) -> Sequence[str]:
        """The patterns of ``.dockerignore``."""
        ...

    async def main_context(self, follow: Sequence[str] = ()) -> State:
        """The build context, of which only ``follow`` is read (everything when empty)."""
        ...


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Everything that a client may ask for. ``target`` empty is the last stage."""

    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    build_platforms: Sequence[Platform] = ()
    target_platform: Platform | None = None
    multi_platform: bool = False
    image_resolve_mode: ResolveMode = "default"
    cache_namespace: str = ""
    network: Network = "sandbox"
    hostname: str = ""
    extra_hosts: Sequence[tuple[str, str]] = ()
    shm_size: int = 0
    ulimits: Sequence[tuple[str, int, int]] = ()
    cgroup_parent: str = ""
    resources: LinuxResources | None = None
    devices: Sequence[Device] = ()
    labs: bool = False
    """Take what only frontends of the labs channel take: ``RUN --device``."""
    known_caps: frozenset[str] | None = None
    """What the daemon can do, None when nobody asked."""
    source_file: SourceFile | None = None
    """The Dockerfile, for errors that point into it."""
    all_stages: bool = False
    """Convert what the target does not need, too: for checks."""
    report: Report | None = None
    inputs: BuildInputs | None = None
    main_context: State | None = None
    """The build context when there are no ``inputs``."""
    check: CheckOptions | None = None
    """Overrides the file's ``# check=``."""
    no_cache: tuple[str, ...] | None = None
    """Stages whose steps must run; ``()`` is all, None is none."""
    source_time: Callable[[State, str], Awaitable[int | None]] | None = None
    """When a source was made, in seconds since 1970, None when it does not say; given the name of the question."""

    def is_no_cache(self, stage: str) -> bool:
        """Whether the steps of a stage must run."""
        if not self.no_cache:
            return self.no_cache is not None
        return any(equal_fold(name, stage) for name in self.no_cache)

    def supports(self, cap: str) -> bool:
        """Whether the daemon said that it can do something."""
        return self.known_caps is not None and cap in self.known_caps
