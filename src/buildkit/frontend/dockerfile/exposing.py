"""The ports of EXPOSE."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile import rules
from buildkit.frontend.dockerfile.gotext import lower, parse_int
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError, Location

_HIGHEST = 65535


def parse_ports(words: Iterable[str], location: Location, linter: Linter) -> list[str]:
    """``[[ip:]host:]port[-port][/protocol]`` as ``port/protocol``, ranges spread out; raises `DockerfileError`."""
    return [port for word in words for port in _parse_port(word, location, linter)]


def _parse_port(word: str, location: Location, linter: Linter) -> list[str]:
    address, host_port, container_port = _split(word)
    try:
        port, protocol = _split_protocol(container_port)
    except DockerfileError as error:
        raise error.prefixed(f"invalid port: {quote(word)}: ") from None
    if protocol != lower(protocol):
        linter.run(rules.EXPOSE_PROTO_CASING, location, rules.expose_proto_casing(word))
    if address or host_port:
        linter.run(rules.EXPOSE_INVALID_FORMAT, location, rules.expose_invalid_format(word))
    _check_address(address)
    ports = _parse_range(port, "containerPort")
    if host_port:
        host_ports = _parse_range(host_port, "hostPort")
        if len(host_ports) != len(ports) != 1:
            raise DockerfileError(f"invalid ranges specified for container and host Ports: {port} and {host_port}")
    return [f"{number}/{lower(protocol)}" for number in ports]


def _split(word: str) -> tuple[str, str, str]:
    parts = word.split(":")
    if len(parts) < 3:
        return "", "".join(parts[:-1]), parts[-1]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _split_protocol(text: str) -> tuple[str, str]:
    port, _, protocol = text.partition("/")
    if not port:
        raise DockerfileError("no port specified")
    if lower(protocol) not in ("", "tcp", "udp", "sctp"):
        raise DockerfileError(f"invalid proto: {protocol}")
    return port, protocol or "tcp"


def _check_address(written: str) -> None:
    if not written:
        return
    address = written
    if address[0] == "[":
        end = address.find("]")
        if end < 0:
            raise DockerfileError(f"invalid IP address {written}: address {written}:: missing ']' in address")
        if end + 1 != len(address):
            problem = "too many colons in address" if address[end + 1] == ":" else "missing port in address"
            raise DockerfileError(f"invalid IP address {written}: address {written}:: {problem}")
        address = address[1:end]
    try:
        ipaddress.ip_address(address)
        valid = "%" not in address
    except ValueError:
        valid = False
    if address and not valid:
        raise DockerfileError(f"invalid IP address: {address}")


def _parse_range(text: str, what: str) -> range:
    first, dash, last = text.partition("-")
    start = _parse_number(first)
    end = _parse_number(last) if dash and first != last else start
    if start is None or end is None or end < start:
        raise DockerfileError(f"invalid {what}: {text}")
    return range(start, end + 1)


def _parse_number(text: str) -> int | None:
    try:
        number = parse_int(text)
    except ValueError:
        return None
    return number if 0 <= number <= _HIGHEST else None
