"""Which op does what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from buildkit.core.errors import InvalidInput
from buildkit.ops.load import NOTHING_SPECIAL, Description, Result, Rules
from buildkit.solver.graph import Op
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.ops.mounts import CacheKey


_AT_WORK = ("source", "exec", "file")


class OpMaker:
    """Makes the ops of one definition, for one worker."""

    def __init__(self, worker: Worker, rules: Rules = NOTHING_SPECIAL) -> None:
        """``rules`` hold for definitions that are built on the way, too."""
        self._worker = worker
        self._rules = rules
        self._forgotten: set[CacheKey] = set()

    def make(self, description: Description) -> Op[Result]:
        """The op that does what is described; raises `InvalidInput`."""
        kind = description.op.WhichOneof("op")
        worker = self._worker
        if kind == "source":
            from buildkit.ops.source import SourceOp

            return SourceOp(description, worker)
        if kind == "exec":
            from buildkit.ops.exec import ExecOp

            return ExecOp(description, worker, self._forgotten)
        if kind == "file":
            from buildkit.ops.file import FileOp

            return FileOp(description, worker)
        from buildkit.ops.graph import BuildOp, DiffOp, MergeOp, PassthroughOp

        if kind == "merge":
            return MergeOp(description, worker)
        if kind == "diff":
            return DiffOp(description, worker)
        if kind == "passthrough":
            return PassthroughOp(description)
        if kind == "build":
            return BuildOp(description, worker, self, self._rules)
        raise InvalidInput(f"invalid op of unknown kind in {description.name}")

    def turn(self, description: Description) -> Callable[[], AbstractAsyncContextManager[Any]] | None:
        """One of the worker's places, for what works itself: not for a build inside of a build."""
        return self._worker.turn if description.op.WhichOneof("op") in _AT_WORK else None
