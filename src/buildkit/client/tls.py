"""TLS towards a daemon: which files, and what they are good for (row T2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import InvalidInput, NotFound
from buildkit.core.values import dataclass

if TYPE_CHECKING:
    from ssl import SSLContext

_NAMES = (("ca.pem", "ca.crt"), ("cert.pem", "tls.crt"), ("key.pem", "tls.key"))


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files. Without ``authority`` and ``certificate`` the connection is in the clear."""

    authority: str = ""
    """Certificates to trust; nothing else is trusted."""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    """The name that the daemon's certificate must have; ``""``: the host of the address."""

    @classmethod
    def of_directory(cls, directory: str, server_name: str = "") -> TLSFiles:
        """The files that are there under one of their two names; raises `NotFound`."""
        authority, certificate, key = (_one_of(directory, *names) for names in _NAMES)
        return cls(authority, certificate, key, server_name)

    @property
    def wanted(self) -> bool:
        """Whether the connection is encrypted at all."""
        return bool(self.authority or self.certificate or self.key)


def _one_of(directory: str, either: str, other: str) -> str:
    for name in (either, other):
        path = Path(directory, name)
        if path.exists():
            return str(path)
    raise NotFound(f"directory did not contain one of the needed files: {either} or {other}")


def tls_context(files: TLSFiles) -> SSLContext:
    """What ``ssl`` needs, HTTP/2 only; raises `InvalidInput` for files that are missing or no certificates."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if files.authority:
        try:
            context.load_verify_locations(files.authority)
        except ssl.SSLError:
            raise InvalidInput(f"failed to append ca certs: {files.authority} holds none") from None
        except OSError as error:
            raise InvalidInput(f"could not read ca certificate: open {files.authority}: {_reason(error)}") from None
    if files.certificate or files.key:
        for what, path in (("certificate", files.certificate), ("key", files.key)):
            if not path:
                raise InvalidInput(f"could not read certificate/key: no {what} was given")
        try:
            context.load_cert_chain(files.certificate, files.key)
        except ssl.SSLError as error:
            what = f"{files.certificate} and {files.key} are no pair ({error.reason or error})"
            raise InvalidInput(f"could not read certificate/key: {what}") from None
        except OSError as error:
            what = f"open {files.certificate} or {files.key}: {_reason(error)}"
            raise InvalidInput(f"could not read certificate/key: {what}") from None
    return context


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
