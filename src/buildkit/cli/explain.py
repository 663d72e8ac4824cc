"""Why steps ran, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.explanation import Change, Explanation

_MOST_LINES = 20
_NOUNS = {"env": "variable", "file": "", "content": "", "mode": "", "owner": "", "link": ""}


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
    lines: list[str] = []
    for one in explanations:
        lines.append(f"{_plain(one.name)}")
        if one.reason == "new":
            lines.append("  ran because there is no earlier record of it")
        for change in one.changes[:_MOST_LINES]:
            lines.append("  ran because " + _plain(_sentence(one.reason, change)))
        if len(one.changes) > _MOST_LINES:
            lines.append(f"  and {len(one.changes) - _MOST_LINES} more changes")
    return "".join(line + "\n" for line in lines)


def _sentence(reason: str, change: Change) -> str:
    field, path, old, new = change.field, change.path, change.old, change.new
    if reason == "ignore-cache":
        return f"the cache is ignored ({f'--no-cache: {new}' if new else 'as its definition says'})"
    if reason == "evicted":
        return f"its result is gone ({new})"
    if reason == "failed":
        return f"it failed the last time: {old}"
    if field == "input":
        return f"{path} is not as it was" if old is None else f"it follows {new} instead of {old}"
    if field == "file":
        return f"{path} is new" if old is None else f"{path} is gone" if new is None else f"{path} became a {new}"
    if field == "content":
        return f"the content of {path} changed"
    what = " ".join(filter(None, (_NOUNS.get(field, field), path))) if field not in ("mode", "owner", "link") else ""
    what = what or f"the {field} of {path}"
    if old is None:
        return f"{what} was added: {new}"
    return f"{what} was removed: {old}" if new is None else f"{what} changed from {old} to {new}"


def _plain(text: str) -> str:
    """Without line breaks and what terminals take for commands."""
    return "".join(char if char.isprintable() else " " for char in text)
