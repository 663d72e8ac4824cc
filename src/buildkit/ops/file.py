"""Steps that work on files without running anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from buildkit.core.errors import BuildkitError, SolveDetail
from buildkit.core.values import astuple
from buildkit.fs.contenthash import Selector
from buildkit.ops import gojson
from buildkit.ops.contents import content_digest
from buildkit.ops.file_key import distinct, file_key, selected_paths, selectors_of
from buildkit.ops.load import Description, Result
from buildkit.solver.digests import selector_digest
from buildkit.solver.graph import CacheInput, CacheMap, Step
from buildkit.worker.worker import Worker


class FileOp:
    """Copies, new files, directories and links, removals: one after the other."""

    def __init__(self, description: Description, worker: Worker) -> None:
        self._op = description.op
        self._actions = description.op.file.actions
        self._count = len(description.op.inputs)
        self._name = description.name
        self._worker = worker

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """One: the actions, and what they read of the inputs."""
        key = file_key(self._op.file, self._count)
        selectors = selectors_of(self._op.file, self._count)
        digested = [distinct(some or ()) for some in selectors]
        step.note(
            kind="file",
            key=gojson.plain(key),
            kinds=[one.WhichOneof("action") for one in self._actions],
            selectors=[[one.path for one in some or ()] for some in selectors],
            digested=[[astuple(one) for one in some] for some in digested],
        )
        yield CacheMap(gojson.digest(key), tuple(map(self._input, selectors, digested)))

    def _input(self, selectors: list[Selector] | None, digested: list[Selector]) -> CacheInput[Result]:
        if selectors is None:
            return CacheInput()
        selector = selector_digest(selected_paths(selectors))
        return CacheInput(selector, content_digest(self._worker, digested))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Do it; the results are the trees of those actions that have an output."""
        from buildkit.ops.file_run import FileRun

        async with self._worker.leases.of(step) as lease, AsyncExitStack() as scope:
            run = FileRun(self._worker, self._actions, inputs, lease, scope, self._name)
            try:
                results = await run.results()
            except BuildkitError as error:
                given = tuple(ref.id if ref is not None else "" for ref in inputs)
                mounted = await run.remains(step)
                detail = SolveDetail(given, mounted, self._op.SerializeToString(), run.current)
                raise error.detailed(detail) from None
            for ref in results:
                step.hold(ref)
            return results
