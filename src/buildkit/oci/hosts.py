"""Which machines answer for a registry's name, and how to talk to each of them."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

HUB = "docker.io"
HUB_REGISTRY = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Paths of a client certificate and its key (PEM)."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What is configured for one registry name (``[registry."host"]``)."""

    mirrors: tuple[str, ...] = ()
    """Tried first when pulling: ``host[:port][/prefix]``."""
    plain_http: bool | None = None
    """None: plain HTTP for this machine only (localhost, 127.*, ::1)."""
    insecure: bool | None = None
    """Accept any certificate."""
    authorities: tuple[str, ...] = ()
    """Paths of further trusted CA certificates (PEM)."""
    key_pairs: tuple[KeyPair, ...] = ()
    tls_folders: tuple[str, ...] = ()
    """Folders of ``*.crt`` (authorities) and ``*.cert`` with ``*.key`` (key pairs)."""


INSECURE = HostConfig(plain_http=True, insecure=True)
"""What ``registry.insecure=true`` means for a push."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to set up TLS; a value, so that connections of equal settings are shared."""

    verify: bool = True
    authorities: tuple[str, ...] = ()
    key_pairs: tuple[KeyPair, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One machine that serves a registry's API."""

    host: str
    scheme: str = "https"
    path: str = "/v2"
    tls: Tls = Tls()
    may_fall_back: bool = False
    """Try plain HTTP when the peer does not speak TLS; remembered by the transport."""
    mirror_of: str = ""
    """The registry name that this endpoint stands in for; empty for the registry itself."""

    @property
    def url(self) -> str:
        """Scheme, host and API root, without a slash at the end."""
        return f"{self.scheme}://{self.host}{self.path}"


def is_this_machine(host: str) -> bool:
    """Whether ``host[:port]`` is a loopback name or address."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name in ("localhost", "::1"):
        return True
    parts = name.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(p.isdigit() and int(p) < 256 for p in parts)


def endpoints(configured: Mapping[str, HostConfig], domain: str, *, push: bool = False) -> tuple[Endpoint, ...]:
    """Where to send requests for ``domain``, in order; mirrors only serve pulls. Raises `InvalidInput`."""
    config = configured.get(domain, HostConfig())
    found: list[Endpoint] = []
    if not push:
        for mirror in config.mirrors:
            host, _, prefix = mirror.removeprefix("https://").removeprefix("http://").partition("/")
            path = posixpath.join("/v2", prefix.strip("/")) if prefix.strip("/") else "/v2"
            found.append(_endpoint(host, configured.get(host, HostConfig()), path, domain))
    found.append(_endpoint(HUB_REGISTRY if domain == HUB else domain, config, "/v2", ""))
    return tuple(found)


def _endpoint(host: str, config: HostConfig, path: str, mirror_of: str) -> Endpoint:
    plain = is_this_machine(host) if config.plain_http is None else config.plain_http
    if plain and not config.insecure:
        return Endpoint(host, "http", path, mirror_of=mirror_of)
    tls = _tls(config)
    return Endpoint(host, "https", path, tls, may_fall_back=plain, mirror_of=mirror_of)


def _tls(config: HostConfig) -> Tls:
    authorities, key_pairs = list(config.authorities), list(config.key_pairs)
    for folder in config.tls_folders:
        try:
            paths = sorted(Path(folder).iterdir())
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            raise InvalidInput(f"cannot read TLS configuration folder {folder}: {error.strerror}") from error
        for path in paths:
            if path.suffix == ".crt":
                authorities.append(str(path))
            elif path.suffix == ".cert":
                key_pairs.append(KeyPair(str(path), str(path.with_suffix(".key"))))
    return Tls(not config.insecure, tuple(authorities), tuple(key_pairs))
