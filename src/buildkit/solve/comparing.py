"""In what two records of a step differ, told by field, file and source."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import Any

from buildkit.core.explanation import Change
from buildkit.core.values import dataclass, field
from buildkit.solve.fields import NAMED, Field, field_change, fields_of, is_local
from buildkit.solver.record import InputRecord, StepRecord, title_of
from buildkit.store.lease import Lease
from buildkit.store.listings import FileState
from buildkit.store.refs import Ref
from buildkit.store.store import Store

_MOST_FILES = 1000
"""Changed files that are told of one input."""

Files = dict[str, FileState]
Selection = list[list[Any]]
"""The fields of each `buildkit.fs.contenthash.Selector`."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compares the records of one build with earlier ones. ``trees`` are names of results by vertex and output."""

    store: Store
    lease: Lease
    trees: Mapping[tuple[str, int], str]
    _listings: dict[str, Files | None] = field(default_factory=dict[str, "Files | None"])

    async def changes(self, old: StepRecord, new: StepRecord) -> list[Change]:
        """What is not as it was, each thing once; nothing when the step is the same."""
        changes, contents = self._without_files(old, new)
        for one, other in contents:
            before, after = old.inputs[one], new.inputs[other]
            changes += await self._files(before, after, _selection(old, one), _selection(new, other))
        return list(dict.fromkeys(changes))

    def least(self, old: StepRecord, new: StepRecord) -> tuple[int, int]:
        """How many changes there are at least, told without looking at files; of them other steps that came before."""
        changes, contents = self._without_files(old, new)
        others = sum(one.field == "input" and one.old is not None for one in changes)
        return len(changes) + len(contents), others

    def guesses(self, old: StepRecord, new: StepRecord) -> bool:
        """Whether files of an input cannot be compared: the earlier step was cached, so that nobody digested them."""
        pairs = [(old.inputs[one], new.inputs[other]) for one, other in _aligned(old, new)]
        return old.outcome != "executed" and any(
            after.content and not before.content and not set(before.keys) & set(after.keys) for before, after in pairs
        )

    def _without_files(self, old: StepRecord, new: StepRecord) -> tuple[list[Change], list[tuple[int, int]]]:
        """Changes, and the inputs, by number, whose contents are others."""
        changes = _exact(list(_field_changes(fields_of(old.facts), fields_of(new.facts))))
        contents: list[tuple[int, int]] = []
        pairs = _aligned(old, new)
        for one, other in pairs:
            before, after = old.inputs[one], new.inputs[other]
            if before.content and after.content:
                contents += [(one, other)] if before.content != after.content else []
            elif old.outcome == "executed" and bool(before.content) != bool(after.content):
                changes.append(Change("content-cache", after.name, _switch(before.content), _switch(after.content)))
            elif not set(before.keys) & set(after.keys):
                changes += _input_changes(before, after)
        changes += _root_changes(old, new, pairs) if _has_parts(new) else _number_changes(old, new)
        if len(changes) + len(contents) > 1:  # which action reads what follows from the rest
            changes = [one for one in changes if one.field != "order"]
        if not changes and not contents:
            if len(old.inputs) != len(new.inputs):
                changes.append(Change("inputs", "", str(len(old.inputs)), str(len(new.inputs))))
            elif not set(old.ops) & set(new.ops):
                changes.append(Change("definition", "", *(one.ops[0] if one.ops else None for one in (old, new))))
        return changes, contents

    async def _files(
        self, old: InputRecord, new: InputRecord, selected: Selection, selection: Selection
    ) -> list[Change]:
        before, after = self._listing(old.content, selected), self._listing(new.content, selection)
        if before is None or after is None:
            return [Change("content", new.name, old.content, new.content)]
        paths: set[str] = {*before, *after}
        if selected != selection:  # which files there are follows from that
            paths = {*before} & {*after}
        changes: list[Change] = []
        for path in sorted(paths):
            one, other = before.get(path), after.get(path)
            if one != other:
                same = await self._has_same_content(new, path, one, other)
                changes += _file_changes("/" + path, one, other, same)
            if len(changes) > _MOST_FILES:
                break
        if changes or selected != selection:
            return changes
        return [Change("content", new.name, old.content, new.content)]

    def _listing(self, content: str, selection: Selection) -> Files | None:
        key = f"{content} {selection}"
        if key not in self._listings:
            self._listings[key] = self.store.files_of(content, selection)
        return self._listings[key]

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
        if not name or not stat.S_ISREG(after.mode):
            return False
        return await self.store.digest_as(Ref(name), path, before, self.lease) == before.digest


def _aligned(old: StepRecord, new: StepRecord) -> list[tuple[int, int]]:
    """Numbers of inputs that have the same part in both steps, as far as that is sure."""
    if len(old.inputs) == len(new.inputs):
        return [(number, number) for number in range(len(new.inputs))]
    if not _has_parts(new):
        from difflib import SequenceMatcher

        before, after = ([title_of(input.name) for input in one.inputs] for one in (old, new))
        blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
        return [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
    # what is mounted and what is copied from follows from what the steps say: only the first of each kind is sure
    pairs = []
    for kind in (True, False):
        here, there = ([n for n in range(len(one.inputs)) if _is_selected(one, n) is kind] for one in (old, new))
        pairs += [(here[0], there[0])] if here and there else []
    return pairs


def _root_changes(old: StepRecord, new: StepRecord, pairs: list[tuple[int, int]]) -> list[Change]:
    """The change when only one of two steps builds on another: the other builds on nothing."""
    if len(old.inputs) == len(new.inputs) or any(not _is_selected(new, number) for _, number in pairs):
        return []
    before, after = (
        next((one.inputs[n].name for n in range(len(one.inputs)) if not _is_selected(one, n)), "scratch")
        for one in (old, new)
    )
    return [Change("input", after, before, after)] if before != after else []


def _has_parts(record: StepRecord) -> bool:
    """Whether the inputs of a step follow from what else it says: those of a merge do not."""
    return record.facts.get("kind") in ("exec", "file")


def _number_changes(old: StepRecord, new: StepRecord) -> list[Change]:
    """The inputs that only one of two steps has."""
    if len(old.inputs) == len(new.inputs):
        return []
    before, after = ({title_of(input.name): input.name for input in one.inputs} for one in (old, new))
    gone = [Change("inputs", name, name, None) for title, name in before.items() if title not in after]
    come = [Change("inputs", name, None, name) for title, name in after.items() if title not in before]
    return [*gone, *come] or [Change("inputs", "", str(len(old.inputs)), str(len(new.inputs)))]


def _switch(content: str) -> str:
    return "on" if content else "off"


def _is_selected(record: StepRecord, number: int) -> bool:
    """Whether parts of an input count, and not the whole of it."""
    return bool(_selection(record, number))


def _input_changes(old: InputRecord, new: InputRecord) -> list[Change]:
    """What is told of an input that is another one: of a source what it stands for, of a step its name."""
    if is_local(old.facts) and is_local(new.facts):
        return [Change("local", new.name, None, new.name)]
    before, after = (fields_of(one.facts) if one.facts.get("kind") == "source" else {} for one in (old, new))
    changes = _exact(list(_field_changes(before, after))) if before and after else []
    same = title_of(old.name) == title_of(new.name)
    return changes or [Change("input", new.name, None if same else old.name, new.name)]


def _selection(record: StepRecord, number: int) -> Selection:
    """What was selected of an input, the same for a record of this build and for one that was stored."""
    digested = record.facts.get("digested", ())
    selected = digested[number] if number < len(digested) else ()
    return [[list(part) if isinstance(part, tuple) else part for part in one] for one in selected]


def _field_changes(before: Mapping[Field, Any], after: Mapping[Field, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield field_change(name, old, new)


def _exact(changes: list[Change]) -> list[Change]:
    """A digest says more than the name that leads to it, and an action that is another one more than its fields."""
    if any(one.field in NAMED for one in changes):
        changes = [one for one in changes if one.field not in ("source", "attribute")]
    others = {one.path for one in changes if one.field == "action"}
    return [one for one in changes if one.field in ("action", "source") or one.path not in others]


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
