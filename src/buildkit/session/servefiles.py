"""Serving directories to a far daemon, and taking results from it."""

from __future__ import annotations

import os

from buildkit.core.aio import finish_in_thread
from buildkit.core.errors import FailedPrecondition, NotFound, Unsupported
from buildkit.rpc.server import Method, ServerCall
from buildkit.rpc.stream import Chunk
from buildkit.rpc.tunnel import payload_of
from buildkit.session import headers
from buildkit.session.session import Locals, Outputs
from buildkit.session.transfer import receive_tree, send_tree


def file_sync(locals: Locals) -> dict[str, Method]:
    """``moby.filesync.v1.FileSync``."""

    async def diff_copy(call: ServerCall) -> None:
        from buildkit.fs.send import Sender, SentTree

        metadata = call.metadata
        name = "".join(headers.decode_values(metadata, headers.DIRECTORY_NAME)[:1])
        tree = locals.tree(name)
        if tree.path is None:
            raise Unsupported(f"directory {name!r} is not on this machine")
        sent = SentTree(
            os.fspath(tree.path),
            headers.decode_values(metadata, headers.INCLUDE),
            headers.decode_values(metadata, headers.EXCLUDE),
            headers.decode_values(metadata, headers.FOLLOW),
            owner=(0, 0),
        )
        with Sender([sent]) as sender:
            await send_tree(call, sender, _unseen, first_here=True)

    async def tar_stream(call: ServerCall) -> None:
        raise Unsupported("method TarStream not implemented")

    service = headers.FILE_SYNC.rpartition("/")[0]
    return {headers.FILE_SYNC: Method(streaming=diff_copy), f"{service}/TarStream": Method(streaming=tar_stream)}


def file_send(outputs: Outputs) -> dict[str, Method]:
    """``moby.filesync.v1.FileSend``."""

    async def diff_copy(call: ServerCall) -> None:
        exporter = headers.first(call.metadata, headers.EXPORTER) or "0"
        try:
            directory = outputs.directory(exporter)
        except NotFound:
            directory = None
        if directory is None:
            await _take_file(call, outputs, exporter)
            return
        from buildkit.fs.receive import Receiver

        delete = outputs.deletes(exporter)
        if delete and headers.first(call.metadata, headers.WHOLE) != "1":
            what = "requires a BuildKit daemon with multi-platform local export support"
            raise FailedPrecondition(f"local exporter mode=delete {what}")
        owner = (os.geteuid(), os.getegid())
        receiver = await finish_in_thread(lambda: Receiver(directory, mirror=delete, compare=False, owner=owner))
        with receiver:
            await receive_tree(call, receiver, _unseen)

    return {headers.FILE_SEND: Method(streaming=diff_copy)}


async def _take_file(call: ServerCall, outputs: Outputs, exporter: str) -> None:
    metadata = {
        key.removeprefix(headers.EXPORTER_METADATA): ",".join(values)
        for key, values in call.metadata.items()
        if key.startswith(headers.EXPORTER_METADATA)
    }
    async with outputs.open_file(exporter, metadata) as out:

        def write(messages: list[Chunk]) -> None:
            for message in messages:
                view = memoryview(payload_of(message, 0, len(message)))
                while view:
                    view = view[out.write(view) :]

        while messages := await call.receive_views():
            await finish_in_thread(write, messages)


def _unseen(size: int) -> None:
    """Nobody is told how far a transfer is."""
