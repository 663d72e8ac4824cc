"""Pushing: what a registry lacks, blobs first and in parallel, then manifests from the leaves up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import BinaryIO, Protocol
from urllib.parse import quote, urljoin, urlsplit

from buildkit.core.aio import gather_all
from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput, Unauthenticated
from buildkit.core.progress import Reporter
from buildkit.core.values import dataclass, field, replace
from buildkit.oci import spec
from buildkit.oci.hosts import Endpoint, endpoints
from buildkit.oci.names import Reference
from buildkit.oci.registry import Access, expect, status_error
from buildkit.oci.spec import Descriptor
from buildkit.oci.transport import Request, Response, Unreachable, same_origin


class Blobs(Protocol):
    """Where the pushed content comes from."""

    async def open(self, descriptor: Descriptor) -> BinaryIO:
        """The bytes, seekable; fetches what is not at hand. Raises `buildkit.core.errors.NotFound`."""


@dataclass(frozen=True, slots=True)
class Push:
    """What to push, and where to."""

    reference: Reference
    root: Descriptor
    """A manifest or an index; everything below it is pushed with it."""
    by_digest: bool = False
    """Leave no tag."""
    origins: Mapping[Digest, Sequence[str]] = field(default_factory=dict[Digest, Sequence[str]])
    """For a blob: references (``registry/repository``) that hold it; those on the same registry are mounted."""

    def __post_init__(self) -> None:
        if self.by_digest and not self.reference.is_name_only:
            raise InvalidInput(f"can't push tagged ref {self.reference} by digest")

    @property
    def name(self) -> str:
        """How the pushed image is then called: with its digest."""
        reference = self.reference if self.by_digest else self.reference.with_default_tag()
        return reference.name if self.by_digest else str(replace(reference, digest=self.root.digest))


async def push(access: Access, order: Push, blobs: Blobs, progress: Reporter | None = None) -> None:
    """Push an image or index with all that belongs to it; raises the registry's error.

    Progress: the statuses ``pushing layers`` and ``pushing manifest for <name>``.
    """
    job = _Job(access, order, blobs)
    with _Stage(progress, "pushing layers"):
        documents, leaves = await job.survey(order.root)
        await gather_all(job.push_blob(leaf) for leaf in leaves)
    with _Stage(progress, f"pushing manifest for {order.name}"):
        for descriptor in reversed(documents):
            await job.push_document(descriptor)


class _Stage:
    """A status that starts when entered and completes when left."""

    def __init__(self, progress: Reporter | None, name: str) -> None:
        self._progress = progress
        self._name = name
        self._started = time.time_ns()

    def __enter__(self) -> None:
        if self._progress is not None:
            self._progress.status(self._name, started=self._started)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.status(self._name, started=self._started, completed=time.time_ns())


class _Job:
    def __init__(self, access: Access, order: Push, blobs: Blobs) -> None:
        self._access = access
        self._registry = access.registry
        self._order = order
        self._blobs = blobs
        self._target = order.reference
        self._endpoint: Endpoint = endpoints(self._registry.hosts, self._target.domain, push=True)[0]
        self._documents: dict[Digest, bytes] = {}

    async def survey(self, root: Descriptor) -> tuple[list[Descriptor], list[Descriptor]]:
        """All documents, parents before children, and all distinct blobs below ``root``."""
        documents: list[Descriptor] = []
        leaves: dict[Digest, Descriptor] = {}
        queue = [root]
        while queue:
            descriptor = queue.pop(0)
            if descriptor.media_type not in spec.MANIFESTS | spec.INDEXES:
                if spec.is_distributable(descriptor.media_type):
                    leaves.setdefault(descriptor.digest, descriptor)
                continue
            documents = [d for d in documents if d.digest != descriptor.digest] + [descriptor]
            content = self._documents[descriptor.digest] = await self._read(descriptor)
            if descriptor.media_type in spec.INDEXES:
                queue += spec.parse_index(content).manifests
            else:
                manifest = spec.parse_manifest(content)
                queue += [manifest.config, *manifest.layers]
        return documents, list(leaves.values())

    async def _read(self, descriptor: Descriptor) -> bytes:
        with await self._blobs.open(descriptor) as source:
            return source.read(spec.MANIFEST_SIZE_LIMIT)

    async def push_blob(self, descriptor: Descriptor) -> None:
        document = descriptor.media_type.endswith("+json")
        async with self._registry.turn(self._target.domain, document=document):
            await self._registry.retry(lambda: self._push_blob(descriptor))

    async def _push_blob(self, descriptor: Descriptor) -> None:
        if await self._exists(f"blobs/{descriptor.digest}"):
            return
        response = await self._mount(descriptor) or await self._send("POST", "blobs/uploads/")
        if response.status == 201:
            response.close()
            return
        await expect(response, "POST", 200, 202, 204)
        location = response.header("Location")
        response.close()
        if not location:
            raise Unreachable(f"{response.url} gave no place to upload to", transient=False)
        await self._upload(urljoin(response.url, location), descriptor)

    async def _exists(self, path: str) -> bool:
        response = await self._send("HEAD", path, headers={"Accept": spec_accept(path)})
        response.close()
        if response.status in (200, 404):
            return response.status == 200
        raise await status_error(response, "HEAD")

    async def _mount(self, descriptor: Descriptor) -> Response | None:
        """Ask the registry to take the blob from another of its repositories; None: upload it."""
        for origin in self._order.origins.get(descriptor.digest, ()):
            domain, _, repository = origin.partition("/")
            if domain != self._target.domain or repository == self._target.path:
                continue
            path = f"blobs/uploads/?mount={quote(descriptor.digest)}&from={quote(repository, safe='')}"
            try:
                response = await self._send("POST", path, scopes=(f"repository:{repository}:pull",))
            except Unauthenticated:
                continue
            if response.status in (201, 202):
                return response
            response.close()
        return None

    async def _upload(self, url: str, descriptor: Descriptor) -> None:
        """Stream the blob to ``url`` in one request; memory does not grow with its size."""
        source = await self._blobs.open(descriptor)
        try:
            parts = urlsplit(url)
            target = url + ("&" if parts.query else "?") + f"digest={quote(descriptor.digest, safe='')}"
            request = Request(
                "PUT",
                target,
                {"Content-Type": "application/octet-stream"},
                self._endpoint.tls,
                self._endpoint.may_fall_back,
                _again(source),
                descriptor.size,
            )
            if same_origin(url, self._endpoint.url) or self._endpoint.may_fall_back:
                response = await self._access.authorized(request, self._endpoint, self._scopes)
            else:
                response = await self._registry.transport.send(request)
            await expect(response, "PUT", 200, 201, 204)
            response.close()
        finally:
            source.close()

    async def push_document(self, descriptor: Descriptor) -> None:
        """Put one manifest or index; only the root gets the tag."""
        tag = self._target.with_default_tag().tag
        tagged = descriptor.digest == self._order.root.digest and not self._order.by_digest and bool(tag)
        path = f"manifests/{tag if tagged else descriptor.digest}"
        async with self._registry.turn(self._target.domain, document=True):
            await self._registry.retry(lambda: self._push_document(descriptor, path, tagged=tagged))

    async def _push_document(self, descriptor: Descriptor, path: str, *, tagged: bool) -> None:
        response = await self._send("HEAD", path, headers={"Accept": f"{descriptor.media_type}, */*"})
        response.close()
        if response.status == 200 and (not tagged or response.header("Docker-Content-Digest") == descriptor.digest):
            return
        content = self._documents[descriptor.digest]
        response = await self._send(
            "PUT",
            path,
            headers={"Content-Type": descriptor.media_type},
            body=lambda: BytesIO(content),
            length=len(content),
        )
        await expect(response, "PUT", 200, 201, 204)
        response.close()

    @property
    def _scopes(self) -> tuple[str, ...]:
        return (f"repository:{self._target.path}:pull,push",)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], BinaryIO] | None = None,
        length: int = 0,
        scopes: tuple[str, ...] = (),
    ) -> Response:
        try:
            return await self._access.send(
                self._endpoint,
                method,
                self._target,
                path,
                headers=headers,
                body=body,
                length=length,
                push=True,
                further_scopes=scopes,
            )
        except Unauthenticated as error:
            if not error.message.startswith(("failed to", "push access denied")):
                error.prefixed("push access denied, repository does not exist or may require authorization: ")
            raise


def spec_accept(path: str) -> str:
    """The ``Accept`` header for asking whether something exists."""
    return "*/*" if path.startswith("blobs/") else ", ".join(sorted(spec.MANIFESTS | spec.INDEXES))


def _again(source: BinaryIO) -> Callable[[], BinaryIO]:
    """Opens ``source`` from its start for each attempt, and lets none of them close it."""

    class Unclosed:
        def __enter__(self) -> Unclosed:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def read(self, size: int = -1) -> bytes:
            return source.read(size)

    def again() -> BinaryIO:
        source.seek(0)
        return Unclosed()  # type: ignore[return-value]

    return again
