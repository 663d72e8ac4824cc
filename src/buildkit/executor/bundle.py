"""The directory that a runtime is started on: root and mounts attached, configuration written, all taken away after."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import dataclass
from buildkit.executor import tracing
from buildkit.executor.executor import Attachment, Container, Secret, Source
from buildkit.executor.stubs import ALWAYS, check_places, make_parents, missing_places, remove_stubs
from buildkit.executor.user import Identity, read_account_file, resolve_user
from buildkit.fs import syscalls
from buildkit.fs.mount import Mount, mount_all, unmount
from buildkit.fs.places import make_directories
from buildkit.fs.tree import open_in_root, resolve_parts

if TYPE_CHECKING:
    from buildkit.executor.cdi import DeviceMount

_SECRETS = Mount("tmpfs", "tmpfs", "", ("nosuid", "nodev", "mode=711"))
_CLONES = "crun.*"
"""Files that crun makes of itself, and mounts itself on, until it runs; a kill leaves them."""

_LONG_OPTIONS = 3500
"""Bytes of mount options from which on a mount may need ``/proc``, so it is made outside of the enclosure."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A source as a mount that is attached nowhere."""

    fd: int
    is_directory: bool


class Bundle:
    """One container's directory. `open` runs outside of the enclosure, everything else in one of its threads."""

    def __init__(self, directory: Path, container: Container) -> None:
        self.directory = directory
        self.container = container
        self.root = str(directory / "rootfs")
        self.mounts: list[dict[str, Any]] = []
        self.device_mounts: list[dict[str, Any]] = []
        self._held: list[_Held | None] = []
        self._mounted: list[str] = []
        self._places: list[str] = []

    @property
    def log(self) -> Path:
        """Where the runtime writes its own messages."""
        return self.directory / "log.json"

    @property
    def _of_devices(self) -> Sequence[DeviceMount]:
        devices = self.container.process.devices
        return () if devices is None else devices.mounts

    def open(self) -> None:
        """Hold the sources that are paths: they may lie on mounts that the enclosure does not have."""
        place = self.directory.with_name(f"{self.directory.name}-source")
        try:
            for source in (self.container.root, *(attachment.source for attachment in self.container.mounts)):
                self._held.append(_hold(source, place))
            for mount in self._of_devices:
                self._held.append(_hold(mount.host_path, place) if mount.type in ("", "bind") else None)
        except BaseException:
            self._close_sources()
            raise

    def attach(self) -> None:
        """Make the directory and mount root and attachments in it."""
        self.directory.mkdir(mode=0o711)
        os.mkdir(self.root, 0o700)
        self._attach(self.container.root, self._held[0], self.root)
        for number, attachment in enumerate(self.container.mounts):
            self.mounts.append(self._attachment(number, attachment, self._held[number + 1]))
        for number, mount in enumerate(self._of_devices, len(self.container.mounts)):
            self.device_mounts.append(self._device_mount(number, mount, self._held[number + 1]))
        self._close_sources()

    def note_stubs(self) -> None:
        """Check mount points, make their parents, and note those that are missing, for `close` to remove if empty."""
        destinations = [one.destination for one in self.container.mounts if one.destination != tracing.SOCKET]
        check_places(self.root, destinations)
        destinations += [mount.container_path for mount in self._of_devices]
        recursive = self.container.process.remove_stubs_recursive
        self._places = missing_places(self.root, destinations, recursive=recursive)
        make_parents(self.root, (*ALWAYS, *destinations))

    def identity(self) -> Identity:
        """Who the process runs as, by the files of this root."""
        return read_identity(self.root, self.container.process.user)

    def make_working_directory(self, owner: Identity) -> None:
        """Create the working directory and its parents where they are missing; they stay in the layer."""
        path = self.container.process.cwd
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            make_directories(root, resolve_parts(root, path), 0o755, (owner.uid, owner.gid), None)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise InvalidInput(f"failed to create working directory {path}: {reason}") from None
        finally:
            os.close(root)

    def close(self) -> None:
        """Remove stubs, mounts and the directory."""
        self._close_sources()
        if self._places:
            remove_stubs(self.root, self._places)
        for path in reversed(self._mounted):
            unmount(path)
        self._mounted.clear()
        for clone in self.directory.glob(_CLONES):
            with suppress(OSError):
                syscalls.umount(str(clone), syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)
        remove_bundle(self.directory)

    def _close_sources(self) -> None:
        for held in self._held:
            if held is not None:
                os.close(held.fd)
        self._held.clear()

    def _attach(self, source: Source, held: _Held | None, at: str) -> None:
        if held is not None:
            syscalls.move_mount(held.fd, at)
            self._mounted.append(at)
        elif isinstance(source, str | Secret):
            raise InvalidInput(f"a secret is a file: it cannot be mounted as {at}")
        else:
            mount_all(source, at)
            self._mounted += [at] * len(source)

    def _attachment(self, number: int, attachment: Attachment, held: _Held | None) -> dict[str, Any]:
        access = "ro" if attachment.readonly else "rw"
        source = attachment.source
        if not isinstance(source, str | Secret) and len(source) == 1 and source[0].type == "tmpfs":
            options = [option for option in source[0].options if option not in ("ro", "rw")]
            return _mount(attachment.destination, "tmpfs", "tmpfs", [*options, access, *attachment.options])
        if isinstance(source, Secret):
            place = self._write_secret(number, source)
            return _mount(attachment.destination, "bind", place, ["rbind", access, *attachment.options])
        place = self._place(number, source, held)
        if os.path.normpath("/" + attachment.selector) != "/":
            place = self._select(place, attachment.selector, number)
        return _mount(attachment.destination, "bind", place, ["rbind", access, *attachment.options])

    def _device_mount(self, number: int, mount: DeviceMount, held: _Held | None) -> dict[str, Any]:
        if held is None:
            return _mount(mount.container_path, mount.type, mount.host_path, mount.options)
        bound = () if {"bind", "rbind"} & set(mount.options) else ("rbind",)
        place = self._place(number, mount.host_path, held)
        return _mount(mount.container_path, "bind", place, [*bound, *mount.options])

    def _place(self, number: int, source: Source, held: _Held | None) -> str:
        """Mount a source in the bundle."""
        place = str(self.directory / f"mount{number}")
        if held is None or held.is_directory:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._attach(source, held, place)
        return place

    def _write_secret(self, number: int, secret: Secret) -> str:
        """Into a tmpfs of this bundle alone."""
        directory = str(self.directory / "secrets")
        if directory not in self._mounted:
            os.mkdir(directory, 0o711)
            mount_all([_SECRETS], directory)
            self._mounted.append(directory)
        place = f"{directory}/{number}"
        fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secret.content)
            os.fchown(fd, secret.uid, secret.gid)
            os.fchmod(fd, secret.mode & 0o777)
        return place

    def _select(self, tree: str, selector: str, number: int) -> str:
        """A part of a mounted tree as a mount of its own, so that nothing can be swapped for a link later."""
        root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            part = open_in_root(root, selector, os.O_PATH)
        except OSError as error:
            raise NotFound(f"open {selector}: {os.strerror(error.errno or 0).lower()}") from None
        finally:
            os.close(root)
        try:
            place = str(self.directory / f"part{number}")
            if stat.S_ISDIR(os.fstat(part).st_mode):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_RECURSIVE
            clone = syscalls.open_tree("", flags | syscalls.AT_EMPTY_PATH, directory=part)
            try:
                syscalls.move_mount(clone, place)
            finally:
                os.close(clone)
            self._mounted.append(place)
        finally:
            os.close(part)
        return place


def _hold(source: Source, place: Path) -> _Held | None:
    """Needed for paths, which may lie on mounts that the enclosure lacks, and for mounts that need ``/proc``.

    ``place``: a directory that can be made for a moment, in which `buildkit.executor.sweep` finds what a kill left.
    """
    flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_RECURSIVE
    if isinstance(source, str):
        try:
            is_directory = stat.S_ISDIR(os.stat(source).st_mode)
            return _Held(syscalls.open_tree(source, flags), is_directory)
        except OSError as error:
            raise FailedPrecondition(f"cannot mount {source}: {error.strerror}") from error
    if isinstance(source, Secret) or all(sum(map(len, mount.options)) <= _LONG_OPTIONS for mount in source):
        return None
    place.mkdir(mode=0o700)
    try:
        mount_all(source, str(place))
        try:
            return _Held(syscalls.open_tree(str(place), flags), True)
        finally:
            for _ in source:
                unmount(str(place))
    finally:
        place.rmdir()


def read_identity(root: str, user: str) -> Identity:
    """Who a user of a root is."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return resolve_user(user, lambda path: _read_accounts(fd, path))
    finally:
        os.close(fd)


def write_private(path: Path, text: str) -> None:
    """Write a file that is nobody else's to read: variables of a process may be secrets."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode(errors="surrogateescape"))


def remove_bundle(directory: Path) -> None:
    """Remove a bundle's directory. Its mount points must be empty: what is in them is never removed."""
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(directory)


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _read_accounts(root: int, path: str) -> str:
    try:
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return ""
        raise
    return read_account_file(fd, path)
