"""What identifies a file step: its actions, and what they read of each input."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.fs.contenthash import Selector
from buildkit.fs.wildcard import has_wildcard
from buildkit.ops import gojson
from buildkit.ops.exec_key import without_nested
from buildkit.ops.validate import NOTHING

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"


def file_key(op: pb.FileOp, count: int) -> dict[str, object]:
    """The value whose Go JSON is digested; ``count`` is the number of the step's inputs.

    Of the path that a copy reads from an input only the last part counts: the rest is in that input's own part of
    the key. Which action reads which result is left out in the usual case, for the sake of older caches.
    """
    actions: list[bytes] = []
    for action in op.actions:
        kind = action.WhichOneof("action")
        if kind is None:
            raise InvalidInput("invalid action type in file op")
        said = getattr(action, kind)
        if kind == "copy" and action.secondaryInput != NOTHING and action.secondaryInput < count:
            copied = pb.FileActionCopy()
            copied.CopyFrom(said)
            copied.src = _last_part(said.src)
            said = copied
        actions.append(gojson.encode(said))
    key: dict[str, object] = {"Type": "buildkit.file.v0", "Actions": actions}
    indexes = [[action.input, action.secondaryInput, action.output] for action in op.actions]
    if not _are_usual(indexes):
        key["indexes"] = indexes
    return key


def _last_part(path: str) -> str:
    """Go's ``path.Base``."""
    if not path:
        return "."
    return posixpath.basename(path.rstrip("/")) or "/"


def _are_usual(indexes: Sequence[Sequence[int]]) -> bool:
    """Whether each action goes on from the one before, copies from the second input, and the last is the result."""
    last = len(indexes) - 1
    return all(
        primary == (0 if number == 0 else len(indexes) + number - 1)
        and secondary in (NOTHING, 1)
        and output == (0 if number == last else NOTHING)
        for number, (primary, secondary, output) in enumerate(indexes)
    )


def selectors_of(op: pb.FileOp, count: int) -> list[list[Selector] | None]:
    """What the actions read of each input; None where an input's own key counts, since an action writes on it."""
    selectors: dict[int, list[Selector]] = {}
    written: set[int] = set()
    for action in op.actions:
        kind = action.WhichOneof("action")
        if action.input != NOTHING:
            written.add(action.input)
        if kind in ("mkdir", "mkfile", "copy"):
            _add_owner(getattr(action, kind).owner, selectors)
        if kind == "copy" and action.secondaryInput != NOTHING and action.secondaryInput < count:
            said = action.copy
            selector = Selector(
                said.src,
                said.allowWildcard and has_wildcard(said.src),
                said.followSymlink,
                tuple(said.include_patterns),
                tuple(said.exclude_patterns),
                tuple(said.required_paths),
            )
            selectors.setdefault(action.secondaryInput, []).append(selector)
    for number in selectors:
        if not 0 <= number < count:
            raise InvalidInput(f"invalid input index {number} in file op with {count} inputs")
    return [None if number in written else selectors.get(number) for number in range(count)]


def _add_owner(owner: pb.ChownOpt, selectors: dict[int, list[Selector]]) -> None:
    for option, path in ((owner.user, _PASSWD), (owner.group, _GROUP)):
        if option.WhichOneof("user") == "byName":
            if option.byName.input < 0:  # running it will say so
                return
            selectors.setdefault(option.byName.input, []).append(Selector(path, follow_links=True))


def selected_paths(selectors: Iterable[Selector]) -> list[str]:
    """The paths as they enter the key: sorted backwards, which is how it once began."""
    return sorted((selector.path for selector in selectors), key=str.encode, reverse=True)


def distinct(selectors: Sequence[Selector]) -> list[Selector]:
    """What is to be digested: plain paths below others left out, all sorted by path."""
    plain = [selector for selector in selectors if not _is_filtered(selector)]
    kept = [
        Selector(path, follow_links=follow)
        for follow in (False, True)
        for path in without_nested(selector.path for selector in plain if selector.follow_links is follow)
    ]
    kept += [selector for selector in selectors if _is_filtered(selector)]
    return sorted(kept, key=lambda selector: selector.path.encode())


def _is_filtered(selector: Selector) -> bool:
    return selector.wildcard or bool(selector.include) or bool(selector.exclude)
