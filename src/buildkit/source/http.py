"""Files of the web: fetched once, asked about again by their tags, keyed by what they contain."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

from buildkit.core.digest import Digest, parse_digest, sha256
from buildkit.core.errors import (
    BuildkitError,
    Corrupt,
    Exhausted,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from buildkit.core.platform import Platform
from buildkit.core.values import asdict, dataclass, replace
from buildkit.oci import spec
from buildkit.oci.hosts import Tls
from buildkit.oci.transport import Request, Response, Transport, Unreachable
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.answers import Answers
from buildkit.source.credentials import web_authorization
from buildkit.source.decoding import decoded
from buildkit.source.file import FileWish, new_file, parse_file_wish, safe_name
from buildkit.source.pull import Pull, Pulls, forbid, look_up
from buildkit.source.source import Asking, Inquiry, Known
from buildkit.source.upload import Answer, is_upload, open_upload
from buildkit.source.webnames import disposition_name, http_date, parse_http_date, path_name, public_url
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store

_HEADERS = {"http.header.accept": "Accept", "http.header.user-agent": "User-Agent"}
_KIND = "http"
_LONGEST_SUFFIX = 4096
"""Bytes that may follow a file for a digest of both."""

_SETTLED_SECONDS = 60
"""A file that changed so shortly before it was sent may change again within the same second of its date."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a definition says about a file of the web."""

    url: str
    file: FileWish
    checksum: Digest = ""
    secret: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    public_key: str = ""
    signature: str = ""
    """A detached signature of OpenPGP, in armour, as is the key."""

    @property
    def question(self) -> Digest:
        """Under which its answer is remembered."""
        wish = self.file
        return sha256(
            spec.encode([self.url, wish.name, wish.mode, wish.uid, wish.gid, self.secret, [*map(list, self.headers)]])
        )

    def key(self, found: Found) -> Digest:
        """BuildKit's cache key of a file."""
        wish = self.file
        fields: dict[str, object] = {
            "Filename": found.name,
            "Perm": wish.mode,
            "UID": wish.uid,
            "GID": wish.gid,
            "Checksum": found.digest,
        }
        if found.modified is not None:
            fields["LastModTime"] = http_date(found.modified)
        if self.secret:
            fields["AuthHeaderSecret"] = self.secret
        if self.headers:
            fields["Header"] = [{"Name": name, "Value": value} for name, value in self.headers]
        return sha256(spec.encode(fields))


@dataclass(frozen=True, slots=True)
class Found:
    """A file as a server gave it. ``modified`` is in seconds since 1970; ``ref`` is its tree if it was fetched."""

    digest: Digest
    name: str
    modified: int | None = None
    tag: str = ""
    settled: bool = False
    """Whether its time of change tells it from what it was before."""
    ref: str = ""


class Web:
    """The schemes ``http`` and ``https``."""

    schemes = ("http", "https")

    def __init__(
        self,
        transport: Transport,
        sessions: Sessions,
        store: Store,
        answers: Answers,
        pulls: Pulls,
        tls: Tls | None = None,
    ) -> None:
        """``tls`` says whom to trust beside the machine's own authorities."""
        self.transport = transport
        self.sessions = sessions
        self.store = store
        self.answers = answers
        self.pulls = pulls
        self.tls = tls or Tls()
        self._found: WeakKeyDictionary[Session, dict[Digest, Found]] = WeakKeyDictionary()
        self._turns: dict[Digest, asyncio.Lock] = {}

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> WebFile:
        """A source for one file; raises `InvalidInput` or `Unsupported`."""
        url = f"{scheme}://{name}"
        signing = (attrs.get("http.sig.pubkey", ""), attrs.get("http.sig.signature", ""))
        if not all(signing) and any(key.startswith("http.sig.") for key in attrs):
            raise InvalidInput("http signature verification requires both pubkey and signature")
        checksum = attrs.get("http.checksum", "")
        if checksum and not parse_digest(checksum).startswith("sha256:"):
            raise Unsupported(f"http.checksum {checksum}: only sha256 is supported")
        headers = tuple(sorted((_HEADERS[key], value) for key, value in attrs.items() if key in _HEADERS))
        for header, value in headers:
            if not value.isprintable():
                raise InvalidInput(f"invalid value of header {header}: {value!r}")
        secret = attrs.get("http.authheadersecret", "")
        return WebFile(self, Wanted(url, parse_file_wish(attrs), checksum, secret, headers, *signing))

    def turn(self, question: Digest) -> asyncio.Lock:
        """Whoever asks the same at once takes turns."""
        return self._turns.setdefault(question, asyncio.Lock())

    def known_to(self, ids: tuple[str, ...]) -> dict[Digest, Found]:
        """What the first attached session has learnt: one build asks each question once."""
        for id in ids:
            session = self.sessions.find(id)
            if session is not None:
                return self._found.setdefault(session, {})
        return {}


class WebFile:
    """One file."""

    def __init__(self, web: Web, wanted: Wanted) -> None:
        self._web = web
        self._wanted = wanted
        self._found: Found | None = None

    @property
    def pin(self) -> str:
        """The digest of the content."""
        return self._found.digest if self._found is not None else ""

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        """One key; nothing is asked for a file with a checksum."""
        found = await self.resolve(step)
        wanted = self._wanted
        step.note(
            url=public_url(wanted.url),
            checksum=found.digest,
            filename=found.name,
            mode=f"{wanted.file.mode or 0o600:04o}",
            owner=f"{wanted.file.uid}:{wanted.file.gid}",
        )
        yield wanted.key(found)

    async def resolve(self, step: Asking) -> Found:
        """What the file is now."""
        wanted, web = self._wanted, self._web
        if self._found is None and wanted.checksum and not wanted.signature:
            name = safe_name(wanted.file.name or path_name(wanted.url))
            self._found = Found(wanted.checksum, name)
        if self._found is None:
            async with web.turn(wanted.question):
                session = web.known_to(step.sessions())
                found = session.get(wanted.question)
                if found is None:
                    found = session[wanted.question] = await self._look_up(step)
                self._check(found)
                if wanted.signature:
                    await self._verify(step, found)
                self._found = found
        return self._found

    async def _verify(self, step: Asking, found: Found) -> None:
        from buildkit.signing.openpgp import feed_file, verify_detached
        from buildkit.signing.refused import SignatureRefused

        wanted, store = self._wanted, self._web.store
        async with store.lease() as lease:
            ref = store.find_ref(found.ref, lease)
            if ref is None:
                again = await self._fetch(await self._get(step, {}), step, expected=found.digest)
                ref = store.find_ref(again.ref, lease)
            async with store.mounted(ref, lease) as root:
                feed = feed_file(root / found.name)
                keys, signature = wanted.public_key.encode(), wanted.signature.encode()
                try:
                    await asyncio.to_thread(verify_detached, feed, signature, keys)
                except SignatureRefused as error:
                    raise error.prefixed("failed to verify pgp signature: ") from None

    async def describe(self, step: Asking, lease: Lease, inquiry: Inquiry) -> Known:
        """What the server says; it is not asked for a file with a checksum, unless its content matters."""
        found = await self.resolve(step)
        known = Known(found.digest, filename=found.name, last_modified=found.modified)
        if not inquiry.algorithm:
            return known
        if len(inquiry.suffix) > _LONGEST_SUFFIX:
            raise InvalidInput(f"http checksum request suffix exceeds max size {_LONGEST_SUFFIX}")
        tree = await self.snapshot(step, lease)
        async with self._web.store.mounted(tree, lease) as root:
            suffixed = await asyncio.to_thread(_suffixed, root / found.name, inquiry)
        return replace(known, suffixed=suffixed)

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The file, fetched now if it was not for its key."""
        wanted, web = self._wanted, self._web
        async with web.turn(wanted.question):
            for found in (self._found, self._remembered()):
                if found is not None and found.ref and (self._found is None or found.digest == self._found.digest):
                    ref = web.store.find_ref(found.ref, lease)
                    if ref is not None:
                        return ref
            if web.pulls.of(step.sessions()) is Pull.NEVER:
                raise forbid(public_url(wanted.url))
            expected = self._found.digest if self._found is not None else wanted.checksum
            found = await self._fetch(await self._get(step, {}), step, expected=expected)
            return web.store.find_ref(found.ref, lease)

    def _check(self, found: Found) -> None:
        if self._wanted.checksum and found.digest != self._wanted.checksum:
            raise self._mismatch(found.digest, self._wanted.checksum)

    def _mismatch(self, got: Digest, expected: Digest) -> BuildkitError:
        where = "failed to resolve source reference for signature verification: " if self._wanted.signature else ""
        url = public_url(self._wanted.url)
        return FailedPrecondition(f"{where}digest mismatch for {url}: {got} (expected: {expected})")

    def _remembered(self) -> Found | None:
        answer = self._web.answers.find(_KIND, self._wanted.question)
        if answer is None:
            return None
        found = Found(**answer)
        return found if self._web.store.find_ref(found.ref) is not None else None

    async def _look_up(self, step: Asking) -> Found:
        known = self._remembered()

        async def ask() -> Found:
            return await self._ask(step, known)

        def log(line: str) -> None:
            step.progress.log(2, line.encode())

        url = public_url(self._wanted.url)
        found = await look_up(url, self._web.pulls.of(step.sessions()), known, ask, log)
        if found.ref:
            step.hold(Ref(found.ref))
        return found

    async def _ask(self, step: Asking, known: Found | None) -> Found:
        conditions = _conditions(known)
        if known is not None and conditions:
            # some servers send the whole file again although the tag matches: HEAD first costs little
            head = await self._send("HEAD", step, conditions)
            head.close()
            tag = _tag(head.header("ETag"))
            same = head.status == 304 and tag in ("", known.tag)
            if same or (head.status == 200 and tag and tag == known.tag):
                return known
        response = await self._get(step, conditions)
        if response.status == 304:
            response.close()
            if known is None or _tag(response.header("ETag")) not in ("", known.tag):
                raise Corrupt(f"{public_url(self._wanted.url)}: invalid not-modified ETag: {response.header('ETag')}")
            return known
        return await self._fetch(response, step, expected=self._wanted.checksum)

    async def _get(self, step: Asking, conditions: Mapping[str, str]) -> Answer:
        if is_upload(self._wanted.url):
            return await open_upload(self._web.sessions, step.sessions(), self._wanted.url)
        response = await self._send("GET", step, conditions)
        if not 200 <= response.status < 400:
            response.close()
            url = public_url(self._wanted.url)
            error: type[BuildkitError] = FailedPrecondition
            if response.status in (404, 410):
                error = NotFound
            elif response.status in (401, 403):
                error = Unauthenticated
            elif response.status >= 500 or response.status in (408, 429):
                error = Unavailable
            raise error(f"{url}: invalid response status {response.status}")
        return response

    async def _send(self, method: str, step: Asking, conditions: Mapping[str, str]) -> Response:
        headers = {**dict(self._wanted.headers), **conditions}
        authorization = await web_authorization(
            self._web.sessions, step.sessions(), self._wanted.url, self._wanted.secret
        )
        if authorization:
            headers["Authorization"] = authorization
        url = public_url(self._wanted.url)
        try:
            return await self._web.transport.send(Request(method, url, headers, self._web.tls))
        except InvalidInput as error:
            raise error.prefixed(f"{url}: ") from None

    async def _fetch(self, response: Answer, step: Asking, *, expected: Digest) -> Found:
        """Move an answer into a tree of its own and remember it."""
        web, wanted = self._web, self._wanted
        url = public_url(wanted.url)
        name = safe_name(
            wanted.file.name or disposition_name(response.header("Content-Disposition")) or path_name(wanted.url)
        )
        modified = parse_http_date(response.header("Last-Modified"))
        sent = parse_http_date(response.header("Date"))
        length = response.length if response.status != 204 else None  # which has no body, whatever it says
        free = shutil.disk_usage(web.store.root).free
        if length is not None and length > free:
            response.abort()
            response.close()
            raise Exhausted(f"{url}: no space for {length} bytes")
        async with web.store.lease(uses=False) as lease:
            async with new_file(web.store, lease, name, wanted.file, f"http url {url}") as tree:
                sink = decoded(response.header("Content-Encoding"), tree.writer, most=free)
                await response.copy_to(sink, limit=free + 1)
                if sink.offset > free:
                    raise Exhausted(f"{url}: no space for more than {free} bytes")
                if length is not None and sink.offset < length:
                    raise Unreachable(f"{url}: connection closed after {sink.offset} of {length} bytes", transient=True)
                digest = tree.writer.digest
                if expected and digest != expected:
                    raise self._mismatch(digest, expected)
                tree.seconds = modified or 0
                tree.wanted = True
            step.hold(tree.ref)
            found = Found(
                digest,
                name,
                modified,
                _tag(response.header("ETag")),
                modified is not None and sent is not None and sent - modified >= _SETTLED_SECONDS,
                tree.ref.id if tree.ref is not None else "",
            )
            if not is_upload(wanted.url):
                web.answers.put(_KIND, wanted.question, asdict(found))
        return found


def _suffixed(path: Path, inquiry: Inquiry) -> Digest:
    import hashlib

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, inquiry.algorithm)
    digest.update(inquiry.suffix)
    return f"{inquiry.algorithm}:{digest.hexdigest()}"


def _conditions(known: Found | None) -> dict[str, str]:
    if known is None:
        return {}
    if known.tag:
        return {"If-None-Match": known.tag}
    if known.settled and known.modified is not None:
        return {"If-Modified-Since": http_date(known.modified)}
    return {}


def _tag(text: str) -> str:
    return text.removeprefix("W/")
