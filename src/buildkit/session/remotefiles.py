"""A far client's directories: those that it lends, and those into which results go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from buildkit.core.digest import Digest
from buildkit.core.errors import FailedPrecondition
from buildkit.rpc.client import Channel, ClientCall
from buildkit.session import headers
from buildkit.session.session import LocalTree, Patterns, Seen
from buildkit.session.transfer import receive_tree, send_tree

if TYPE_CHECKING:
    from buildkit.fs.metadata import MetadataReceiver
    from buildkit.fs.receive import Receiver
    from buildkit.fs.send import SentTree
    from buildkit.oci.spec import Descriptor


class RemoteLocals:
    """Directories that a client sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def tree(self, name: str) -> LocalTree:
        """The directory; whether the client has it shows when it is fetched."""

        async def fetch(wanted: Patterns, receiver: Receiver | MetadataReceiver, seen: Seen) -> None:
            await self._fetch(name, wanted, receiver, seen)

        return LocalTree(name, fetch=fetch)

    async def _fetch(self, name: str, wanted: Patterns, receiver: Receiver | MetadataReceiver, seen: Seen) -> None:
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

    def __init__(self, channel: Channel, *, files: bool = True, images: bool = False) -> None:
        """What the client takes: ``files`` and directories, blobs of ``images``."""
        self._channel = channel
        self._files = files
        self._images = images

    @asynccontextmanager
    async def open_file(self, exporter: str, metadata: Mapping[str, str]) -> AsyncIterator[BinaryIO]:
        """The exporter's file on the client's machine; raises `AlreadyExists` when the client wants no new one."""
        from buildkit.session.bytestream import CallWriter

        self._check(self._files, exporter, "files")
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

    def image_directory(self) -> None:
        """It is not on this machine: `store`."""
        return None

    def deletes(self, exporter: str) -> bool:
        """Only the client knows."""
        return False

    async def send(self, exporter: str, trees: Sequence[SentTree], seen: Seen, *, whole: bool = False) -> None:
        """Send trees into the exporter's directory."""
        from buildkit.fs.send import Sender

        self._check(self._files, exporter, "files")
        fields = {headers.EXPORTER: [exporter]} | ({headers.WHOLE: ["1"]} if whole else {})
        call = self._channel.call(headers.FILE_SEND, fields)
        with Sender(trees) as sender:
            try:
                await send_tree(call, sender, seen)
                call.end()
            except BaseException:
                call.cancel()
                raise

    async def store(self, exporter: str, blobs: Sequence[Descriptor], source: Callable[[Digest], BinaryIO]) -> None:
        """Write blobs into the client's image store, one after the other."""
        from buildkit.session.remotestores import write_blob

        self._check(self._images, exporter, "images")
        for blob in blobs:
            with source(blob.digest) as content:
                await write_blob(self._channel, headers.EXPORT, blob, content)

    def _check(self, taken: bool, exporter: str, what: str) -> None:
        if not taken:
            raise FailedPrecondition(f"exporter {exporter}: the client's session takes no {what}")


async def _finish(call: ClientCall) -> None:
    """Wait for the other side's last word; raises its error."""
    while await call.receive_all():
        pass
