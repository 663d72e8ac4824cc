"""A `Bridge` without a build: trees are dicts of files, images are found with a small config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.api import ops_pb2 as pb
from buildkit.core.digest import sha256_text
from buildkit.core.errors import NotFound
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.core.values import dataclass, field
from buildkit.frontend.frontend import (
    Bridge,
    CacheImport,
    FileStat,
    ImageConfig,
    LayoutStore,
    NotAnImage,
    Ref,
    SourceMetadata,
    Warning,
)
from buildkit.llb.caps import BY_PING
from buildkit.llb.definition import Definition
from buildkit.source.source import Inquiry

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def sources(definition: Definition) -> list[pb.SourceOp]:
    """The sources in a graph."""
    ops = (pb.Op.FromString(op) for op in definition.ops)
    return [op.source for op in ops if op.WhichOneof("op") == "source"]


@dataclass
class FakeBridge:
    """``trees`` are files by identifier of the source (``local://dockerfile``); any other tree is empty."""

    trees: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    metadata: Mapping[str, SourceMetadata] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    """What became of image references."""
    solved: list[Definition] = field(default_factory=list)
    imports: list[CacheImport] = field(default_factory=list)
    resolved: list[tuple[str, str, str]] = field(default_factory=list)
    """Reference, platform and name of the step of every look-up."""
    stores: list[LayoutStore] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forwarded: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    image: dict[str, Any] = field(default_factory=dict)

    def bridge(self) -> Bridge:
        """What a frontend is given."""
        return Bridge(
            self, self, self, self._warn, "session", AMD64, lambda: (AMD64, ARM64), frozenset(BY_PING), note=self._note
        )

    async def _warn(self, warning: Warning) -> None:
        self.warnings.append(warning)

    async def _note(self, line: str) -> None:
        self.notes.append(line)

    async def solve(
        self, definition: Definition, *, evaluate: bool = False, cache_imports: Sequence[CacheImport] = ()
    ) -> Ref | None:
        self.solved.append(definition)
        self.imports += cache_imports
        return definition

    async def forward(self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Definition]) -> Result[Ref]:
        self.forwarded.append((frontend, dict(options)))
        return Result({"": None})

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        self.resolved.append((ref, str(platform or ""), log_name))
        self.stores += [store] if store else []
        if ref in self.policies:
            raise NotAnImage(ref, self.policies[ref])
        wanted = platform or AMD64
        config = {"architecture": wanted.architecture, "os": wanted.os, "config": {"Cmd": ["sh"]}, **self.image}
        digest = ref.partition("@")[2] or sha256_text(ref)
        return ImageConfig(ref, digest, json.dumps(config).encode())

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        return self.metadata.get(identifier, SourceMetadata(identifier, attrs))

    async def read_file(self, ref: Ref | None, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        assert isinstance(ref, Definition)
        for source in sources(ref):
            if path in self.trees.get(source.identifier, {}):
                return self.trees[source.identifier][path][offset:][:length]
        raise NotFound(f"open {path}: no such file or directory")

    async def read_dir(self, ref: Ref | None, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        return []

    async def stat_file(self, ref: Ref | None, path: str) -> FileStat:
        return FileStat(path, 0o644)
