"""What the wire asks of sources, answered by whoever looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit.api import gateway_pb2 as pb
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.frontend.frontend import LayoutStore, Resolving
from buildkit.frontend.gateway.convert import describe_to_pb, inquiry_from_pb, platform_from_pb

if TYPE_CHECKING:
    from buildkit.source.attested import AttestationChain


async def describe_source(resolving: Resolving, request: pb.ResolveSourceMetaRequest) -> pb.ResolveSourceMetaResponse:
    """What is known of a source without fetching it."""
    if not request.HasField("Source"):
        raise InvalidInput("source is required")
    identifier, attrs = request.Source.identifier, dict(request.Source.attrs)
    scheme, _, name = identifier.partition("://")
    response = pb.ResolveSourceMetaResponse(Source=request.Source)
    if scheme in ("docker-image", "oci-layout"):
        attested = request.Image.AttestationChain or request.Image.ResolveAttestations
        if attested and scheme == "oci-layout":
            raise Unsupported("attestations of images in OCI layouts are not looked up")
        platform = platform_from_pb(request.Platform) if request.HasField("Platform") else None
        store = None
        if scheme == "oci-layout":
            store = LayoutStore(attrs.get("oci.session", ""), attrs.get("oci.store", ""))
        found = await resolving.resolve_image(
            name,
            platform=platform,
            mode=request.ResolveMode or attrs.get("image.resolvemode", "default"),
            log_name=request.LogName,
            store=store,
        )
        response.Source.identifier = f"{scheme}://{found.ref}"
        response.Image.Digest = found.digest
        if not request.Image.NoConfig:
            response.Image.Config = found.config
        if attested:
            predicates = tuple(request.Image.ResolveAttestations)
            chain = await resolving.resolve_attestations(found.ref, platform=platform, predicates=predicates)
            if chain is not None:
                response.Image.AttestationChain.CopyFrom(_chain_to_pb(chain))
        return response
    inquiry = inquiry_from_pb(request)
    meta = await resolving.resolve_source(identifier, attrs, inquiry=inquiry, log_name=request.LogName)
    response.Source.identifier = meta.identifier
    response.Source.attrs.clear()
    response.Source.attrs.update(meta.attrs)
    if meta.known is not None:
        describe_to_pb(meta.identifier, meta.known, inquiry, response)
    return response


def _chain_to_pb(chain: AttestationChain) -> pb.AttestationChain:
    out = pb.AttestationChain(
        Root=chain.root,
        ImageManifest=chain.image,
        AttestationManifest=chain.attestations,
        SignatureManifests=chain.signatures,
    )
    for digest, (descriptor, content) in chain.blobs.items():
        described = pb.Descriptor(
            media_type=descriptor.media_type,
            digest=descriptor.digest,
            size=descriptor.size,
            annotations=descriptor.annotations,
        )
        out.Blobs[digest].CopyFrom(pb.Blob(descriptor=described, data=content))
    return out
