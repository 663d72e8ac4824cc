"""States of images whose config is known."""

from __future__ import annotations

from typing import Protocol, Unpack

from buildkit.core.digest import Digest
from buildkit.core.platform import Platform
from buildkit.llb.constraints import Options, constraints_of
from buildkit.llb.source import ResolveMode, image
from buildkit.llb.state import State


class ConfigResolver(Protocol):
    """Asks a registry, or whoever knows, for an image's config."""

    async def __call__(
        self, ref: str, *, platform: Platform | None, resolve_mode: ResolveMode
    ) -> tuple[str, Digest, bytes]:
        """The reference (perhaps rewritten), the digest of the image, and its config (OCI JSON)."""
        ...


async def resolved_image(
    ref: str,
    resolver: ConfigResolver,
    *,
    pin: bool = False,
    resolve_mode: ResolveMode = "default",
    **options: Unpack[Options],
) -> State:
    """An image with the environment and directory of its config; ``pin`` names it by the digest found."""
    from buildkit.oci.names import parse_reference

    platform = constraints_of(options).platform  # what is wrong is refused before anybody is asked
    parsed = parse_reference(ref).with_default_tag()
    found, digest, config = await resolver(str(parsed), platform=platform, resolve_mode=resolve_mode)
    if pin and not parsed.digest:
        parsed = parse_reference(found)
        parsed = parsed.with_digest(digest) if digest else parsed
    mode: ResolveMode | None = None if resolve_mode == "default" else resolve_mode
    return image(str(parsed), resolve_mode=mode, **options).with_image_config(config)
