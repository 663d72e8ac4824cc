"""Why steps ran, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence, Set

from buildkit.core.explanation import Change, Explanation

_MOST_LINES = 20
_OF = ("mode", "owner", "link", "commit", "checksum")


def explanation_json(explanations: Sequence[Explanation]) -> str:
    """One object a line for each step that ran; ``changes`` has all of them when there are several."""
    import json

    lines = []
    for one in explanations:
        first = one.changes[0] if one.changes else Change("")
        entry: dict[str, object] = {"vertex": one.vertex, "name": one.name, "reason": one.reason, **_fields(first)}
        if len(one.changes) > 1:
            entry["changes"] = [_fields(change) for change in one.changes]
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return "".join(lines)


def _fields(change: Change) -> dict[str, object]:
    return {"field": change.field, "path": change.path, "old": change.old, "new": change.new}


def explanation_text(explanations: Sequence[Explanation]) -> str:
    """A heading for each step that ran, and a line for each change; nothing when nothing ran."""
    ran = {one.name for one in explanations}
    lines: list[str] = []
    for one in explanations:
        said = [_sentence(one.reason, change, ran) for change in one.changes] or ["there is no earlier record of it"]
        lines.append(one.name)
        lines += [f"  {'and' if number else 'ran'} because {text}" for number, text in enumerate(said[:_MOST_LINES])]
        if len(said) > _MOST_LINES:
            lines.append(f"  and {len(said) - _MOST_LINES} more changes")
    return "".join(_plain(line) + "\n" for line in lines)


def _sentence(reason: str, change: Change, ran: Set[str]) -> str:
    field, path, old, new = change.field, change.path, change.old, change.new
    if reason == "ignore-cache":
        which = (
            "as its definition says" if new is None else "--no-cache" if new == "every step" else f"--no-cache, {new}"
        )
        return f"the cache is ignored ({which})"
    if reason == "evicted":
        return new if new is not None and new.startswith("its ") else f"its result was removed ({new})"
    if reason == "failed":
        return f"it failed the last time: {old}"
    if field == "input":
        if old is not None:
            return f"it follows {new} instead of {old}"
        return f"it follows {path}, which ran anew" if path in ran else f"{path} is not as it was"
    if field == "local":
        return f"{path} counts as new in every build: the step may write into what it shows"
    if field == "inputs" and path:
        return f"it has no input {old} any more" if new is None else f"it has one more input, {new}"
    if field == "file":
        return f"{path} is new" if old is None else f"{path} is gone" if new is None else f"{path} became a {new}"
    if field == "content":
        return f"the content of {path} changed"
    what = _what(field, path, named=bool(old and new and new.startswith(path + "@")))
    if old is None:
        return f"{what} is new: {_quoted(new)}"
    return f"{what} is gone: {_quoted(old)}" if new is None else f"{what} changed from {_quoted(old)} to {_quoted(new)}"


def _what(field: str, path: str, *, named: bool) -> str:
    """What changed; ``named``: what it changed to tells the path."""
    if not path or named:
        return f"the {field}"
    if field == "action":
        return path
    if field == "env":
        return f"the variable {path}"
    return f"the {field} of {path}" if field in _OF else f"the {field} {path}"


def _quoted(text: str | None) -> str:
    """A text, between quotes where one could not tell where it ends."""
    import json

    return json.dumps(text, ensure_ascii=False) if not text or text.split() != [text] else text


def _plain(text: str) -> str:
    """Without line breaks and what terminals take for commands."""
    return "".join(char if char.isprintable() else " " for char in text)
