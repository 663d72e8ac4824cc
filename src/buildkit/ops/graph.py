"""Steps that do no work of their own on files: merge, diff, passthrough, and building what a file defines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.fs.tree import open_in_root
from buildkit.ops import gojson
from buildkit.ops.load import Description, Maker, Result, Rules, load
from buildkit.ops.validate import NOTHING
from buildkit.solver.graph import CacheInput, CacheMap, Step
from buildkit.worker.worker import Worker

_DEFINITION_INPUT = "buildkit.llb.definition"
_DEFINITION_FILE = "buildkit.llb.definition"
_FILE_ATTR = "llbbuild.filename"
_SELF = -1
_MAX_DEFINITION = 64 << 20


class MergeOp:
    """Trees laid over one another; done when someone needs the result."""

    def __init__(self, description: Description, worker: Worker) -> None:
        self._description = description
        self._worker = worker

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """By the inputs alone."""
        op = self._description.op.merge
        step.note(kind="merge")
        digest = gojson.digest({"Type": "buildkit.merge.v0", "Merge": op})
        yield CacheMap(digest, (CacheInput(),) * len(op.inputs))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Note the merge."""
        async with self._worker.leases.of(step) as lease:
            ref = self._worker.store.merge(inputs, lease, description=self._description.name, progress=step.progress)
            step.hold(ref)
            return [ref]


class DiffOp:
    """What changed from one tree to another."""

    def __init__(self, description: Description, worker: Worker) -> None:
        self._description = description
        self._worker = worker

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """By the inputs alone."""
        op = self._description.op.diff
        step.note(kind="diff")
        count = (op.lower.input != NOTHING) + (op.upper.input != NOTHING)
        yield CacheMap(gojson.digest({"Type": "buildkit.diff.v0", "Diff": op}), (CacheInput(),) * count)

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Note the difference. Inputs stand in the order lower, upper; an empty side has none."""
        op = self._description.op.diff
        rest = iter(inputs)
        lower = next(rest, None) if op.lower.input != NOTHING else None
        upper = next(rest, None) if op.upper.input != NOTHING else None
        async with self._worker.leases.of(step) as lease:
            ref = self._worker.store.diff(
                lower, upper, lease, description=self._description.name, progress=step.progress
            )
            step.hold(ref)
            return [ref]


class PassthroughOp:
    """Some of its inputs, after all of them."""

    def __init__(self, description: Description) -> None:
        self._op = description.op

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """By the inputs alone."""
        step.note(kind="passthrough", id=self._op.passthrough.id)
        digest = gojson.digest({"Type": "buildkit.passthrough.v0", "Passthrough": self._op.passthrough})
        yield CacheMap(digest, (CacheInput(),) * len(self._op.inputs))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Hand them on."""
        outputs = self._op.passthrough.outputs
        for number in outputs:
            if not 0 <= number < len(inputs):
                raise InvalidInput(f"invalid passthrough output input index {number}")
        return [inputs[number] for number in outputs]


class BuildOp:
    """Builds the definition that is in a file of its input."""

    def __init__(self, description: Description, worker: Worker, maker: Maker, rules: Rules) -> None:
        self._op = description.op
        self._worker = worker
        self._maker = maker
        self._rules = rules

    async def cache_maps(self, step: Step) -> AsyncIterator[CacheMap[Result]]:
        """By the inputs alone."""
        step.note(kind="build")
        digest = gojson.digest({"Type": "buildkit.build.v0", "Exec": self._op.build})
        yield CacheMap(digest, (CacheInput(),) * len(self._op.inputs))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Read the definition and build it."""
        build = self._op.build
        if build.builder != _SELF:
            raise InvalidInput("only LLB builder is currently allowed")
        if _DEFINITION_INPUT not in build.inputs:
            raise InvalidInput(f"no llb definition input {_DEFINITION_INPUT} found")
        number = build.inputs[_DEFINITION_INPUT].input
        if not 0 <= number < len(inputs):
            raise InvalidInput(f"invalid index {number}")
        name = build.attrs.get(_FILE_ATTR) or _DEFINITION_FILE
        async with self._worker.leases.of(step) as lease:
            async with self._worker.store.mounted(inputs[number], lease) as root:
                content = await asyncio.to_thread(_read, root, name)
        try:
            definition = pb.Definition.FromString(content)
        except pb.DecodeError as error:
            raise InvalidInput(f"failed to parse llb definition {name}: {error}") from None
        return [await step.build(await load(definition, self._maker, self._rules))]


def _read(root: Path, name: str) -> bytes:
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(root_fd, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidInput(f"failed to open {name}: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        os.close(root_fd)
    with os.fdopen(fd, "rb") as file:
        if not os.path.isfile(fd):
            raise InvalidInput(f"{name} is not a regular file")
        content = file.read(_MAX_DEFINITION + 1)
    if len(content) > _MAX_DEFINITION:
        raise InvalidInput(f"{name} exceeds {_MAX_DEFINITION} bytes")
    return content
