"""Handlers of typed calls as methods of a server: messages are parsed and serialized here alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from buildkit.core.errors import InvalidInput
from buildkit.rpc.server import Method, ServerCall

Request = TypeVar("Request", bound=Message)


def parse(kind: type[Request], content: bytes) -> Request:
    """Read a message; raises `InvalidInput`."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise InvalidInput(f"malformed {kind.DESCRIPTOR.name}: {error}") from None


def unary(kind: type[Request], answer: Callable[[Request], Awaitable[Message]]) -> Method:
    """One message in, one out."""

    async def run(content: bytes, call: ServerCall) -> bytes:
        return (await answer(parse(kind, content))).SerializeToString()

    return Method(unary=run)


def listing(
    kind: type[Request],
    answers: Callable[[Request], AsyncIterator[Message]],
    metadata: Callable[[], dict[str, list[str]]] | None = None,
) -> Method:
    """One message in, any number out; ``metadata`` goes before them."""

    async def run(call: ServerCall) -> None:
        content = await call.receive()
        if content is None:
            raise InvalidInput("the request has no message")
        if metadata is not None:
            call.send_response_metadata(metadata())
        async for message in answers(parse(kind, content)):
            await call.send(message.SerializeToString())

    return Method(streaming=run)
