"""Naming the image that a far daemon wrote into an OCI layout of this machine (``tar=false``)."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping

from buildkit.core.errors import Corrupt
from buildkit.session.session import Outputs

DESCRIPTOR = "containerimage.descriptor"
NAMES = "image.name"


def name_image(outputs: Outputs | None, response: Mapping[str, str]) -> None:
    """Enter the image of an exporter's response into the layout's index; raises `Corrupt`."""
    directory = outputs.image_directory() if outputs is not None else None
    if directory is None or DESCRIPTOR not in response:
        return
    from buildkit.exporter.archive import short_name
    from buildkit.oci.layout import Layout
    from buildkit.oci.spec import parse_descriptor

    try:
        root = parse_descriptor(json.loads(b64decode(response[DESCRIPTOR])))
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupt(f"the daemon's descriptor of the image makes no sense: {error}") from None
    layout = Layout.create(directory)
    for name in filter(None, response.get(NAMES, "").split(",")):
        layout.tag(root, short_name(name), name)
    if not response.get(NAMES):
        layout.tag(root, "latest")
