"""Errors as gRPC statuses, both ways: the one translator between `core.errors` and the wire.

Details are ``Any`` messages whose type URL is ``github.com/moby/buildkit/<type>+json`` and whose value is JSON,
not protobuf (specification rows A60, A61).
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from buildkit.core import errors
from buildkit.core.errors import BuildkitError, Detail

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = range(8)
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = range(8, 15)
DATA_LOSS, UNAUTHENTICATED = 15, 16

_NAMES = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted "
    "FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated"
).split()

_CODES: dict[type[BuildkitError], int] = {
    errors.InvalidInput: INVALID_ARGUMENT,
    errors.NotFound: NOT_FOUND,
    errors.AlreadyExists: ALREADY_EXISTS,
    errors.FailedPrecondition: FAILED_PRECONDITION,
    errors.PermissionDenied: PERMISSION_DENIED,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.Unavailable: UNAVAILABLE,
    errors.Corrupt: DATA_LOSS,
    errors.Exhausted: RESOURCE_EXHAUSTED,
    errors.Unsupported: UNIMPLEMENTED,
    errors.Canceled: CANCELLED,
    errors.Internal: INTERNAL,
    errors.ExitError: UNKNOWN,
}
_CLASSES: dict[int, type[BuildkitError]] = {
    code: kind for kind, code in _CODES.items() if kind is not errors.ExitError
} | {DEADLINE_EXCEEDED: errors.Unavailable, ABORTED: errors.FailedPrecondition, OUT_OF_RANGE: errors.InvalidInput}

_PREFIX = "github.com/moby/buildkit/"
_PROTOBUF_JSON = ("errdefs.Solve",)
"""Details that are written by protobuf's rules; the others are Go's own JSON, which escapes what HTML knows."""


def name_of(code: int) -> str:
    """The name that Go prints for a code."""
    return _NAMES[code] if 0 <= code < len(_NAMES) else f"Code({code})"


_LOCAL = "local_source"
"""Why a directory of the client is no material."""


def code_of(error: BaseException) -> int:
    """The gRPC code of an error."""
    if isinstance(error, errors.ExitError) and error.oom:
        return RESOURCE_EXHAUSTED
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    if isinstance(error, TimeoutError):
        return DEADLINE_EXCEEDED
    if isinstance(error, OSError) and error.errno in (12, 28):
        return RESOURCE_EXHAUSTED
    return UNKNOWN


def to_status(error: BaseException) -> Status:
    """An error as ``google.rpc.Status`` with typed details."""
    from google.rpc.status_pb2 import Status

    code = code_of(error)
    if isinstance(error, OSError) and error.errno:
        error = errors.from_os(error)
    message = str(error) or ("context canceled" if isinstance(error, asyncio.CancelledError) else repr(error))
    status = Status(code=code, message=message)
    details: list[tuple[str, dict[str, Any]]] = []
    if isinstance(error, BuildkitError):
        details += [_detail_to_json(detail) for detail in reversed(error.details)]
    if isinstance(error, errors.ExitError):
        details.append(("gatewayapi.ExitMessage", {"Code": error.code}))
    for kind, content in details:
        status.details.add(type_url=f"{_PREFIX}{kind}+json", value=_encode(content, plain=kind in _PROTOBUF_JSON))
    return status


def unpack(packed: bytes) -> BuildkitError:
    """The error of a serialized ``google.rpc.Status``; raises ValueError for one that is broken."""
    from google.protobuf.json_format import ParseError
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return from_status(Status.FromString(packed))
    except (DecodeError, ParseError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError(f"malformed status: {error}") from error


def from_status(status: Status) -> BuildkitError:
    """The error that a peer sent."""
    details: list[Detail] = []
    exit_code: int | None = None
    for packed in reversed(status.details):
        kind = packed.type_url.removeprefix(_PREFIX).removesuffix("+json")
        if not packed.type_url.endswith("+json"):
            continue
        try:
            import json

            content = json.loads(packed.value)
        except (ValueError, RecursionError):
            continue
        if kind == "gatewayapi.ExitMessage":
            exit_code = int(content.get("Code", 0))
        elif detail := _detail_from_json(kind, content):
            details.append(detail)
    if exit_code is not None:
        oom = status.code == RESOURCE_EXHAUSTED
        return errors.ExitError(status.message, code=exit_code, oom=oom, details=tuple(details))
    return _CLASSES.get(status.code, BuildkitError)(status.message, details=tuple(details))


def _encode(content: dict[str, Any], *, plain: bool) -> bytes:
    import json

    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    if not plain:
        for mark in "<>&\u2028\u2029":
            text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text.encode("utf-8", "replace")


def _sorted_maps(content: Any, message: Any) -> Any:
    """The JSON form of a message with the keys of its maps in order, as Go writes them."""
    if not isinstance(content, dict):
        return content
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.name not in content:
            continue
        value, inner = content[field.name], getattr(message, field.name)
        if field.message_type is None:
            out[field.name] = value
        elif field.message_type.GetOptions().map_entry:
            whole = field.message_type.fields_by_name["value"].message_type is not None
            out[field.name] = {
                key: _sorted_maps(value[key], inner[key]) if whole else value[key] for key in sorted(value)
            }
        elif isinstance(value, list):
            out[field.name] = [_sorted_maps(one, part) for one, part in zip(value, inner, strict=True)]
        else:
            out[field.name] = _sorted_maps(value, inner)
    return out


def error_of(code: int, message: str) -> BuildkitError:
    """An error from a bare code and message."""
    return _CLASSES.get(code, BuildkitError)(message)


def encode_message(message: str, limit: int = 1 << 30) -> bytes:
    """``grpc-message``: percent-encoded UTF-8, at most ``limit`` bytes."""
    encoded = quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="replace")[:limit]
    broken = encoded.rfind("%", max(0, len(encoded) - 2)) if len(encoded) == limit else -1
    return (encoded if broken < 0 else encoded[:broken]).encode()


def decode_message(message: bytes) -> str:
    """The inverse of `encode_message`."""
    return unquote_to_bytes(message).decode("utf-8", "replace")


def _detail_to_json(detail: Detail) -> tuple[str, dict[str, Any]]:
    match detail:
        case errors.SourceDetail():
            where: dict[str, Any] = {
                "filename": detail.filename,
                "data": base64.b64encode(detail.content).decode(),
            }
            if detail.definition:
                from google.protobuf.json_format import MessageToDict

                from buildkit.api.ops_pb2 import Definition

                definition = Definition.FromString(detail.definition)
                plain = MessageToDict(definition, preserving_proto_field_name=True)
                where["definition"] = _sorted_maps(plain, definition)
            where = _present(where | {"language": detail.language})
            ranges = [
                {"start": _position(r.start_line, r.start_character), "end": _position(r.end_line, r.end_character)}
                for r in detail.ranges
            ]
            return "errdefs.Source", {"info": where, "ranges": ranges}
        case errors.VertexDetail():
            return "errdefs.Vertex", {"digest": detail.digest}
        case errors.FrontendDetail():
            return "errdefs.Frontend", _present({"name": detail.name, "source": detail.source})
        case errors.SubrequestDetail():
            return "errdefs.Subrequest", {"name": detail.name}
        case errors.MaterialsDetail():
            missing = [_present({"name": name, "reason": _LOCAL}) for name in detail.locals]
            return "errdefs.ProvenanceMaterialsIncomplete", _present({"incomplete": missing})
        case errors.SolveDetail():
            from google.protobuf.json_format import MessageToDict

            from buildkit.api.ops_pb2 import Op

            op = MessageToDict(Op.FromString(detail.op))
            content: dict[str, Any] = {"inputIDs": list(detail.input_ids), "mountIDs": list(detail.mount_ids), "op": op}
            if detail.file_action is not None:
                content["file"] = {"index": str(detail.file_action)} if detail.file_action else {}
            return "errdefs.Solve", {key: value for key, value in content.items() if value or key == "file"}


def _detail_from_json(kind: str, content: dict[str, Any]) -> Detail | None:
    match kind:
        case "errdefs.Source":
            where = content.get("info") or {}
            ranges = tuple(
                errors.Range(*_line_and_character(r.get("start")), *_line_and_character(r.get("end")))
                for r in content.get("ranges") or []
            )
            text = base64.b64decode(where.get("data") or "")
            definition = _definition_of(where.get("definition") or {})
            return errors.SourceDetail(where.get("filename", ""), text, where.get("language", ""), ranges, definition)
        case "errdefs.Vertex":
            return errors.VertexDetail(str(content.get("digest", "")))
        case "errdefs.Frontend":
            return errors.FrontendDetail(str(content.get("name", "")), str(content.get("source", "")))
        case "errdefs.Subrequest":
            return errors.SubrequestDetail(str(content.get("name", "")))
        case "errdefs.ProvenanceMaterialsIncomplete":
            missing = content.get("incomplete") or ()
            return errors.MaterialsDetail(
                tuple(str(one.get("name", "")) for one in missing if one.get("reason") == _LOCAL)
            )
        case "errdefs.Solve":
            from google.protobuf.json_format import ParseDict

            from buildkit.api.ops_pb2 import Op

            op = ParseDict(content.get("op") or {}, Op(), ignore_unknown_fields=True).SerializeToString()
            action = int((content["file"] or {}).get("index", 0)) if "file" in content else None
            inputs, mounts = (tuple(map(str, content.get(key) or ())) for key in ("inputIDs", "mountIDs"))
            return errors.SolveDetail(inputs, mounts, op, action)
    return None


def _definition_of(content: dict[str, Any]) -> bytes:
    if not content:
        return b""
    from google.protobuf.json_format import ParseDict

    from buildkit.api.ops_pb2 import Definition

    return ParseDict(content, Definition(), ignore_unknown_fields=True).SerializeToString(deterministic=True)


def _position(line: int, character: int) -> dict[str, int]:
    return _present({"line": line, "character": character})


def _line_and_character(position: dict[str, Any] | None) -> tuple[int, int]:
    position = position or {}
    return int(position.get("line", 0)), int(position.get("character", 0))


def _present(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value}
