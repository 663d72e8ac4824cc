"""Image references: parse, normalise and print them as Docker users write them.

Grammar and error texts are those of the distribution project's ``reference`` package.
"""

from __future__ import annotations

import re

from buildkit.core.digest import Digest, digest_fault
from buildkit.core.errors import InvalidInput
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, replace

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_NAME_LIMIT = 255

_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = Pattern(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_WORD}(?:/{_WORD})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_BARE_ID = Pattern(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised image reference: ``domain/path[:tag][@digest]``."""

    domain: str
    path: str
    tag: str = ""
    digest: Digest = ""

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += ":" + self.tag
        if self.digest:
            text += "@" + self.digest
        return text

    @property
    def name(self) -> str:
        """Domain and path, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar(self) -> str:
        """The short form that people write: ``busybox:latest`` for ``docker.io/library/busybox:latest``."""
        text = str(self)
        if self.domain != DEFAULT_DOMAIN:
            return text
        text = text.removeprefix(DEFAULT_DOMAIN + "/")
        official = self.path.startswith(_OFFICIAL) and "/" not in self.path.removeprefix(_OFFICIAL)
        return text.removeprefix(_OFFICIAL) if official else text

    @property
    def is_name_only(self) -> bool:
        """Whether neither tag nor digest is given."""
        return not self.tag and not self.digest

    def with_default_tag(self) -> Reference:
        """The same, tagged ``latest`` if it is only a name."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_digest(self, digest: Digest) -> Reference:
        """The same, pinned."""
        return replace(self, digest=digest)


def parse_reference(text: str) -> Reference:
    """Parse what a user writes (``busybox``, ``host:5000/a/b:tag@sha256:…``); raises `InvalidInput`.

    ``busybox`` becomes ``docker.io/library/busybox``; no tag is added (see `Reference.with_default_tag`).
    """
    if _BARE_ID.fullmatch(text):
        raise InvalidInput(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    path = rest.partition(":")[0]
    if _lower(path) != path:
        raise InvalidInput(f"invalid reference format: repository name ({path}) must be lowercase")
    found = parse_exact(f"{domain}/{rest}")
    return found if found.domain else replace(found, domain=domain, path=found.path.removeprefix(f"{domain}/"))


def parse_exact(text: str) -> Reference:
    """Parse a reference that is complete as it is: ``busybox`` is a path without a domain; raises `InvalidInput`."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        known = _REFERENCE.fullmatch(_lower(text))
        raise InvalidInput("repository name must be lowercase" if known else "invalid reference format")
    if len(match["path"]) > _NAME_LIMIT:
        raise InvalidInput(f"repository name must not be more than {_NAME_LIMIT} characters")
    digest = match["digest"] or ""
    if digest and (fault := digest_fault(digest)):
        raise InvalidInput(fault)
    return Reference(match["domain"] or "", match["path"], match["tag"] or "", digest)


def _lower(text: str) -> str:
    """Go's lower case: no letter becomes two, and a byte that is not UTF-8 becomes another character."""
    if text.isascii():
        return text.lower()
    return text.replace("\u0130", "i").lower().encode(errors="surrogateescape").decode(errors="replace")


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    elif first != "localhost" and not re.search(r"[.:]", first) and first.lower() == first:
        first, rest = DEFAULT_DOMAIN, text
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest
