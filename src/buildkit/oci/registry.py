"""Registries, as OCI's distribution specification has them: resolve names, fetch manifests and blobs.

A `Registry` is the machines and connections, shared by all; an `Access` is a registry with one user's keys.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from buildkit.core.digest import Digest, parse_digest, sha256
from buildkit.core.errors import (
    BuildkitError,
    Corrupt,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from buildkit.core.values import replace
from buildkit.oci import spec
from buildkit.oci.hosts import Endpoint, HostConfig, endpoints
from buildkit.oci.names import Reference
from buildkit.oci.spec import Descriptor
from buildkit.oci.tokens import Keyring, TokenStore
from buildkit.oci.transport import Request, Response, Sink, Transport, Unreachable, printable, same_origin

T = TypeVar("T")

ACCEPT = ", ".join((spec.DOCKER_MANIFEST, spec.DOCKER_LIST, spec.OCI_MANIFEST, spec.OCI_INDEX, "*/*"))
CONCURRENCY = 4
"""Requests for blobs at once to one registry; documents get one more."""
RETRY_PAUSES = (1.0, 2.0, 4.0)
"""Seconds to wait before each further attempt."""
RETRY_AFTER_LIMIT = 30.0
_ERROR_LIMIT = 64_000


class Refused(Unavailable):
    """A registry is out of order or overloaded (5xx, 408, 429). ``after``: seconds it asks us to wait."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class _Turn:
    """Places at the gates of a registry."""

    def __init__(self, gates: tuple[asyncio.Semaphore, ...]) -> None:
        self._gates = gates
        self._held: list[asyncio.Semaphore] = []

    async def begin(self) -> None:
        for gate in self._gates:
            await gate.acquire()
            self._held.append(gate)

    def end(self) -> None:
        while self._held:
            self._held.pop().release()


_TURN: ContextVar[_Turn | None] = ContextVar("turn", default=None)


@asynccontextmanager
async def _standing_aside() -> AsyncIterator[None]:
    """Let others have one's turn while a client is asked for credentials, who may take for ever."""
    turn = _TURN.get()
    if turn is not None:
        turn.end()
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException:
        if turn is not None:
            await turn.begin()
        raise
    if turn is not None:
        await turn.begin()


class Registry:
    """Every registry that we talk to: configured hosts, kept connections, limits. Lives on one event loop."""

    def __init__(
        self,
        hosts: Mapping[str, HostConfig] | None = None,
        *,
        concurrency: int = CONCURRENCY,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.hosts = dict(hosts or {})
        self.transport = Transport()
        self._concurrency = concurrency
        self._gates: dict[str, tuple[asyncio.Semaphore, asyncio.Semaphore]] = {}
        self._pause = pause

    def access(self, keyring: Keyring | None = None) -> Access:
        """The registries as the owner of ``keyring`` may see them; anonymous without one."""
        return Access(self, keyring)

    @asynccontextmanager
    async def turn(self, domain: str, *, document: bool) -> AsyncIterator[None]:
        """Wait for a free connection to ``domain``."""
        blobs, everything = self._gates.setdefault(
            domain, (asyncio.Semaphore(self._concurrency), asyncio.Semaphore(self._concurrency + 1))
        )
        turn = _Turn((everything,) if document else (blobs, everything))
        before = _TURN.set(turn)
        try:
            await turn.begin()
            yield
        finally:
            _TURN.reset(before)
            turn.end()

    async def retry(self, attempt: Callable[[], Awaitable[T]], log: Callable[[str], None] | None = None) -> T:
        """Repeat ``attempt`` while it fails in a way that may pass; an attempt that got further may try on."""
        pauses = list(RETRY_PAUSES)
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                if isinstance(error, Progressed):
                    pauses = list(RETRY_PAUSES)
                if not may_pass(error) or not pauses:
                    raise
                seconds = max(pauses.pop(0), min(getattr(error, "after", 0.0), RETRY_AFTER_LIMIT))
                if log is not None:
                    log(f"error: {error}\nretrying in {seconds:g}s\n")
                await self._pause(seconds)

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()


class Progressed(Unreachable):
    """A download that broke off after it had got further."""


def may_pass(error: BuildkitError) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, Refused) or (isinstance(error, Unreachable) and error.transient)


class Access:
    """Registries seen with one user's keys; keeps that user's tokens."""

    def __init__(self, registry: Registry, keyring: Keyring | None) -> None:
        self.registry = registry
        self._tokens = TokenStore(registry.transport, keyring)

    async def resolve(self, reference: Reference, *, log: Callable[[str], None] | None = None) -> Descriptor:
        """Turn a tag (or check a digest) into a descriptor; raises `NotFound`, `Unauthenticated`, `Unavailable`."""
        if reference.is_name_only:
            raise InvalidInput("object required")
        async with self.registry.turn(reference.domain, document=True):
            return await self.registry.retry(lambda: self._resolve(reference), log)

    async def _resolve(self, reference: Reference) -> Descriptor:
        path = f"manifests/{reference.digest or reference.tag}"

        async def ask(endpoint: Endpoint) -> Descriptor:
            response = await self.send(endpoint, "HEAD", reference, path, headers={"Accept": ACCEPT})
            response.close()
            if response.status == 403:
                response = await self.send(endpoint, "GET", reference, path, headers={"Accept": ACCEPT})
            await expect(response, "HEAD", 200)
            size, stated = response.length, response.header("Docker-Content-Digest")
            digest = reference.digest or (parse_stated(stated) if stated else "")
            media_type = response.header("Content-Type").partition(";")[0].strip()
            if not digest or size is None or not media_type:
                content, media_type = await self._get_document(endpoint, reference, path)
                found = sha256(content)
                if reference.digest and reference.digest.startswith("sha256:") and found != reference.digest:
                    raise Corrupt(f"{reference}: {endpoint.host} sent content with digest {found}")
                digest, size = reference.digest or found, len(content)
            if size > spec.MANIFEST_SIZE_LIMIT:
                raise NotFound(f"rejecting {size} byte manifest for {reference}: not found")
            return Descriptor(media_type, digest, size)

        return await self.ask_each(reference, ask)

    async def _get_document(self, endpoint: Endpoint, reference: Reference, path: str) -> tuple[bytes, str]:
        response = await self.send(endpoint, "GET", reference, path, headers={"Accept": ACCEPT})
        await expect(response, "GET", 200)
        content = await response.read(spec.MANIFEST_SIZE_LIMIT)
        media_type = response.header("Content-Type").partition(";")[0].strip()
        if media_type in ("", "text/plain", "application/octet-stream", "application/json"):
            media_type = spec.detect_media_type(content)
        return content, media_type

    async def blob_size(self, reference: Reference, digest: Digest) -> int:
        """Bytes of a blob; raises `NotFound`, `Unauthenticated`, `Unavailable`."""

        async def ask(endpoint: Endpoint) -> int:
            response = await self.send(endpoint, "HEAD", reference, f"blobs/{digest}", headers={"Accept": "*/*"})
            await expect(response, "HEAD", 200)
            response.close()
            if response.length is None:
                raise Corrupt(f"{reference}: {endpoint.host} does not say how large {digest} is")
            return response.length

        async with self.registry.turn(reference.domain, document=True):
            return await self.registry.retry(lambda: self.ask_each(reference, ask))

    async def read(
        self, reference: Reference, descriptor: Descriptor, *, log: Callable[[str], None] | None = None
    ) -> bytes:
        """Fetch a manifest, index or config whole and check it; raises `Corrupt` for wrong bytes."""
        if descriptor.size > spec.MANIFEST_SIZE_LIMIT:
            raise Corrupt(f"rejecting {descriptor.size} byte document {descriptor.digest} of {reference.name}")
        sink = Memory()
        await self.fetch(reference, descriptor, sink, log=log)
        check_digest(sink.content, descriptor.digest, f"{reference.name}@{descriptor.digest}")
        return sink.content

    async def fetch(
        self,
        reference: Reference,
        descriptor: Descriptor,
        sink: Sink,
        *,
        progress: Callable[[int], None] | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """Move a blob or document into ``sink``, continuing at ``sink.offset`` after a break.

        The number of bytes is checked here, their digest by whoever commits the sink. ``progress`` gets the
        number of bytes so far, from another thread.
        """
        document = descriptor.media_type.endswith("+json")
        watched = _Watched(sink, progress) if progress is not None else sink
        async with self.registry.turn(reference.domain, document=document):
            await self.registry.retry(lambda: self._fetch(reference, descriptor, watched), log)

    async def _fetch(self, reference: Reference, descriptor: Descriptor, sink: Sink) -> None:
        kind = "manifests" if descriptor.media_type in spec.MANIFESTS | spec.INDEXES else "blobs"
        headers = {"Accept": f"{descriptor.media_type or 'application/octet-stream'}, */*"}

        async def get(endpoint: Endpoint) -> None:
            path = f"{kind}/{descriptor.digest}"
            await self._receive(
                lambda extra: self.send(endpoint, "GET", reference, path, headers={**headers, **extra}),
                descriptor,
                sink,
            )

        if sink.offset == descriptor.size:
            return
        for url in descriptor.urls:
            if url.startswith(("http://", "https://")):
                request = Request("GET", url, headers)
                await self._receive(
                    lambda extra, r=request: self.registry.transport.send(  # type: ignore[misc]
                        replace(r, headers={**r.headers, **extra})
                    ),
                    descriptor,
                    sink,
                )
                return
        await self.ask_each(reference, get)

    async def _receive(
        self, send: Callable[[Mapping[str, str]], Awaitable[Response]], descriptor: Descriptor, sink: Sink
    ) -> None:
        before = sink.offset
        response = await send({"Range": f"bytes={before}-"} if before else {})
        if before and response.status == 416:
            response.close()
            sink.restart()
            before = 0
            response = await send({})
        await expect(response, "GET", 200, 206)
        if before and response.status == 200:
            await response.skip(before)
        elif before and not response.header("Content-Range").startswith(f"bytes {before}-"):
            response.abort()
            response.close()
            sink.restart()
            raise Unreachable(f"{response.url} sent another range than bytes {before}-", transient=True)
        total = response.length
        if total is not None and response.status == 200 and total != descriptor.size:
            response.abort()
            response.close()
            raise Corrupt(f"{response.url} has {total} bytes, expected {descriptor.size} for {descriptor.digest}")
        try:
            await response.copy_to(sink, limit=descriptor.size)
        except Unreachable as error:
            raise _broke_off(sink, before, str(error)) from error
        if sink.offset < descriptor.size:
            raise _broke_off(
                sink, before, f"{response.url}: connection closed after {sink.offset} of {descriptor.size} bytes"
            )

    async def ask_each(self, reference: Reference, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Ask each endpoint in turn; of several failures the one that got furthest is raised."""
        worst: BuildkitError | None = None
        for endpoint in endpoints(self.registry.hosts, reference.domain):
            try:
                return await ask(endpoint)
            except (NotFound, Unavailable, Unauthenticated, PermissionDenied, Corrupt) as error:
                found: BuildkitError = error
                if isinstance(error, NotFound) and not error.message.startswith("rejecting"):
                    found = NotFound(f"{reference}: not found")
                elif isinstance(error, Unauthenticated) and not error.message.startswith("failed to"):
                    found = error.prefixed(
                        "pull access denied, repository does not exist or may require authorization: "
                    )
                if worst is None or _weight(found) >= _weight(worst):
                    worst = found
        assert worst is not None  # noqa: S101 - there is always an endpoint
        raise worst

    async def send(
        self,
        endpoint: Endpoint,
        method: str,
        reference: Reference,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], BinaryIO] | None = None,
        length: int = 0,
        push: bool = False,
        further_scopes: tuple[str, ...] = (),
    ) -> Response:
        """One authorised request below ``/v2/<repository>/``; the answer, whatever its status but 401."""
        url = f"{endpoint.url}/{reference.path}/{path}"
        if endpoint.mirror_of:
            url += ("&" if "?" in url else "?") + "ns=" + quote(endpoint.mirror_of, safe="")
        scopes = (f"repository:{reference.path}:{'pull,push' if push else 'pull'}", *further_scopes)
        request = Request(method, url, dict(headers or {}), endpoint.tls, endpoint.may_fall_back, body, length)
        return await self.authorized(request, endpoint, scopes)

    async def authorized(self, request: Request, endpoint: Endpoint, scopes: tuple[str, ...]) -> Response:
        """Send with what the endpoint wants to see; raises `Unauthenticated` when it does not take it."""
        async with nullcontext() if self._tokens.at_hand(endpoint, scopes) else _standing_aside():
            shown = await self._tokens.header(endpoint, scopes)
        response = await self._try(request, shown)
        if response.status != 401:
            return response
        challenges = response.headers("WWW-Authenticate") if same_origin(response.url, request.url) else []
        message = await _server_message(response)
        while True:
            async with _standing_aside():
                answer = await self._tokens.answer(endpoint, challenges, scopes, shown)
            if answer is None:
                raise Unauthenticated(f"authorization failed: {message or 'no credentials for ' + endpoint.host}")
            response = await self._try(request, answer)
            if response.status != 401:
                return response
            message = await _server_message(response) or message
            if not self._tokens.is_shared(endpoint, answer):
                self._tokens.forget(endpoint)
                raise Unauthenticated(f"server message: {message or 'insufficient_scope: authorization failed'}")
            shown = answer

    async def _try(self, request: Request, authorization: str) -> Response:
        if authorization:
            request = replace(request, headers={**request.headers, "Authorization": authorization})
        try:
            return await self.registry.transport.send(request)
        except Unreachable as error:
            error.prefixed("failed to do request: ")
            raise


class Memory:
    """A sink that keeps a document in memory."""

    def __init__(self) -> None:
        self.offset = 0
        self._parts: list[bytes] = []

    @property
    def content(self) -> bytes:
        """What was written."""
        return b"".join(self._parts)

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Append."""
        self._parts.append(bytes(content))
        self.offset += len(content)
        return len(content)

    def restart(self) -> None:
        """Empty it."""
        self._parts.clear()
        self.offset = 0


class _Watched:
    """A sink that tells how far it is."""

    def __init__(self, sink: Sink, progress: Callable[[int], None]) -> None:
        self._sink = sink
        self._progress = progress
        self.offset = sink.offset

    def write(self, content: bytes | bytearray | memoryview) -> int:
        count = self._sink.write(content)
        self.offset = self._sink.offset
        self._progress(self.offset)
        return count

    def restart(self) -> None:
        self._sink.restart()
        self.offset = self._sink.offset


def check_digest(content: bytes, digest: Digest, what: str) -> None:
    """Raise `Corrupt` when ``content`` is not what ``digest`` says."""
    import hashlib

    algorithm, _, expected = digest.partition(":")
    found = hashlib.new(algorithm, content).hexdigest()
    if found != expected:
        raise Corrupt(f"{what}: content has digest {algorithm}:{found}, expected {digest}")


def parse_stated(text: str) -> Digest:
    """A digest that a registry states in a header; raises `Corrupt`."""
    try:
        return parse_digest(text)
    except InvalidInput as error:
        raise Corrupt(f'"{text[:100]}" in header not a valid digest') from error


async def expect(response: Response, method: str, *wanted: int) -> None:
    """Raise the error that stands for any other status than those ``wanted``."""
    if response.status not in wanted:
        raise await status_error(response, method)


async def status_error(response: Response, method: str) -> BuildkitError:
    """What an unexpected status means."""
    url = response.url.partition("?")[0]
    text = f"unexpected status from {method} request to {url}: {response.status} {response.reason}"
    message = await _server_message(response)
    if message:
        text += f": {message}"
    if response.status == 404:
        return NotFound(f"content at {url} not found")
    if response.status == 401:
        return Unauthenticated(text)
    if response.status == 403:
        return PermissionDenied(text)
    if response.status in (408, 429) or response.status >= 500:
        after = response.header("Retry-After")
        return Refused(text, float(after) if after.isdecimal() else 0.0)
    return Unavailable(text)


async def _server_message(response: Response) -> str:
    """The reason that a registry gives in its body, ``code: message`` for each error."""
    try:
        raw = json.loads(await response.read(_ERROR_LIMIT))
        return printable("; ".join(f"{str(e['code']).lower()}: {e['message']}" for e in raw["errors"]))
    except (ValueError, RecursionError, KeyError, TypeError, BuildkitError):
        return ""


def _weight(error: BuildkitError) -> int:
    if isinstance(error, Unreachable):
        return 1
    return 2 if isinstance(error, NotFound) else 3


def _broke_off(sink: Sink, before: int, message: str) -> Unreachable:
    return Progressed(message, transient=True) if sink.offset > before else Unreachable(message, transient=True)
