"""ExecOp: a command run in a container."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from buildkit.core.errors import InvalidInput
from buildkit.core.platform import DEFAULT_PATH
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints
from buildkit.llb.mount import Device, Mount, Proxy, Secret, Ssh
from buildkit.llb.settings import Settings
from buildkit.llb.vertex import Encoded, Marshalling, Output

if TYPE_CHECKING:
    from buildkit.api import ops as pb

ROOT = "/"
_NETWORK = {"sandbox": 0, "host": 1, "none": 2}
_SECURITY = {"sandbox": 0, "insecure": 1}
_SHARING = {"shared": 0, "private": 1, "locked": 2}
_CONTENT_CACHE = {"default": 0, "on": 1, "off": 2}
_CACHE, _TMPFS, _SECRET, _SSH = 3, 4, 1, 2
_NOTHING = -1


class Process(NamedTuple):
    """What runs, and what it may see."""

    settings: Settings
    mounts: tuple[Mount, ...]
    secrets: tuple[Secret, ...]
    agents: tuple[Ssh, ...]
    devices: tuple[Device, ...]
    proxy: Proxy | None


class ExecOp:
    """A vertex that runs a process on ``root`` (None is an empty filesystem)."""

    def __init__(
        self, root: Output | None, process: Process, constraints: Constraints, *, readonly_root: bool = False
    ) -> None:
        self.process = process
        self.constraints = constraints
        self._mounts: list[tuple[Mount, Output | None]] = [(Mount(ROOT, readonly=readonly_root), root)]
        self._mounts += [(m, m.source.output if m.source is not None else None) for m in process.mounts]
        self._mounts.sort(key=lambda entry: entry[0].target)

    def inputs(self) -> Sequence[Output]:
        """Sources of the mounts, by mount target."""
        return list(dict.fromkeys(output for _, output in self._mounts if output is not None))

    def output_at(self, target: str) -> Output | None:
        """What is at ``target`` after the process ended; raises `InvalidInput` for what cannot be kept."""
        index = 0
        for mount, source in self._mounts:
            if mount.target == target:
                if mount.readonly:
                    return source
                if mount.is_tmpfs:
                    raise InvalidInput(f"tmpfs mount for {target} can't be used as a parent")
                if mount.discard:
                    raise InvalidInput(f"mount marked no-output and {target} can't be used as a parent")
                if mount.cache_id:
                    raise InvalidInput(f"invalid mount: {target}")
                return Output(self, index, self.constraints.platform)
            index += _keeps(mount)
        raise InvalidInput(f"nothing is mounted at {target}")

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        from buildkit.api import ops as pb

        settings = self.process.settings
        if not settings.args:
            raise InvalidInput("arguments are required")
        if not settings.dir:
            raise InvalidInput("working directory is required")
        if settings.network not in _NETWORK:
            raise InvalidInput(f"invalid network mode {settings.network!r}")
        if settings.security not in _SECURITY:
            raise InvalidInput(f"invalid security mode {settings.security!r}")
        constraints = self.constraints.requiring(*self._caps(marshalling))
        if constraints.platform is None and settings.platform is not None:
            constraints = Constraints(
                settings.platform,
                constraints.filters,
                constraints.metadata,
                constraints.local_unique_id,
                constraints.locations,
                constraints.caller,
            )
        op = marshalling.op(constraints, platform=True)
        op.exec.network = _NETWORK[settings.network]  # type: ignore[assignment]
        op.exec.security = _SECURITY[settings.security]  # type: ignore[assignment]
        self._write_meta(op.exec.meta, marshalling)
        op.exec.cdiDevices.extend(pb.CDIDevice(name=d.name, optional=d.optional) for d in self.process.devices)
        self._write_mounts(op, marshalling)
        self._write_secrets(op.exec)
        return marshalling.finish(op, constraints)

    def _caps(self, marshalling: Marshalling) -> list[str]:
        process, settings = self.process, self.process.settings
        out = [caps.EXEC_META_BASE]
        if marshalling.known_caps is not None and caps.EXEC_META_SETS_DEFAULT_PATH in marshalling.known_caps:
            out.append(caps.EXEC_META_SETS_DEFAULT_PATH)
        wanted = (
            (settings.valid_exit_codes is not None, caps.EXEC_VALID_EXIT_CODE),
            (settings.ulimits, caps.EXEC_META_ULIMIT),
            (self.constraints.metadata.resources, caps.EXEC_META_LINUX_RESOURCES),
            (settings.network != "sandbox", caps.EXEC_META_NETWORK),
            (settings.security != "sandbox", caps.EXEC_META_SECURITY),
            (process.proxy, caps.EXEC_META_PROXY),
            (process.secrets, caps.EXEC_MOUNT_SECRET),
            (any(s.env is not None for s in process.secrets), caps.EXEC_SECRET_ENV),
            (process.agents, caps.EXEC_MOUNT_SSH),
            (process.devices, caps.EXEC_META_CDI),
        )
        out += [cap for present, cap in wanted if present]
        for mount, source in self._mounts:
            if mount.path:
                out.append(caps.EXEC_MOUNT_SELECTOR)
            if mount.cache_id:
                out += [caps.EXEC_MOUNT_CACHE, caps.EXEC_MOUNT_CACHE_SHARING]
            elif mount.is_tmpfs:
                out += [caps.EXEC_MOUNT_TMPFS, caps.EXEC_MOUNT_TMPFS_SIZE][: 2 if mount.size > 0 else 1]
            elif source is not None:
                out.append(caps.EXEC_MOUNT_BIND)
            if mount.content_cache != "default":
                out.append(caps.EXEC_MOUNT_CONTENT_CACHE)
        return out

    def _write_meta(self, meta: pb.Meta, marshalling: Marshalling) -> None:
        settings = self.process.settings
        env = settings.env
        if self.process.agents:
            env = env.set_default("SSH_AUTH_SOCK", self._agent_target(0))
        if marshalling.known_caps is not None and caps.EXEC_META_SETS_DEFAULT_PATH not in marshalling.known_caps:
            where = marshalling.defaults.platform or self.constraints.platform
            if where is None or where.os != "windows":
                env = env.set_default("PATH", DEFAULT_PATH)
        meta.args.extend(settings.args)
        meta.env.extend(env.pairs())
        meta.cwd = settings.dir
        meta.user = settings.user
        meta.hostname = settings.hostname
        meta.cgroupParent = settings.cgroup_parent
        meta.removeMountStubsRecursive = True
        meta.validExitCodes.extend(settings.valid_exit_codes or ())
        for host, address in settings.extra_hosts:
            meta.extraHosts.add(Host=host, IP=address)
        for name, soft, hard in settings.ulimits:
            meta.ulimit.add(Name=name, Soft=soft, Hard=hard)
        if (proxy := self.process.proxy) is not None:
            target = meta.proxy_env
            target.SetInParent()
            target.http_proxy, target.https_proxy, target.ftp_proxy = proxy.http, proxy.https, proxy.ftp
            target.no_proxy, target.all_proxy = proxy.no, proxy.all

    def _write_mounts(self, op: pb.Op, marshalling: Marshalling) -> None:
        positions: dict[tuple[str, int], int] = {}
        outputs = 0
        for mount, source in self._mounts:
            position = _NOTHING
            if source is not None:
                if mount.is_tmpfs:
                    raise InvalidInput("tmpfs mounts must use scratch")
                reference = marshalling.input(source)
                position = positions.setdefault((reference.digest, reference.index), len(positions))
                if position == len(op.inputs):
                    op.inputs.append(reference)
            kept = _keeps(mount)
            message = op.exec.mounts.add(
                input=position,
                dest=mount.target,
                readonly=mount.readonly,
                output=outputs if kept else _NOTHING,
                selector=mount.path,
                contentCache=_CONTENT_CACHE[mount.content_cache],
            )
            outputs += kept
            if mount.cache_id:
                message.mountType = _CACHE  # type: ignore[assignment]
                message.cacheOpt.ID = mount.cache_id
                message.cacheOpt.sharing = _SHARING[mount.sharing]  # type: ignore[assignment]
            if mount.is_tmpfs:
                message.mountType = _TMPFS  # type: ignore[assignment]
                message.TmpfsOpt.SetInParent()
                message.TmpfsOpt.size = mount.size

    def _write_secrets(self, op: pb.ExecOp) -> None:
        for secret in self.process.secrets:
            if secret.env is not None:
                op.secretenv.add(ID=secret.id, name=secret.env, optional=secret.optional)
            if secret.target is not None:
                message = op.mounts.add(input=_NOTHING, dest=secret.target, mountType=_SECRET)
                option = message.secretOpt
                option.SetInParent()
                option.ID, option.optional = secret.id, secret.optional
                option.uid, option.gid, option.mode = secret.uid, secret.gid, secret.mode
        for number, agent in enumerate(self.process.agents):
            dest = self._agent_target(number)
            message = op.mounts.add(input=_NOTHING, dest=dest, mountType=_SSH)
            target = message.SSHOpt
            target.SetInParent()
            target.ID, target.optional = agent.id, agent.optional
            target.uid, target.gid, target.mode = agent.uid, agent.gid, agent.mode

    def _agent_target(self, number: int) -> str:
        return self.process.agents[number].target or f"/run/buildkit/ssh_agent.{number}"


def _keeps(mount: Mount) -> bool:
    return not (mount.discard or mount.readonly or mount.is_tmpfs or mount.cache_id)
