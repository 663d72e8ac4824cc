"""``type=image``: an image in the content store, pushed under its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from buildkit.core.errors import BuildkitError, FailedPrecondition
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.exporter.attrs import ImageAttrs, parse_flag, parse_image_attrs
from buildkit.exporter.commit import Image, commit_image, documents_of, names_of, response_of
from buildkit.exporter.exporter import Exported, Exporting
from buildkit.oci.spec import SOURCE_PREFIX, Descriptor
from buildkit.store.blobs import Compression
from buildkit.store.refs import Ref

_FLAGS = {
    "push": False,
    "push-by-digest": False,
    "registry.insecure": False,
    "store": True,
    "unpack": False,
    "danging-name-empty-only": False,
    "name-canonical": False,
    "unsafe-internal-store-allow-incomplete": False,
}


@dataclass(frozen=True, slots=True)
class ImageExporter:
    """Makes an image and pushes it if told to. No store keeps named images here: names are for pushing."""

    attrs: ImageAttrs
    flags: Mapping[str, bool]
    dangling_prefix: str = ""

    @property
    def name(self) -> str:
        """What the progress calls it."""
        return "exporting to image"

    @property
    def compression(self) -> Compression:
        """How its layers are packed."""
        return self.attrs.compression

    async def export(self, result: Result[Ref], exporting: Exporting) -> Exported:
        """Commit the image; what is left is the push."""
        image = await commit_image(result, self.attrs, exporting)
        names = names_of(self.attrs, result)
        if self.dangling_prefix and not (self.flags["danging-name-empty-only"] and names):
            names = ",".join(filter(None, [names, f"{self.dangling_prefix}@{image.root.digest}"]))
        response = response_of(image, image.root, names)
        documents = documents_of(image, exporting.store.content)
        if not self.flags["push"] or not names:
            return Exported(response, image.root, documents)

        async def finish() -> None:
            for name in names.split(","):
                await self._push(name, image, exporting)

        return Exported(response, image.root, documents, finish)

    async def _push(self, name: str, image: Image, exporting: Exporting) -> None:
        from buildkit.oci.names import parse_reference
        from buildkit.oci.push import Push, push

        try:
            reference = parse_reference(name)
            order = Push(reference, image.root, self.flags["push-by-digest"], _origins(image.layers))
            if exporting.access is None:
                raise FailedPrecondition("no registry to push to")
            access = exporting.access(reference, self.flags["registry.insecure"])
            await push(access, order, _Blobs(exporting), exporting.progress)
        except BuildkitError as error:
            raise error.prefixed(f"failed to push {name}: ") from error.__cause__


@dataclass(frozen=True, slots=True)
class _Blobs:
    """The content store, with layers fetched that are not there."""

    exporting: Exporting

    async def open(self, descriptor: Descriptor) -> BinaryIO:
        store = self.exporting.store
        if not store.content.has(descriptor.digest):
            await store.fetch(descriptor, self.exporting.lease)
        return store.content.open(descriptor.digest)


def _origins(layers: Sequence[Descriptor]) -> dict[str, tuple[str, ...]]:
    """Where each layer came from: repositories that a registry may mount it from."""
    origins: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        for key, value in sorted(layer.annotations.items()):
            if key.startswith(SOURCE_PREFIX):
                host = key.removeprefix(SOURCE_PREFIX)
                found = tuple(f"{host}/{repository}" for repository in value.split(",") if repository)
                origins[layer.digest] = origins.get(layer.digest, ()) + found
    return origins


def open_image(attrs: Mapping[str, str]) -> ImageExporter:
    """An exporter with these attributes; raises `buildkit.core.errors.InvalidInput`."""
    parsed = parse_image_attrs(attrs, inline_attestations=True)
    flags = {key: parse_flag(parsed.rest, key, default) for key, default in _FLAGS.items()}
    rest = {key: value for key, value in parsed.rest.items() if key not in (*_FLAGS, "dangling-name-prefix")}
    return ImageExporter(replace(parsed, rest=rest), flags, parsed.rest.get("dangling-name-prefix", ""))
