"""What a definition says about a git source, read and checked."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass, field
from buildkit.llb.giturl import is_commit, is_git_transport, parse_git_url
from buildkit.source.gitbundle import Bundle, read_bundle
from buildkit.source.gitsigned import Signing, read_signing

_HEX = re.compile(r"[0-9a-fA-F]+")
_GITHUB = ("https://github.com/", "https://www.github.com/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tree of a repository. ``remote`` holds no credentials."""

    remote: str
    scheme: str
    host: str
    """With its port."""
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    checksum: str = ""
    mtime: str = "checkout"
    by_commit: bool = False
    header_secret: str = ""
    token_secret: str = ""
    agent: str = ""
    known_hosts: str = ""
    login: str = field(default="", repr=False)
    """A value of ``Authorization`` made of the user and password that stood in the URL."""
    signing: Signing | None = None
    bundle: Bundle | None = None
    """What is fetched in place of the remote."""
    as_bundle: bool = False
    """Whether a bundle is wanted in place of a tree."""

    @property
    def question(self) -> str:
        """What is asked of the remote."""
        return f"{self.remote}#{self.ref}"

    @property
    def scope(self) -> str:
        """The URLs that credentials are for: those of GitHub serve all of its repositories."""
        return next((prefix for prefix in _GITHUB if self.remote.startswith(prefix)), self.remote)

    def key(self, commit: str, ref: str) -> str:
        """BuildKit's cache key."""
        key = commit
        if self.keep_git_dir:
            key += ".git" + (f"#{ref}" if ref else "")
        if self.subdir:
            key += ":" + self.subdir
        if not self.submodules:
            key += "(skip-submodules)"
        if self.mtime != "checkout":
            key += f"(mtime={self.mtime})"
        if self.as_bundle:
            key += "(bundle)"
        return key


def read_wanted(name: str, attrs: Mapping[str, str]) -> Wanted:
    """Read an identifier's name and attributes; raises `InvalidInput`."""
    url = parse_git_url(name if is_git_transport(name) else "https://" + name)
    full = attrs.get("git.fullurl", "")
    remote = url
    if full:
        remote = parse_git_url(full if is_git_transport(full) else "https://" + full)
    if url.ref.startswith("-"):
        raise InvalidInput(f'invalid git ref "{url.ref}"')
    if remote.remote.startswith("-") or remote.host.startswith("-") or not remote.host:
        raise InvalidInput(f'invalid git remote "{remote.host}"')
    checksum = attrs.get("git.checksum", "")
    if checksum and _HEX.fullmatch(checksum) is None:
        raise InvalidInput(f"invalid checksum {checksum} for Git URL, expected hex commit hash")
    mtime = attrs.get("git.mtime") or "checkout"
    if mtime not in ("checkout", "commit"):
        raise InvalidInput(f'invalid git.mtime "{mtime}": expected checkout or commit')
    known_hosts = attrs.get("git.knownsshhosts", "")
    public, login = _without_login(remote.remote, remote.scheme)
    wanted = Wanted(
        public,
        remote.scheme,
        remote.host,
        url.ref,
        url.subdir,
        attrs.get("git.keepgitdir") == "true",
        attrs.get("git.skipsubmodules") != "true",
        checksum.lower(),
        mtime,
        attrs.get("git.fetchbycommit") == "true",
        attrs.get("git.authheadersecret", ""),
        attrs.get("git.authtokensecret", ""),
        attrs.get("git.mountsshsock", ""),
        known_hosts,
        login,
        read_signing(attrs),
        read_bundle(attrs),
        attrs.get("git.checkoutbundle") == "true",
    )
    _check_commits(wanted)
    return wanted


def _check_commits(wanted: Wanted) -> None:
    if wanted.as_bundle and wanted.keep_git_dir:
        raise InvalidInput("git.checkoutbundle is incompatible with git.keepgitdir")
    if wanted.as_bundle and wanted.subdir:
        raise InvalidInput("git.checkoutbundle is incompatible with git.subdir")
    if wanted.bundle is not None and not wanted.ref and not is_commit(wanted.checksum):
        raise InvalidInput(f"git.bundle without a ref needs a full commit in git.checksum, got {wanted.checksum}")
    if is_commit(wanted.ref):
        if not wanted.ref.startswith(wanted.checksum):
            raise InvalidInput(f"expected checksum to match {wanted.checksum}, got {wanted.ref}")
    elif wanted.by_commit:
        if not wanted.checksum:
            raise InvalidInput("fetch-by-commit requires a checksum or a commit SHA ref")
        if not is_commit(wanted.checksum):
            raise InvalidInput(f'fetch-by-commit requires a full commit SHA checksum, got "{wanted.checksum}"')


def _without_login(remote: str, scheme: str) -> tuple[str, str]:
    """The remote without credentials, and those as a value of ``Authorization``; ssh keeps the user's name."""
    if "://" not in remote:
        return remote, ""
    parts = urlsplit(remote)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return remote, ""
    if scheme not in ("http", "https"):
        name = user.partition(":")[0]
        return urlunsplit(parts._replace(netloc=f"{name}@{host}")), ""
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}"
    return urlunsplit(parts._replace(netloc=host)), "Basic " + b64encode(pair.encode()).decode()
