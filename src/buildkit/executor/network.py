"""Network modes of containers, and what each means for the runtime."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.core.gobool import TRUE
from buildkit.core.values import dataclass
from buildkit.executor.settings import NetworkSettings

if TYPE_CHECKING:
    from buildkit.executor.bridge import Bridge
    from buildkit.executor.enclosure import Enclosure
    from buildkit.executor.executor import Process
    from buildkit.executor.pool import Pool

MODES = ("host", "none", "cni", "bridge")
_BRIDGE_AUTO = "BUILDKIT_NETWORK_BRIDGE_AUTO"
_COUNTERS = Path("/proc/thread-self/net/dev")


def resolve_mode(settings: NetworkSettings, environ: Mapping[str, str] = os.environ) -> str:
    """One of `MODES`. ``auto`` is ``cni`` where its configuration is there, else ``host``.

    ``BUILDKIT_NETWORK_BRIDGE_AUTO=1`` makes it ``bridge``. Raises `InvalidInput`.
    """
    if settings.mode in ("", "auto"):
        if environ.get(_BRIDGE_AUTO) in TRUE:
            return "bridge"
        return "cni" if os.path.exists(settings.config) else "host"
    if settings.mode not in MODES:
        raise InvalidInput(f'invalid network mode: "{settings.mode}"')
    return settings.mode


def label_of(mode: str) -> str:
    """How a worker's label calls a mode: a bridge is made by CNI, too."""
    return "cni" if mode == "bridge" else mode


@dataclass(frozen=True, slots=True)
class Lent:
    """A container's network. ``path`` is for the runtime: None is the host's, "" a new one with a loopback device."""

    path: str | None
    interface: str = ""
    """The host's end of it, whose counters tell the traffic."""

    def traffic(self) -> tuple[int, int] | None:
        """Bytes that the container received and sent, since its network was made; None when nobody counts them."""
        if not self.interface:
            return None
        for line in _COUNTERS.read_text().splitlines():
            name, colon, counters = line.strip().partition(":")
            if colon and name == self.interface:
                fields = counters.split()
                return int(fields[8]), int(fields[0])
        return None


class Networks:
    """Lends a network to each container, in the mode it asks for or the configured one."""

    def __init__(self, directory: Path, settings: NetworkSettings, enclosure: Enclosure) -> None:
        """Raises `InvalidInput` or `FailedPrecondition` for settings that cannot work."""
        self.mode = resolve_mode(settings)
        self._directory = directory
        self._enclosure = enclosure
        self._lock = threading.Lock()
        self._is_open = False
        self._pool: Pool | None = None
        self._bridge: Bridge | None = None
        if self.mode not in ("cni", "bridge"):
            return
        from buildkit.executor.attachments import Attachments
        from buildkit.executor.bridge import Bridge, bridge_network
        from buildkit.executor.cni import Plugins, read_network
        from buildkit.executor.pool import Pool

        if self.mode == "bridge":
            network = bridge_network(settings.bridge, settings.subnet)
            self._bridge = Bridge(settings.bridge)
        else:
            network = read_network(settings.config)
        if not any(os.path.isdir(path) for path in settings.plugins):
            raise FailedPrecondition(f"failed to read cni binary dir: none of {', '.join(settings.plugins)} is there")
        plugins = Plugins(settings.plugins)
        for plugin in network.plugins:
            plugins.find(str(plugin["type"]))
        self._pool = Pool(Attachments(directory, network, plugins), enclosure, settings.pool_size)

    def open(self) -> None:
        """Release what a killed process left, and begin to make networks ready; blocks.

        Does nothing when called again.
        """
        with self._lock:
            if not self._is_open:
                self._open()
                self._is_open = True

    def _open(self) -> None:
        if self._directory.is_dir():
            from buildkit.executor.attachments import sweep_networks

            self._enclosure.submit(lambda: sweep_networks(self._directory)).result()
        if self._pool is not None:
            if self._bridge is not None:
                self._enclosure.submit(self._bridge.hold).result()
            self._pool.fill()

    @asynccontextmanager
    async def lent(self, process: Process) -> AsyncIterator[Lent]:
        """The network of one process while the scope lasts."""
        mode = process.network or self.mode
        if mode in ("host", "none"):
            yield Lent(None if mode == "host" else "")
        elif self._pool is None or mode != self.mode:
            raise InvalidInput(f"unknown network mode {mode}")
        else:
            # who has every capability may change the network for whoever comes next
            async with self._pool.lent(process.hostname, altered=process.insecure) as attachment:
                yield Lent(attachment.namespace, attachment.host_interface())

    def close(self) -> None:
        """Leave every network; blocks."""
        if self._pool is not None:
            self._pool.close()
        if self._bridge is not None:
            self._bridge.leave()
