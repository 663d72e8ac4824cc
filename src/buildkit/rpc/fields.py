"""What a header list must be like (RFC 9113, sections 8.2 and 8.3), as far as gRPC needs it."""

from __future__ import annotations

from buildkit.rpc.hpack import Headers

_REQUEST = {b":method", b":path", b":scheme"}
_OPTIONAL = {b":authority"}
_FORBIDDEN = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_NOT_IN_VALUES = (b"\r", b"\n", b"\0")


def is_request(headers: Headers) -> bool:
    """Whether a list can be a request's: each pseudo header once, and all of them first."""
    pseudo = [name for name, _ in headers if name.startswith(b":")]
    if len(set(pseudo)) != len(pseudo) or not _REQUEST <= set(pseudo) <= _REQUEST | _OPTIONAL:
        return False
    return all(name.startswith(b":") for name, _ in headers[: len(pseudo)]) and _are_clean(headers)


def is_response(headers: Headers) -> bool:
    """Whether a list can be a response's, or trailers."""
    pseudo = [name for name, _ in headers if name.startswith(b":")]
    return pseudo in ([], [b":status"]) and (not pseudo or headers[0][0] == b":status") and _are_clean(headers)


def _are_clean(headers: Headers) -> bool:
    for name, value in headers:
        if not name or name in _FORBIDDEN or name != name.lower() or any(mark in value for mark in _NOT_IN_VALUES):
            return False
    return True
