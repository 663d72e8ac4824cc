"""The client's part of a build's trace: one span around all of it, which the daemon's are children of (row A187)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress

from buildkit.core import wire
from buildkit.core.errors import BuildkitError
from buildkit.core.values import dataclass
from buildkit.core.version import SPOKEN
from buildkit.rpc.client import Channel

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PATIENCE = 1.0
"""Seconds for a daemon to take the span: nobody waits longer for what is of use to nobody but who looks for it."""
_PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_CLIENT, _ERROR = 3, 2


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has begun; ids as W3C Trace Context writes them."""

    name: str
    trace: str
    id: str
    parent: str
    started: int

    @classmethod
    def begin(cls, name: str, environ: Mapping[str, str] = os.environ) -> Span:
        """A span of the trace that ``TRACEPARENT`` names, or of a new one."""
        found = _PARENT.fullmatch(environ.get("TRACEPARENT", ""))
        trace, parent = (found[1], found[2]) if found else (os.urandom(16).hex(), "")
        return cls(name, trace, os.urandom(8).hex(), parent, time.time_ns())

    @property
    def metadata(self) -> dict[str, list[str]]:
        """What makes the spans of a call children of this one."""
        return {"traceparent": [f"00-{self.trace}-{self.id}-01"]}

    async def send(self, channel: Channel, error: str = "") -> None:
        """End the span and give it to the daemon; one that collects none is left alone."""
        with suppress(BuildkitError, TimeoutError):
            await channel.unary(EXPORT, self.request(time.time_ns(), error), seconds=_PATIENCE)

    def request(self, ended: int, error: str) -> bytes:
        """An ``ExportTraceServiceRequest`` of this span; ``error`` is "" when all went well."""
        span = [
            wire.field(1, bytes.fromhex(self.trace)),
            wire.field(2, bytes.fromhex(self.id)),
            wire.data(4, bytes.fromhex(self.parent)),
            wire.text(5, self.name),
            wire.number(6, _CLIENT),
            wire.fixed(7, self.started),
            wire.fixed(8, ended),
            wire.field(15, wire.text(2, error) + wire.number(3, _ERROR)) if error else b"",
        ]
        resource = _attribute("service.name", "buildctl") + _attribute("service.version", SPOKEN)
        scope = wire.field(1, wire.text(1, "buildctl")) + wire.field(2, b"".join(span))
        return wire.field(1, wire.field(1, resource) + wire.field(2, scope))


def _attribute(key: str, value: str) -> bytes:
    return wire.field(1, wire.text(1, key) + wire.field(2, wire.text(1, value)))
