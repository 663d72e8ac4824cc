"""Images made in pure Python: layers from mappings, written into OCI layouts."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildkit.core.digest import sha256
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass
from buildkit.oci import spec
from buildkit.oci.layout import Layout
from buildkit.oci.spec import Descriptor, Index, Manifest

AMD64 = Platform("linux", "amd64")
BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class Image:
    """An image in a layout: its root descriptor, config bytes and layers."""

    layout: Layout
    root: Descriptor
    config: bytes
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


def layer_tar(files: Mapping[str, bytes | str | tuple[str, str]]) -> bytes:
    """A tar of regular files (bytes, str), directories (name ending in /) and symlinks (("link", target))."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode, entry.mtime = 0o755, 1_000_000_000
            if isinstance(content, tuple):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[1]
                tar.addfile(entry)
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                raw = content.encode() if isinstance(content, str) else content
                entry.size = len(raw)
                tar.addfile(entry, io.BytesIO(raw))
    return out.getvalue()


def make_image(
    folder: Path,
    layers: Sequence[Mapping[str, bytes | str | tuple[str, str]]] = ({"hello": "world\n"},),
    *,
    tag: str = "latest",
    platform: Platform = AMD64,
    docker: bool = False,
    config: Mapping[str, object] | None = None,
) -> Image:
    """Write one image into the layout at ``folder``."""
    layout = Layout.create(folder)
    descriptors, diff_ids = [], []
    for files in layers:
        plain = layer_tar(files)
        packed = gzip.compress(plain, 6, mtime=0)
        kind = spec.DOCKER_LAYER + ".gzip" if docker else spec.OCI_LAYER + "+gzip"
        descriptors.append(Descriptor(kind, layout.put(packed), len(packed)))
        diff_ids.append(sha256(plain))
    raw = {**spec.platform_to_json(platform), "config": dict(config or {})}
    raw["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    raw["history"] = [{"created_by": f"layer {n}"} for n in range(len(diff_ids))]
    written = spec.encode(raw)
    config_descriptor = Descriptor(spec.DOCKER_CONFIG if docker else spec.OCI_CONFIG, layout.put(written), len(written))
    kind = spec.DOCKER_MANIFEST if docker else spec.OCI_MANIFEST
    document = spec.encode(Manifest(kind, config_descriptor, tuple(descriptors)).to_json())
    root = Descriptor(kind, layout.put(document), len(document), platform=platform)
    if tag:
        layout.tag(root, tag)
    return Image(layout, root, written, tuple(descriptors), tuple(diff_ids))


def make_index(folder: Path, images: Sequence[Image], *, tag: str = "latest", docker: bool = False) -> Descriptor:
    """Join images of one layout under an index."""
    layout = Layout.create(folder)
    kind = spec.DOCKER_LIST if docker else spec.OCI_INDEX
    document = spec.encode(Index(kind, tuple(image.root for image in images)).to_json())
    root = Descriptor(kind, layout.put(document), len(document))
    layout.tag(root, tag)
    return root


def busybox_image(folder: Path, *, tag: str = "latest") -> Image:
    """Debian's static busybox with its applets linked: a base image to run things in."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files: dict[str, bytes | str | tuple[str, str]] = {
        f"{d}/": "" for d in ("bin", "dev", "etc", "proc", "root", "tmp")
    }
    files["bin/busybox"] = BUSYBOX.read_bytes()
    files["etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    files["etc/group"] = "root:x:0:\nnogroup:x:65534:\n"
    files |= {f"bin/{name}": ("link", "busybox") for name in applets if name != "busybox"}
    config = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}
    return make_image(folder, [files], tag=tag, config=config)


def copy_to_registry(image: Image | Layout, name: str, *, tag: str = "latest", arguments: Sequence[str] = ()) -> None:
    """Put an image into a registry with skopeo."""
    layout = image if isinstance(image, Layout) else image.layout
    command = ["skopeo", "--insecure-policy", "copy", "--all", "-q", "--dest-tls-verify=false", *arguments]
    command += [f"oci:{layout.root}:{tag}", f"docker://{name}"]
    subprocess.run(command, check=True, env={**os.environ, "HOME": str(layout.root)})
