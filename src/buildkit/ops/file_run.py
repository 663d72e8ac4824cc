"""One run of a file step."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

from buildkit.api import ops as pb
from buildkit.core.aio import finish_in_thread, interruptible
from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass
from buildkit.ops.file_actions import act
from buildkit.ops.load import Result
from buildkit.ops.owner import Owner, find_owner, named_inputs
from buildkit.ops.validate import NOTHING
from buildkit.solver.graph import Step
from buildkit.store.draft import Draft
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.view import View
from buildkit.worker.worker import Worker


@dataclass(slots=True)
class _Tree:
    """What an action works on or has made: a draft while it may go on, else a ref."""

    draft: Draft | None = None
    ref: Ref | None = None


class FileRun:
    """One execution. Trees are numbered: the inputs, then one for each action."""

    def __init__(
        self,
        worker: Worker,
        actions: Sequence[pb.FileAction],
        inputs: Sequence[Result],
        lease: Lease,
        scope: AsyncExitStack,
        name: str,
    ) -> None:
        self._store = worker.store
        self._actions = actions
        self._lease = lease
        self._scope = scope
        self._description = name or "fileop target"
        self._trees = dict(enumerate(_Tree(ref=ref) for ref in inputs))
        self._first = len(inputs)
        self.current: int | None = None
        """The number of the action at work."""

    async def results(self) -> list[Ref | None]:
        """Do what the outputs need."""
        outputs = self._outputs()
        needed = self._needed(outputs)
        uses = Counter(number for index in needed for number in self._reads(index))
        uses.update(self._first + index for index in outputs)
        for index in needed:
            self.current = index
            await self._act(index, uses)
        self.current = None
        return [await self._frozen(self._first + index) for index in outputs]

    async def remains(self, step: Step) -> tuple[str, ...]:
        """The trees of the actions as they are after a failure, "" where there is none."""
        found = [""] * len(self._actions)
        for index in range(len(self._actions)):
            tree = self._trees.get(self._first + index)
            if tree is not None:
                ref = await self._frozen(self._first + index)
                step.hold(ref)
                found[index] = ref.id if ref is not None else ""
        return tuple(found)

    def _outputs(self) -> list[int]:
        """Indexes of the actions whose trees are results, in the order of the outputs."""
        found: dict[int, int] = {}
        total = self._first + len(self._actions)
        for index, action in enumerate(self._actions):
            for number in (action.input, action.secondaryInput):
                if not NOTHING <= number < total:
                    raise InvalidInput(f"invalid input index {number}, {total} provided")
            if action.output != NOTHING:
                if action.output in found:
                    raise InvalidInput(f"duplicate output {action.output}")
                found[action.output] = index
        if not found:
            raise InvalidInput("no outputs specified")
        for number in range(len(found)):
            if number not in found:
                raise InvalidInput(f"missing output index {number}")
        return [found[number] for number in range(len(found))]

    def _reads(self, index: int) -> list[int]:
        """Numbers of the trees that an action starts from or reads."""
        action = self._actions[index]
        kind = action.WhichOneof("action")
        found = [number for number in (action.input, action.secondaryInput) if number != NOTHING]
        if kind in ("copy", "mkdir", "mkfile", "symlink"):
            found += named_inputs(getattr(action, kind).owner)
        for number in found:
            if not 0 <= number < self._first + len(self._actions):
                raise InvalidInput(f"invalid input index {number} in file op")
        return found

    def _needed(self, outputs: Sequence[int]) -> list[int]:
        """Indexes of the actions that the outputs depend on, in the order in which to do them."""
        order: list[int] = []
        state: dict[int, bool] = {}
        todo = [(index, False) for index in reversed(outputs)]
        while todo:
            index, ready = todo.pop()
            if ready:
                state[index] = True
                order.append(index)
            elif index not in state:
                state[index] = False
                todo.append((index, True))
                todo += [(number - self._first, False) for number in self._reads(index) if number >= self._first]
            elif not state[index]:
                raise InvalidInput(f"loop from index {self._first + index}")
        return order

    async def _act(self, index: int, uses: Counter[int]) -> None:
        action = self._actions[index]
        draft = await self._begin(action.input, uses)
        self._trees[self._first + index] = _Tree(draft)
        kind = action.WhichOneof("action")
        if kind is None:
            raise InvalidInput("invalid action type in file op")
        async with AsyncExitStack() as mounts:
            root = _open(mounts, str(await mounts.enter_async_context(draft.mounted())))
            owner = None if kind == "rm" else await self._owner(getattr(action, kind), mounts)
            source, listing = -1, None
            if kind == "copy":
                view = self._view(action.secondaryInput)
                if view is None:
                    source = await self._mounted(action.secondaryInput, mounts)
                else:
                    source, listing = _open(mounts, view.root), await asyncio.to_thread(view.listing)
            await interruptible(lambda interrupt: act(root, action, owner, source, listing, interrupt.check))

    async def _begin(self, number: int, uses: Counter[int]) -> Draft:
        """A draft that begins as a tree: that tree's own, when nobody else wants it as it is."""
        tree = self._trees[number] if number != NOTHING else _Tree()
        if tree.draft is not None and uses[number] == 1:
            draft, tree.draft = tree.draft, None
            del self._trees[number]
            return draft
        parent = await self._frozen(number) if number != NOTHING else None
        made = self._store.draft(parent, self._lease, description=self._description)
        return await self._scope.enter_async_context(made)

    async def _frozen(self, number: int) -> Ref | None:
        tree = self._trees[number]
        if tree.draft is not None:
            draft, tree.draft = tree.draft, None
            tree.ref = await draft.commit()
        return tree.ref

    def _view(self, number: int) -> View | None:
        """The directory outside of the store that an input is, to be read in place; one that is still is a tree."""
        tree = self._trees.get(number)
        view = None if tree is None or tree.draft is not None else self._store.find_view(tree.ref)
        return None if view is not None and view.still else view

    async def _mounted(self, number: int, mounts: AsyncExitStack) -> int:
        """A descriptor of a tree's root, to read."""
        ref = await self._frozen(number) if number != NOTHING else None
        return _open(mounts, str(await mounts.enter_async_context(self._store.mounted(ref, self._lease))))

    async def _owner(self, action: object, mounts: AsyncExitStack) -> Owner | None:
        if not isinstance(action, pb.FileActionCopy | pb.FileActionMkDir | pb.FileActionMkFile | pb.FileActionSymlink):
            return None
        if not action.HasField("owner"):
            return None
        roots = {number: await self._mounted(number, mounts) for number in set(named_inputs(action.owner))}
        return await finish_in_thread(find_owner, action.owner, roots)


def _open(scope: AsyncExitStack, path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    scope.callback(os.close, fd)
    return fd
