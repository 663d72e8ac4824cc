"""Addresses behind a program: what to run so that its standard streams lead to a daemon (rows T5-T8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buildkit.core.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_DIAL = ("buildctl", "dial-stdio")
_POD_NAME = re.compile(r"[-a-z0-9.]+")


def command_of(address: str) -> list[str] | None:
    """The command that an address stands for; None for sockets.

    Raises `InvalidInput` for an address with something missing, or with something in it that ought not to be there.
    """
    scheme = address.partition("://")[0]
    if scheme == "npipe":
        raise Unsupported("npipe connections are only supported on windows")
    if scheme not in _COMMANDS:
        return None
    from urllib.parse import urlsplit

    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError as error:
        raise InvalidInput(f"{address} is not an address: {error}") from None
    return _COMMANDS[scheme](url)


def _query(url: SplitResult) -> dict[str, str]:
    from urllib.parse import parse_qs

    return {key: values[0] for key, values in parse_qs(url.query).items()}


def _host(url: SplitResult) -> str:
    """The host with the case it was written in."""
    host = url.netloc.rpartition("@")[2]
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _container(url: SplitResult) -> str:
    name = _host(url)
    if not name:
        raise InvalidInput("url lacks container name")
    if name.startswith("-"):
        raise InvalidInput(f'unsupported container name: "{name}"')
    return name


def _docker(url: SplitResult) -> list[str]:
    context = _query(url).get("context", "")
    return ["docker", *([f"--context={context}"] if context else []), "exec", "-i", _container(url), *_DIAL]


def _podman(url: SplitResult) -> list[str]:
    return ["podman", "exec", "-i", _container(url), *_DIAL]


def _nerdctl(url: SplitResult) -> list[str]:
    namespace = _query(url).get("namespace", "")
    return ["nerdctl", "exec", *(["--namespace", namespace] if namespace else []), "-i", _container(url), *_DIAL]


def _kubectl(url: SplitResult) -> list[str]:
    query, pod = _query(url), _host(url)
    namespace, container = query.get("namespace", ""), query.get("container", "")
    if not pod:
        raise InvalidInput("url lacks pod name")
    for kind, name in (("namespace", namespace), ("pod", pod), ("container", container)):
        if name and not _POD_NAME.fullmatch(name):
            raise InvalidInput(f'unsupported {kind} name: "{name}"')
    return [
        "kubectl",
        f"--context={query.get('context', '')}",
        f"--namespace={namespace}",
        "exec",
        f"--container={container}",
        "-i",
        pod,
        "--",
        *_DIAL,
    ]


def _ssh(url: SplitResult) -> list[str]:
    from urllib.parse import unquote

    if url.password is not None:
        raise InvalidInput("plain-text password is not supported")
    if not _host(url):
        raise InvalidInput("no host specified")
    if url.query:
        raise InvalidInput(f'extra query after the host: "{url.query}"')
    if url.fragment:
        raise InvalidInput(f'extra fragment after the host: "{url.fragment}"')
    user = ["-l", unquote(url.username)] if url.username else []
    port = ["-p", str(url.port)] if url.port is not None else []
    socket = ["--addr", f"unix://{unquote(url.path)}"] if url.path else []
    return ["ssh", *user, *port, "--", _host(url), "buildctl", *socket, "dial-stdio"]


_COMMANDS = {
    "docker-container": _docker,
    "podman-container": _podman,
    "nerdctl-container": _nerdctl,
    "kube-pod": _kubectl,
    "ssh": _ssh,
}
