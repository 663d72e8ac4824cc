"""Sources of ADD that are somewhere else: git repositories and files of the web."""

from __future__ import annotations

from typing import Unpack

from buildkit.core.digest import digest_fault
from buildkit.core.errors import InvalidInput
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.llb.constraints import Options
from buildkit.llb.giturl import GitRef, find_git_ref
from buildkit.llb.gourl import parse_url
from buildkit.llb.source import git, http
from buildkit.llb.state import State

_UNNAMED = "__unnamed__"


def is_http(path: str) -> bool:
    """Whether this is a file of the web (and not a git repository there)."""
    return path.startswith(("http://", "https://")) and not _is_git(path)


def is_remote(path: str) -> bool:
    """Whether ADD fetches this."""
    return is_http(path) or _is_git(path)


def _is_git(path: str) -> bool:
    try:
        return find_git_ref(path) is not None
    except InvalidInput:
        return False


def find_git_source(path: str) -> GitRef | None:
    """The repository that ADD fetches, or None; raises `DockerfileError` for a bad query."""
    try:
        found = find_git_ref(path)
    except InvalidInput as error:
        raise DockerfileError(error.message) from None
    return None if found is None or found.looks_local else found


def git_state(found: GitRef, *, keep_git_dir: bool, checksum: str, **options: Unpack[Options]) -> State:
    """The tree of a repository."""
    return git(
        found.remote,
        found.ref,
        subdir=found.subdir,
        keep_git_dir=keep_git_dir,
        checksum=checksum,
        skip_submodules=found.submodules is False,
        fetch_by_commit=found.fetch_by_commit,
        **options,
    )


def http_state(url: str, checksum: str, **options: Unpack[Options]) -> tuple[State, str]:
    """The file, and the name that it has there; raises `DockerfileError` for a checksum that is none."""
    filename = filename_of(url)
    if checksum and (fault := digest_fault(checksum)):
        raise DockerfileError(fault)
    state = http(url, checksum=checksum, filename=filename, **options)
    return state, filename


def filename_of(url: str) -> str:
    """The last part of the URL's path, unless that is no name."""
    try:
        path = parse_url(url).path
    except InvalidInput:
        return _UNNAMED
    last = path.rstrip("/").rpartition("/")[2]
    return _UNNAMED if last in ("", ".") else last
