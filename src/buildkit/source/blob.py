"""Single blobs of registries and OCI layouts, as files: always named by digest."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping

from buildkit.core.digest import Digest, hex_of, parse_digest, sha256
from buildkit.core.errors import Corrupt, Exhausted, InvalidInput, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass
from buildkit.oci import spec
from buildkit.oci.names import Reference, parse_reference
from buildkit.oci.spec import Descriptor
from buildkit.session.registry import Sessions
from buildkit.source.file import FileWish, new_file, parse_file_wish, safe_name
from buildkit.source.origin import FromLayout, FromRegistry, Origin, Visits
from buildkit.source.pull import Pull, Pulls, forbid
from buildkit.source.source import Asking
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store

_LAYOUT = "oci-layout+blob"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a definition says about a blob. ``store`` and ``session`` are those of an OCI layout."""

    name: str
    reference: Reference
    digest: Digest
    file: FileWish
    store: str = ""
    session: str = ""

    def key(self) -> Digest:
        """BuildKit's cache key of a blob."""
        wish = self.file
        name = safe_name(wish.name) if wish.name else ""
        fields = {"Digest": self.digest, "Filename": name, "Perm": wish.mode, "UID": wish.uid, "GID": wish.gid}
        return sha256(spec.encode(fields))


class Blobs:
    """The schemes ``docker-image+blob`` and ``oci-layout+blob``."""

    schemes = ("docker-image+blob", _LAYOUT)

    def __init__(self, visits: Visits, sessions: Sessions, store: Store, pulls: Pulls) -> None:
        self.visits = visits
        self.sessions = sessions
        self.store = store
        self.pulls = pulls

    def open(self, scheme: str, name: str, attrs: Mapping[str, str], platform: Platform) -> Blob:
        """A source for one blob; raises `InvalidInput`."""
        try:
            reference = parse_reference(name)
            digest = parse_digest(reference.digest)
        except InvalidInput as error:
            raise error.prefixed(f"invalid image blob reference {name}: ") from None
        if not digest.startswith("sha256:"):
            raise Unsupported(f"image blob reference {name}: only sha256 is supported")
        store = attrs.get("oci.store", "")
        if scheme == _LAYOUT and not store:
            raise InvalidInput("oci-layout blob source requires store id")
        layout = (store, attrs.get("oci.session", "")) if scheme == _LAYOUT else ("", "")
        return Blob(self, Wanted(f"{scheme}://{name}", reference, digest, parse_file_wish(attrs), *layout))


class Blob:
    """One blob."""

    def __init__(self, blobs: Blobs, wanted: Wanted) -> None:
        self._blobs = blobs
        self._wanted = wanted

    @property
    def pin(self) -> str:
        """The digest, which is in the name."""
        return self._wanted.digest

    async def keys(self, step: Asking) -> AsyncIterator[str]:
        """One key, known without asking anyone."""
        wanted = self._wanted
        step.note(blob=wanted.name, digest=wanted.digest, mode=f"{wanted.file.mode or 0o600:04o}")
        yield wanted.key()

    async def snapshot(self, step: Asking, lease: Lease) -> Ref | None:
        """The file; its bytes are taken from here if the blob is here."""
        wanted, store = self._wanted, self._blobs.store
        name = safe_name(wanted.file.name) if wanted.file.name else hex_of(wanted.digest)
        async with new_file(store, lease, name, wanted.file, f"blob {wanted.name}") as tree:
            if self._blobs.pulls.of(step.sessions()) is Pull.NEVER and not wanted.store:
                raise forbid(wanted.name)
            origin = self._origin(step.sessions())
            size = await origin.size(wanted.digest)
            if size > shutil.disk_usage(store.root).free:
                raise Exhausted(f"{wanted.name}: no space for {size} bytes")
            status = f"fetch {wanted.digest}"
            await origin.fetch(Descriptor("", wanted.digest, size), tree.writer, lambda count: None)
            if tree.writer.digest != wanted.digest:
                raise Corrupt(f"{wanted.name}: digest mismatch: got {tree.writer.digest}")
            step.progress.status(status, current=size, total=size)
            tree.wanted = True
        return tree.ref

    def _origin(self, ids: tuple[str, ...]) -> Origin:
        wanted, blobs = self._wanted, self._blobs
        if wanted.store:
            return FromLayout(blobs.sessions, ids, wanted.session, wanted.store, wanted.digest)
        return FromRegistry(blobs.visits.of(ids), wanted.reference)
