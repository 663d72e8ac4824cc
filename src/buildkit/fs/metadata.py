"""Trees of which the metadata of every file is wanted, and the content of some (specification row A158).

What the sender announces is kept in one file of the tree, each announcement after its length, and only files that are
excepted, with the directories above them, are in the tree themselves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import FailedPrecondition
from buildkit.fs import packets
from buildkit.fs.patterns import PatternMatcher
from buildkit.fs.receive import Receiver
from buildkit.fs.removal import remove

if TYPE_CHECKING:
    from buildkit.fs.repeat import Message
    from buildkit.fs.send import SentTree

METADATA_FILE = ".fsutil-metadata"
"""The file at the top of the tree: messages of the type ``fsutil.types.Stat``, each after its size in four bytes."""


class MetadataReceiver:
    """Feeds a `Receiver` with the announcements that it is to see; it numbers files by those."""

    is_small = False

    def __init__(self, root: Path, exceptions: Sequence[str] = (), *, compare: bool = True) -> None:
        """``exceptions`` are patterns as of `PatternMatcher`: what matches is received as a file."""
        self._root = root
        self._inner = Receiver(root, compare=compare)
        self._excepted = PatternMatcher(exceptions)
        self._collected: list[bytes] = []
        self._numbers: list[int] = []
        """The sender's number of each file that the inner receiver saw."""
        self._inner_numbers: dict[int, int] = {}
        self._count = 0
        self._parents: list[tuple[str, int, bytes]] = []
        """Path, number and announcement of directories above that were not passed on."""
        self.received = 0
        """Bytes of packets that came."""

    @property
    def done(self) -> bool:
        """The sender has said good-bye: nothing follows."""
        return self._inner.done

    def skip(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Everything is of interest."""
        return messages

    def feed(self, messages: Sequence[Message]) -> list[bytes]:
        """As `Receiver.feed`; when the sender is done, the file of metadata is written."""
        passed: list[Message] = []
        for message in messages:
            self.received += len(message)
            self._take(message, passed)
        answers = [self._renumbered(answer) for answer in self._inner.feed(passed)]
        if self.done:
            self._write()
        return answers

    def close(self) -> None:
        """Let go of the directory."""
        self._inner.close()

    def __enter__(self) -> MetadataReceiver:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _take(self, message: Message, passed: list[Message]) -> None:
        packet = packets.decode(message)
        if packet.kind == packets.DATA:
            inner = self._inner_numbers.get(packet.id, len(self._numbers))
            passed.append(packets.encode_data(inner, bytes(packet.content)))
        elif packet.kind == packets.STAT and packet.stat is not None:
            self._take_stat(bytes(message), packet.stat, passed)
        else:
            passed.append(message)

    def _take_stat(self, message: bytes, found: packets.Stat, passed: list[Message]) -> None:
        number, self._count = self._count, self._count + 1
        path = found.path
        if path == METADATA_FILE:
            return
        self._collected.append(packets.stat_of(message))
        parent = path.rpartition("/")[0]
        while self._parents and self._parents[-1][0] != parent:
            self._parents.pop()
        if self._excepted.matches(path):
            for _, above, announcement in self._parents:
                self._pass(above, announcement, passed)
            self._parents.clear()
            self._pass(number, message, passed)
        elif found.mode & packets.KIND == packets.DIRECTORY:
            self._parents.append((path, number, message))

    def _pass(self, number: int, message: bytes, passed: list[Message]) -> None:
        self._inner_numbers[number] = len(self._numbers)
        self._numbers.append(number)
        passed.append(message)

    def _renumbered(self, answer: bytes) -> bytes:
        packet = packets.decode(answer)
        return packets.encode_request(self._numbers[packet.id]) if packet.kind == packets.REQUEST else answer

    def _write(self) -> None:
        path = self._root / METADATA_FILE
        content = b"".join(len(one).to_bytes(4, "little") + one for one in self._collected)
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.path.lexists(path):
                remove(METADATA_FILE, fd)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(METADATA_FILE, flags, 0o644, dir_fd=fd), "wb") as file:
                file.write(content)
        except OSError as error:
            raise FailedPrecondition(f"cannot write {METADATA_FILE}: {error.strerror or error}") from error
        finally:
            os.close(fd)


def collect(tree: SentTree, receiver: MetadataReceiver) -> None:
    """Receive a directory of this machine; blocks. Raises what either side says."""
    from buildkit.fs.send import Sender

    with Sender([tree]) as sender:
        while not receiver.done:
            sender.take(receiver.feed(sender.produce()))
