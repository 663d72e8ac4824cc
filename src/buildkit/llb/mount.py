"""What a `State.run` may see besides its root: mounts, secrets, ssh agents, devices."""

from __future__ import annotations

from typing import Literal

from buildkit.core.values import dataclass
from buildkit.llb.settings import Filesystem

Sharing = Literal["shared", "private", "locked"]
ContentCache = Literal["default", "on", "off"]


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory in the container. Made by `bind`, `cache` and `tmpfs`."""

    target: str
    source: Filesystem | None = None
    """None is an empty directory."""
    path: str = ""
    """The part of the source that is mounted."""
    readonly: bool = False
    discard: bool = False
    """Writable, but what is written is thrown away."""
    content_cache: ContentCache = "default"
    cache_id: str = ""
    sharing: Sharing = "shared"
    is_tmpfs: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of the client as a file at ``target``, as the variable ``env``, or both."""

    id: str
    target: str | None = None
    env: str | None = None
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Ssh:
    """A socket to an ssh agent of the client; an empty ``id`` is the default one."""

    id: str = ""
    target: str = ""
    """Empty: ``/run/buildkit/ssh_agent.N``."""
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A CDI device."""

    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxy settings for a step; never part of a cache key."""

    http: str = ""
    https: str = ""
    ftp: str = ""
    no: str = ""
    all: str = ""


def bind(
    target: str,
    source: Filesystem | None = None,
    *,
    path: str = "",
    readonly: bool = False,
    discard: bool = False,
    content_cache: ContentCache = "default",
) -> Mount:
    """Mount a state, or the ``path`` inside of it, at ``target``."""
    return Mount(target, source, path, readonly, discard, content_cache)


def cache(
    target: str, id: str = "", *, sharing: Sharing = "shared", source: Filesystem | None = None, path: str = "",
    readonly: bool = False,
) -> Mount:  # fmt: skip
    """Mount a directory that outlives the build; ``id`` defaults to ``target``, ``source`` is its first content."""
    return Mount(target, source, path, readonly, cache_id=id or target, sharing=sharing)


def tmpfs(target: str, size: int = 0) -> Mount:
    """Mount a directory in memory of at most ``size`` bytes (0: half of it)."""
    return Mount(target, is_tmpfs=True, size=size)


def secret(
    target: str | None = None, *, id: str = "", env: str | None = None, uid: int = 0, gid: int = 0,
    mode: int = 0o400, optional: bool = False,
) -> Secret:  # fmt: skip
    """Show a secret of the client to a step; ``id`` defaults to ``target``, then ``env``."""
    return Secret(id or target or env or "", target, env, uid, gid, mode, optional)


def ssh(
    id: str = "", target: str = "", *, uid: int = 0, gid: int = 0, mode: int = 0o600, optional: bool = False
) -> Ssh:
    """Forward an ssh agent of the client to a step."""
    return Ssh(id, target, uid, gid, mode, optional)
