"""The world in which the corpus was made: images that need no registry, a build that solves nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.api import ops_pb2 as pb
from buildkit.core.digest import sha256
from buildkit.core.errors import NotFound, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.frontend.frontend import (
    Bridge,
    CacheImport,
    FileStat,
    ImageConfig,
    LayoutStore,
    Ref,
    SourceMetadata,
    Warning,
)
from buildkit.llb.definition import Definition
from buildkit.source.source import Inquiry

_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})\Z")
AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


class FakeImages:
    """Finds every image; its config depends on the platform alone."""

    def __init__(self, meta: Mapping[str, Any], config: str = "plain_config", *, plain_for: str = "") -> None:
        self._meta = meta
        self._config = config
        self._plain_for = plain_for
        self._asked: list[str] = []

    @property
    def resolved(self) -> list[str]:
        """Every question, sorted."""
        return sorted(self._asked)

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        """See `Resolving.resolve_image`."""
        wanted = platform or AMD64
        shown = "/".join(part for part in (wanted.os, wanted.architecture, wanted.variant) if part) if platform else ""
        self._asked.append(f"{ref}\t{shown}\t{mode}\t{log_name}")
        pinned = _PINNED.search(ref)
        digest = pinned[1] if pinned else "sha256:" + hashlib.sha256(ref.encode()).hexdigest()
        name = "plain_config" if self._plain_for and self._plain_for in ref else self._config
        text = str(self._meta[name]).replace("@ARCH@", wanted.architecture).replace("@OS@", wanted.os)
        text = text.replace("@VARIANT@", f'"variant":"{wanted.variant}",' if wanted.variant else "")
        return ImageConfig(ref, digest, text.encode())

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        """See `Resolving.resolve_source`."""
        raise Unsupported(f"ResolveSourceMetadata not supported: {identifier}")


class FakeBuild:
    """A `Bridge` whose trees hold the Dockerfile and the ignore file, and nothing else."""

    def __init__(self, meta: Mapping[str, Any], images: FakeImages, files: Mapping[str, bytes]) -> None:
        self._meta = meta
        self._images = images
        self._files = files
        self.warnings: list[Warning] = []
        self.loads: dict[str, str] = {}
        """What was loaded besides the result, with the hash of its definition."""

    def bridge(self) -> Bridge:
        """What the frontend is given."""
        return Bridge(
            self,
            self._images,
            self,
            self._warn,
            str(self._meta["session_id"]),
            AMD64,
            lambda: (AMD64, ARM64),
            frozenset(self._meta["llb_caps"]),
            frozenset(self._meta["gateway_caps"]),
        )

    async def _warn(self, warning: Warning) -> None:
        self.warnings.append(warning)

    async def solve(
        self, definition: Definition, *, evaluate: bool = False, cache_imports: Sequence[CacheImport] = ()
    ) -> Ref | None:
        """The definition itself is the ref."""
        first = pb.Op.FromString(definition.ops[0]) if definition.ops else pb.Op()
        if len(definition.ops) == 2 and "local.differ" in first.source.attrs:
            self.loads[first.source.attrs["local.sharedkeyhint"]] = sha256(definition.to_bytes()).partition(":")[2]
        return definition

    async def forward(self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Definition]) -> Result[Ref]:
        """See `Solving.forward`."""
        raise Unsupported(f"frontend {frontend} is not run")

    async def read_file(self, ref: Ref | None, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `Reading.read_file`."""
        if path not in self._files:
            raise NotFound(f"open {path}: no such file or directory")
        return self._files[path]

    async def read_dir(self, ref: Ref | None, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        """See `Reading.read_dir`."""
        return [FileStat(name, 0o644) for name in self._files]

    async def stat_file(self, ref: Ref | None, path: str) -> FileStat:
        """See `Reading.stat_file`."""
        return FileStat(path, 0o644)
