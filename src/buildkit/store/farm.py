"""Trees made of hard links to the files of other trees, with copies where a link is impossible."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from buildkit.fs.changes import Change, Kind, changes_between, changes_of_upper
from buildkit.fs.mount import in_user_namespace
from buildkit.store.eraser import erase

_COPY_INSTEAD = frozenset((errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP))


def overlay_xattr(name: str) -> str:
    """The extended attribute that overlay uses here, for instance for ``opaque``."""
    return f"{'user' if in_user_namespace() else 'trusted'}.overlay.{name}"


def is_whiteout(found: os.stat_result) -> bool:
    """Whether this entry of a directory of changes says that a name is deleted."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(directory: str) -> bool:
    """Whether this directory of changes hides what lies below it."""
    try:
        return os.getxattr(directory, overlay_xattr("opaque"), follow_symlinks=False) == b"y"
    except OSError:
        return False


def is_portable(upper: Path, lower: str) -> bool:
    """Whether a directory of changes to ``lower`` means the same over any other tree.

    It does not if it hides something, or holds what is as it was in ``lower``: a directory that was only touched.
    """
    changed: set[str] = set()
    for change in changes_of_upper(str(upper), lower):
        path = change.path if change.kind is not Kind.UNCHANGED else ""
        while path and path not in changed:
            changed.add(path)
            path = path.rpartition("/")[0]
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(upper / prefix) as entries:
            for entry in entries:
                path = prefix + entry.name
                if path not in changed:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    if is_opaque(entry.path):
                        return False
                    waiting.append(f"{path}/")
                elif not entry.is_file(follow_symlinks=False) and is_whiteout(entry.stat(follow_symlinks=False)):
                    return False
    return True


def flatten(lowers: Sequence[Path], target: Path) -> None:
    """Make ``target`` the tree that an overlay of ``lowers`` (topmost first) shows; it appears when complete."""
    rough = target.with_name(target.name + ".new")
    if rough.exists():
        erase(rough)
    waiting = [([str(lower) for lower in lowers], str(rough))]
    made: list[tuple[str, str]] = []
    while waiting:
        sources, place = waiting.pop()
        os.mkdir(place, 0o700)
        made.append((sources[0], place))
        for name, paths in _visible(sources).items():
            if len(paths) > 1 or stat.S_ISDIR(os.lstat(paths[0]).st_mode):
                waiting.append((paths, os.path.join(place, name)))
            else:
                link(paths[0], os.path.join(place, name))
    for source, place in reversed(made):
        copy_attributes(source, place, os.lstat(source))
    rough.rename(target)


def _visible(sources: list[str]) -> dict[str, list[str]]:
    """By name, the paths that show: one for a file, all that are merged for a directory."""
    out: dict[str, list[str]] = {}
    closed: set[str] = set()
    for source in sources:
        with os.scandir(source) as entries:
            for entry in entries:
                name = entry.name
                if name in closed:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    out.setdefault(name, []).append(entry.path)
                    if is_opaque(entry.path):
                        closed.add(name)
                    continue
                closed.add(name)
                if name not in out and not is_whiteout(entry.stat(follow_symlinks=False)):
                    out[name] = [entry.path]
    return out


def apply_part(lower: Path, upper: Path, target: Path) -> None:
    """Make the plain tree ``target`` show what changed from ``lower`` to ``upper``."""
    growing = _Growing(
        upper, target, lambda path: _delete(os.path.join(target, path)), lambda path: os.path.join(upper, path)
    )
    growing.apply(changes_between(str(lower), str(upper)))


def write_upper(
    changes: Iterable[Change], upper: Path, uppers: Sequence[Path], below: Sequence[Path], target: Path
) -> None:
    """Make ``target`` a directory of changes, in overlay's form, to be mounted over ``below``.

    ``uppers`` are the directories, topmost first, that the mounted tree ``upper`` consists of: files are linked
    from there, because an overlay mount cannot be linked from. Whiteouts are made only where something is hidden:
    the kernel shows the others as devices.
    """

    def real(path: str) -> str:
        for directory in uppers:
            place = os.path.join(directory, path)
            if os.path.lexists(place):
                return place
        return os.path.join(upper, path)

    def white_out(path: str) -> None:
        if any(os.path.lexists(os.path.join(directory, path)) for directory in below):
            os.mknod(os.path.join(target, path), stat.S_IFCHR, 0)

    target.mkdir(mode=0o755)
    _Growing(upper, target, white_out, real).apply(changes)


class _Growing:
    """A tree that changes are applied to. Directories on the way are made like those of ``source``."""

    def __init__(self, source: Path, target: Path, delete: Callable[[str], None], real: Callable[[str], str]) -> None:
        self._source = source
        self._target = target
        self._delete = delete
        self._real = real
        self._directories: dict[str, None] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        linked: set[tuple[int, int]] = set()
        other_names: list[tuple[tuple[int, int], str]] = []
        for change in changes:
            if change.entry is None:
                self._make_parents(change.path)
                self._delete(change.path)
                continue
            status = change.entry.stat
            if stat.S_ISDIR(status.st_mode):
                if change.kind is not Kind.UNCHANGED:
                    self._make_parents(change.path)
                    self._make_directory(change.path)
                continue
            inode = (status.st_dev, status.st_ino)
            if change.kind is Kind.UNCHANGED:
                other_names.append((inode, change.path))
            else:
                linked.add(inode)
                self._put(change.path)
        for inode, path in other_names:
            if inode in linked:
                self._put(path)
        for path in reversed(self._directories):
            source = os.path.join(self._source, path)
            copy_attributes(source, os.path.join(self._target, path), os.lstat(source))

    def _put(self, path: str) -> None:
        self._make_parents(path)
        target = os.path.join(self._target, path)
        _delete(target)
        link(self._real(path), target)

    def _make_parents(self, path: str) -> None:
        end = path.find("/")
        while end >= 0:
            if path[:end] not in self._directories:
                self._make_directory(path[:end])
            end = path.find("/", end + 1)

    def _make_directory(self, path: str) -> None:
        target = os.path.join(self._target, path)
        try:
            if not stat.S_ISDIR(os.lstat(target).st_mode):
                os.unlink(target)
                os.mkdir(target, 0o700)
        except FileNotFoundError:
            os.mkdir(target, 0o700)
        self._directories[path] = None


def _delete(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        erase(Path(path))
    except FileNotFoundError:
        return


def link(source: str, target: str) -> bool:
    """Hard-link ``source``, not followed, or copy it; True when it was linked."""
    try:
        os.link(source, target, follow_symlinks=False)
        return True
    except OSError as error:
        if error.errno not in _COPY_INSTEAD:
            raise
    copy_file(source, target)
    return False


def copy_file(source: str, target: str) -> None:
    """Copy a file, link, device or pipe with owner, mode, times and attributes."""
    found = os.lstat(source)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        shutil.copyfile(source, target, follow_symlinks=False)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, found.st_mode, found.st_rdev)
    copy_attributes(source, target, found)


def copy_attributes(source: str, target: str, found: os.stat_result) -> None:
    """Give ``target`` owner, mode, times and extended attributes of ``source``, less overlay's own."""
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, found.st_mode & 0o7777)
    for name in os.listxattr(source, follow_symlinks=False):
        if ".overlay." not in name:
            try:
                os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
