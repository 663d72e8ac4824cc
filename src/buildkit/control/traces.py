"""``TraceService/Export``: spans of clients and steps, for whoever collects them."""

from __future__ import annotations

from collections.abc import Callable

from buildkit.core.errors import Unavailable
from buildkit.rpc.server import Method, ServerCall

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def trace_methods(take: Callable[[bytes], None] | None) -> dict[str, Method]:
    """The methods by path; without ``take`` nobody collects traces, and clients are told so (row A8)."""

    async def export(content: bytes, call: ServerCall) -> bytes:
        if take is None:
            raise Unavailable("trace collector not configured")
        take(content)
        return b""

    return {f"/{SERVICE}/Export": Method(unary=export)}
