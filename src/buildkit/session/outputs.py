"""Where results go: the grammar of ``--output``, and files and directories of this process's machine."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from buildkit.core.aio import Interrupt, interruptible
from buildkit.core.csv import split_fields
from buildkit.core.digest import Digest
from buildkit.core.errors import Exhausted, FailedPrecondition, InvalidInput, NotFound
from buildkit.core.gobool import FALSE
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, field

if TYPE_CHECKING:
    from buildkit.fs.send import SentTree
    from buildkit.oci.spec import Descriptor
    from buildkit.session.session import Seen

_PAUSE = 0.05
"""Seconds between two looks whether somebody reads from a pipe."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A place on this machine. ``file`` ``-`` is standard output; at most one of the two is set.

    ``delete``: whatever else is in the directory goes. ``image``: the directory is an OCI layout.
    """

    file: str = ""
    directory: str = ""
    delete: bool = False
    image: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One ``--output``: an exporter, its attributes without ``dest``, and where its result goes."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict[str, str])
    destination: Destination = Destination()


def parse_output(text: str) -> Output:
    """Parse ``type=…[,dest=…][,key=value]…``; raises `InvalidInput`."""
    kind, attrs = "", dict[str, str]()
    for entry in split_fields(text, "invalid output option"):
        key, equals, value = entry.partition("=")
        if not equals:
            raise InvalidInput(f"invalid value {entry}")
        if key.lower() == "type":
            kind = value
        else:
            attrs[key.lower()] = value
    if not kind:
        raise InvalidInput("--output requires type=<type>")
    if "output" in attrs:
        value = attrs["output"]
        raise InvalidInput(f"output={value} not supported for --output, you meant dest={value}?")
    try:
        destination = resolve_destination(kind, attrs.get("dest", ""), attrs)
    except InvalidInput as error:
        error.prefixed("invalid output option: output: ")
        raise
    if destination.file or destination.directory:
        attrs.pop("dest", None)
    return Output(kind, attrs, destination)


def resolve_destination(kind: str, dest: str, attrs: Mapping[str, str], stdout: int = 1) -> Destination:
    """As `read_destination`; raises `InvalidInput`, also for a file whose directory is not there."""
    place = read_destination(kind, dest, attrs, stdout)
    if place.file not in ("", "-") and not Path(place.file).absolute().parent.is_dir():
        raise InvalidInput(f"open {dest}: no such file or directory")
    return place


def read_destination(kind: str, dest: str, attrs: Mapping[str, str], stdout: int = 1) -> Destination:
    """Where an exporter of this kind writes on the client's machine; raises `InvalidInput`.

    ``stdout`` is the descriptor that a missing ``dest`` means.
    """
    archive = kind in ("oci", "docker")
    unpacked = archive and attrs.get("tar") in FALSE
    if kind == "local" or unpacked:
        if not dest:
            raise InvalidInput(f"output directory is required for {kind} exporter")
        delete = kind == "local" and attrs.get("mode", "").strip().lower() == "delete"
        return Destination(directory=dest, delete=delete, image=unpacked)
    if kind == "tar" or archive:
        if dest not in ("", "-"):
            _refuse_directory(dest)
            return Destination(file=dest)
        if os.isatty(stdout):
            raise InvalidInput(f"output file is required for {kind} exporter. refusing to write to console")
        return Destination(file="-")
    if dest:
        raise InvalidInput(f"output {dest} is not supported by {kind} exporter")
    return Destination()


def _refuse_directory(file: str) -> None:
    try:
        mode = Path(file).stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInput(f"invalid destination file: {file}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise InvalidInput("destination file is a directory")


class Destinations:
    """Files and directories of this machine, by exporter id: the position in the list."""

    def __init__(self, places: Sequence[Destination]) -> None:
        self._places = {str(number): place for number, place in enumerate(places)}

    @asynccontextmanager
    async def open_file(self, exporter: str, metadata: Mapping[str, str]) -> AsyncIterator[BinaryIO]:
        """The exporter's file; a regular one is replaced when the scope ends well and untouched otherwise."""
        place = self._places.get(exporter, Destination())
        if not place.file:
            raise NotFound(f"exporter {exporter} not found")
        if place.file == "-":
            sys.stdout.flush()
            with os.fdopen(os.dup(1), "wb", buffering=0) as out:
                yield out
            return
        target = Path(place.file)
        if not _is_replaceable(target):
            with await _opened_in_place(target) as out, _naming(target):
                yield out
            return
        target = target.resolve()
        partial = target.with_name(f".{target.name}.{new_id()}")
        try:
            with _nameless(target.parent) or _opened(partial, target, "xb") as out, _naming(target):
                yield out
                await asyncio.to_thread(_put_in_place, out, partial, target)
        finally:
            partial.unlink(missing_ok=True)

    async def store(self, exporter: str, blobs: Sequence[Descriptor], source: Callable[[Digest], BinaryIO]) -> None:
        """Put blobs into the exporter's directory, as if it were elsewhere."""
        from buildkit.oci.layout import Layout

        layout = Layout.create(self.directory(exporter))
        for blob in blobs:
            with source(blob.digest) as content:
                await asyncio.to_thread(layout.take, blob.digest, content)

    def image_directory(self) -> Path | None:
        """The one directory that takes an image."""
        found = [number for number, place in self._places.items() if place.image]
        if len(found) > 1:
            raise InvalidInput("a daemon writes no more than one image directory (tar=false) in a build")
        return self.directory(found[0]) if found else None

    def deletes(self, exporter: str) -> bool:
        """Whether everything else in the exporter's directory is to go."""
        return self._places.get(exporter, Destination()).delete

    async def send(self, exporter: str, trees: Sequence[SentTree], seen: Seen, *, whole: bool = False) -> None:
        """Copy trees into the exporter's directory, as if they came from elsewhere."""
        target = self.directory(exporter)

        def copy(interrupt: Interrupt) -> int:
            from buildkit.fs.receive import Receiver
            from buildkit.fs.send import Sender

            owner = (os.geteuid(), os.getegid())
            with Sender(trees) as sender, Receiver(target, mirror=whole, compare=False, owner=owner) as receiver:
                while not receiver.done:
                    interrupt.check()
                    sender.take(receiver.feed(sender.produce()))
                return receiver.received

        seen(await interruptible(copy))

    def directory(self, exporter: str) -> Path:
        """The exporter's directory, made if it is not there."""
        place = self._places.get(exporter, Destination())
        if not place.directory:
            raise NotFound(f"exporter {exporter} not found")
        path = Path(place.directory)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FailedPrecondition(f"cannot create {path}: {error.strerror}") from error
        return path


def _is_replaceable(path: Path) -> bool:
    """Whether a rename may put a new file there: not over devices and pipes."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Errors of writing through a descriptor do not know what it leads to."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, BrokenPipeError):
            raise
        kind = Exhausted if error.errno in (errno.ENOSPC, errno.EDQUOT) else FailedPrecondition
        raise kind(f"cannot write {target}: {error.strerror}") from error


def _nameless(directory: Path) -> BinaryIO | None:
    """A new file that is gone if this process is killed; None where the file system has none."""
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    return os.fdopen(fd, "wb", buffering=0)


def _put_in_place(out: BinaryIO, partial: Path, target: Path) -> None:
    """Give a file its name; one that has none yet gets ``partial`` on the way, if it replaces another."""
    if isinstance(out.name, int):
        nameless = f"/proc/self/fd/{out.name}"
        # with a directory, though an absolute path needs none, it is linkat(2), which can follow
        try:
            os.link(nameless, target, src_dir_fd=out.name, follow_symlinks=True)
            return
        except FileExistsError:
            os.link(nameless, partial, src_dir_fd=out.name, follow_symlinks=True)
    partial.replace(target)


async def _opened_in_place(target: Path) -> BinaryIO:
    """A device or pipe, once somebody reads from it: an open that waits for that could not be interrupted."""
    while True:
        try:
            fd = os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO and target.is_fifo():
                await asyncio.sleep(_PAUSE)
                continue
            raise FailedPrecondition(f"cannot write {target}: {error.strerror}") from error
        os.set_blocking(fd, True)
        return os.fdopen(fd, "wb", buffering=0)


def _opened(path: Path, named: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode, buffering=0)  # type: ignore[return-value]
    except OSError as error:
        raise FailedPrecondition(f"cannot write {named}: {error.strerror}") from error
