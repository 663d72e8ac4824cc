"""Paths of the platform that is built for, always kept with forward slashes; Windows has drives."""

from __future__ import annotations

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile.gotext import lower
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.llb.paths import clean, join

_WINDOWS = "windows"


def to_slash(path: str, os: str) -> str:
    """Backslashes of Windows become slashes."""
    return path.replace("\\", "/") if os == _WINDOWS else path


def from_slash(path: str, os: str) -> str:
    """The other way round."""
    return path.replace("/", "\\") if os == _WINDOWS else path


def without_drive(path: str, os: str, *, keep_slash: bool = False) -> str:
    """Drop ``C:``; raises `DockerfileError` for other drives, UNC paths and a drive alone."""
    if os != _WINDOWS:
        return path
    if len(path) == 2 and path[1] == ":":
        raise DockerfileError(f"No relative path specified in {quote(path)}")
    if to_slash(path[:2], os) == "//":
        raise DockerfileError("UNC paths are not supported")
    drive, colon, rest = path.partition(":")
    if not colon:
        rest = path
    elif lower(drive) != "c":
        raise DockerfileError("The specified path is not on the system drive (C:)")
    cleaned = clean(to_slash(rest, os))
    if keep_slash and len(cleaned) > 1 and to_slash(rest, os).endswith("/"):
        cleaned += "/"
    return cleaned


def is_absolute(path: str, os: str) -> bool:
    """Whether the path starts at the root, after its drive."""
    try:
        return to_slash(without_drive(path, os), os).startswith("/")
    except DockerfileError:
        return False


def normalized(parent: str, path: str, os: str, *, keep_slash: bool = False) -> str:
    """``path`` below ``parent`` unless absolute; ``keep_slash`` keeps an ending ``/`` or ``/.``."""
    path, parent = to_slash(path, os), to_slash(parent, os) or "/"
    written = path
    parent = _drive_checked(parent, os, keep_slash)
    if not is_absolute(parent, os):
        parent = join("/", parent)
    path = _drive_checked(path or parent, os, keep_slash)
    if not is_absolute(path, os):
        path = join(parent, path)
    if keep_slash:
        if written.endswith("/"):
            path = path if path.endswith("/") else path + "/"
        elif written.endswith("/."):
            path = (path if path == "/" else path + "/") + "."
    return to_slash(path, os)


def _drive_checked(path: str, os: str, keep_slash: bool) -> str:
    try:
        return without_drive(path, os, keep_slash=keep_slash)
    except DockerfileError as error:
        raise error.prefixed("removing drive letter: ") from None


def normalized_workdir(current: str, path: str, os: str) -> str:
    """A new working directory, with the separators of the platform."""
    try:
        return from_slash(normalized(current, path, os), os)
    except DockerfileError as error:
        raise error.prefixed("normalizing working directory: ") from None
