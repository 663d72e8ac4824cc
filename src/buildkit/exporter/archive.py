"""``type=oci`` and ``type=docker``: an image layout, as one tar or as a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, BinaryIO

from buildkit.core.aio import finish_in_thread, gather_all, run_apart
from buildkit.core.digest import Digest, algorithm, hex_of
from buildkit.core.errors import AlreadyExists, BuildkitError, Corrupt, InvalidInput
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.exporter.attrs import ImageAttrs, parse_flag, parse_image_attrs
from buildkit.exporter.commit import Image, commit_image, documents_of, names_of, response_of
from buildkit.exporter.epoch import choose_epoch, format_rfc3339
from buildkit.exporter.exporter import Exported, Exporting
from buildkit.fs.tarwrite import DIRECTORY, END, REGULAR, header, padding
from buildkit.oci.names import parse_reference
from buildkit.oci.spec import OCI_INDEX, Descriptor, Index, encode, parse_manifest
from buildkit.store.blobs import Compression
from buildkit.store.content import ContentStore
from buildkit.store.refs import Ref

if TYPE_CHECKING:
    from buildkit.oci.layout import Layout

_CREATED = "org.opencontainers.image.created"
_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_SECOND = 1_000_000_000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveExporter:
    """``kind`` is ``oci`` or ``docker``; the latter adds what ``docker load`` reads."""

    kind: str
    attrs: ImageAttrs
    tar: bool

    @property
    def name(self) -> str:
        """What the progress calls it."""
        return f"exporting to {self.kind} image format"

    @property
    def compression(self) -> Compression:
        """How its layers are packed."""
        return self.attrs.compression

    async def export(self, result: Result[Ref], exporting: Exporting) -> Exported:
        """Commit the image and send it to the client."""
        if self.kind == "docker" and not result.single:
            raise InvalidInput("docker exporter does not currently support exporting manifest lists")
        outputs = exporting.need_outputs()
        image = await commit_image(result, self.attrs, exporting)
        root = self._stamped(image, result)
        names = normalized_names(names_of(self.attrs, result))
        response = response_of(image, root, ",".join(names))
        layers = await _at_hand(image, exporting)
        documents = documents_of(image, exporting.store.content)
        blobs = [image.root, *layers, *documents]
        if not self.tar:
            from buildkit.oci.layout import Layout

            directory = outputs.directory(exporting.id)
            if directory is None:
                with exporting.stage("sending image"):
                    parts = [*layers, *documents, image.root]
                    await outputs.store(exporting.id, parts, exporting.store.content.open)
                return Exported(response, root, documents)
            await finish_in_thread(_write_layout, Layout.create(directory), exporting.store.content, blobs, root, names)
            return Exported(response, root, documents)
        loaded = image.manifests[0] if self.kind == "docker" else None
        records = archive_records(exporting.store.content, blobs, root, names, loaded)
        try:
            async with outputs.open_file(exporting.id, response) as out:
                with exporting.stage("sending tarball"):
                    await run_apart(write_archive, records, out)
        except AlreadyExists:
            pass  # the client has this image and wants no second copy
        return Exported(response, root, documents)

    def _stamped(self, image: Image, result: Result[Ref]) -> Descriptor:
        """The root descriptor, annotated with the time at which the archive was made."""
        if _CREATED in image.root.annotations:
            return image.root
        epoch = choose_epoch(self.attrs.epoch, result.metadata, "")
        given = epoch.nanoseconds if epoch else None
        moment = next(time for time in (image.stamp, given, time_ns()) if time is not None)
        created = format_rfc3339(moment // _SECOND * _SECOND)
        return replace(image.root, annotations={**image.root.annotations, _CREATED: created})


def normalized_names(names: str) -> list[str]:
    """Full references with a tag; raises `InvalidInput`."""
    found = []
    for name in names.split(",") if names else ():
        try:
            found.append(str(parse_reference(name).with_default_tag()))
        except BuildkitError as error:
            raise error.prefixed(f"failed to parse {name}: ") from None
    return found


async def _at_hand(image: Image, exporting: Exporting) -> list[Descriptor]:
    """The image's layers, once each, all of them fetched."""
    layers = list({layer.digest: layer for layer in image.layers}.values())
    await gather_all([exporting.store.fetch(layer, exporting.lease) for layer in layers])
    return layers


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the archive: its bytes, or the blob that holds them."""

    name: str
    mode: int
    content: bytes | None = None
    blob: Descriptor | None = None
    source: ContentStore | None = None


def archive_records(
    content: ContentStore,
    blobs: Sequence[Descriptor],
    root: Descriptor,
    names: Sequence[str],
    loaded: Descriptor | None = None,
) -> list[Record]:
    """What is in the archive, sorted by name. ``loaded`` is the manifest that ``docker load`` is told of.

    BuildKit leaves that out where the root is an index, and older Dockers cannot load what it writes then.
    """
    records = {f"blobs/{algorithm(blob.digest)}/": Record("", 0o755) for blob in blobs}
    records["blobs/"] = Record("", 0o755)
    for blob in blobs:
        records[_path(blob.digest)] = Record("", 0o444, blob=blob, source=content)
    index = Index(OCI_INDEX, tuple(named_roots(root, names)))
    records["index.json"] = Record("", 0o644, encode(index.to_json()))
    records["oci-layout"] = Record("", 0o444, _LAYOUT)
    if loaded is not None:
        records["manifest.json"] = Record("", 0o644, docker_manifest(content.read(loaded.digest), names))
    return [replace(record, name=name) for name, record in sorted(records.items())]


def _path(digest: Digest) -> str:
    return f"blobs/{algorithm(digest)}/{hex_of(digest)}"


def named_roots(root: Descriptor, names: Sequence[str]) -> list[Descriptor]:
    """The root once for each of its names, or once without any."""
    roots = []
    for name in names:
        roots.append(replace(root, annotations={**root.annotations, _IMAGE_NAME: name, _REF_NAME: short_name(name)}))
    return roots or [root]


def short_name(name: str) -> str:
    """The tag, with the digest if there is one too; the whole name without a tag."""
    reference = parse_reference(name)
    if not reference.tag:
        return name
    return f"{reference.tag}@{reference.digest}" if reference.digest else reference.tag


def docker_manifest(manifest: bytes, names: Sequence[str]) -> bytes:
    """``manifest.json``: paths and familiar names."""
    parsed = parse_manifest(manifest)
    entry = {
        "Config": _path(parsed.config.digest),
        "RepoTags": [parse_reference(name).familiar for name in names] or None,
        "Layers": [_path(layer.digest) for layer in parsed.layers] or None,
    }
    return encode([entry])


def write_archive(records: Sequence[Record], out: BinaryIO) -> None:
    """Write the tar; raises `Corrupt` when a blob is not what its digest says."""
    for record in records:
        if record.blob is not None and record.source is not None:
            _write(out, header(record.name, REGULAR, mode=record.mode, size=record.blob.size))
            with record.source.open(record.blob.digest) as source:
                _copy(source, out, record.blob)
        elif record.content is not None:
            head = header(record.name, REGULAR, mode=record.mode, size=len(record.content))
            _write(out, head + record.content + padding(len(record.content)))
        else:
            _write(out, header(record.name, DIRECTORY, mode=record.mode))
    _write(out, END)


def _copy(source: BinaryIO, out: BinaryIO, blob: Descriptor) -> None:
    digest, size = hashlib.new(algorithm(blob.digest)), 0
    while part := source.read(_BLOCK):
        digest.update(part)
        size += len(part)
        if size > blob.size:
            break
        _write(out, part)
    if size != blob.size or digest.hexdigest() != hex_of(blob.digest):
        raise Corrupt(f"content {blob.digest}: the stored bytes are damaged")
    _write(out, padding(size))


def _write(out: BinaryIO, content: bytes) -> None:
    """Write all, also to a file without a buffer."""
    view = memoryview(content)
    while view:
        view = view[out.write(view) :]


def _write_layout(
    layout: Layout, content: ContentStore, blobs: Sequence[Descriptor], root: Descriptor, names: Sequence[str]
) -> None:
    for blob in blobs:
        with content.open(blob.digest) as source:
            layout.take(blob.digest, source)
    for name in names:
        layout.tag(root, short_name(name), name)
    if not names:
        layout.tag(root, "latest")


def open_archive(kind: str, attrs: Mapping[str, str]) -> ArchiveExporter:
    """An exporter with these attributes; raises `InvalidInput`."""
    parsed = parse_image_attrs(attrs, inline_attestations=False)
    rest = {key: value for key, value in parsed.rest.items() if key != "tar"}
    return ArchiveExporter(kind, replace(parsed, rest=rest), parse_flag(parsed.rest, "tar", True))
