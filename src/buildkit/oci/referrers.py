"""What refers to a manifest, as registries list it (OCI's referrers): signatures, attestations."""

from __future__ import annotations

from buildkit.core.digest import Digest
from buildkit.core.errors import Corrupt
from buildkit.core.values import dataclass
from buildkit.oci import spec
from buildkit.oci.hosts import Endpoint
from buildkit.oci.names import Reference
from buildkit.oci.registry import Access, expect
from buildkit.oci.spec import Descriptor

_UNKNOWN = (400, 404, 405, 406)
"""How registries answer that know no referrers."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that refers to another."""

    artifact_type: str
    descriptor: Descriptor


async def find_referrers(access: Access, reference: Reference, digest: Digest) -> list[Referrer]:
    """All that refer to a manifest of ``reference``'s repository; raises `Unauthenticated`, `Unavailable`, `Corrupt`.

    A registry without the list may have it under a tag that is called after the digest.
    """

    async def ask(endpoint: Endpoint) -> bytes:
        for path in (f"referrers/{digest}", f"manifests/{digest.replace(':', '-', 1)}"):
            response = await access.send(endpoint, "GET", reference, path, headers={"Accept": spec.OCI_INDEX})
            if response.status not in _UNKNOWN:
                await expect(response, "GET", 200)
                return await response.read(spec.MANIFEST_SIZE_LIMIT)
            response.close()
        return b""

    async with access.registry.turn(reference.domain, document=True):
        content = await access.registry.retry(lambda: access.ask_each(reference, ask))
    if not content:
        return []
    listed = spec.decode(content, "list of referrers").get("manifests")
    if not isinstance(listed, list):
        raise Corrupt(f"{reference.name}: the list of referrers of {digest} lists nothing")
    return [Referrer(_text(raw), spec.parse_descriptor(raw)) for raw in listed]


def _text(raw: spec.Json) -> str:
    kind = raw.get("artifactType") if isinstance(raw, dict) else None
    return kind if isinstance(kind, str) else ""
