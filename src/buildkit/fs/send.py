"""The sending half of a tree transfer: announces a tree and hands out the files that the receiver asks for.

Nothing here moves packets: `Sender.take` is told what came, `Sender.produce` gives what is to be sent and may block
on the disk. One thread may be in each of the two.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.values import dataclass
from buildkit.fs import packets
from buildkit.fs.packets import Stat
from buildkit.fs.tree import Entry, open_beneath, walk

CHUNK = 256 << 10
"""Bytes of the largest piece of a file in one packet."""
_BATCH = 1 << 20
_ANNOUNCED_AT_ONCE = 512
_FEW_FILES, _FEW_BYTES = 16, 64 << 10
"""What is read of so few small files needs no thread of its own."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_SENT = ("com.apple.", "trusted.overlay.", "user.overlay.")


@dataclass(frozen=True, slots=True)
class SentTree:
    """One directory to send. ``owner`` replaces all owners, ``mtime`` (nanoseconds) all times.

    ``below`` is the name of a directory in which the receiver finds it, empty for the top. Patterns are those of
    `buildkit.fs.tree.walk`.
    """

    root: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    mtime: int | None = None
    below: str = ""


@dataclass(eq=False, slots=True)
class _Reading:
    id: int
    fd: int
    size: int


class Sender:
    """Sends directories as one tree."""

    def __init__(self, trees: Sequence[SentTree]) -> None:
        self._trees = sorted(trees, key=lambda tree: os.fsencode(tree.below))
        self._stats: Iterator[bytes] | None = self._announce()
        self._files: dict[int, tuple[int, str, int]] = {}
        self._asked: deque[tuple[int, int, str, int]] = deque()
        self._reading: _Reading | None = None
        self._farewell = False
        self._directory: tuple[int, str, int] = (-1, "", -1)
        self.sent = 0
        """Bytes of packets that were produced."""
        self.done = False
        """The receiver has all that it wanted, and was told that we know."""

    def take(self, messages: Iterable[bytes]) -> None:
        """Packets of the receiver; raises `InvalidInput`, or `FailedPrecondition` with the receiver's error."""
        for message in messages:
            packet = packets.decode(message)
            if packet.kind == packets.REQUEST:
                found = self._files.pop(packet.id, None)
                if found is None:
                    raise InvalidInput(f"invalid file id {packet.id}")
                self._asked.append((packet.id, *found))
            elif packet.kind == packets.FINISH:
                self._farewell = True
            elif packet.kind == packets.ERROR:
                raise FailedPrecondition(f"error from receiver: {os.fsdecode(bytes(packet.content))}")

    @property
    def is_quick(self) -> bool:
        """Whether `produce` has only a few small files to read."""
        if self._stats is not None or self._reading is not None or len(self._asked) > _FEW_FILES:
            return False
        return sum(size for *_, size in self._asked) <= _FEW_BYTES

    def produce(self, *, announced: int = _ANNOUNCED_AT_ONCE) -> list[bytes]:
        """About a megabyte of packets, so many announcements at most.

        None when there is nothing to do until more is taken.
        """
        out: list[bytes] = []
        if self._stats is not None:
            for message in self._stats:
                out.append(message)
                if len(out) >= announced:
                    break
            else:
                self._stats = None
                out.append(packets.END_OF_STATS)
        size = sum(map(len, out))
        while size < _BATCH and (self._reading is not None or self._asked):
            before = len(out)
            self._read(out)
            size += sum(map(len, out[before:]))
        if self._farewell and not self._asked and self._reading is None and not self.done:
            self.done = True
            out.append(packets.FINISHED)
        self.sent += size
        return out

    def close(self) -> None:
        """Let go of files and directories."""
        if self._reading is not None:
            os.close(self._reading.fd)
            self._reading = None
        if self._directory[2] >= 0:
            os.close(self._directory[2])
            self._directory = (-1, "", -1)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _announce(self) -> Iterator[bytes]:
        id = 0
        for number, tree in enumerate(self._trees):
            prefix = ""
            if tree.below:
                prefix = f"{tree.below}/"
                mode = packets.DIRECTORY | 0o755
                yield packets.encode_stat(Stat(tree.below, mode, *(tree.owner or (0, 0)), mtime=tree.mtime or 0))
                id += 1
            names: dict[tuple[int, int], str] = {}
            for entry in walk(tree.root, include=tree.include, exclude=tree.exclude, follow=tree.follow, xattrs=True):
                found = _describe(entry, tree, prefix, names)
                if not found.mode & packets.KIND and not found.link:
                    self._files[id] = (number, entry.path, found.size)
                id += 1
                yield packets.encode_stat(found)

    def _read(self, out: list[bytes]) -> None:
        reading = self._reading
        if reading is None:
            id, number, path, size = self._asked.popleft()
            fd = self._open(number, path)
            if fd < 0:
                out.append(packets.encode_data(id))
                return
            reading = self._reading = _Reading(id, fd, size)
        wanted = min(reading.size + 1, CHUNK)
        content = os.read(reading.fd, wanted)
        if content:
            out.append(packets.encode_data(reading.id, content))
        if len(content) < wanted:
            out.append(packets.encode_data(reading.id))
            os.close(reading.fd)
            self._reading = None
        else:
            reading.size = CHUNK

    def _open(self, number: int, path: str) -> int:
        """A descriptor of a file to read; -1 for one that is gone or may not be read: it is sent empty."""
        parent, _, name = path.rpartition("/")
        if self._directory[:2] != (number, parent):
            if self._directory[2] >= 0:
                os.close(self._directory[2])
            self._directory = (-1, "", -1)
            try:
                root = os.open(self._trees[number].root, _STEP)
                try:
                    fd = open_beneath(root, parent or ".", _STEP)
                finally:
                    os.close(root)
            except OSError:
                return -1
            self._directory = (number, parent, fd)
        try:
            fd = os.open(name, _READ, dir_fd=self._directory[2])
        except OSError:
            return -1
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return -1


def _describe(entry: Entry, tree: SentTree, prefix: str, names: dict[tuple[int, int], str]) -> Stat:
    status, path = entry.stat, prefix + entry.path
    mode = packets.wire_mode(status.st_mode)
    link, size = entry.link_target, 0 if entry.is_dir else status.st_size
    if status.st_nlink > 1 and not entry.is_dir:
        first = names.setdefault((status.st_dev, status.st_ino), path)
        if first != path and not mode & packets.SYMLINK:
            link, size = first, 0
    uid, gid = tree.owner or (status.st_uid, status.st_gid)
    device = status.st_rdev if mode & packets.DEVICE else 0
    return Stat(
        path,
        mode,
        uid,
        gid,
        size,
        status.st_mtime_ns if tree.mtime is None else tree.mtime,
        link,
        os.major(device),
        os.minor(device),
        {name: content for name, content in entry.xattrs.items() if not name.startswith(_NOT_SENT)},
    )
