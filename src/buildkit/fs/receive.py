"""The receiving half of a tree transfer: a state machine without I/O of its own but for the files that it writes.

Packets go in in batches and packets to answer come out; the caller moves both. Everything blocks, and one thread
at a time may feed a receiver. The sender is not trusted: paths are checked to be clean, relative, in order and below
directories that were announced, and no file is opened through a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from buildkit.core.digest import Digest
from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, replace
from buildkit.fs import packets
from buildkit.fs.contents import Contents, dress, rename, unlink
from buildkit.fs.packets import Stat
from buildkit.fs.removal import remove
from buildkit.fs.repeat import Message, Repeat, join
from buildkit.fs.tree import set_mode

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 32 << 10
"""Bytes of the announcement of a tree of some hundred files."""


@dataclass(slots=True)
class _Directory:
    """A directory whose entries are being announced; ``found`` is what it had, taken out as it is named again."""

    path: str
    found: dict[str, os.stat_result]
    last: bytes = b""


class Receiver:
    """Makes a directory equal to what a sender announces, asking only for files that differ.

    ``mirror`` removes whatever is not announced; without it the directory is merged into, and files appear by
    rename. ``compare`` False asks for every file. ``owner`` replaces all owners.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        mirror: bool = True,
        compare: bool = True,
        owner: tuple[int, int] | None = None,
        remember: Callable[[os.stat_result, Digest], None] | None = None,
        before: bytes = b"",
    ) -> None:
        """``remember`` is told the digest (`buildkit.fs.filehash.hash_file`) of each file that is written.

        ``before`` is what `announced` was after the transfer that made the directory what it still is.
        """
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mirror = mirror
        self._compare = compare
        self._owner = owner
        self._contents = Contents(self._root, remember)
        self._repeat = Repeat(before) if before and mirror and compare and owner is None else None
        self._packets: list[bytes] = []
        self._self = (os.geteuid(), os.getegid())
        self._count = 0
        self._announced = False
        self._asked = False
        self._inodes: dict[str, int] = {}
        self._links: list[tuple[str, str]] = []
        self._directories: dict[str, Stat] = {}
        self._touched: set[str] = set()
        self.changed = False
        """Whether anything in the directory had to be changed."""
        self.received = 0
        """Bytes of packets that came."""
        self._stack: list[_Directory] = []
        self._begun = False
        self.is_small = 0 < len(before) <= _SMALL
        """Whether the directory is known to hold few files."""
        self.done = False
        """The sender has said good-bye: nothing follows."""

    @property
    def announced(self) -> bytes:
        """What the sender announced, once it is done: ``before`` for the next transfer. Only of mirrors.

        Nothing if the directory is not what was announced.
        """
        if self._contents.torn:
            return b""
        return self._repeat.before if self._repeat is not None else join(self._packets)

    def skip(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The packets that are left to `feed` when those at the front are the ones of ``before``; needs no disk."""
        if self._repeat is None or self._announced:
            return messages
        left = self._repeat.skip(messages)
        self.received += sum(map(len, messages[: len(messages) - len(left)]))
        return left

    def feed(self, messages: Sequence[Message]) -> list[bytes]:
        """Take packets and return those to answer; raises `InvalidInput`, `FailedPrecondition` naming the file."""
        answers: list[bytes] = []
        messages = self.skip(messages)
        try:
            if messages and self._repeat is not None and not self._announced:
                self._end_repeat(self._repeat, messages[0], answers)
            for message in messages:
                self.received += len(message)
                self._take(message, answers)
            self._contents.fill()
        except (ValueError, OverflowError) as error:  # names with zero bytes, numbers that the kernel does not know
            raise InvalidInput(f"transfer: {error}") from error
        if self._announced and not self._contents and not self._asked:
            self._asked = True
            self._settle()
            answers.append(packets.FINISHED)
        return answers

    def _end_repeat(self, repeat: Repeat, message: Message, answers: list[bytes]) -> None:
        """``message`` does not repeat the transfer before: it ends the announcement, or what was skipped counts."""
        packet = packets.decode(message)
        if repeat.is_whole and packet.kind == packets.STAT and packet.stat is None:
            self._begun = True
            return
        self._repeat = None
        for passed in repeat.passed():
            self._take(passed, answers)

    def close(self) -> None:
        """Let go of the directory; files that are not complete go."""
        self._contents.drop()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _take(self, message: Message, answers: list[bytes]) -> None:
        packet = packets.decode(message)
        if packet.kind == packets.DATA:
            self._contents.take(packet.id, packet.content)
        elif packet.kind == packets.STAT:
            if self._mirror and packet.stat is not None:
                self._packets.append(bytes(message))
            self._take_stat(packet.stat, answers)
        elif packet.kind == packets.FINISH:
            self.done = True
        elif packet.kind == packets.ERROR:
            raise FailedPrecondition(f"error from sender: {os.fsdecode(bytes(packet.content))}")

    # -- announcements --

    def _take_stat(self, found: Stat | None, answers: list[bytes]) -> None:
        if self._announced:
            raise InvalidInput("transfer: a file is announced after the end of the announcements")
        if not self._begun:
            self._begun = True
            self._stack.append(self._enter("", new=False))
        if found is None:
            self._announced = True
            while self._stack:
                self._leave()
            return
        id = self._count
        self._count += 1
        path = found.path
        name = self._arrive_at(path)
        if self._owner is not None:
            found = replace(found, uid=self._owner[0], gid=self._owner[1])
        if found.mode & packets.SOCKET:
            return
        try:
            before = self._stack[-1].found.pop(name, None) if self._mirror else _status(path, self._root)
            if self._place(found, before):
                self._contents.expect(id, found, self._where(path))
                answers.append(packets.encode_request(id))
        except OSError as error:
            raise FailedPrecondition(f"cannot write {path}: {error.strerror or error}") from error

    def _arrive_at(self, path: str) -> str:
        """Check a path and make its directory the top of the stack; gives the last name."""
        parent, _, name = path.rpartition("/")
        if not name or name in (".", "..") or "\0" in path or path.startswith("/"):
            raise InvalidInput(f"transfer: unclean path {path!r}")
        while self._stack[-1].path != parent:
            if len(self._stack) == 1:
                raise InvalidInput(f"transfer: {path!r} is out of order, or its directory was not announced")
            self._leave()
        directory = self._stack[-1]
        key = os.fsencode(name)
        if key <= directory.last:
            raise InvalidInput(f"transfer: {path!r} is out of order after {os.fsdecode(directory.last)!r}")
        directory.last = key
        return name

    def _enter(self, path: str, *, new: bool) -> _Directory:
        found: dict[str, os.stat_result] = {}
        if self._mirror and not new:
            fd = os.open(path or ".", _OPEN_DIRECTORY, dir_fd=self._root)
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        found[entry.name] = entry.stat(follow_symlinks=False)
            finally:
                os.close(fd)
        return _Directory(path, found)

    def _leave(self) -> None:
        directory = self._stack.pop()
        if not self._mirror or not directory.found:
            return
        prefix = directory.path and directory.path + "/"
        self._touch(prefix)
        fd = os.open(directory.path or ".", _OPEN_DIRECTORY, dir_fd=self._root)
        try:
            for name in directory.found:
                remove(name, fd)
        except OSError as error:
            raise FailedPrecondition(f"cannot remove {prefix}{name}: {error.strerror or error}") from error
        finally:
            os.close(fd)

    # -- single entries --

    def _place(self, found: Stat, before: os.stat_result | None) -> bool:
        """Make one entry; True if its content has to be asked for."""
        path, kind = found.path, found.mode & packets.KIND
        if kind == packets.DIRECTORY:
            self._place_directory(found, before)
            return False
        if not kind and found.link:
            self._place_hard_link(found, before)
            return False
        same = before is not None and self._compare and self._is_same(found, before)
        if not kind:
            self._inodes[path] = before.st_ino if same and before is not None else 0
        if same:
            return False
        self._touch(path)
        if kind or self._mirror:
            self._clear(path, before)
        if kind:
            self._place_special(found, kind)
            return False
        if found.size:
            return True
        self._contents.make_empty(found, self._where(path))
        return False

    def _is_same(self, found: Stat, before: os.stat_result) -> bool:
        if before.st_mtime_ns != found.mtime or (before.st_uid, before.st_gid) != (found.uid, found.gid):
            return False
        kind = found.mode & packets.KIND
        if kind == packets.SYMLINK:
            return stat.S_ISLNK(before.st_mode) and os.readlink(found.path, dir_fd=self._root) == found.link
        if packets.wire_mode(before.st_mode) != found.mode:
            return False
        if kind & packets.DEVICE:
            return before.st_rdev == os.makedev(found.major, found.minor)
        return bool(kind) or before.st_size == found.size

    def _place_directory(self, found: Stat, before: os.stat_result | None) -> None:
        path = found.path
        self._directories[path] = found
        new = before is None or not stat.S_ISDIR(before.st_mode)
        if new:
            self._touch(path)
            self._touched.add(path)
            self._clear(path, before)
            os.mkdir(path, 0o700, dir_fd=self._root)
        elif before is not None and not self._is_same_directory(found, before):
            self.changed = True
            self._touched.add(path)
            if before.st_mode & 0o700 != 0o700:
                set_mode(path, 0o700, self._root)
        self._stack.append(self._enter(path, new=new))

    @staticmethod
    def _is_same_directory(found: Stat, before: os.stat_result) -> bool:
        owned = (before.st_uid, before.st_gid) == (found.uid, found.gid)
        return owned and stat.S_IMODE(before.st_mode) == found.permissions and before.st_mtime_ns == found.mtime

    def _place_hard_link(self, found: Stat, before: os.stat_result | None) -> None:
        inode = self._inodes.get(found.link)
        if inode is None:
            raise InvalidInput(f"transfer: {found.path!r} links to {found.link!r}, which was not announced")
        if inode and before is not None and before.st_ino == inode and self._compare:
            return
        self._touch(found.path)
        if self._mirror:
            self._clear(found.path, before)
        self._links.append((found.link, found.path))

    def _place_special(self, found: Stat, kind: int) -> None:
        path = found.path
        if kind == packets.SYMLINK:
            os.symlink(found.link, path, dir_fd=self._root)
        elif kind in (packets.PIPE, packets.DEVICE, packets.DEVICE | packets.CHARACTER):
            form = stat.S_IFIFO if kind == packets.PIPE else stat.S_IFCHR if kind & packets.CHARACTER else stat.S_IFBLK
            device = 0 if kind == packets.PIPE else os.makedev(found.major & 0xFFFFFFFF, found.minor & 0xFFFFFFFF)
            os.mknod(path, form | 0o600, device, dir_fd=self._root)
        else:
            raise InvalidInput(f"transfer: {path!r} has the unknown mode {found.mode:#o}")
        self._adorn_by_name(found)

    def _touch(self, path: str) -> None:
        """The directory of ``path`` gets another entry."""
        self.changed = True
        self._touched.add(path.rpartition("/")[0])

    def _clear(self, path: str, before: os.stat_result | None) -> None:
        if before is not None:
            remove(path, self._root) if stat.S_ISDIR(before.st_mode) else unlink(path, self._root)

    def _where(self, path: str) -> str:
        """Where a file is written before it is complete."""
        if self._mirror:
            return path
        parent, slash, name = path.rpartition("/")
        return f"{parent}{slash}.{name[:200]}.{new_id()}"

    # -- the end --

    def _settle(self) -> None:
        """Hard links, which need their files complete, and what directories are to look like."""
        path = ""
        try:
            for first, path in self._links:
                place = self._where(path)
                os.link(first, place, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
                if place != path:
                    rename(place, path, self._root)
                    unlink(place, self._root)  # rename(2) leaves both names when they are one file already
            for path in sorted(self._touched, reverse=True):
                if path in self._directories:
                    self._adorn_directory(self._directories[path])
        except OSError as error:
            raise FailedPrecondition(f"cannot write {path}: {error.strerror or error}") from error

    def _adorn_directory(self, found: Stat) -> None:
        fd = os.open(found.path, _OPEN_DIRECTORY, dir_fd=self._root)
        try:
            dress(fd, found)
        finally:
            os.close(fd)

    def _adorn_by_name(self, found: Stat) -> None:
        path = found.path
        if (found.uid, found.gid) != self._self:
            os.chown(path, found.uid, found.gid, dir_fd=self._root, follow_symlinks=False)
        if not found.mode & packets.SYMLINK:
            set_mode(path, found.permissions, self._root)
        os.utime(path, ns=(found.mtime, found.mtime), dir_fd=self._root, follow_symlinks=False)


def _status(path: str, dir_fd: int) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
