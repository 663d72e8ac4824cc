"""Serving image stores and streams to a far daemon."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from buildkit.core.aio import finish_in_thread
from buildkit.core.digest import parse_digest
from buildkit.core.errors import AlreadyExists, InvalidInput, NotFound
from buildkit.rpc.server import Method, ServerCall
from buildkit.rpc.tunnel import wrap
from buildkit.session import headers
from buildkit.session.session import Stores, Uploads

_PIECE = 1 << 20


def content(stores: Stores) -> dict[str, Method]:
    """The reading half of ``containerd.services.content.v1.Content``."""

    async def info(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.content_pb2 import Info, InfoRequest, InfoResponse

        digest = parse_digest(InfoRequest.FromString(message).digest)
        size = await stores.size(_store(call), digest)
        return InfoResponse(info=Info(digest=digest, size=size)).SerializeToString()

    async def read(call: ServerCall) -> None:
        from buildkit.api.content_pb2 import ReadContentRequest, ReadContentResponse

        message = await call.receive()
        if message is None:
            raise InvalidInput("the request has no message")
        request = ReadContentRequest.FromString(message)
        digest, store = parse_digest(request.digest), _store(call)
        size = await stores.size(store, digest)
        start = max(request.offset, 0)
        if start > size:
            raise InvalidInput(f"read past object length {size} bytes")
        left = min(request.size, size - start) if request.size > 0 else size - start
        source = await stores.open(store, digest)
        try:
            await finish_in_thread(_skip, source, start)
            offset = 0
            while left and (block := await finish_in_thread(source.read, min(left, _PIECE))):
                await call.send(ReadContentResponse(offset=offset, data=block).SerializeToString())
                offset += len(block)
                left -= len(block)
        finally:
            source.close()

    return {headers.CONTENT_INFO: Method(unary=info), headers.CONTENT_READ: Method(streaming=read)}


def image_store(directory: Path) -> dict[str, Method]:
    """The writing half of the content service: blobs go into an OCI layout, checked."""

    async def write(call: ServerCall) -> None:
        from buildkit.api import content_pb2 as pb
        from buildkit.oci.layout import Layout

        if _store(call) != headers.EXPORT:
            raise NotFound(f"unknown store {_store(call)}")
        layout = await finish_in_thread(Layout.create, directory)
        with layout.taking() as blob:
            async for message in call:
                request = pb.WriteContentRequest.FromString(message)
                if request.expected and layout.path(request.expected).exists():
                    raise AlreadyExists(f"content {request.expected}: already exists")
                if request.action != pb.STAT and request.offset != blob.size:
                    raise InvalidInput(f"content {request.ref}: written at {request.offset}, expected at {blob.size}")
                if request.data:
                    await finish_in_thread(blob.write, request.data)
                digest = ""
                if request.action == pb.COMMIT:
                    if request.total and request.total != blob.size:
                        raise InvalidInput(f"content {request.ref}: {blob.size} of {request.total} bytes came")
                    digest = await finish_in_thread(blob.commit, request.expected)
                answer = pb.WriteContentResponse(
                    action=request.action, offset=blob.size, total=request.total, digest=digest
                )
                await call.send(answer.SerializeToString())

    return {headers.CONTENT_WRITE: Method(streaming=write)}


def upload(uploads: Uploads) -> dict[str, Method]:
    """``moby.upload.v1.Upload``."""

    async def pull(call: ServerCall) -> None:
        id = headers.first(call.metadata, headers.URL_PATH).rpartition("/")[2]
        source = await uploads.open(id)
        try:
            while block := await finish_in_thread(source.read, _PIECE):
                await call.send(wrap(block))
        finally:
            source.close()

    return {headers.PULL: Method(streaming=pull)}


def _store(call: ServerCall) -> str:
    store = headers.first(call.metadata, headers.STORE)
    if not store:
        raise InvalidInput(f'request lacks metadata "{headers.STORE}"')
    return store.removeprefix(headers.LAYOUT)


def _skip(source: BinaryIO, size: int) -> None:
    if source.seekable():
        source.seek(size)
        return
    while size and (block := source.read(min(size, _PIECE))):
        size -= len(block)
    if size:
        raise NotFound("the content is shorter than it was")
