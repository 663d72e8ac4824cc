"""A far client's image stores and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from buildkit.core.aio import finish_in_thread
from buildkit.core.digest import Digest
from buildkit.core.errors import AlreadyExists, Unavailable
from buildkit.rpc.client import Channel, ClientCall
from buildkit.session import headers

if TYPE_CHECKING:
    from buildkit.oci.spec import Descriptor

_PIECE = 1 << 20


class RemoteStores:
    """Stores of image content, read through containerd's content service (specification row A169)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def size(self, store: str, digest: Digest) -> int:
        """Bytes of a blob; raises `NotFound`."""
        from buildkit.api.content_pb2 import InfoRequest, InfoResponse

        request = InfoRequest(digest=digest).SerializeToString()
        answer = await self._channel.unary(headers.CONTENT_INFO, request, {headers.STORE: [headers.LAYOUT + store]})
        return InfoResponse.FromString(answer).info.size

    async def open(self, store: str, digest: Digest) -> BinaryIO:
        """A blob's bytes, to be read from a thread; raises `NotFound`."""
        from buildkit.api.content_pb2 import ReadContentRequest, ReadContentResponse
        from buildkit.session.bytestream import CallReader

        call = self._channel.call(headers.CONTENT_READ, {headers.STORE: [headers.LAYOUT + store]})
        call.send_all([ReadContentRequest(digest=digest).SerializeToString()])
        call.end()
        await _begin(call)
        return cast(BinaryIO, CallReader(call, lambda message: ReadContentResponse.FromString(message).data))


async def write_blob(channel: Channel, store: str, blob: Descriptor, content: BinaryIO) -> None:
    """Put a blob into a client's store, from where an earlier attempt broke off; one that is there already stays."""
    from buildkit.api import content_pb2 as pb

    ref = f"export-{blob.digest}"
    call = channel.call(headers.CONTENT_WRITE, {headers.STORE: [store]})

    async def say(action: pb.WriteAction.ValueType, offset: int = 0, data: bytes = b"") -> int:
        request = pb.WriteContentRequest(
            action=action, ref=ref, total=blob.size, expected=blob.digest, offset=offset, data=data
        )
        await call.send(request.SerializeToString())
        answer = await call.receive()
        if answer is None:
            raise Unavailable(f"{blob.digest}: the client's store ended the conversation")
        return pb.WriteContentResponse.FromString(answer).offset

    try:
        offset = await say(pb.STAT)
        content.seek(offset)
        while block := await finish_in_thread(content.read, _PIECE):
            await say(pb.WRITE, offset, block)
            offset += len(block)
        await say(pb.COMMIT, offset)
        call.end()
        await call.receive()
    except AlreadyExists:
        pass
    except BaseException:
        call.cancel()
        raise


class RemoteUploads:
    """Streams that a client lends, each once (specification row A168)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def open(self, id: str) -> BinaryIO:
        """The stream, to be read from a thread; raises `NotFound` or what the client says."""
        from buildkit.session.bytestream import CallReader

        fields = {headers.URL_PATH: ["/" + id], headers.URL_HOST: ["buildkit-session"]}
        call = self._channel.call(headers.PULL, fields)
        call.end()
        await _begin(call)
        return cast(BinaryIO, CallReader(call))


async def _begin(call: ClientCall) -> None:
    """Wait for the first sign of life; raises the call's error when that is all there is."""
    await call.started
    if call.failure is not None:
        raise call.failure
