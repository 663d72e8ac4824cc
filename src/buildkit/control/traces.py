"""``TraceService/Export``: nobody collects traces here, and clients are told so."""

from __future__ import annotations

from buildkit.core.errors import Unavailable
from buildkit.rpc.server import Method, ServerCall

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


async def export(content: bytes, call: ServerCall) -> bytes:
    """Refuse, in the words of a daemon without an exporter (row A8)."""
    raise Unavailable("trace collector not configured")


def trace_methods() -> dict[str, Method]:
    """The methods by path."""
    return {f"/{SERVICE}/Export": Method(unary=export)}
