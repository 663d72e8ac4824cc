"""From the name of an image to its layers: pick the platform's manifest, read its config, check that they fit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from buildkit.core.clock import seconds_at
from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import Corrupt, FailedPrecondition, NotFound
from buildkit.core.pattern import Pattern
from buildkit.core.platform import Platform, rank
from buildkit.core.values import dataclass, replace
from buildkit.oci import spec
from buildkit.oci.spec import Descriptor, ImageConfig, Index, Manifest
from buildkit.store.refs import LayerSource

_NESTING_LIMIT = 4
_TIME = Pattern(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\d*(?:[Zz]|([+-])(\d\d):(\d\d))")


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image for one platform."""

    root: Descriptor
    """What the name resolved to: an index or a manifest."""
    manifest: Manifest
    config: bytes
    layers: tuple[LayerSource, ...]
    documents: dict[Digest, bytes]
    """Every manifest, index and config on the way, by digest."""

    def limited(self, count: int) -> PulledImage:
        """The same with its first ``count`` layers only; raises `FailedPrecondition` when it has fewer."""
        if count > len(self.layers):
            raise FailedPrecondition(
                f"layer limit {count} is greater than the number of layers in the image {len(self.layers)}"
            )
        return replace(self, layers=self.layers[:count])


async def pull_image(
    root: Descriptor, platform: Platform, read: Callable[[Descriptor], Awaitable[bytes]]
) -> PulledImage:
    """Read what describes the image for ``platform``; raises `NotFound` when there is none for it."""
    if root.media_type in spec.DOCKER_SCHEMA1:
        raise FailedPrecondition(
            "support Docker Image manifest version 2, schema 1 has been removed. "
            "More information at https://docs.docker.com/go/deprecated-image-specs/"
        )
    documents: dict[Digest, bytes] = {}

    async def remember(descriptor: Descriptor) -> bytes:
        content = documents.get(descriptor.digest)
        if content is None:
            content = documents[descriptor.digest] = await read(descriptor)
        return content

    content = await remember(root)
    kind = spec.detect_media_type(content)
    root = replace(root, media_type=root.media_type if root.media_type in spec.MANIFESTS | spec.INDEXES else kind)
    if kind in spec.INDEXES:
        manifest = await _choose(spec.parse_index(content), platform, remember, _NESTING_LIMIT)
        if manifest is None:
            raise NotFound("no match for platform in manifest: not found")
    else:
        manifest = spec.parse_manifest(content)
    config = await remember(manifest.config)
    return PulledImage(root, manifest, config, _layers(manifest, spec.parse_config(config)), documents)


async def _choose(
    index: Index, platform: Platform, read: Callable[[Descriptor], Awaitable[bytes]], depth: int
) -> Manifest | None:
    """The manifest that suits ``platform`` best."""
    if depth == 0:
        raise Corrupt("image index is nested too deep")
    ranked: list[tuple[int, Descriptor]] = []
    for descriptor in index.manifests:
        if descriptor.platform is None:
            found: int | None = len(index.manifests) + 100
        else:
            found = rank(descriptor.platform, platform)
        if found is not None:
            ranked.append((found, descriptor))
    for _, descriptor in sorted(ranked, key=lambda pair: pair[0]):
        if descriptor.media_type not in spec.MANIFESTS | spec.INDEXES:
            continue
        content = await read(descriptor)
        if spec.detect_media_type(content) in spec.INDEXES:
            chosen = await _choose(spec.parse_index(content), platform, read, depth - 1)
            if chosen is not None:
                return chosen
            continue
        manifest = spec.parse_manifest(content)
        if descriptor.platform is not None:
            return manifest
        if manifest.config.media_type in spec.CONFIGS:
            stated = spec.parse_config(await read(manifest.config)).platform
            if rank(stated, platform) is not None:
                return manifest
    return None


def _layers(manifest: Manifest, config: ImageConfig) -> tuple[LayerSource, ...]:
    diff_ids = config.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise Corrupt(
            f"mismatched image rootfs and manifest layers: {len(diff_ids)} diff ids, {len(manifest.layers)} layers"
        )
    times = [parse_time(str(one.get("created") or "")) for one in config.history if one.get("empty_layer") is not True]
    if len(times) != len(diff_ids):
        times = [None] * len(diff_ids)
    for layer in manifest.layers:
        spec.compression_of(layer.media_type)
    return tuple(
        LayerSource(descriptor, diff_id, created)
        for descriptor, diff_id, created in zip(manifest.layers, diff_ids, times, strict=True)
    )


def manifest_key(root: Digest, platform: Platform, limit: int | None) -> Digest:
    """The quick key: the digest of what was resolved and what was asked for."""
    fields: dict[str, object] = {"Digest": root, "OS": platform.os, "Arch": platform.architecture}
    if platform.variant:
        fields["Variant"] = platform.variant
    if platform.os_version:
        fields["OSVersion"] = platform.os_version
    if platform.os_features:
        fields["OSFeatures"] = list(platform.os_features)
    if limit is not None:
        fields["Limit"] = limit
    return sha256(spec.encode(fields))


def layers_key(config: bytes, limit: int | None) -> Digest | None:
    """The slow key: the chain id of the layers, the same for every image that has them; None without layers."""
    parsed = spec.parse_config(config)
    diff_ids = parsed.diff_ids if limit is None else parsed.diff_ids[:limit]
    if parsed.rootfs_type != "layers" or not diff_ids:
        return None
    return spec.chain_id(diff_ids)


def parse_time(text: str) -> int | None:
    """RFC 3339 to nanoseconds since the epoch; None for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and year >= 1):
        return None
    seconds = seconds_at(year, month, day, hour, minute, second)
    if match[8]:
        offset = int(match[9]) * 3600 + int(match[10]) * 60
        seconds -= offset if match[8] == "+" else -offset
    return seconds * 1_000_000_000 + int((match[7] or "0").ljust(9, "0"))
