"""URLs as Go's ``net/url`` reads and writes them: what counts as one decides what a Dockerfile means."""

from __future__ import annotations

import re
from urllib.parse import quote as escape_url

from buildkit.core.errors import InvalidInput
from buildkit.core.goquote import quote
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass

_ESCAPE = Pattern(r"%[0-9A-Fa-f]{2}")
_HOST_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~!$&'()*+,;=:[]<>\"")
_HOST_SAFE = "!$&'()*+,;=:[]<>\"-_.~"
_USER_LETTERS = Pattern(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*\Z")
_PATH_SAFE = "$&+,/:;=@~-_."
_FRAGMENT_SAFE = "$&+,/:;=?@!()*~-_."
_VALID_IN_PATH = frozenset("!$&'()*+,;=:@[]/%")


@dataclass(frozen=True, slots=True)
class GoUrl:
    """A parsed URL; ``path`` and ``fragment`` are unescaped."""

    scheme: str = ""
    opaque: str = ""
    user: str = ""
    """User name and password as written, before the ``@``."""
    has_user: bool = False
    host: str = ""
    path: str = ""
    raw_path: str = ""
    query: str = ""
    fragment: str = ""
    raw_fragment: str = ""
    force_query: bool = False
    """It has a question mark and nothing behind."""

    def without_options(self) -> str:
        """The URL without fragment and query, but for the mark of an empty one."""
        out = self.scheme + ":" if self.scheme else ""
        mark = "?" if self.force_query else ""
        if self.opaque:
            return out + self.opaque + mark
        path = self._escaped_path()
        if self.scheme or self.host or self.has_user:
            if self.host or self.path or self.has_user:
                out += "//"
            out += self.user + "@" if self.has_user else ""
            out += escape_url(self.host, safe=_HOST_SAFE, errors="surrogateescape")
        if path and path[0] != "/" and self.host:
            out += "/"
        if not out and ":" in path.partition("/")[0]:
            out += "./"
        return out + path + mark

    def _escaped_path(self) -> str:
        if self.raw_path and _is_valid(self.raw_path, _VALID_IN_PATH):
            return self.raw_path
        return "*" if self.path == "*" else escape_url(self.path, safe=_PATH_SAFE, errors="surrogateescape")


def parse_url(raw: str) -> GoUrl:
    """Parse a URL reference; raises `InvalidInput` with Go's words."""
    text, _, fragment = raw.partition("#")
    try:
        url = _parse(text)
    except ValueError as error:
        raise InvalidInput(f"parse {quote(text)}: {error}") from None
    if not fragment:
        return url
    try:
        plain = _unescape(fragment)
    except ValueError as error:
        raise InvalidInput(f"parse {quote(raw)}: {error}") from None
    raw_fragment = fragment if escape_url(plain, safe=_FRAGMENT_SAFE, errors="surrogateescape") != fragment else ""
    return _replaced(url, fragment=plain, raw_fragment=raw_fragment)


def parse_query(query: str) -> dict[str, list[str]]:
    """Key to values, as ``url.ParseQuery``; raises `InvalidInput`."""
    out: dict[str, list[str]] = {}
    error: str | None = None
    for pair in query.split("&"):
        if ";" in pair:
            error = "invalid semicolon separator in query"
            continue
        if not pair:
            continue
        key, _, value = pair.partition("=")
        try:
            out.setdefault(_unescape(key, plus=True), []).append(_unescape(value, plus=True))
        except ValueError as problem:
            error = error or str(problem)
    if error is not None:
        raise InvalidInput(error)
    return out


def lenient_query(query: str) -> dict[str, list[str]]:
    """As `parse_query`, bad pairs left out."""
    out: dict[str, list[str]] = {}
    for pair in query.split("&"):
        try:
            for key, values in parse_query(pair).items():
                out.setdefault(key, []).extend(values)
        except InvalidInput:
            continue
    return out


def _parse(text: str) -> GoUrl:
    if any(c < " " or c == "\x7f" for c in text):
        raise ValueError("net/url: invalid control character in URL")
    if text == "*":
        return GoUrl(path="*")
    scheme, rest = _split_scheme(text)
    rest, mark, query = rest.partition("?")
    force_query = bool(mark) and not query
    if not rest.startswith("/"):
        if scheme:
            return GoUrl(scheme, opaque=rest, query=query, force_query=force_query)
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    user, has_user, host = "", False, ""
    if (scheme or not rest.startswith("///")) and rest.startswith("//"):
        authority, slash, tail = rest[2:].partition("/")
        rest = slash + tail
        user, has_user, host = _parse_authority(authority)
    path = _unescape(rest)
    raw_path = rest if escape_url(path, safe=_PATH_SAFE, errors="surrogateescape") != rest else ""
    return GoUrl(scheme, "", user, has_user, host, path, raw_path, query, force_query=force_query)


def _split_scheme(text: str) -> tuple[str, str]:
    for index, letter in enumerate(text):
        if letter.isascii() and letter.isalpha():
            continue
        if letter in "0123456789+-.":
            if index == 0:
                return "", text
            continue
        if letter == ":":
            if index == 0:
                raise ValueError("missing protocol scheme")
            return text[:index].lower(), text[index + 1 :]
        return "", text
    return "", text


def _parse_authority(authority: str) -> tuple[str, bool, str]:
    user, at, host = authority.rpartition("@")
    host = _parse_host(host)
    if not at:
        return "", False, host
    if not _USER_LETTERS.match(user):
        raise ValueError("net/url: invalid userinfo")
    name, colon, password = user.partition(":")
    written = escape_url(_unescape(name), safe="$&+,;=-_.~", errors="surrogateescape")
    if colon:
        written += ":" + escape_url(_unescape(password), safe="$&+,;=-_.~", errors="surrogateescape")
    return written, True, host


def _parse_host(host: str) -> str:
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise ValueError("missing ']' in host")
        _check_port(host[end + 1 :])
    elif (colon := host.rfind(":")) != -1:
        _check_port(host[colon:])
    for letter in host:
        if letter.isascii() and letter not in _HOST_LETTERS and letter != "%":
            raise ValueError(f"invalid character {quote(letter)} in host name")
    return host if "%" not in host else _unescape_host(host)


def _check_port(port: str) -> None:
    if port and not (port[0] == ":" and (port[1:].isdigit() or port == ":")):
        raise ValueError(f"invalid port {quote(port)} after host")


def _unescape_host(host: str) -> str:
    for match in re.finditer(r"%(.{0,2})", host):
        if not _ESCAPE.match(match[0]):
            raise ValueError(f"invalid URL escape {quote(match[0])}")
        if int(match[1], 16) < 0x80 and match[0] != "%25":
            raise ValueError(f"invalid URL escape {quote(match[0])}")
    return _unescape(host)


def _unescape(text: str, *, plus: bool = False) -> str:
    if plus:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    out = bytearray()
    at = 0
    raw = text.encode(errors="surrogateescape")
    while at < len(raw):
        if raw[at] != 0x25:
            out.append(raw[at])
            at += 1
            continue
        escape = raw[at : at + 3].decode(errors="surrogateescape")
        if not _ESCAPE.match(escape):
            raise ValueError(f"invalid URL escape {quote(escape)}")
        out.append(int(escape[1:], 16))
        at += 3
    return out.decode(errors="surrogateescape")


def _is_valid(text: str, special: frozenset[str]) -> bool:
    return all(c in special or (c.isascii() and (c.isalnum() or c in "-_.~")) for c in text)


def _replaced(url: GoUrl, *, fragment: str, raw_fragment: str) -> GoUrl:
    return GoUrl(
        url.scheme, url.opaque, url.user, url.has_user, url.host, url.path, url.raw_path, url.query, fragment,
        raw_fragment, url.force_query,
    )  # fmt: skip
