"""Control groups (v2) of a daemon that is alone in a container: room for groups of steps beside its own (row B69)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from logging import getLogger
from pathlib import Path

from buildkit.core.gobool import TRUE

log = getLogger(__name__)

VARIABLE = "BUILDKIT_SETUP_CGROUPV2_ROOT"


def set_up_groups(environ: Mapping[str, str], root: Path = Path("/sys/fs/cgroup")) -> None:
    """If asked for, move every process of the root group to ``init`` and let other groups use all controllers.

    A group with processes of its own may not limit groups below it. Raises `OSError`.
    """
    controllers = root / "cgroup.controllers"
    if environ.get(VARIABLE) not in TRUE or not controllers.exists():
        return
    (root / "init").mkdir(exist_ok=True)
    with (root / "init/cgroup.procs").open("wb", buffering=0) as moved:
        for process in (root / "cgroup.procs").read_bytes().splitlines(keepends=True):
            with suppress(ProcessLookupError):
                moved.write(process)
    with (root / "cgroup.subtree_control").open("wb", buffering=0) as enabled:
        for name in controllers.read_text().split():
            try:
                enabled.write(f"+{name}\n".encode())
            except OSError as error:
                log.warning('failed to enable cgroup controller "%s": %s', name, error)
