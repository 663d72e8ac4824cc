"""What the wire asks of sources, answered by whoever looks at them."""

from __future__ import annotations

from buildkit.api import gateway_pb2 as pb
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.frontend.frontend import LayoutStore, Resolving
from buildkit.frontend.gateway.convert import describe_to_pb, inquiry_from_pb, platform_from_pb


async def describe_source(resolving: Resolving, request: pb.ResolveSourceMetaRequest) -> pb.ResolveSourceMetaResponse:
    """What is known of a source without fetching it."""
    if not request.HasField("Source"):
        raise InvalidInput("source is required")
    identifier, attrs = request.Source.identifier, dict(request.Source.attrs)
    scheme, _, name = identifier.partition("://")
    response = pb.ResolveSourceMetaResponse(Source=request.Source)
    if scheme in ("docker-image", "oci-layout"):
        if request.Image.AttestationChain or request.Image.ResolveAttestations:
            raise Unsupported("resolving the attestations of images is not supported yet")
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
        return response
    inquiry = inquiry_from_pb(request)
    meta = await resolving.resolve_source(identifier, attrs, inquiry=inquiry, log_name=request.LogName)
    response.Source.identifier = meta.identifier
    response.Source.attrs.clear()
    response.Source.attrs.update(meta.attrs)
    if meta.known is not None:
        describe_to_pb(meta.identifier, meta.known, inquiry, response)
    return response
