"""Removing what a killed process left: its containers died with its namespaces, their directories did not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from buildkit.executor.bundle import remove_bundle
from buildkit.executor.spec import cgroups_path
from buildkit.fs.mount import mounts_below, unmount

NETWORKS = "network"
"""The directory of networks, which are swept by whoever made them (`buildkit.executor.attachments`)."""

_CGROUPS = Path("/sys/fs/cgroup")


def sweep(directory: Path, state: Path, parent: str) -> None:
    """Remove bundles in ``directory``, runtime records in ``state`` and cgroups of containers that are no more."""
    for path in mounts_below(str(directory)):
        if path != str(directory.resolve()):
            unmount(path)
    left = {path.name for path in (directory, state) if path.is_dir() for path in path.iterdir() if path.is_dir()}
    for id in left - {state.name, NETWORKS}:
        remove_cgroups(cgroups_path(parent, id))
        shutil.rmtree(state / id, ignore_errors=True)
        try:
            remove_bundle(directory / id)
        except OSError:
            continue


def remove_cgroups(path: str) -> None:
    """Remove the empty cgroup ``path`` from every hierarchy."""
    for hierarchy in (_CGROUPS, *_hierarchies()):
        try:
            (hierarchy / path.strip("/")).rmdir()
        except OSError:
            continue


def _hierarchies() -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(_CGROUPS) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
