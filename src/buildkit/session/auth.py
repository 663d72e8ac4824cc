"""Lending the credentials of Docker's config file, and the tokens that they are good for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError
from buildkit.core.gobool import TRUE

if TYPE_CHECKING:
    from pathlib import Path

    from buildkit.core.progress import Sink
    from buildkit.oci.auth import Credentials, DockerConfig
    from buildkit.oci.hosts import Tls
    from buildkit.oci.tokens import Token, TokenRequest
    from buildkit.oci.transport import Transport

KEPT_SECONDS = 290.0
"""How long an answer is reused: less than the five minutes that short-lived tokens live."""
NO_TOKENS = "BUILDKIT_NO_CLIENT_TOKEN"
"""The variable that has daemons fetch the tokens, with the credentials."""


class DockerKeys:
    """A keyring over ``$DOCKER_CONFIG/config.json``, read when first asked. Credential programs run one at a time."""

    def __init__(
        self, path: Path | None = None, *, tls: Mapping[str, Tls] | None = None, progress: Sink | None = None
    ) -> None:
        """``tls``: how to reach the token servers of registries, by host. ``progress`` hears what is lent."""
        self._path = path
        self._tls = tls or {}
        self._progress = progress
        self._told: set[str] = set()
        self._config: DockerConfig | None = None
        self._known: dict[str, tuple[float, Credentials]] = {}
        self._turn = asyncio.Lock()
        self._transport: Transport | None = None

    async def credentials(self, host: str) -> Credentials:
        """What the config has for ``host``; raises `InvalidInput` for a broken config."""
        found = await self._find(host)
        if found.secret:
            with self._step(f"[auth] sharing credentials for {host}"):
                pass
        return found

    async def token(self, request: TokenRequest) -> Token | None:
        """A token fetched with the credentials; None when `NO_TOKENS` is set. Raises what the server says."""
        if _is_set(NO_TOKENS):
            return None
        from buildkit.oci.hosts import Tls
        from buildkit.oci.tokens import fetch_token
        from buildkit.oci.transport import Transport

        if self._transport is None:
            self._transport = Transport()
        credentials = await self._find(request.host)
        tls = self._tls.get(request.host) or Tls()
        if not credentials.secret or credentials.bearer:
            return await fetch_token(self._transport, tls, request, credentials)
        scopes = " ".join(scope.removeprefix("repository:") for scope in request.scopes)
        with self._step(f"[auth] {scopes} token for {request.host}"):
            return await fetch_token(self._transport, tls, request, credentials, oauth_first=True)

    async def key(self, host: str, salt: bytes) -> bytes | None:
        """What this user is known by to the daemon with this ``salt``; None when `NO_TOKENS` is set."""
        if _is_set(NO_TOKENS):
            return None
        from buildkit.oci.auth import config_path
        from buildkit.session.authority import secret_key, token_seed

        if not (await self._find(host)).secret:
            return secret_key(salt, b"")
        folder = (self._path or config_path()).parent
        return secret_key(salt, await asyncio.to_thread(token_seed, folder, host))

    def close(self) -> None:
        """Close idle connections."""
        if self._transport is not None:
            self._transport.close()

    async def _find(self, host: str) -> Credentials:
        async with self._turn:
            known = self._known.get(host)
            if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
                found = await asyncio.to_thread(self._look_up, host)
                known = self._known[host] = (time.monotonic(), found)
            return known[1]

    def _look_up(self, host: str) -> Credentials:
        from buildkit.oci.auth import load_config

        if self._config is None:
            self._config = load_config(self._path)
        return self._config.credentials(host)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Show what is lent as a step of the build, once."""
        if self._progress is None or name in self._told:
            yield
            return
        from buildkit.core.digest import sha256_text
        from buildkit.core.identity import new_id
        from buildkit.core.progress import Reporter, VertexUpdate

        self._told.add(name)
        reporter = Reporter(VertexUpdate(sha256_text(new_id()), name), [self._progress])
        reporter.start()
        try:
            yield
        except BuildkitError as error:
            reporter.complete(error=str(error))
            raise
        else:
            reporter.complete()


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") in TRUE
