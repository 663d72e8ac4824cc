"""``type=local`` and ``type=tar``: the files of a result, into a directory or as one tar."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from time import time_ns
from typing import BinaryIO

from buildkit.core.aio import finish_in_thread, run_apart
from buildkit.core.errors import FailedPrecondition, InvalidInput, Unsupported
from buildkit.core.result import Result
from buildkit.core.values import dataclass
from buildkit.exporter.attrs import as_bool
from buildkit.exporter.delivery import Delivery, check_deletable
from buildkit.exporter.epoch import Epoch, choose_epoch
from buildkit.exporter.exporter import Exported, Exporting
from buildkit.exporter.platforms import ExportPlatform, platforms_of, ref_of
from buildkit.fs.send import SentTree
from buildkit.fs.tarwrite import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    END,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    XATTR_PREFIX,
    header,
    padding,
)
from buildkit.fs.tree import Entry, walk
from buildkit.session.session import Outputs
from buildkit.store.blobs import Compression
from buildkit.store.refs import Ref

_SECOND = 1_000_000_000
_PIECE = 1 << 20
_PROGRESS_PAUSE = _SECOND // 10
_MODES = ("copy", "delete")
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


@dataclass(frozen=True, slots=True)
class FilesExporter:
    """``kind`` is ``local`` or ``tar``. ``split`` None: a directory for each platform if the result has several."""

    kind: str
    epoch: Epoch | None = None
    split: bool | None = None
    delete: bool = False
    prefix: str = ""
    """What the names of attestations begin with."""

    @property
    def name(self) -> str:
        """What the progress calls it."""
        return "exporting to client directory" if self.kind == "local" else "exporting to client tarball"

    @property
    def compression(self) -> Compression:
        """Files are not packed; cache exports use the default."""
        return Compression()

    async def export(self, result: Result[Ref], exporting: Exporting) -> Exported:
        """Read every platform's tree where it lies and send it to the client."""
        platforms = platforms_of(result)
        if result.single and len(platforms) > 1:
            raise InvalidInput("unable to export multiple platforms without map")
        async with AsyncExitStack() as mounts:
            trees: list[_Tree] = []
            for platform in platforms:
                mounted = self._mounted(platform, result, exporting)
                epoch = choose_epoch(self.epoch, result.metadata, platform.id)
                root = await mounts.enter_async_context(mounted)
                trees.append(_Tree(platform, str(root), epoch.nanoseconds if epoch else None))
            if self.kind == "tar":
                await self._export_tar(trees, result, exporting)
            else:
                await self._export_local(trees, result, exporting)
        return Exported()

    def _mounted(
        self, platform: ExportPlatform, result: Result[Ref], exporting: Exporting
    ) -> AbstractAsyncContextManager[Path]:
        """Where a platform's tree lies, with what is attested about it unless that is for images alone."""
        ref = ref_of(result, platform.id)
        listed = result.attestations.get(platform.id) or result.attestations.get("", ())
        wanted = [one for one in listed if one.metadata.get("inline-only") != b"true"]
        if not wanted:
            return exporting.store.mounted(ref, exporting.lease)
        from buildkit.exporter.statementfiles import attested

        apart = result.single or self._splits(result)
        suffix = "" if apart else platform.id.replace("/", "_")
        return attested(ref, wanted, exporting, prefix=self.prefix, platform=suffix)

    def _splits(self, result: Result[Ref]) -> bool:
        return not result.single if self.split is None else self.split

    async def _export_tar(self, trees: Sequence[_Tree], result: Result[Ref], exporting: Exporting) -> None:
        async with exporting.need_outputs().open_file(exporting.id, {}) as out:
            with exporting.stage("sending tarball"):
                await run_apart(self._write_tar, trees, result.single, out, exporting)

    def _write_tar(self, trees: Sequence[_Tree], single: bool, out: BinaryIO, exporting: Exporting) -> None:
        writer = TreeTar(out, exporting.times.time_of)
        for tree in sorted(trees, key=lambda tree: tree.directory):
            if not single:
                writer.add_directory(tree.directory, tree.mtime or 0)
            writer.add(tree.root, "" if single else f"{tree.directory}/", tree.mtime)
        writer.finish()

    async def _export_local(self, trees: Sequence[_Tree], result: Result[Ref], exporting: Exporting) -> None:
        outputs = exporting.need_outputs()
        target = outputs.directory(exporting.id)
        split = self._splits(result)
        if not split:
            await finish_in_thread(_refuse_collisions, trees)
        if target is None:
            await self._send(trees, split, outputs, exporting)
            return
        if self.delete:
            check_deletable(target)
        loop = asyncio.get_running_loop()
        for number, tree in enumerate(trees):
            label = f"copying files {tree.platform.id}" if split else "copying files"
            with _counted(exporting, "copying files" if self.delete else label, loop) as seen:
                await finish_in_thread(self._deliver, tree, trees, target, split, number, seen)

    async def _send(self, trees: Sequence[_Tree], split: bool, outputs: Outputs, exporting: Exporting) -> None:
        """To a client on another machine, all at once if that is what tells it what to delete."""
        sent = [
            SentTree(tree.root, mtime=tree.mtime, below=tree.directory if split else "", owner=None) for tree in trees
        ]
        if self.delete and not split and len(sent) > 1:
            raise Unsupported("mode=delete with several platforms in one directory is not supported for remote clients")
        for number, tree in enumerate(trees):
            batch = sent if self.delete else [sent[number]]
            label = f"copying files {tree.platform.id}" if split and not self.delete else "copying files"
            with _counted(exporting, label, asyncio.get_running_loop()) as seen:
                await outputs.send(exporting.id, batch, _growth(seen), whole=self.delete)
            if self.delete:
                return

    def _deliver(
        self,
        tree: _Tree,
        trees: Sequence[_Tree],
        target: Path,
        split: bool,
        number: int,
        seen: Callable[[int], None],
    ) -> None:
        delete = self.delete and (split or len(trees) == 1)
        if self.delete and number == 0 and (split or len(trees) > 1):
            _remove_strangers(target, {one.directory for one in trees} if split else set())
        if split:
            target = _platform_directory(target, tree)
        Delivery(target, mtime=tree.mtime, delete=delete, seen=seen).write(tree.root)
        if split:
            os.utime(target, ns=(tree.mtime or 0, tree.mtime or 0))


@dataclass(frozen=True, slots=True)
class _Tree:
    """One platform's files: where they lie, and the time that all of them get (nanoseconds), if one."""

    platform: ExportPlatform
    root: str
    mtime: int | None

    @property
    def directory(self) -> str:
        """The name of the platform's own directory."""
        return self.platform.id.replace("/", "_")


def _platform_directory(target: Path, tree: _Tree) -> Path:
    path = target / tree.directory
    if tree.directory in ("", ".", "..") or path.is_symlink() or (path.exists() and not path.is_dir()):
        raise FailedPrecondition(f"cannot write {path}: it is not a directory")
    path.mkdir(mode=0o755, exist_ok=True)
    return path


def _remove_strangers(target: Path, kept: set[str]) -> None:
    from buildkit.fs.removal import remove

    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as entries:
            strangers = [entry.name for entry in entries if entry.name not in kept]
        for name in strangers:
            remove(name, fd)
    finally:
        os.close(fd)


def _refuse_collisions(trees: Sequence[_Tree]) -> None:
    owners: dict[str, str] = {}
    for tree in trees if len(trees) > 1 else ():
        for entry in walk(tree.root):
            if entry.is_dir:
                continue
            other = owners.setdefault(entry.path, tree.platform.id)
            if other != tree.platform.id:
                what = f"cannot overwrite {entry.path} from {other} with {tree.platform.id}"
                raise InvalidInput(f"{what} when split option is disabled")


@contextmanager
def _counted(exporting: Exporting, id: str, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[int], None]]:
    """A status that counts bytes reported from another thread, ten times a second at most."""
    started = time_ns()
    total, due = 0, started + _PROGRESS_PAUSE

    def report(current: int) -> None:
        exporting.progress.status(id, name="transferring", current=current, started=started)

    def seen(size: int) -> None:
        nonlocal total, due
        total += size
        if time_ns() >= due:
            due = time_ns() + _PROGRESS_PAUSE
            loop.call_soon_threadsafe(report, total)

    report(0)
    yield seen
    exporting.progress.status(id, name="transferring", current=total, started=started, completed=time_ns())


def _growth(seen: Callable[[int], None]) -> Callable[[int], None]:
    """Takes totals and tells by how much each is more than the one before."""
    last = 0

    def reached(total: int) -> None:
        nonlocal last
        seen(total - last)
        last = total

    return reached


class TreeTar:
    """Whole trees as a tar: every entry with its owner and extended attributes, hard links to the first name."""

    def __init__(self, out: BinaryIO, time_of: Callable[[str, int], int]) -> None:
        self._out = out
        self._time_of = time_of

    def add_directory(self, name: str, mtime: int) -> None:
        """A directory of our own making."""
        self._write(header(f"{name}/", DIRECTORY, mode=0o755, mtime=mtime // _SECOND))

    def add(self, root: str, prefix: str, mtime: int | None) -> None:
        """Everything below ``root``; ``mtime`` (nanoseconds) replaces all times."""
        first_names: dict[tuple[int, int], str] = {}
        for entry in walk(root, xattrs=True):
            kind = _KINDS.get(stat.S_IFMT(entry.stat.st_mode))
            if kind is None:
                continue
            inode, link = (entry.stat.st_dev, entry.stat.st_ino), entry.link_target
            if kind != DIRECTORY and entry.stat.st_nlink > 1:
                first = first_names.setdefault(inode, prefix + entry.path)
                if first != prefix + entry.path:
                    kind, link = HARD_LINK, first
            self._write(self._header(entry, prefix, kind, link, mtime))
            if kind == REGULAR:
                self._copy(entry)

    def finish(self) -> None:
        """The end of the archive."""
        self._write(END)

    def _header(self, entry: Entry, prefix: str, kind: bytes, link: str, mtime: int | None) -> bytes:
        status = entry.stat
        rounded = (status.st_mtime_ns + _SECOND // 2) // _SECOND
        seconds = self._time_of(entry.path, rounded) if mtime is None else mtime // _SECOND
        return header(
            prefix + entry.path + ("/" if kind == DIRECTORY else ""),
            kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind == REGULAR else 0,
            mtime=seconds,
            link=link,
            device=status.st_rdev if kind in (CHARACTER, BLOCK) else 0,
            records={XATTR_PREFIX + key: value for key, value in sorted(entry.xattrs.items())},
        )

    def _copy(self, entry: Entry) -> None:
        left = entry.stat.st_size
        fd = entry.open()
        try:
            while left and (content := os.read(fd, min(left, _PIECE))):
                left -= len(content)
                self._write(content)
        finally:
            os.close(fd)
        if left:
            raise FailedPrecondition(f"{entry.path}: became shorter while it was read")
        self._write(padding(entry.stat.st_size))

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._out.write(view) :]


def open_files(kind: str, attrs: Mapping[str, str]) -> FilesExporter:
    """An exporter with these attributes; raises `InvalidInput`."""
    epoch_text = attrs.get("source-date-epoch")
    epoch = None if epoch_text is None else Epoch.parse(epoch_text, "source-date-epoch")
    split: bool | None = None
    if "platform-split" in attrs:
        text = attrs["platform-split"]
        split = as_bool(text)
        if split is None:
            tail = f'strconv.ParseBool: parsing "{text}": invalid syntax'
            raise InvalidInput(f"non-bool value for platform-split: {text}: {tail}")
    mode = attrs.get("mode", "").strip().lower() or "copy"
    if mode not in _MODES:
        raise InvalidInput(f'invalid local exporter mode "{attrs["mode"]}"')
    return FilesExporter(kind, epoch, split, mode == "delete" and kind == "local", attrs.get("attestation-prefix", ""))
