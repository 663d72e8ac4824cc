"""``http://buildkit-session/<id>``: a stream that the client sends, in the form of a web server's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from buildkit.core.aio import run_apart
from buildkit.core.errors import NotFound
from buildkit.oci.transport import BLOCK, Sink
from buildkit.session.registry import Sessions
from buildkit.session.session import Session

HOST = "buildkit-session"


class Answer(Protocol):
    """What `buildkit.oci.transport.Response` and `Upload` have in common."""

    status: int

    def header(self, name: str) -> str:
        """A header's value, or the empty string."""

    @property
    def length(self) -> int | None:
        """Bytes of the body, if they are known."""

    async def copy_to(self, sink: Sink, *, limit: int) -> None:
        """Move the body into ``sink``, at most until it holds ``limit`` bytes."""

    def abort(self) -> None:
        """Break off."""

    def close(self) -> None:
        """Done with it."""


class Upload:
    """A stream that is read once."""

    status = 200
    length = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def header(self, name: str) -> str:
        """There are none."""
        return ""

    async def copy_to(self, sink: Sink, *, limit: int) -> None:
        """Read all of it."""

        def copy() -> None:
            while sink.offset < limit and (block := self._stream.read(min(BLOCK, limit - sink.offset))):
                sink.write(block)

        try:
            await run_apart(copy)
        finally:
            self.close()

    def abort(self) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._stream.close()


def is_upload(url: str) -> bool:
    """Whether the client is to send this."""
    return urlsplit(url).hostname == HOST


async def open_upload(sessions: Sessions, ids: Sequence[str], url: str) -> Upload:
    """Begin to read what the client sends; raises `NotFound`."""
    id = urlsplit(url).path.strip("/")

    async def find(session: Session) -> Upload:
        if session.uploads is None:
            raise NotFound(f"{url}: the client offers no uploads")
        return Upload(await session.uploads.open(id))

    return await sessions.any(ids, find)
