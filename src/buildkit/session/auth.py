"""Lending the credentials of Docker's config file."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from buildkit.oci.auth import Credentials, DockerConfig
    from buildkit.oci.tokens import Token, TokenRequest

KEPT_SECONDS = 290.0
"""How long an answer is reused: less than the five minutes that short-lived tokens live."""


class DockerKeys:
    """A keyring over ``$DOCKER_CONFIG/config.json``, read when first asked. Credential programs run one at a time."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._config: DockerConfig | None = None
        self._known: dict[str, tuple[float, Credentials]] = {}
        self._turn = asyncio.Lock()

    async def credentials(self, host: str) -> Credentials:
        """What the config has for ``host``; raises `InvalidInput` for a broken config."""
        async with self._turn:
            known = self._known.get(host)
            if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
                found = await asyncio.to_thread(self._look_up, host)
                known = self._known[host] = (time.monotonic(), found)
            return known[1]

    async def token(self, request: TokenRequest) -> Token | None:
        """None: whoever asks may see the credentials and fetch tokens with them."""
        return None

    def _look_up(self, host: str) -> Credentials:
        from buildkit.oci.auth import load_config

        if self._config is None:
            self._config = load_config(self._path)
        return self._config.credentials(host)
