"""Answers to registries' challenges: basic credentials, and bearer tokens kept until they expire."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterable
from io import BytesIO
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from buildkit.core.errors import BuildkitError, PermissionDenied, Unauthenticated, Unavailable
from buildkit.core.values import dataclass, field
from buildkit.oci.auth import ANONYMOUS, Challenge, Credentials, parse_challenges
from buildkit.oci.hosts import Endpoint, Tls
from buildkit.oci.transport import Request, Response, Transport

DEFAULT_SECONDS = 60
"""How long a token lives when the server does not say."""
USED_SHARE = 0.9
CLIENT_ID = "buildkit-client"
_ANSWER_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a bearer challenge asks for."""

    host: str
    realm: str
    service: str
    scopes: tuple[str, ...]
    refused: str = field(default="", repr=False)
    """The text of a token for this that the registry does not take any more."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. ``issued`` in seconds since the epoch."""

    text: str = field(repr=False)
    issued: float
    seconds: float = DEFAULT_SECONDS
    """How long it lives from then on."""
    shared: bool = False
    """It was given to another session of the same user: it may be refused where a new one is not."""

    @property
    def expires(self) -> float:
        """When it is not used any more: a bit before its end."""
        return self.issued + self.seconds * USED_SHARE


class Keyring(Protocol):
    """Someone who has credentials, or gets tokens without showing them."""

    async def credentials(self, host: str) -> Credentials:
        """What to show ``host``; `buildkit.oci.auth.ANONYMOUS` when there is nothing."""

    async def token(self, request: TokenRequest) -> Token | None:
        """A token from someone who keeps the credentials; None: fetch it with `credentials`."""

    async def key(self, host: str, salt: bytes) -> bytes | None:
        """The 32 secret bytes of the Ed25519 key that this user is known by; None for who fetches no tokens."""


class TokenStore:
    """One user's standing with every registry."""

    def __init__(self, transport: Transport, keyring: Keyring | None) -> None:
        self._transport = transport
        self._keyring = keyring
        self._basic: dict[str, str] = {}
        self._bearer: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, tuple[str, ...]], Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def at_hand(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> bool:
        """Whether `header` needs to ask nobody."""
        if endpoint.host in self._basic or endpoint.host not in self._bearer:
            return True
        token = self._tokens.get((endpoint.host, merge_scopes(scopes)))
        return token is not None and token.expires > time.time()

    async def header(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> str:
        """What to show unasked: the answer to an earlier challenge, or nothing."""
        host = endpoint.host
        if host in self._basic:
            return self._basic[host]
        challenge = self._bearer.get(host)
        if challenge is None:
            return ""
        async with self._lock(host):
            return await self._bearer_header(endpoint, challenge, merge_scopes(scopes))

    async def answer(self, endpoint: Endpoint, headers: list[str], scopes: tuple[str, ...], shown: str) -> str | None:
        """Answer a 401; None when there is nothing (else) to show than ``shown``."""
        host = endpoint.host
        for challenge in parse_challenges(headers):
            if challenge.scheme == "bearer":
                self._bearer[host] = challenge
                asked = challenge.parameters.get("scope", "").split()
                async with self._lock(host):
                    if shown:
                        self._drop(host, shown)
                    wanted = merge_scopes((*scopes, *asked))
                    refused = shown.removeprefix("Bearer ")
                    answer = await self._bearer_header(endpoint, challenge, wanted, refused=refused)
                if wanted != merge_scopes(scopes):
                    self._tokens[host, merge_scopes(scopes)] = self._tokens[host, wanted]
                return answer
            credentials = await self._credentials(host)
            if credentials.username and credentials.secret:
                pair = f"{credentials.username}:{credentials.secret}".encode()
                answer = "Basic " + base64.b64encode(pair).decode()
                if answer == shown:
                    return None
                self._basic[host] = answer
                return answer
        return None

    def is_shared(self, endpoint: Endpoint, shown: str) -> bool:
        """Whether what was shown is a token that another session had."""
        return any(t.shared and shown == f"Bearer {t.text}" for k, t in self._tokens.items() if k[0] == endpoint.host)

    def forget(self, endpoint: Endpoint) -> None:
        """What we showed this endpoint is not taken."""
        self._basic.pop(endpoint.host, None)
        self._drop(endpoint.host, "")

    def _drop(self, host: str, shown: str) -> None:
        for key in [k for k, t in self._tokens.items() if k[0] == host and shown in ("", f"Bearer {t.text}")]:
            del self._tokens[key]

    def _lock(self, host: str) -> asyncio.Lock:
        return self._locks.setdefault(host, asyncio.Lock())

    async def _credentials(self, host: str) -> Credentials:
        return await self._keyring.credentials(host) if self._keyring is not None else ANONYMOUS

    async def _bearer_header(
        self, endpoint: Endpoint, challenge: Challenge, scopes: tuple[str, ...], *, refused: str = ""
    ) -> str:
        key = (endpoint.host, scopes)
        token = self._tokens.get(key)
        if token is None or token.expires <= time.time():
            realm = challenge.parameters.get("realm", "")
            if not realm:
                raise Unauthenticated("failed to authorize: no realm specified for token auth challenge")
            service = challenge.parameters.get("service", "")
            request = TokenRequest(endpoint.host, realm, service, scopes, refused)
            try:
                token = self._tokens[key] = await self._fetch(endpoint, request)
            except BuildkitError as error:
                error.prefixed("failed to authorize: ")
                raise
        return f"Bearer {token.text}"

    async def _fetch(self, endpoint: Endpoint, request: TokenRequest) -> Token:
        guarded = endpoint.scheme == "https" and not endpoint.may_fall_back
        in_the_clear = guarded and urlsplit(request.realm).scheme != "https"
        lent = await self._keyring.token(request) if self._keyring is not None and not in_the_clear else None
        if lent is not None:
            return lent
        credentials = await self._credentials(request.host)
        if credentials.secret and in_the_clear:
            raise PermissionDenied(f"{endpoint.host} wants credentials sent in the clear to {request.realm}")
        return await fetch_token(self._transport, endpoint.tls, request, credentials)


async def fetch_token(
    transport: Transport, tls: Tls, request: TokenRequest, credentials: Credentials, *, oauth_first: bool = False
) -> Token:
    """Ask a token server by GET, then by OAuth's POST if it does not know that; or the other way round.

    Daemons begin with GET, clients with OAuth; who has no user asks by OAuth only. Raises `Unauthenticated`,
    `Unavailable`.
    """
    if credentials.bearer:
        return Token(credentials.bearer, time.time())
    get, post = _query(request, tls, credentials), _form(request, tls, credentials)
    if not credentials.secret:
        ways, prefix = [get], "failed to fetch anonymous token: "
    else:
        ways, prefix = [post, get] if oauth_first else [get, post], "failed to fetch oauth token: "
        if not credentials.username:
            ways = [post]
    try:
        response = await transport.send(ways[0])
        for way in ways[1:]:
            if response.status in (401, 404, 405):
                response.close()
                response = await transport.send(way)
        return await _read_token(response)
    except BuildkitError as error:
        error.prefixed(prefix)
        raise


def _query(request: TokenRequest, tls: Tls, credentials: Credentials) -> Request:
    query = urlencode([("service", request.service)] * bool(request.service) + [("scope", s) for s in request.scopes])
    url = request.realm + ("&" if "?" in request.realm else "?") + query
    headers: dict[str, str] = {}
    if credentials.secret:
        pair = f"{credentials.username}:{credentials.secret}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return Request("GET", url, headers, tls)


def _form(request: TokenRequest, tls: Tls, credentials: Credentials) -> Request:
    form = {"scope": " ".join(request.scopes), "service": request.service, "client_id": CLIENT_ID}
    if credentials.username:
        form |= {"grant_type": "password", "username": credentials.username, "password": credentials.secret}
    else:
        form |= {"grant_type": "refresh_token", "refresh_token": credentials.secret}
    content = urlencode(form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return Request("POST", request.realm, headers, tls, body=lambda: BytesIO(content), length=len(content))


async def _read_token(response: Response) -> Token:
    if not 200 <= response.status < 300:
        response.close()
        url = response.url.partition("?")[0]
        text = f"unexpected status from {response.method} request to {url}: {response.status} {response.reason}"
        raise Unavailable(text) if response.status >= 500 else Unauthenticated(text)
    try:
        raw = json.loads(await response.read(_ANSWER_LIMIT))
        text = raw.get("access_token") or raw.get("token") or ""
        seconds = int(raw.get("expires_in") or DEFAULT_SECONDS)
    except (ValueError, OverflowError, RecursionError, AttributeError, TypeError) as error:
        raise Unavailable("unable to decode token response") from error
    if not isinstance(text, str) or not text.isascii() or not text or any(c in text for c in "\r\n"):
        raise Unavailable("authorization server did not include a token in the response")
    return Token(text, time.time(), seconds)


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """One sorted entry for each resource, its actions sorted and joined."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, wanted = rest.rpartition(":")
        actions.setdefault(f"{kind}:{name}", set()).update(wanted.split(","))
    return tuple(f"{name}:{','.join(sorted(wanted))}" for name, wanted in sorted(actions.items()))
