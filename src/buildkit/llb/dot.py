"""A definition drawn in graphviz's language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit.core.digest import sha256
from buildkit.llb.definition import Definition
from buildkit.llb.metadata import CUSTOM_NAME

if TYPE_CHECKING:
    from buildkit.api import ops as pb

_SHAPES = {"source": "ellipse", "exec": "box", "file": "note", "build": "box3d"}


def to_dot(definition: Definition) -> str:
    """One node for each op, labelled as clients name it, and one edge for each input, labelled with the places where
    a command sees it, or with its number when it is not the first output of an op.
    """
    from buildkit.api import ops as pb

    lines = ["digraph {"]
    for content in definition.ops:
        digest = sha256(content)
        op = pb.Op.FromString(content)
        kind = op.WhichOneof("op")
        label = definition.metadata[digest].description.get(CUSTOM_NAME) if digest in definition.metadata else None
        lines.append(
            f"  {_quoted(digest)} [label={_quoted(label or _name(op))}, shape={_SHAPES.get(kind or '', 'box')}];"
        )
        for number, i in enumerate(op.inputs):
            places = [m.dest for m in op.exec.mounts if m.input == number and m.dest != "/"]
            label = " ".join([str(i.index)] * bool(i.index) + places)
            suffix = f" [label={_quoted(label)}]" if label else ""
            lines.append(f"  {_quoted(i.digest)} -> {_quoted(digest)}{suffix};")
    return "\n".join([*lines, "}", ""])


def _name(op: pb.Op) -> str:
    kind = op.WhichOneof("op")
    if kind == "exec":
        return " ".join(op.exec.meta.args)
    if kind == "source":
        return op.source.identifier
    if kind == "file":
        return ", ".join(map(_action_name, op.file.actions))
    return kind or "result"


def _action_name(action: pb.FileAction) -> str:
    kind = str(action.WhichOneof("action"))
    if kind == "copy":
        return f"copy {action.copy.src} {action.copy.dest}"
    if kind == "symlink":
        return f"symlink {action.symlink.newpath} -> {action.symlink.oldpath}"
    return f"{kind} {getattr(action, kind).path}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
