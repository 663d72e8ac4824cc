"""Definitions written by hand, op by op."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.api import ops as pb
from buildkit.core.digest import Digest, sha256
from buildkit.core.platform import Platform
from buildkit.ops.load import Description

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Ops:
    """Collects ops; `definition` ends them with one that points at the last."""

    def __init__(self) -> None:
        self.content: list[bytes] = []
        self.metadata: dict[Digest, pb.OpMetadata] = {}

    def add(self, op: pb.Op, *inputs: Digest | tuple[Digest, int], metadata: pb.OpMetadata | None = None) -> Digest:
        """Append an op that reads these inputs; gives its digest."""
        for one in inputs:
            digest, index = one if isinstance(one, tuple) else (one, 0)
            op.inputs.add(digest=digest, index=index)
        self.content.append(op.SerializeToString(deterministic=True))
        digest = sha256(self.content[-1])
        if metadata is not None:
            self.metadata[digest] = metadata
        return digest

    def definition(self, head: Digest | None = None, index: int = 0) -> pb.Definition:
        """Everything so far, with ``head`` (else the last op) as what it describes."""
        last = pb.Op(inputs=[pb.Input(digest=head or sha256(self.content[-1]), index=index)])
        made = pb.Definition(**{"def": [*self.content, last.SerializeToString()]})
        for digest, metadata in self.metadata.items():
            made.metadata[digest].CopyFrom(metadata)
        return made


def source(identifier: str, **attrs: str) -> pb.Op:
    """A source op; underscores in attribute names stand for dots."""
    op = pb.Op()
    op.source.identifier = identifier
    for name, value in attrs.items():
        op.source.attrs[name.replace("_", ".")] = value
    return op


def run(*args: str, mounts: tuple[pb.Mount, ...] = (), env: tuple[str, ...] = (PATH,), **meta: object) -> pb.Op:
    """An exec op on the first input as its root, whose tree is output 0, unless ``mounts`` say otherwise."""
    op = pb.Op()
    op.exec.meta.CopyFrom(pb.Meta(args=args, env=env, cwd="/", **meta))  # type: ignore[arg-type]
    op.exec.mounts.extend(mounts or (pb.Mount(dest="/"),))
    return op


def file(*actions: pb.FileAction) -> pb.Op:
    """A file op."""
    op = pb.Op()
    op.file.actions.extend(actions)
    return op


def described(op: pb.Op, metadata: Mapping[str, object] | None = None) -> Description:
    """An op as the loader describes it, on linux/amd64."""
    return Description(op, pb.OpMetadata(**(metadata or {})), "name", Platform("linux", "amd64"))  # type: ignore[arg-type]
