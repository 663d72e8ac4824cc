"""Steps that run a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from buildkit.core.values import astuple
from buildkit.fs.contenthash import Selector
from buildkit.ops import gojson
from buildkit.ops.contents import content_digest
from buildkit.ops.exec_key import InputUse, exec_key, uses_of_inputs
from buildkit.ops.load import Description, Result
from buildkit.solver.digests import selector_digest
from buildkit.solver.graph import CacheInput, CacheMap, Step
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.ops.mounts import CacheKey


class ExecOp:
    """A process as a step."""

    def __init__(self, description: Description, worker: Worker, forgotten: set[CacheKey]) -> None:
        """``forgotten``: cache mounts that this definition has made anew already, shared by its ops."""
        self._op = description.op.exec
        self._whole = description.op
        self._platform = description.platform
        self._forget = forgotten if description.metadata.ignore_cache else None
        self._count = len(description.op.inputs)
        self._worker = worker

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """One: the op, less what does not matter, and the parts of the inputs that it sees."""
        key = exec_key(self._op, self._platform)
        uses = uses_of_inputs(self._op, self._count)
        digested = [[Selector(p, follow_links=True) for p in use.paths] if use.by_content else [] for use in uses]
        step.note(
            kind="exec",
            key=key,
            selectors=[use.selectors for use in uses],
            digested=[[astuple(one) for one in some] for some in digested],
        )
        yield CacheMap(gojson.digest(key), tuple(map(self._input, uses, digested)))

    def _input(self, use: InputUse, digested: list[Selector]) -> CacheInput[Result]:
        selector = selector_digest(use.selectors) if use.selectors else ""
        if not use.by_content:
            return CacheInput(selector)
        return CacheInput(selector, content_digest(self._worker, digested))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Run it; the results are the trees of those mounts that have an output."""
        from buildkit.ops.exec_run import ExecRun

        run = ExecRun(self._whole, self._platform, self._forget, self._worker, step)
        return await run.results(inputs)
