"""Every exporter by the name of its type."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.errors import InvalidInput
from buildkit.exporter.exporter import Exporter

TYPES = ("image", "oci", "docker", "local", "tar")


def open_exporter(type: str, attrs: Mapping[str, str]) -> Exporter:
    """The exporter with its attributes checked; raises `InvalidInput` or `buildkit.core.errors.Unsupported`."""
    if type == "image":
        from buildkit.exporter.image import open_image

        return open_image(attrs)
    if type in ("oci", "docker"):
        from buildkit.exporter.archive import open_archive

        return open_archive(type, attrs)
    if type in ("local", "tar"):
        from buildkit.exporter.files import open_files

        return open_files(type, attrs)
    raise InvalidInput(f'exporter "{type}" could not be found: known are {", ".join(TYPES)}')
