"""What must hold for an op alone, before anything else looks at it."""

from __future__ import annotations

from buildkit.api import ops as pb
from buildkit.core.entitlement import Grants
from buildkit.core.errors import InvalidInput, PermissionDenied

ROOT = "/"
NOTHING = -1
"""An input or output that is not there: scratch, or not kept."""

NETWORK_HOST = "network.host"
SECURITY_INSECURE = "security.insecure"


def check_op(op: pb.Op) -> None:
    """Raises `InvalidInput` for an op that lacks what it needs."""
    kind = op.WhichOneof("op")
    if kind == "exec":
        _check_exec(op.exec)
    elif kind == "file" and not op.file.actions:
        raise InvalidInput("invalid file op with no actions")
    elif kind == "diff" and not (op.diff.HasField("lower") and op.diff.HasField("upper")):
        raise InvalidInput("invalid diff op with nil lower or upper input")
    elif kind == "passthrough":
        _check_passthrough(op)
    elif kind in ("merge", "diff"):
        _check_sides(op)


def _check_exec(op: pb.ExecOp) -> None:
    if not op.HasField("meta"):
        raise InvalidInput("invalid exec op with no meta")
    if not op.meta.args:
        raise InvalidInput("invalid exec op with no args")
    if not op.mounts:
        raise InvalidInput("invalid exec op with no mounts")
    if not any(mount.dest == ROOT for mount in op.mounts):
        raise InvalidInput("invalid exec op with no rootfs")


def _check_sides(op: pb.Op) -> None:
    """Every input is merged or compared, in their order."""
    if op.WhichOneof("op") == "merge":
        used = len(op.merge.inputs)
    else:
        used = sum(side.input != NOTHING for side in (op.diff.lower, op.diff.upper))
    if used != len(op.inputs):
        raise InvalidInput(f"invalid {op.WhichOneof('op')} op of {used} inputs with {len(op.inputs)} inputs")


def _check_passthrough(op: pb.Op) -> None:
    if not op.passthrough.id:
        raise InvalidInput("invalid passthrough op with no id")
    if not op.passthrough.outputs:
        raise InvalidInput("invalid passthrough op with no outputs")
    for number in op.passthrough.outputs:
        if not 0 <= number < max(len(op.inputs), 1):
            raise InvalidInput(f"invalid passthrough output input index {number}")


def check_entitlements(op: pb.Op, granted: Grants) -> None:
    """Raises `PermissionDenied` when the op wants what it was not granted."""
    if op.WhichOneof("op") != "exec":
        return
    if op.exec.network == pb.HOST and NETWORK_HOST not in granted:
        raise PermissionDenied(f"{NETWORK_HOST} is not allowed")
    if op.exec.security == pb.INSECURE and SECURITY_INSECURE not in granted:
        raise PermissionDenied(f"{SECURITY_INSECURE} is not allowed")
