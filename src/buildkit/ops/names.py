"""What a vertex is called when its definition gives it no name."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput

CUSTOM_NAME = "llb.customname"
"""The description that overrides the name made here."""

_NOTHING = -1
_LONGEST = 1 << 14


def op_name(op: pb.Op, inputs: Sequence[str]) -> str:
    """The name of an op whose inputs' vertices have these names; cut when merges of merges make it endless."""
    return _whole_name(op, inputs)[:_LONGEST]


def _whole_name(op: pb.Op, inputs: Sequence[str]) -> str:
    kind = op.WhichOneof("op")
    if kind == "source":
        return op.source.identifier
    if kind == "exec":
        return " ".join(op.exec.meta.args)
    if kind == "file":
        return ", ".join(filter(None, map(_action_name, op.file.actions)))
    if kind == "build":
        return "build"
    if kind == "merge":
        return f"merge ({', '.join(inputs)})"
    if kind == "diff":
        return f"diff {_side(op.diff.lower.input, inputs)} -> {_side(op.diff.upper.input, inputs)}"
    if kind == "passthrough":
        return f"passthrough {op.passthrough.id}"
    return "unknown"


def _side(number: int, inputs: Sequence[str]) -> str:
    if number == _NOTHING:
        return "scratch"
    if not 0 <= number < len(inputs):
        raise InvalidInput(f"invalid diff input index {number}")
    return f"({inputs[number]})"


def _action_name(action: pb.FileAction) -> str:
    kind = action.WhichOneof("action")
    if kind == "mkdir":
        return f"mkdir {action.mkdir.path}"
    if kind == "mkfile":
        return f"mkfile {action.mkfile.path}"
    if kind == "symlink":
        return f"symlink {action.symlink.newpath} -> {action.symlink.oldpath}"
    if kind == "rm":
        return f"rm {action.rm.path}"
    if kind == "copy":
        return f"copy {action.copy.src} {action.copy.dest}"
    return ""
