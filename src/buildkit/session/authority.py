"""Being known to a daemon without showing a password (row A164).

A client keeps a random seed for each registry beside Docker's config. The seed and the daemon's salt make an Ed25519
key; sessions that prove to have the same key belong to one user, and share the tokens that one of them fetched.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

from buildkit.oci.tokens import Token, TokenRequest
from buildkit.signing.ed25519 import public_key

_SEEDS, _LOCK = ".token_seed", ".token_seed.lock"
_SEED_SIZE = 16
_MOST_TOKENS = 1000


def secret_key(salt: bytes, seed: bytes) -> bytes:
    """The secret half of a client's key; the empty ``seed`` is that of everybody who has no credentials."""
    return hmac.new(salt, seed, hashlib.sha256).digest()


def token_seed(folder: Path, host: str) -> bytes:
    """The seed for one registry, made when it is first asked for; where ``folder`` is read-only it is not kept.

    The file is that of BuildKit's own clients, so that one user is one user with each of them.
    """
    with ExitStack() as scope:
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = scope.enter_context((folder / _LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass
        path = folder / _SEEDS
        seeds = _read_seeds(path)
        try:
            return base64.b64decode(seeds[host]["Seed"], validate=True)
        except (KeyError, TypeError, ValueError):
            pass
        seed = os.urandom(_SEED_SIZE)
        seeds[host] = {"Seed": base64.b64encode(seed).decode()}
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, json.dumps(seeds, indent=2).encode())
            finally:
                os.close(handle)
        except OSError:
            pass
        return seed


def _read_seeds(path: Path) -> dict[str, dict[str, str]]:
    try:
        seeds = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return seeds if isinstance(seeds, dict) else {}


class SharedTokens:
    """A daemon's tokens by the public key of whoever had them fetched, and its salt: both last as long as it does."""

    def __init__(self) -> None:
        self.salt = os.urandom(32)
        self.anonymous = public_key(secret_key(self.salt, b""))
        """The key of everybody who has no credentials."""
        self._tokens: dict[tuple[bytes, TokenRequest], Token] = {}

    def find(self, owner: bytes, request: TokenRequest) -> Token | None:
        """A token that ``owner`` has for this."""
        token = self._tokens.get((owner, request))
        return token if token is not None and token.expires > time.time() else None

    def put(self, owner: bytes, request: TokenRequest, token: Token) -> None:
        """Remember a token for the sessions of ``owner``."""
        now = time.time()
        self._tokens.pop((owner, request), None)
        self._tokens[owner, request] = token
        for key in [key for key, one in self._tokens.items() if one.expires <= now]:
            del self._tokens[key]
        while len(self._tokens) > _MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]
