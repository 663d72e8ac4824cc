"""Containers' places on a CNI network. Each has a record on disk until it is given up, so that nothing is lost.

A process that is killed takes its namespaces along, and with them their interfaces. What plugins keep elsewhere,
such as addresses and firewall rules, is released by the next process: it shows the plugins a namespace with
interfaces like those that are gone.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import replace
from buildkit.executor.bridge import LOCKS, locked_file
from buildkit.executor.cni import Attachment, Network, Plugins
from buildkit.executor.leases import result_from_leases
from buildkit.executor.netns import StandIn, drop_namespace, make_namespace, network_id


class Attachments:
    """Places on one network. Every method blocks and is called inside of the enclosure."""

    def __init__(self, directory: Path, network: Network, plugins: Plugins) -> None:
        self._directory = directory
        self._network = network
        self._plugins = plugins
        self._first = threading.Lock()
        self._is_first = True

    def open(self, hostname: str = "") -> Attachment:
        """A new namespace on the network; raises `FailedPrecondition` with what the plugin says."""
        if not hostname.replace("-", "").replace(".", "").replace("_", "").isalnum() and hostname:
            raise InvalidInput(f"invalid hostname {hostname!r}")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        id = new_id()
        made = Attachment(id, str(self._directory / id), hostname)
        self._record(made)
        try:
            make_namespace(made.namespace)
            made = replace(made, result=self._add(made))
            self._record(made)
        except BaseException as error:
            self._give_up(made)
            if isinstance(error, FailedPrecondition):
                raise error.prefixed("CNI setup error: ") from None
            raise
        return made

    def close(self, attachment: Attachment, *, altered: bool = False) -> None:
        """Leave the network and drop the namespace. What plugins fail to release, the next process tries again.

        ``altered``: the container may have changed the namespace, so plugins are shown another one.
        """
        self._give_up(attachment, altered=altered)

    def works(self, attachment: Attachment) -> bool:
        """Whether the plugins still find everything as they made it."""
        try:
            self._plugins.check(self._network, attachment)
        except FailedPrecondition:
            return False
        return True

    def _add(self, attachment: Attachment) -> Mapping[str, Any]:
        """Plugins make what containers share, such as chains of the firewall, and fail when two make it at once.

        So the first addition of every process on the machine goes alone.
        """
        with self._first if self._is_first else nullcontext():
            if self._is_first:
                with _alone():
                    result = self._plugins.add(self._network, attachment)
                self._is_first = False
                return result
        return self._plugins.add(self._network, attachment)

    def _give_up(self, attachment: Attachment, *, altered: bool = False) -> None:
        released = not altered and self._delete(attachment)
        drop_namespace(attachment.namespace)
        if altered:
            released = _release_gone(self._network, self._plugins, attachment)
        if released:
            (self._directory / f"{attachment.id}.json").unlink(missing_ok=True)

    def _delete(self, attachment: Attachment) -> bool:
        return _delete(self._network, self._plugins, attachment)

    def _record(self, attachment: Attachment) -> None:
        text = json.dumps(
            {
                "network": [self._network.name, self._network.version, self._network.plugins],
                "plugins": self._plugins.directories,
                "hostname": attachment.hostname,
                "result": attachment.result,
            }
        )
        scratch = self._directory / f"{attachment.id}.tmp"
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        scratch.replace(scratch.with_suffix(".json"))


@contextmanager
def _alone() -> Iterator[None]:
    """Against other processes that use this network."""
    path = LOCKS / f"{network_id()}.lock"
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    lock = locked_file(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def sweep_networks(directory: Path) -> None:
    """Release what a killed process had on networks; called inside of the enclosure before anything is opened."""
    if not directory.is_dir():
        return
    for path in list(directory.iterdir()):
        if path.suffix == ".json":
            _sweep_one(directory, path)
    for path in directory.iterdir():
        if path.suffix != ".json":
            path.unlink()


def _sweep_one(directory: Path, path: Path) -> None:
    try:
        network, plugins, attachment = _parse_record(directory, path)
    except (ValueError, KeyError, TypeError):
        path.unlink()
        return
    drop_namespace(attachment.namespace)
    if not attachment.result:
        attachment = replace(attachment, result=result_from_leases(network, attachment))
    _release_gone(network, plugins, attachment)
    path.unlink()


def _release_gone(network: Network, plugins: Plugins, attachment: Attachment) -> bool:
    """Delete an attachment whose namespace is gone, from one that looks like it; whether that went well."""
    stand_ins = [StandIn(name, addresses) for name, addresses in attachment.interfaces().items()]
    try:
        make_namespace(attachment.namespace, stand_ins)
    except (OSError, BuildkitError):
        return _delete(network, plugins, replace(attachment, namespace=""))
    try:
        return _delete(network, plugins, attachment)
    finally:
        drop_namespace(attachment.namespace)


def _delete(network: Network, plugins: Plugins, attachment: Attachment) -> bool:
    try:
        plugins.delete(network, attachment)
    except FailedPrecondition:
        return False
    return True


def _parse_record(directory: Path, path: Path) -> tuple[Network, Plugins, Attachment]:
    known: dict[str, Any] = json.loads(path.read_bytes())
    name, version, configs = known["network"]
    id = path.stem
    attachment = Attachment(id, str(directory / id), known["hostname"], known["result"])
    return Network(name, version, tuple(configs)), Plugins(tuple(known["plugins"])), attachment
