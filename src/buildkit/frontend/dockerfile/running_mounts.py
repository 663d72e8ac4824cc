"""``RUN --mount``: from the Dockerfile's words to mounts of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from buildkit.core.goquote import quote
from buildkit.frontend.dockerfile import naming
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.instructions import Run
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.mount import Mount
from buildkit.frontend.dockerfile.stagebuild import SCRATCH, Need, StageBuild
from buildkit.llb import caps
from buildkit.llb import mount as llb
from buildkit.llb.file import Owner, mkdir
from buildkit.llb.paths import clean, join
from buildkit.llb.state import State, scratch

_OWNED = "/cache"


def convert_mounts(
    stage: StageBuild, command: Run, mounts: Sequence[Mount], sources: Sequence[StageBuild], conversion: Conversion
) -> list[llb.Mount | llb.Secret | llb.Ssh]:
    """The mounts of a step, and what they read is noted; raises `DockerfileError`."""
    converted: list[llb.Mount | llb.Secret | llb.Ssh] = []
    for mount, source in zip(mounts, sources, strict=True):
        from_stage = bool(mount.source_stage) or mount.type == "cache"
        if from_stage and not source.dispatched:
            raise DockerfileError(
                f"cannot mount from stage {quote(mount.source_stage or SCRATCH)} to {quote(mount.target)}, "
                "stage needs to be defined before current command"
            )
        if mount.type == "secret":
            converted.append(_secret(stage, mount, command.location))
        elif mount.type == "ssh":
            converted.append(_ssh(stage, mount, command.location))
        else:
            state = source.state if from_stage else conversion.build_context
            converted.append(_directory(stage, mount, state, conversion))
            reader = source.paths if from_stage else stage.context_paths
            reader.add(join("/", mount.source))
    return converted


def _directory(stage: StageBuild, mount: Mount, state: State, conversion: Conversion) -> llb.Mount:
    if mount.type == "tmpfs":
        state = scratch()
    path = join("/", mount.source)
    if path != "/":
        selected = path
    elif (mount.uid, mount.gid, mount.mode) != (None, None, None):
        state, selected = _with_owner(state, mount), _OWNED
    else:
        selected = ""
    can_discard = conversion.options.supports(caps.EXEC_MOUNT_BIND_NO_OUTPUT)
    is_cache = mount.type == "cache"
    return llb.Mount(
        _target(stage, mount),
        state,
        selected,
        mount.read_only,
        discard=not mount.read_only and mount.type == "bind" and can_discard,
        cache_id=f"{conversion.options.cache_namespace}/{mount.id or clean(mount.target)}" if is_cache else "",
        sharing=cast(llb.Sharing, mount.sharing or "shared"),
        is_tmpfs=mount.type == "tmpfs",
        size=mount.size if mount.type == "tmpfs" else 0,
    )


def _target(stage: StageBuild, mount: Mount) -> str:
    target = mount.target
    if not clean(target).startswith("/"):
        target = join("/", stage.state.settings.dir, target)
    if target == "/":
        raise DockerfileError(f"invalid mount target {quote(target)}")
    return target


def _with_owner(state: State, mount: Mount) -> State:
    owner = Owner(mount.uid or 0, mount.gid or 0)
    mode = 0o755 if mount.mode is None else mount.mode
    return state.file(mkdir(_OWNED, mode, owner=owner), name=naming.internal("setting cache mount permissions"))


def _secret(stage: StageBuild, mount: Mount, location: Location) -> llb.Secret:
    id = mount.source or mount.id
    if not id:
        if not mount.target:
            raise DockerfileError("one of source, target required")
        id = _last_part(mount.target)
    target = mount.target or None
    if mount.env is None and target is None:
        target = "/run/secrets/" + _last_part(id)
    stage.usage.secrets.setdefault(id, Need(location, mount.required))
    mode = 0o400 if mount.mode is None else mount.mode
    return llb.Secret(id, target, mount.env, mount.uid or 0, mount.gid or 0, mode, not mount.required)


def _ssh(stage: StageBuild, mount: Mount, location: Location) -> llb.Ssh:
    if mount.source:
        raise DockerfileError("ssh does not support source")
    stage.usage.agents.setdefault(mount.id or "default", Need(location, mount.required))
    mode = 0o600 if mount.mode is None else mount.mode
    return llb.Ssh(mount.id, mount.target, mount.uid or 0, mount.gid or 0, mode, not mount.required)


def _last_part(path: str) -> str:
    """Go's ``path.Base``."""
    return path.rstrip("/").rpartition("/")[2] or ("/" if path else ".")
