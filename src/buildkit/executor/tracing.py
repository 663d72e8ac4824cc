"""Traces out of steps: a socket where spans are taken, and the variables that OpenTelemetry's libraries look for."""

from __future__ import annotations

import os

from buildkit.core.values import replace
from buildkit.executor.executor import Attachment, Container

SOCKET = "/dev/otel-grpc.sock"
"""Where steps find it."""
_VARIABLES = (
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"unix://{SOCKET}"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
)


def traced(container: Container, socket: str) -> Container:
    """A container whose process can send spans to ``socket``; what it says of its own traces already stays so."""
    process = container.process
    told = {entry.partition("=")[0] for entry in process.env}
    env = [*process.env, *(f"{name}={value}" for name, value in _VARIABLES if name not in told)]
    if process.trace_parent:
        env.append(f"TRACEPARENT={process.trace_parent}")
    mounts = container.mounts
    if os.path.exists(socket):
        mounts = (*mounts, Attachment(SOCKET, socket, readonly=True))
    return replace(container, process=replace(process, env=tuple(env)), mounts=mounts)
