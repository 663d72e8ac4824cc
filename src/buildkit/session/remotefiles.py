"""A far client's directories: those that it lends, and those into which results go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from buildkit.rpc.client import Channel, ClientCall
from buildkit.session import headers
from buildkit.session.session import LocalTree, Patterns, Seen
from buildkit.session.transfer import receive_tree, send_tree

if TYPE_CHECKING:
    from buildkit.fs.receive import Receiver
    from buildkit.fs.send import SentTree


class RemoteLocals:
    """Directories that a client sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def tree(self, name: str) -> LocalTree:
        """The directory; whether the client has it shows when it is fetched."""

        async def fetch(wanted: Patterns, receiver: Receiver, seen: Seen) -> None:
            await self._fetch(name, wanted, receiver, seen)

        return LocalTree(name, fetch=fetch)

    async def _fetch(self, name: str, wanted: Patterns, receiver: Receiver, seen: Seen) -> None:
        fields: dict[str, tuple[str, ...]] = {headers.DIRECTORY_NAME: (name,)}
        for key, values in (
            (headers.INCLUDE, wanted.include),
            (headers.EXCLUDE, wanted.exclude),
            (headers.FOLLOW, wanted.follow),
        ):
            if values:
                fields[key] = values
        call = self._channel.call(headers.FILE_SYNC, headers.encode_values(fields))
        try:
            await receive_tree(call, receiver, seen)
            call.end()
            await _finish(call)
        except BaseException:
            call.cancel()
            raise


class RemoteOutputs:
    """Files and directories that a client writes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @asynccontextmanager
    async def open_file(self, exporter: str, metadata: Mapping[str, str]) -> AsyncIterator[BinaryIO]:
        """The exporter's file on the client's machine; raises `AlreadyExists` when the client wants no new one."""
        from buildkit.session.bytestream import CallWriter

        fields = {headers.EXPORTER_METADATA + key: [value] for key, value in metadata.items()}
        call = self._channel.call(headers.FILE_SEND, {headers.EXPORTER: [exporter], **fields})
        try:
            out = CallWriter(call)
            yield cast(BinaryIO, out)
            await out.flush_async()
            call.end()
            await _finish(call)
        except BaseException:
            call.cancel()
            raise

    def directory(self, exporter: str) -> None:
        """It is not on this machine: `send`."""
        return None

    def deletes(self, exporter: str) -> bool:
        """Only the client knows."""
        return False

    async def send(self, exporter: str, trees: Sequence[SentTree], seen: Seen, *, whole: bool = False) -> None:
        """Send trees into the exporter's directory."""
        from buildkit.fs.send import Sender

        fields = {headers.EXPORTER: [exporter]} | ({headers.WHOLE: ["1"]} if whole else {})
        call = self._channel.call(headers.FILE_SEND, fields)
        with Sender(trees) as sender:
            try:
                await send_tree(call, sender, seen)
                call.end()
            except BaseException:
                call.cancel()
                raise


async def _finish(call: ClientCall) -> None:
    """Wait for the other side's last word; raises its error."""
    while await call.receive_all():
        pass
