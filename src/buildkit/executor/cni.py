"""The Container Network Interface: network configurations, and the plugins that carry them out.

See the CNI specification 1.0.0: a network is a chain of plugins, each of which is a program that takes its
configuration and the result so far on stdin and is told what to do by environment variables.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.values import dataclass, field

INTERFACE = "eth0"
"""The name of a container's interface."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_OLDEST_VERSION = "0.1.0"
_CHAINED_DELETE = _CHECKED = (0, 4, 0)
"""The version from which on DEL hears the result of ADD and CHECK exists."""

_PATIENCE = 60.0
"""Seconds after which a plugin is taken for hung and killed."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network's configuration: its plugins' configurations, in the order in which they add."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    can_check: bool = True

    def at_least(self, version: tuple[int, int, int]) -> bool:
        """Whether it is written for this version of the specification or a later one."""
        return _version_of(self.version) >= version


def read_network(path: str) -> Network:
    """A network from a file; raises `InvalidInput`, or `FailedPrecondition` when it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise FailedPrecondition(f'failed to read cni config "{path}": {reason}') from error
    try:
        return parse_network(text)
    except InvalidInput as error:
        raise error.prefixed(f'cni config "{path}": ') from None


def parse_network(text: str) -> Network:
    """A list of plugins with a name, or one plugin alone; raises `InvalidInput`."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"error parsing configuration: {error}") from None
    if not isinstance(given, dict):
        raise InvalidInput("error parsing configuration: it is no JSON object")
    name, version = given.get("name", ""), given.get("cniVersion", _OLDEST_VERSION)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(f"invalid network name {name!r}")
    if not isinstance(version, str) or not _version_of(version):
        raise InvalidInput(f"invalid cniVersion {version!r}")
    plugins = given.get("plugins", [given])
    if not isinstance(plugins, list) or not plugins:
        raise InvalidInput("no plugins in list")
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind:
            raise InvalidInput("missing 'type' of a plugin")
        if not _NAME.fullmatch(kind):
            raise InvalidInput(f"invalid plugin name {kind!r}")
    return Network(name, version, tuple(plugins), not given.get("disableCheck", False))


@dataclass(frozen=True, slots=True)
class Attachment:
    """One container on one network. ``namespace`` is a path, "" when it is gone."""

    id: str
    namespace: str
    hostname: str = ""
    result: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What adding gave: interfaces, addresses, routes."""

    def interfaces(self) -> dict[str, tuple[str, ...]]:
        """The container's own interfaces, and the addresses of each."""
        found: dict[str, tuple[str, ...]] = {}
        listed = self.result.get("interfaces") or []
        for number, one in enumerate(listed):
            if one.get("sandbox"):
                addresses = [ip["address"] for ip in self.result.get("ips") or [] if ip.get("interface") == number]
                found[one["name"]] = tuple(addresses)
        return found

    def host_interface(self) -> str:
        """The host's end of the container's pair of interfaces; "" when there is none, or several."""
        listed = self.result.get("interfaces") or []
        found = [one["name"] for one in listed if not one.get("sandbox") and one["name"].startswith("veth")]
        return found[0] if len(found) == 1 else ""


@dataclass(frozen=True, slots=True)
class Plugins:
    """Programs found in directories, the first one that has them."""

    directories: tuple[str, ...]

    def find(self, kind: str) -> str:
        """The plugin's path; raises `FailedPrecondition`."""
        for directory in self.directories:
            path = os.path.join(directory, kind)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
        raise FailedPrecondition(f'failed to find plugin "{kind}" in path [{" ".join(self.directories)}]')

    def add(self, network: Network, attachment: Attachment) -> Mapping[str, Any]:
        """Run every plugin's ADD; gives the last result. What was added stays when a later one fails."""
        result: Mapping[str, Any] = {}
        for plugin in network.plugins:
            result = self._call("ADD", network, plugin, attachment, result) or {}
        return result

    def delete(self, network: Network, attachment: Attachment) -> None:
        """Run every plugin's DEL, in reverse, all of them even if one fails; then raises the first error."""
        failure: FailedPrecondition | None = None
        result = attachment.result if network.at_least(_CHAINED_DELETE) else {}
        for plugin in reversed(network.plugins):
            try:
                self._call("DEL", network, plugin, attachment, result)
            except FailedPrecondition as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def check(self, network: Network, attachment: Attachment) -> None:
        """Run every plugin's CHECK, where the network has that; raises `FailedPrecondition`."""
        if network.can_check and network.at_least(_CHECKED):
            for plugin in network.plugins:
                self._call("CHECK", network, plugin, attachment, attachment.result)

    def _call(
        self,
        command: str,
        network: Network,
        plugin: Mapping[str, Any],
        attachment: Attachment,
        previous: Mapping[str, Any],
    ) -> Mapping[str, Any] | None:
        kind = str(plugin["type"])
        config = {**plugin, "name": network.name, "cniVersion": network.version}
        config.pop("capabilities", None)
        if previous:
            config["prevResult"] = previous
        environ = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.id,
            "CNI_NETNS": attachment.namespace,
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": ":".join(self.directories),
        }
        if attachment.hostname:
            environ["CNI_ARGS"] = f"K8S_POD_NAME={attachment.hostname};IgnoreUnknown=1"
        program = self.find(kind)
        what = f'plugin type="{kind}" name="{network.name}" failed ({command.lower()}): '
        try:
            done = subprocess.run(
                [program], input=json.dumps(config).encode(), env=environ, capture_output=True, timeout=_PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise FailedPrecondition(f"{what}no answer within {_PATIENCE:g} seconds") from None
        except OSError as error:
            raise FailedPrecondition(f"{what}{error.strerror}") from error
        if done.returncode:
            raise FailedPrecondition(what + _complaint(done.stdout, done.stderr, done.returncode))
        if command != "ADD":
            return None
        try:
            result = json.loads(done.stdout)
        except ValueError:
            raise FailedPrecondition(f"{what}its result is no JSON") from None
        if not isinstance(result, dict):
            raise FailedPrecondition(f"{what}its result is no JSON object")
        return result


def _complaint(stdout: bytes, stderr: bytes, code: int) -> str:
    """What a plugin that failed says: an object with ``msg`` and ``details``, else whatever it wrote."""
    try:
        said = json.loads(stdout)
        words = [str(said[key]) for key in ("msg", "details") if said.get(key)]
    except (ValueError, AttributeError, TypeError):
        words = [(stdout or stderr).decode(errors="replace").strip()[:1000]]
    return "; ".join(word for word in words if word) or f"exit code {code}"


def _version_of(text: str) -> tuple[int, ...]:
    """() for what is no version."""
    parts = text.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(p.isascii() and p.isdigit() for p in parts) else ()
