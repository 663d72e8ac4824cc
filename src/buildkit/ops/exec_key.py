"""What identifies an exec step: its key, and how each input enters it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from buildkit.api import ops as pb
from buildkit.core.errors import InvalidInput
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field
from buildkit.ops import gojson
from buildkit.ops.validate import NOTHING, ROOT

_WITHOUT_INPUT = (pb.SECRET, pb.SSH, pb.TMPFS)


def exec_key(op: pb.ExecOp, platform: Platform) -> dict[str, object]:
    """The value whose Go JSON is digested, in the order of its fields.

    Left out: addresses of extra hosts, proxies, selectors (they are in the inputs' part of the key), and names of
    cache mounts other than those that a Dockerfile makes by default. The mounts are left out altogether when all
    there is is a root that can be written, for the sake of older caches.
    """
    kept = pb.ExecOp()
    kept.CopyFrom(op)
    kept.meta.ClearField("proxy_env")
    for host in kept.meta.extraHosts:
        host.IP = ""
    for mount in kept.mounts:
        mount.selector = ""
        if mount.HasField("cacheOpt") and not _is_default_cache(mount):
            mount.cacheOpt.ClearField("ID")
            mount.cacheOpt.ClearField("sharing")
    if len(kept.mounts) == 1 and _is_plain_root(kept.mounts[0]):
        kept.ClearField("mounts")
    key: dict[str, object] = {
        "Type": "buildkit.exec.v0",
        "Exec": gojson.plain(kept),
        "OS": platform.os,
        "Arch": platform.architecture,
    }
    for name, value in (
        ("Variant", platform.variant),
        ("OSVersion", platform.os_version),
        ("OSFeatures", list(platform.os_features)),
    ):
        if value:
            key[name] = value
    return key


def _is_default_cache(mount: pb.Mount) -> bool:
    """Whether the name is the destination, perhaps behind a namespace, and the sharing is the default."""
    option = mount.cacheOpt
    _, slash, rest = option.ID.partition("/")
    return option.sharing == pb.SHARED and (mount.dest == option.ID or (bool(slash) and rest == mount.dest))


def _is_plain_root(mount: pb.Mount) -> bool:
    return (
        mount.dest == ROOT
        and not mount.readonly
        and mount.mountType == pb.BIND
        and not mount.resultID
        and not (mount.HasField("cacheOpt") or mount.HasField("SSHOpt") or mount.HasField("secretOpt"))
    )


@dataclass(slots=True)
class InputUse:
    """How an exec step uses one of its inputs."""

    selectors: list[str] = field(default_factory=list[str])
    """Paths that mounts show, one for each mount, absolute."""
    by_content: bool = False
    """Whether what is at those paths may stand for the input in the key."""

    @property
    def paths(self) -> list[str]:
        """What to digest for the key by content; [] is everything."""
        kept = without_nested(self.selectors)
        return [] if ROOT in kept or "" in kept else kept


def uses_of_inputs(op: pb.ExecOp, count: int) -> list[InputUse]:
    """One for each of ``count`` inputs; where several mounts show the same, the last decides about content.

    Content is enough where the rest of the input cannot show in a result: the mount makes none, cannot be written,
    or is the whole input. On the root it is not worth its cost. Raises `InvalidInput`.
    """
    uses = [InputUse() for _ in range(count)]
    for mount in op.mounts:
        if mount.mountType in _WITHOUT_INPUT or mount.input == NOTHING:
            continue
        if not 0 <= mount.input < count:
            raise InvalidInput(f"invalid mount input {mount.input} of {mount.dest}")
        selector = posixpath.normpath("/" + mount.selector.lstrip("/"))
        use = uses[mount.input]
        use.selectors.append(selector)
        safe = mount.output == NOTHING or mount.readonly or selector == ROOT
        if mount.contentCache == pb.ON and not safe:
            raise InvalidInput(f"invalid mount cache content {mount.dest}")
        use.by_content = safe and (
            mount.contentCache == pb.ON or (mount.contentCache == pb.DEFAULT and mount.dest != ROOT)
        )
    return uses


def without_nested(paths: Iterable[str]) -> list[str]:
    """Sorted, each once, and none below another."""
    distinct = sorted(set(paths))
    return [
        path
        for path in distinct
        if not any(path != other and path.startswith(other.rstrip("/") + "/") for other in distinct)
    ]
