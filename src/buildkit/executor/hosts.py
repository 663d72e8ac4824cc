"""``/etc/hosts`` and ``/etc/resolv.conf`` of containers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass

_RESOLV_CONF = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
_SYSTEMD_STUB = "127.0.0.53"
_FALLBACK_NAMESERVERS = ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")


def hosts_text(hostname: str, extra: Sequence[tuple[str, str]] = ()) -> str:
    """The hosts file of a container called ``hostname``, with ``(name, address)`` pairs appended."""
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    for name, address in extra:
        normal = _normal_address(address)
        if normal is None:
            raise InvalidInput(f"failed to parse IP {address}")
        lines.append(f"{normal}\t{name}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Dns:
    """Name service settings that replace the host's, each where it is not empty."""

    nameservers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for address in self.nameservers:
            if _normal_address(address) is None:
                raise InvalidInput(f"bad nameserver address: {address}")


def resolv_conf_text(host: str, dns: Dns = Dns(), *, host_network: bool = False) -> str:
    """The resolv.conf of a container, made of the host's text.

    Name servers on the loopback interface serve only on the host's network: elsewhere they are left out,
    and public ones stand in when none is left.
    """
    nameservers, search, options, other = _parse_resolv_conf(host)
    if dns.nameservers:
        nameservers = list(dns.nameservers)
    elif not host_network or not nameservers:
        nameservers = [n for n in nameservers if not _is_loopback(n)] or list(_FALLBACK_NAMESERVERS)
    lines = [f"nameserver {address}" for address in nameservers]
    if words := dns.search or search:
        lines.append("search " + " ".join(words))
    if words := dns.options or options:
        lines.append("options " + " ".join(words))
    return "".join(line + "\n" for line in lines + other)


def _parse_resolv_conf(text: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Name servers, search list (the last one counts), options, and lines of other kinds."""
    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    other: list[str] = []
    for line in text.splitlines():
        word, *values = line.split() or ["#"]
        if word[0] in "#;":
            continue
        if word == "nameserver":
            nameservers += [address for address in map(_normal_address, values[:1]) if address]
        elif word in ("domain", "search"):
            search = values or search
        elif word == "options":
            options += values
        else:
            other.append(line)
    return nameservers, search, options, other


def _normal_address(address: str) -> str | None:
    address, percent, zone = address.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, address)) + percent + zone
    except OSError:
        return None


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


class NameFiles:
    """Keeps the shared hosts and resolv.conf files of one executor up to date in its directory."""

    def __init__(self, directory: Path, dns: Dns = Dns(), *, source: Path = _RESOLV_CONF) -> None:
        self._directory = directory
        self._dns = dns
        self._source = source
        self._written: dict[str, str] = {}
        self._lock = threading.Lock()

    def resolv_conf(self, *, host_network: bool) -> str:
        """Path of the file to show; written anew when the host's has changed."""
        name = "resolv-host.conf" if host_network else "resolv.conf"
        source = self._source
        text = _read(source)
        if not host_network and _parse_resolv_conf(text)[0] == [_SYSTEMD_STUB]:
            source = _SYSTEMD_RESOLV_CONF
            text = _read(source)
        return self._write(name, resolv_conf_text(text, self._dns, host_network=host_network))

    def hosts(self, hostname: str, extra: Sequence[tuple[str, str]], bundle: Path, default: str) -> str:
        """Path of the hosts file: a shared one for the default host name, else one in ``bundle``."""
        text = hosts_text(hostname, extra)
        if hostname == default and not extra:
            return self._write("hosts", text)
        path = bundle / "hosts"
        _write_readable(path, text)
        return str(path)

    def _write(self, name: str, text: str) -> str:
        path = self._directory / name
        with self._lock:
            if self._written.get(name) != text:
                scratch = self._directory / f"{name}.{os.getpid()}.tmp"
                _write_readable(scratch, text)
                scratch.replace(path)
                self._written[name] = text
        return str(path)


def _write_readable(path: Path, text: str) -> None:
    """Everybody in the container may read it, nobody but root write it, whatever this process's umask is."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), "w") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
