"""Git URLs: plain ones (``https://…#ref:subdir``, ``git@host:path``) and those of Dockerfiles (with a query)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from buildkit.core.errors import InvalidInput
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.goquote import quote
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, field
from buildkit.llb.gourl import GoUrl, lenient_query, parse_query, parse_url
from buildkit.llb.paths import clean

_PROTOCOLS = frozenset({"http", "https", "ssh", "git"})
_PROTOCOL = Pattern(r"[a-zA-Z0-9]+(?=://)")
_SCP = Pattern(r"([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?\Z")


class UnknownProtocol(InvalidInput):
    """The text is no URL with a protocol and not of the form ``user@host:path``."""


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A remote repository; ``remote`` is what git itself is given."""

    scheme: str
    host: str
    path: str
    remote: str
    ref: str = ""
    subdir: str = ""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def identifier(self, ref: str = "", subdir: str = "") -> str:
        """``host/path[#ref[:subdir]]``: the same for every protocol."""
        out = self.host + clean("/" + self.path)
        if ref or subdir:
            out += "#" + ref
            if subdir:
                out += ":" + subdir
        return out


def parse_git_url(text: str) -> GitUrl:
    """Parse a remote with an optional ``#ref:subdir``; raises `UnknownProtocol` or `InvalidInput`."""
    if match := _PROTOCOL.match(text):
        protocol = match[0].lower()
        if protocol not in _PROTOCOLS:
            raise InvalidInput(f"{protocol}: invalid protocol")
        return _from_url(parse_url(text))
    if match := _SCP.match(text):
        user, host, path, query, fragment = match.groups(default="")
        ref, subdir = _split_fragment(fragment)
        try:
            options = parse_query(query)
        except InvalidInput:
            raise UnknownProtocol("unknown protocol") from None
        return GitUrl("ssh", host, path, f"{user}@{host}:{path}", ref, subdir, options)
    raise UnknownProtocol("unknown protocol")


def is_git_transport(text: str) -> bool:
    """Whether git could fetch from this."""
    if match := _PROTOCOL.match(text):
        return match[0].lower() in _PROTOCOLS
    return _SCP.match(text) is not None


def is_commit(text: str) -> bool:
    """Whether this is a full commit id (SHA-1 or SHA-256)."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def _from_url(url: GoUrl) -> GitUrl:
    ref, subdir = _split_fragment(url.fragment)
    query = lenient_query(url.query)
    return GitUrl(url.scheme, url.host, url.path, url.without_options(), ref, subdir, query)


def _split_fragment(fragment: str) -> tuple[str, str]:
    ref, _, subdir = fragment.partition(":")
    return ref, clean("/" + subdir).removeprefix("/")


@dataclass(frozen=True, slots=True)
class GitRef:
    """A git source as Dockerfiles and build contexts name it."""

    remote: str
    short_name: str
    """The directory that ``git clone`` would make."""
    ref: str = ""
    checksum: str = ""
    subdir: str = ""
    looks_local: bool = False
    """``github.com/…`` without a protocol: only a build context may be written so."""
    unencrypted: bool = False
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    mtime: str = ""
    fetch_by_commit: bool = False


def find_git_ref(text: str) -> GitRef | None:
    """Read a git source; None when the text is something else; raises `InvalidInput` for a bad query."""
    looks_local = text.startswith("github.com/")
    try:
        if text.startswith(("./", "../")):
            return None
        if looks_local:
            url = parse_url(text)
            remote = _from_url(
                GoUrl("https", url.opaque, url.user, url.has_user, "", url.path, url.raw_path, url.query, url.fragment)
            )
        else:
            remote = parse_git_url(text)
    except InvalidInput:
        return None
    if not looks_local and remote.scheme in ("http", "https") and not remote.path.endswith(".git"):
        return None
    full = remote.remote.partition("://")[2] if looks_local else remote.remote
    short = full.rpartition("/")[2].removesuffix(".git")
    unencrypted = not looks_local and remote.scheme in ("http", "git")
    return _Query(remote).apply(full, short, looks_local, unencrypted)


class _Query:
    """The query of a git source, key by key."""

    def __init__(self, remote: GitUrl) -> None:
        self._query = remote.query
        self._ref = remote.ref
        self._subdir = remote.subdir

    def apply(self, remote: str, short_name: str, looks_local: bool, unencrypted: bool) -> GitRef:
        checksum = mtime = tag = branch = ""
        flags: dict[str, bool] = {}
        for key, values in self._query.items():
            if len(values) > 1:
                raise InvalidInput(f"query {quote(key)} has multiple values")
            value = values[0] if values else ""
            if key in ("keep-git-dir", "submodules", "fetch-by-commit"):
                flags[key] = _parse_flag(key, value)
            elif not value:
                raise InvalidInput(f"query {quote(key)} has no value")
            elif key == "ref":
                self._ref = _agreed("ref", self._ref, value)
            elif key == "tag":
                tag = value
            elif key == "branch":
                branch = value
            elif key == "subdir":
                self._subdir = _agreed("subdir", self._subdir, value)
            elif key in ("checksum", "commit"):
                checksum = value
            elif key == "mtime":
                if value not in ("checkout", "commit"):
                    raise InvalidInput(f'invalid mtime value: {quote(value)} (must be "checkout" or "commit")')
                mtime = value
            else:
                raise InvalidInput(f"unexpected query {quote(key)}")
        if tag:
            self._ref = _agreed("ref", self._ref, _prefixed("refs/tags/", tag))
        if branch:
            if tag:
                raise InvalidInput("branch conflicts with tag")
            self._ref = _agreed("ref", self._ref, _prefixed("refs/heads/", branch))
        return GitRef(
            remote, short_name, self._ref, checksum, self._subdir, looks_local, unencrypted,
            flags.get("keep-git-dir"), flags.get("submodules"), mtime, flags.get("fetch-by-commit", False),
        )  # fmt: skip


def _agreed(what: str, known: str, value: str) -> str:
    if known and known != value:
        raise InvalidInput(f"{what} conflicts: {quote(known)} vs {quote(value)}")
    return value


def _prefixed(prefix: str, name: str) -> str:
    return name if name.startswith(prefix) else prefix + name


def _parse_flag(key: str, value: str) -> bool:
    if not value or value in TRUE:
        return True
    if value in FALSE:
        return False
    raise InvalidInput(f"invalid {key} value: {quote(value)}")


def fragment_form(text: str, *, with_subdir: bool) -> str | None:
    """The same source as ``remote#ref[:subdir]``, or None when it is no git source."""
    try:
        found = find_git_ref(text)
    except InvalidInput:
        return None
    if found is None:
        return None
    out = found.remote
    subdir = clean("/" + found.subdir).removeprefix("/") if with_subdir else ""
    if found.ref or subdir:
        out += "#" + found.ref + (":" + subdir if subdir else "")
    return out
