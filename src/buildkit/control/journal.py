"""What went wrong in calls, for the daemon's log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from logging import DEBUG, getLogger

from buildkit.core.errors import BuildkitError, Canceled
from buildkit.rpc.server import Method, ServerCall

log = getLogger(__name__)

_QUIET = frozenset(("/opentelemetry.proto.collector.trace.v1.TraceService/Export",))


def journaled(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The same methods; their errors are logged as they pass."""
    return {path: method if path in _QUIET else _journaled(path, method) for path, method in methods.items()}


def _journaled(path: str, method: Method) -> Method:
    unary, streaming = method.unary, method.streaming

    async def one(content: bytes, call: ServerCall) -> bytes:
        assert unary is not None  # noqa: S101
        try:
            return await unary(content, call)
        except Exception as error:
            _note(path, error)
            raise

    async def many(call: ServerCall) -> None:
        assert streaming is not None  # noqa: S101
        try:
            await streaming(call)
        except Exception as error:
            _note(path, error)
            raise

    return Method(unary=one) if unary is not None else Method(streaming=many)


def _note(path: str, error: Exception) -> None:
    if isinstance(error, Canceled | asyncio.CancelledError):
        log.debug("%s returned error: %s", path, error)
    elif isinstance(error, BuildkitError | OSError):
        log.error("%s returned error: %s", path, error, exc_info=error if log.isEnabledFor(DEBUG) else None)
    else:
        log.error("%s returned error: %r", path, error, exc_info=error)
