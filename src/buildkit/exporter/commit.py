"""From a result to an image in the content store: layers, configs, manifests, and an index where it takes one."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from buildkit.core.aio import gather_all
from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput
from buildkit.core.result import Attestation, Result
from buildkit.core.values import dataclass, replace
from buildkit.exporter.annotations import AnnotationRules, Annotations, parse_annotations
from buildkit.exporter.attrs import ImageAttrs, check_types
from buildkit.exporter.config import LayerFacts, Times, default_config, patch_config
from buildkit.exporter.epoch import Epoch, choose_epoch
from buildkit.exporter.exporter import Exporting
from buildkit.exporter.manifest import Document, make_config, make_index, make_manifest, public_layer
from buildkit.exporter.platforms import (
    BASE_CONFIG_KEY,
    CONFIG_KEY,
    ExportPlatform,
    metadata_of,
    platforms_of,
    ref_of,
)
from buildkit.oci.spec import Descriptor, encode, parse_manifest
from buildkit.store.content import ContentStore
from buildkit.store.refs import Layer, Ref
from buildkit.store.times import TimePolicy

NAME_KEY = "image.name"
DIGEST_KEY = "containerimage.digest"
CONFIG_DIGEST_KEY = "containerimage.config.digest"
DESCRIPTOR_KEY = "containerimage.descriptor"


_INLINE_ONLY = "inline-only"


@dataclass(frozen=True, slots=True)
class Image:
    """A committed image: its root, its parts, and the time that it carries if it is to carry a certain one."""

    root: Descriptor
    manifests: tuple[Descriptor, ...]
    layers: tuple[Descriptor, ...]
    """Every layer as the store knows it, with the annotations that stay at home."""
    config_digest: Digest = ""
    """Only for a single manifest."""
    stamp: int | None = None
    """Nanoseconds since 1970."""
    attached: tuple[Descriptor, ...] = ()
    """Blobs of attestations, their manifests among them."""


def documents_of(image: Image, content: ContentStore) -> tuple[Descriptor, ...]:
    """Everything below the root but the layers: manifests, configs, attestations."""
    configs = (parse_manifest(content.read(manifest.digest)).config for manifest in image.manifests)
    return (*image.manifests, *configs, *image.attached)


def response_of(image: Image, root: Descriptor, names: str) -> dict[str, str]:
    """What the client learns of an image."""
    response = {DIGEST_KEY: root.digest, DESCRIPTOR_KEY: base64.b64encode(encode(root.to_json())).decode()}
    if image.config_digest:
        response[CONFIG_DIGEST_KEY] = image.config_digest
    if names:
        response[NAME_KEY] = names
    return response


def names_of(attrs: ImageAttrs, result: Result[Ref]) -> str:
    """The names asked for; ``*`` is what the frontend calls the image."""
    if attrs.name == "*" and NAME_KEY in result.metadata:
        return result.metadata[NAME_KEY].decode(errors="replace")
    return attrs.name


async def commit_image(result: Result[Ref], attrs: ImageAttrs, exporting: Exporting) -> Image:
    """Make the image; raises `InvalidInput` where attributes and result contradict each other."""
    result = replace(result, metadata={**result.metadata, **_encoded(attrs.rest)})
    oci = attrs.oci_types is not False
    check_types(oci, attrs.oci_artifact)
    platforms = platforms_of(result)
    attestations = _attestations_of(result, attrs)
    rules = attrs.annotations.merged(parse_annotations(result.metadata)[0])
    _check_annotations(rules, result, oci=oci)
    if result.single and len(platforms) > 1:
        raise InvalidInput("cannot export multiple platforms without multi-platform enabled")
    commit = _Commit(result, attrs, exporting, oci=oci)
    made = await commit.layers(platforms)
    caches = await exporting.inline_cache() if exporting.inline_cache is not None else {}
    if result.single and "" in caches:
        caches = {platforms[0].id: caches[""]}
    written = [
        commit.manifest(p, layers, rules.of(None if result.single else p.platform), caches.get(p.id))
        for p, layers in zip(platforms, made, strict=True)
    ]
    manifests = tuple(
        replace(manifest.descriptor, platform=p.platform) for p, (_, manifest) in zip(platforms, written, strict=True)
    )
    attached: list[Descriptor] = []
    if result.single and not attestations:
        root, config_digest = manifests[0], written[0][0].descriptor.digest
    else:
        names = [name for name in names_of(attrs, result).split(",") if name]
        listed = list(manifests)
        for p, manifest in zip(platforms, manifests, strict=True):
            if said := attestations.get(p.id) or attestations.get(""):
                listed.append(commit.attest(manifest, p, said, names, attached))
        index = make_index(listed, rules.of(None), oci=oci)
        commit.write(index, "manifest list")
        root, config_digest = index.descriptor, ""
    every = tuple(layer.descriptor for layers in made for layer in layers)
    stamp = commit.times(choose_epoch(attrs.epoch, result.metadata, "")).fixed
    return Image(root, manifests, every, config_digest, stamp, tuple(attached))


class _Commit:
    def __init__(self, result: Result[Ref], attrs: ImageAttrs, exporting: Exporting, *, oci: bool) -> None:
        self._result = result
        self._attrs = attrs
        self._exporting = exporting
        self._oci = oci

    def _epoch(self, platform: ExportPlatform) -> Epoch | None:
        return choose_epoch(self._attrs.epoch, self._result.metadata, platform.id)

    def times(self, epoch: Epoch | None) -> Times:
        """The engine's fixed time gives way to an epoch that the user names."""
        fixed = self._exporting.created
        given = epoch.nanoseconds if epoch else None
        return Times(epoch, fixed if fixed is None or given is None else given)

    async def layers(self, platforms: Sequence[ExportPlatform]) -> list[Sequence[Layer]]:
        """Every platform's layers, made at once."""
        with self._exporting.stage("exporting layers"):
            made = await gather_all([self._layers_of(platform) for platform in platforms])
        if not self._attrs.rewrite_timestamp:
            return made
        return [await self._rewritten(platform, layers) for platform, layers in zip(platforms, made, strict=True)]

    async def _layers_of(self, platform: ExportPlatform) -> Sequence[Layer]:
        exporting, epoch = self._exporting, self._epoch(platform)
        times = exporting.times
        if self._attrs.rewrite_timestamp and epoch is not None and epoch.seconds is not None:
            times = TimePolicy("clamp", epoch.seconds)
        ref = ref_of(self._result, platform.id)
        return await exporting.store.layers(ref, self._attrs.compression, exporting.lease, times=times)

    async def _rewritten(self, platform: ExportPlatform, layers: Sequence[Layer]) -> Sequence[Layer]:
        epoch = self._epoch(platform)
        if epoch is None or epoch.seconds is None:
            return layers
        from buildkit.exporter.rewrite import rewrite_layers

        base = metadata_of(self._result.metadata, BASE_CONFIG_KEY, platform.id)
        return await rewrite_layers(layers, epoch.seconds, base, self._attrs.compression, self._exporting)

    def manifest(
        self, platform: ExportPlatform, layers: Sequence[Layer], annotations: Annotations, cache: bytes | None
    ) -> tuple[Document, Document]:
        """Write one platform's config and manifest."""
        metadata = self._result.metadata
        content = patch_config(
            metadata_of(metadata, CONFIG_KEY, platform.id) or default_config(),
            [LayerFacts(layer.diff_id, layer.created, layer.description) for layer in layers],
            self.times(self._epoch(platform)),
            base=metadata_of(metadata, BASE_CONFIG_KEY, platform.id),
            inline_cache=cache,
        )
        config = make_config(content, oci=self._oci)
        keep = self._attrs.keep_foreign_layers
        public = [public_layer(layer.descriptor, oci=self._oci, keep_foreign=keep) for layer in layers]
        if self._result.single and (annotations.index or annotations.index_descriptor):
            raise InvalidInput("index annotations not supported for single platform export")
        manifest = make_manifest(config.descriptor, public, annotations, oci=self._oci)
        self.write(manifest, "manifest")
        self.write(config, "config")
        return config, manifest

    def attest(
        self,
        target: Descriptor,
        platform: ExportPlatform,
        attestations: Sequence[Attestation[Ref]],
        names: Sequence[str],
        attached: list[Descriptor],
    ) -> Descriptor:
        """Write what is said about one platform's manifest; every blob of it goes into ``attached``."""
        from buildkit.exporter.attest import attest

        artifact = self._attrs.oci_artifact is not False
        made = attest(target, platform.platform, attestations, names, artifact=artifact)
        for document in made.documents[:-1]:
            self._exporting.lease.hold_blob(document.descriptor.digest)
            self._exporting.store.content.put(document.content)
        self.write(made.documents[-1], "attestation manifest")
        attached += (document.descriptor for document in made.documents)
        return made.descriptor

    def write(self, document: Document, what: str) -> None:
        """Store a document."""
        digest = document.descriptor.digest
        with self._exporting.stage(f"exporting {what} {digest}"):
            self._exporting.lease.hold_blob(digest)
            self._exporting.store.content.put(document.content)


def _encoded(attrs: Mapping[str, str]) -> dict[str, bytes]:
    return {key: value.encode(errors="surrogateescape") for key, value in attrs.items()}


def _attestations_of(result: Result[Ref], attrs: ImageAttrs) -> dict[str, Sequence[Attestation[Ref]]]:
    """What to embed, by platform. Those that are for images alone make no index of a lone manifest elsewhere."""
    found: dict[str, Sequence[Attestation[Ref]]] = {p: listed for p, listed in result.attestations.items() if listed}
    every = [one for listed in found.values() for one in listed]
    if result.single and not attrs.inline_attestations and all(map(_is_inline_only, every)):
        return {}
    if found and attrs.oci_types is False:
        raise InvalidInput('cannot export attestations with "oci-mediatypes=false"')
    return found


def _is_inline_only(attestation: Attestation[Ref]) -> bool:
    return attestation.metadata.get(_INLINE_ONLY) == b"true"


def _check_annotations(rules: AnnotationRules, result: Result[Ref], *, oci: bool) -> None:
    if not result.single:
        for platform in sorted(rules.platforms):
            if platform not in result.refs:
                raise InvalidInput(f"invalid annotation: no platform {platform} found in source")
    if not oci and rules.beyond_manifest:
        raise InvalidInput('cannot export annotations with "oci-mediatypes=false"')
