"""In what two records of a step differ, told by field, file and source."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import Any

from buildkit.core.explanation import Change
from buildkit.core.values import dataclass
from buildkit.solve.fields import NAMED, Field, fields_of, named_change, shown
from buildkit.solver.record import InputRecord, StepRecord
from buildkit.store.lease import Lease
from buildkit.store.listings import FileState
from buildkit.store.refs import Ref
from buildkit.store.store import Store

_MOST_FILES = 1000
"""Changed files that are told of one input."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compares the records of one build with earlier ones. ``trees`` are names of results by vertex and output."""

    store: Store
    lease: Lease
    trees: Mapping[tuple[str, int], str]
    secrets: tuple[str, ...] = ()

    async def changes(self, old: StepRecord, new: StepRecord) -> list[Change]:
        """What is not as it was, each thing once."""
        changes = _exact(list(self._fields(fields_of(old.facts), fields_of(new.facts))))
        if len(old.inputs) != len(new.inputs):
            return [*changes, Change("inputs", "", str(len(old.inputs)), str(len(new.inputs)))]
        for one, other in zip(old.inputs, new.inputs, strict=True):
            changes += await self._input(one, other)
        return list(dict.fromkeys(changes))

    def _fields(self, before: Mapping[Field, Any], after: Mapping[Field, Any]) -> Iterator[Change]:
        for field in dict.fromkeys((*before, *after)):
            old, new = before.get(field), after.get(field)
            if old != new:
                named = named_change(field, old, new)
                yield named or Change(*field, shown(field, old, self.secrets), shown(field, new, self.secrets))

    async def _input(self, old: InputRecord, new: InputRecord) -> list[Change]:
        if old.content and new.content:
            return [] if old.content == new.content else await self._files(old, new)
        if set(old.keys) & set(new.keys):
            return []
        before, after = fields_of(old.facts), fields_of(new.facts)
        if before and after:
            changes = _exact(list(self._fields(before, after)))
            if changes:
                return changes
        return [Change("input", new.name, None if old.name == new.name else old.name, new.name)]

    async def _files(self, old: InputRecord, new: InputRecord) -> list[Change]:
        before, after = self.store.files_of(old.content), self.store.files_of(new.content)
        changes: list[Change] = []
        if before is not None and after is not None:
            for path in sorted({*before, *after}):
                one, other = before.get(path), after.get(path)
                if one != other:
                    same = await self._has_same_content(new, path, one, other)
                    changes += _file_changes("/" + path, one, other, same)
                if len(changes) > _MOST_FILES:
                    break
        # none: the same files, selected in another way
        return changes or [Change("content", new.name, old.content, new.content)]

    async def _has_same_content(
        self, new: InputRecord, path: str, before: FileState | None, after: FileState | None
    ) -> bool:
        """Whether only mode and owner of a file changed: its digest covers them and its content."""
        if before is None or after is None or before.size != after.size:
            return False
        if before.digest == after.digest:
            return True
        if (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid):
            return False
        name = self.trees.get((new.vertex, new.output))
        if name is None or not stat.S_ISREG(after.mode):
            return False
        return await self.store.digest_as(Ref(name), path, before, self.lease) == before.digest


def _exact(changes: list[Change]) -> list[Change]:
    """A digest says more than the name that leads to it."""
    named = any(one.field in NAMED for one in changes)
    return [one for one in changes if not named or one.field not in ("source", "attribute")]


def _file_changes(path: str, old: FileState | None, new: FileState | None, same: bool) -> Iterator[Change]:
    if old is None or new is None or stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
        yield Change("file", path, _kind(old), _kind(new))
        return
    if old.mode != new.mode and not stat.S_ISLNK(new.mode):
        yield Change("mode", path, f"{old.mode & 0o7777:04o}", f"{new.mode & 0o7777:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield Change("owner", path, f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}")
    if old.link != new.link:
        yield Change("link", path, old.link, new.link)
    elif not same:
        yield Change("content", path, f"sha256:{old.digest}", f"sha256:{new.digest}")


def _kind(state: FileState | None) -> str | None:
    if state is None:
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFREG: "file"}
    return kinds.get(stat.S_IFMT(state.mode), "special file")
