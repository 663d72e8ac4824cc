"""Who we are to a registry: Docker's config file, credential programs, and challenges.

The config is ``$DOCKER_CONFIG/config.json`` (default ``~/.docker``) as the docker command keeps it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from buildkit.core.errors import InvalidInput, Unavailable
from buildkit.core.pattern import Pattern
from buildkit.core.values import dataclass, field

HUB_KEY = "https://index.docker.io/v1/"
"""The key of Docker Hub in config files, whatever its registry is called."""
_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_IDENTITY_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"
_PROGRAM_NAME = Pattern(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What we show a registry; all empty means anonymous.

    ``username`` is empty for an identity (refresh) token, which is then the ``secret``. ``bearer`` is a
    ready-made registry token.
    """

    username: str = ""
    secret: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)


ANONYMOUS = Credentials()


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Docker's config file is looked for."""
    folder = environ.get("DOCKER_CONFIG")
    return Path(folder) / "config.json" if folder else Path.home() / ".docker" / "config.json"


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The parts of Docker's config file that concern registries."""

    auths: Mapping[str, Credentials] = field(default_factory=dict[str, Credentials])
    store: str = ""
    """Name of the program that keeps all credentials (``docker-credential-<store>``)."""
    stores: Mapping[str, str] = field(default_factory=dict[str, str])
    """Programs for single registries; they win over ``store``."""

    def credentials(self, host: str) -> Credentials:
        """What to show ``host`` (``registry.example:5000``); may run a credential program, so it may block."""
        key = HUB_KEY if host in _HUB_HOSTS else host
        program = self.stores.get(key) or self.stores.get(host) or self.store
        if program:
            found = _ask_program(program, key)
            if found is not None:
                return found
        return self.auths.get(key) or self.auths.get(_host_of(key)) or ANONYMOUS


def load_config(path: Path | None = None) -> DockerConfig:
    """Read Docker's config file; a missing one is empty. Raises `InvalidInput` naming the file."""
    path = path or config_path()
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return DockerConfig()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidInput(f"{path} is not a JSON object")
    entries, stores = raw.get("auths") or {}, raw.get("credHelpers") or {}
    if not isinstance(entries, dict) or not isinstance(stores, dict):
        raise InvalidInput(f"{path}: auths and credHelpers must be JSON objects")
    auths: dict[str, Credentials] = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            raise InvalidInput(f"{path}: the entry for {key} is not a JSON object")
        auths[key] = credentials = _parse_entry(entry, f"{path}: the entry for {key}")
        if _host_of(key) not in entries and key != HUB_KEY:
            auths.setdefault(_host_of(key), credentials)
    return DockerConfig(auths, str(raw.get("credsStore") or ""), {k: str(v) for k, v in stores.items()})


def _parse_entry(entry: Mapping[str, object], where: str) -> Credentials:
    def text(key: str) -> str:
        value = entry.get(key) or ""
        if not isinstance(value, str):
            raise InvalidInput(f"{where}: {key} is not a string")
        return value

    username, secret = text("username"), text("password")
    if encoded := text("auth"):
        try:
            username, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{where}: auth is not base64 of user:password") from error
        if not colon:
            raise InvalidInput(f"{where}: auth is not base64 of user:password")
        secret = secret.strip("\x00")
    if token := text("identitytoken"):
        return Credentials("", token, text("registrytoken"))
    return Credentials(username, secret, text("registrytoken"))


def _host_of(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _ask_program(name: str, server: str) -> Credentials | None:
    """Run Docker's credential protocol: ``docker-credential-<name> get``, the server on stdin, JSON on stdout."""
    import subprocess

    program = f"docker-credential-{name}"
    if not _PROGRAM_NAME.fullmatch(name):
        raise InvalidInput(f"credential program name {name!r} is invalid")
    try:
        done = subprocess.run([program, "get"], input=server.encode(), capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{program} failed for {server}: {error}") from error
    if done.returncode:
        text = (done.stdout or done.stderr).decode(errors="replace").strip()
        if _NOT_FOUND in text:
            return None
        raise Unavailable(f"{program} failed for {server}: {text[:500]}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise Unavailable(f"{program} gave no credentials for {server}") from error
    return Credentials("", secret) if username == _IDENTITY_USER else Credentials(username, secret)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge: its scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


_CHALLENGE = Pattern(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s+|$)")
_PARAMETER = Pattern(r'\s*,?\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read ``WWW-Authenticate`` headers, bearer before basic; unknown schemes are left out."""
    found: list[Challenge] = []
    for header in headers:
        at = 0
        while match := _CHALLENGE.match(header, at):
            at = match.end()
            parameters: dict[str, str] = {}
            while part := _PARAMETER.match(header, at):
                value = re.sub(r"\\(.)", r"\1", part[2]) if part[2] is not None else part[3]
                parameters[part[1].lower()] = value
                at = part.end()
            found.append(Challenge(match[1].lower(), parameters))
            rest = re.compile(r"\s*,\s*").match(header, at)
            at = rest.end() if rest else at
    known = [one for one in found if one.scheme in ("bearer", "basic")]
    return sorted(known, key=lambda one: one.scheme != "bearer")
