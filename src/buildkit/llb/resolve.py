"""States of images whose config is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, Unpack

from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.llb.constraints import Options
from buildkit.llb.source import ResolveMode, image
from buildkit.llb.state import State


class ConfigResolver(Protocol):
    """Asks a registry, or whoever knows, for an image's config."""

    async def __call__(
        self, ref: str, *, platform: Platform | None, resolve_mode: ResolveMode
    ) -> tuple[str, Digest, bytes]:
        """The reference (perhaps rewritten), the digest of the image, and its config (OCI JSON)."""
        ...


def configured(state: State, config: bytes | str | Mapping[str, object]) -> State:
    """See `State.with_image_config`."""
    try:
        parsed: Any = config if isinstance(config, Mapping) else json.loads(config)
        process = parsed.get("config") or {}
        for pair in process.get("Env") or ():
            key, _, value = pair.partition("=")
            if key:
                state = state.env(key, value)
        state = state.dir(process.get("WorkingDir") or "")
        os, architecture = parsed.get("os"), parsed.get("architecture")
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(f"not an image config: {error}") from None
    if os and architecture:
        features = tuple(parsed.get("os.features") or ())
        variant, version = parsed.get("variant") or "", parsed.get("os.version") or ""
        state = state.platform(Platform(os, architecture, variant, version, features))
    return state


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

    parsed = parse_reference(ref).with_default_tag()
    found, digest, config = await resolver(
        str(parsed), platform=options.get("platform"), resolve_mode=resolve_mode
    )
    if pin and not parsed.digest:
        parsed = parse_reference(found)
        parsed = parsed.with_digest(digest) if digest else parsed
    mode: ResolveMode | None = None if resolve_mode == "default" else resolve_mode
    return image(str(parsed), resolve_mode=mode, **options).with_image_config(config)
