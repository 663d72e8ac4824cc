"""Definitions as provenance writes them: steps by number, inputs before their users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildkit.api import ops as pb
from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput
from buildkit.llb.definition import Definition, SourceMap
from buildkit.ops import gojson
from buildkit.solve.provenance.capture import parse_ops, redact

_OF_ONE_BUILD = ("local.session", "local.unique")


def build_steps(
    definition: Definition, usage: Mapping[Digest, object] = {}
) -> tuple[list[dict[str, Any]], dict[Digest, str]]:
    """The steps, and the name of each by its op's digest; ``usage`` is what they used, by that too."""
    ops = dict(parse_ops(definition))
    if not ops:
        return [], {}
    names: dict[Digest, str] = {}
    steps: list[dict[str, Any]] = []
    for digest in _in_order(ops, list(ops)[-1]):
        op = ops[digest]
        names[digest] = f"step{len(steps)}"
        step: dict[str, Any] = {"id": names[digest], "op": _op(op)}
        if op.inputs:
            step["inputs"] = [f"{names[one.digest]}:{one.index}" for one in op.inputs]
        if digest in usage:
            step["resourceUsage"] = usage[digest]
        steps.append(step)
    return steps, names


def source_map(source: SourceMap, names: dict[Digest, str]) -> dict[str, Any]:
    """The files that steps come from, and the lines of each step."""
    infos = []
    for file in source.files:
        entry: dict[str, Any] = {"filename": file.filename, "language": file.language, "data": file.content}
        if file.definition is not None:
            steps, inner = build_steps(file.definition)
            entry |= {"llbDefinition": steps, "digestMapping": inner}
        infos.append({key: value for key, value in entry.items() if value})
    locations = {}
    for digest, places in source.locations.items():
        if digest in names:
            listed = [_place(index, ranges) for index, ranges in places]
            locations[names[digest]] = {"locations": listed} if listed else {}
    return {"locations": locations, "infos": infos}


def _place(index: int, ranges: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"sourceIndex": index} if index else {}
    out["ranges"] = [
        {"start": _position(r.start_line, r.start_character), "end": _position(r.end_line, r.end_character)}
        for r in ranges
    ]
    return out


def _position(line: int, character: int) -> dict[str, int]:
    return {name: value for name, value in (("line", line), ("character", character)) if value}


def _op(op: pb.Op) -> dict[str, Any]:
    kind = op.WhichOneof("op")
    out: dict[str, Any] = {"Op": {kind: _body(op, kind)} if kind else {}}
    if op.HasField("platform"):
        out["platform"] = gojson.plain(op.platform)
    if op.HasField("constraints"):
        out["constraints"] = gojson.plain(op.constraints)
    return out


def _body(op: pb.Op, kind: str) -> Any:
    if kind == "file":
        return {"actions": [_action(action) for action in op.file.actions]}
    body = gojson.plain(getattr(op, kind))
    if kind == "source":
        body["identifier"] = redact(body.get("identifier", ""))
        if "attrs" in body:
            kept = {key: value for key, value in body["attrs"].items() if key not in _OF_ONE_BUILD}
            body["attrs"] = {key: redact(value) if key == "git.fullurl" else value for key, value in kept.items()}
    return body


def _action(action: pb.FileAction) -> dict[str, Any]:
    kind = action.WhichOneof("action")
    said = {kind: gojson.plain(getattr(action, kind))} if kind else {}
    return {
        "Action": said,
        "input": action.input,
        "secondaryInput": action.secondaryInput,
        "output": action.output,
    }


def _in_order(ops: dict[Digest, pb.Op], head: Digest) -> list[Digest]:
    """``head`` and what it is made from, inputs first, each once."""
    order: list[Digest] = []
    seen: set[Digest] = set()
    todo = [(head, False)]
    while todo:
        digest, done = todo.pop()
        if done:
            order.append(digest)
        elif digest not in seen:
            if digest not in ops:
                raise InvalidInput(f"invalid missing input digest {digest}")
            seen.add(digest)
            todo.append((digest, True))
            todo += [(one.digest, False) for one in reversed(ops[digest].inputs)]
    return order
