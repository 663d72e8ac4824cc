"""Who attested an image and who signed that: the documents that a policy wants to see (specification row A86)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from buildkit.core.digest import Digest
from buildkit.core.errors import NotFound
from buildkit.core.platform import Platform, format_platform, rank
from buildkit.core.values import dataclass
from buildkit.oci import spec
from buildkit.oci.referrers import Referrer
from buildkit.oci.spec import Descriptor

Read = Callable[[Descriptor], Awaitable[bytes]]

_OF, _KIND, _ATTESTS = "vnd.docker.reference.digest", "vnd.docker.reference.type", "attestation-manifest"
_PREDICATE = "in-toto.io/predicate-type"
_SIGNATURES = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
)
"""Types of signatures, the better one first."""


@dataclass(frozen=True, slots=True)
class AttestationChain:
    """From an index to what is said of one of its images, and to who signed that; "" is what is not there."""

    root: Digest
    image: Digest
    attestations: Digest = ""
    signatures: tuple[Digest, ...] = ()
    blobs: Mapping[Digest, tuple[Descriptor, bytes]] = {}
    """Every document on the way but the image's own manifest; signatures; the statements that were asked for."""


async def attestation_chain(
    root: Descriptor,
    platform: Platform,
    read: Read,
    referrers: Callable[[Digest], Awaitable[Sequence[Referrer]]],
    predicates: Sequence[str] = (),
) -> AttestationChain | None:
    """The chain of the image for ``platform``; None for what is no OCI index and has none.

    ``predicates`` are types of statements whose content is wanted too. Raises `NotFound` when there is no such image.
    """
    if root.media_type != spec.OCI_INDEX:
        return None
    blobs: dict[Digest, tuple[Descriptor, bytes]] = {}

    async def take(descriptor: Descriptor) -> bytes:
        content = await read(descriptor)
        blobs[descriptor.digest] = (descriptor, content)
        return content

    index = spec.parse_index(await take(root))
    image = _choose(index.manifests, platform)
    about = next((one for one in index.manifests if _attests(one, image.digest)), None)
    if about is None:
        return AttestationChain(root.digest, image.digest, blobs=blobs)
    statements = spec.parse_manifest(await take(about)).layers
    signature = _best(await referrers(about.digest))
    if signature is not None:
        for layer in spec.parse_manifest(await take(signature)).layers:
            await take(layer)
    for statement in statements:
        if statement.annotations.get(_PREDICATE, "") in predicates and statement.digest not in blobs:
            await take(statement)
    signatures = () if signature is None else (signature.digest,)
    return AttestationChain(root.digest, image.digest, about.digest, signatures, blobs)


def _choose(listed: Sequence[Descriptor], platform: Platform) -> Descriptor:
    fitting: list[tuple[int, Descriptor]] = []
    for one in listed:
        fits = len(listed) + 100 if one.platform is None else rank(one.platform, platform)
        if one.media_type in spec.MANIFESTS and fits is not None:
            fitting.append((fits, one))
    if not fitting:
        raise NotFound(f"no manifest for platform {format_platform(platform)}: not found")
    return min(fitting, key=lambda pair: pair[0])[1]


def _attests(one: Descriptor, image: Digest) -> bool:
    return one.annotations.get(_KIND) == _ATTESTS and one.annotations.get(_OF) == image


def _best(found: Sequence[Referrer]) -> Descriptor | None:
    known = [one for one in found if one.artifact_type in _SIGNATURES]
    return min(known, key=lambda one: _SIGNATURES.index(one.artifact_type)).descriptor if known else None
