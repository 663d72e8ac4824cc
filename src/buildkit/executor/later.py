"""An executor that is made for its first container: a build that finds everything in its cache needs none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.executor.settings import Settings

if TYPE_CHECKING:
    from buildkit.executor.executor import Command, Container, Output, Usage
    from buildkit.executor.interaction import Interaction
    from buildkit.executor.runc import RuncExecutor

_RUNTIME, _NETWORK = "runtime", "network"
"""Directories that stay: the runtime's state and the networks."""


class LaterExecutor:
    """`buildkit.executor.runc.RuncExecutor`, imported and made by the first `run`."""

    def __init__(self, directory: Path, settings: Settings = Settings()) -> None:
        """See `RuncExecutor`."""
        self._directory = directory
        self._settings = settings
        self._made: RuncExecutor | None = None
        self._clear()

    def _clear(self) -> None:
        """Remove at once what a killed process left of its containers: their configuration may hold secrets."""
        places = (self._directory, self._directory / _RUNTIME)
        left = [path.name for place in places if place.is_dir() for path in place.iterdir() if path.is_dir()]
        if set(left) - {_RUNTIME, _NETWORK}:
            from buildkit.executor.sweep import sweep

            sweep(self._directory, self._directory / _RUNTIME, self._settings.cgroup_parent)

    async def run(self, container: Container, output: Output, interaction: Interaction | None = None) -> Usage:
        """See `buildkit.executor.executor.Executor`."""
        return await self._make().run(container, output, interaction)

    async def execute(
        self, container_id: str, command: Command, output: Output, interaction: Interaction | None = None
    ) -> Usage:
        """See `buildkit.executor.executor.Executor`."""
        return await self._make().execute(container_id, command, output, interaction)

    async def prepare(self) -> None:
        """Make everything ready that the first container would wait for; raises what settings make impossible."""
        await self._make().prepare()

    def _make(self) -> RuncExecutor:
        if self._made is None:
            from buildkit.executor.runc import RuncExecutor

            self._made = RuncExecutor(self._directory, self._settings)
        return self._made

    def close(self) -> None:
        """Kill what still runs."""
        if self._made is not None:
            self._made.close()
