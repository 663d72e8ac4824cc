"""The OCI runtime configuration of a container, as BuildKit makes it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
from collections.abc import Sequence
from typing import Any

from buildkit.core.errors import InvalidInput
from buildkit.core.values import dataclass
from buildkit.executor.executor import DEFAULT_HOSTNAME, Command, Process, Resources, Ulimit
from buildkit.executor.user import Identity

VERSION = "1.0.2"
"""Version of the runtime specification that is written: older runtimes refuse newer ones."""

_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
]
_ALL_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
]
"""In the order of their numbers in the kernel."""

_MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
]
_READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_INSECURE_DEVICES = (("kmsg", 1, 11), ("cuse", 10, 203), ("fuse", 10, 229), ("kvm", 10, 232), ("net/tun", 10, 200))
_LOOP_CONTROL = (10, 237)
_LOOP_CTL_GET_FREE = 0x4C82
_SPARE_LOOPS = 7
_CAPABILITY_VERSION = 0x20080522


@dataclass(frozen=True, slots=True)
class Place:
    """Where this container stands on this machine."""

    id: str
    root: str
    resolv_conf: str
    hosts: str
    cgroup_parent: str = ""
    cgroup_namespace: bool = False
    network: str | None = ""
    """Path of a network namespace, "" for a new one, None for the host's."""
    seccomp: dict[str, object] | None = None
    annotations: dict[str, str] | None = None
    readonly_root: bool = False
    apparmor_profile: str = ""
    user_namespace: bool = False
    """Whether this process lives in a user namespace, where device nodes cannot be made."""


def make_spec(
    process: Process,
    identity: Identity,
    mounts: Sequence[dict[str, Any]],
    place: Place,
    device_mounts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The whole ``config.json``; ``mounts`` are runtime mounts to add after the usual ones, in order.

    ``device_mounts`` are those of the process's devices: they stand among the usual ones.
    """
    insecure = process.insecure
    linux: dict[str, Any] = {
        "resources": {"devices": _device_rules(insecure), **_limits(process.resources)},
        "cgroupsPath": cgroups_path(process.cgroup_parent or place.cgroup_parent, place.id),
        "namespaces": _namespaces(place),
    }
    if insecure:
        if not place.user_namespace:
            linux["devices"] = _insecure_devices()
    else:
        linux["maskedPaths"] = _MASKED_PATHS
        linux["readonlyPaths"] = _READONLY_PATHS
        if place.seccomp is not None:
            linux["seccomp"] = place.seccomp
    confined = {"apparmorProfile": place.apparmor_profile} if place.apparmor_profile and not insecure else {}
    config: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": {**_process(process, identity), **confined},
        "root": {"path": place.root, "readonly": place.readonly_root},
        "hostname": process.hostname or DEFAULT_HOSTNAME,
        "mounts": _base_mounts(place, insecure),
        "linux": linux,
    }
    if process.devices is not None:
        from buildkit.executor.device_edits import apply_edits

        apply_edits(config, process.devices, device_mounts)
    config["mounts"] = _last_of_each([*config["mounts"], *mounts])
    if place.annotations and not insecure:
        config["annotations"] = place.annotations
    return config


def change_process(made: dict[str, Any], command: Command, identity: Identity) -> None:
    """Turn the process of a container's configuration into a further one; ``identity`` is the command's user."""
    made["args"] = list(command.args)
    made["terminal"] = command.tty
    if command.env:
        made["env"] = list(command.env)
    if command.cwd:
        made["cwd"] = command.cwd
    if command.user:
        made["user"] = _user(identity)


def _user(identity: Identity) -> dict[str, Any]:
    groups = list(identity.groups)
    if identity.gid not in groups:
        groups.insert(0, identity.gid)
    return {"uid": identity.uid, "gid": identity.gid, "additionalGids": groups}


def cgroups_path(parent: str, id: str) -> str:
    """``/<parent>/buildkit/<id>``, or systemd's ``x.slice:prefix:<id>``; raises `InvalidInput`."""
    if ".slice" in parent and parent.endswith(":"):
        if "/" in parent:
            raise InvalidInput(f"invalid cgroup parent {parent}: a slice has no /")
        return parent + id
    return os.path.normpath(f"/{parent}/buildkit/{id}").replace("//", "/")


def _process(process: Process, identity: Identity) -> dict[str, Any]:
    sets = ("bounding", "effective", "permitted")
    capabilities = dict.fromkeys(sets, _CAPABILITIES)
    if process.insecure:
        held = _held_capabilities()
        capabilities = dict.fromkeys((*sets, "inheritable", "ambient"), held)
    made: dict[str, Any] = {
        "user": _user(identity),
        "args": list(process.args),
        "env": list(process.env),
        "cwd": process.cwd,
        "capabilities": capabilities,
        "noNewPrivileges": False,
    }
    if process.tty:
        made["terminal"] = True
    if process.ulimits:
        made["rlimits"] = [_rlimit(limit) for limit in process.ulimits]
    return made


def _rlimit(limit: Ulimit) -> dict[str, Any]:
    """A limit that may be set: without CAP_SYS_RESOURCE none can be above the hard limit that we have."""
    name = f"RLIMIT_{limit.name.upper()}"
    number = getattr(resource, name, None)
    if number is None:
        raise InvalidInput(f"unknown ulimit {limit.name}")
    soft, hard = _unsigned(limit.soft), _unsigned(limit.hard)
    if not _may_raise_limits():
        ceiling = _unsigned(resource.getrlimit(number)[1])
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    return {"type": name, "soft": soft, "hard": hard}


def _unsigned(value: int) -> int:
    return value & (1 << 64) - 1


def _may_raise_limits() -> bool:
    return "CAP_SYS_RESOURCE" in _held_capabilities()


def _held_capabilities() -> list[str]:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget failed")
    held = sets[1] | sets[4] << 32
    return [name for number, name in enumerate(_ALL_CAPABILITIES) if held >> number & 1]


def _namespaces(place: Place) -> list[dict[str, str]]:
    kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if place.cgroup_namespace:
        kinds.append({"type": "cgroup"})
    if place.network is not None:
        kinds.append({"type": "network", "path": place.network} if place.network else {"type": "network"})
    return kinds


def _base_mounts(place: Place, insecure: bool) -> list[dict[str, Any]]:
    access = "rw" if insecure else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
        _mount("/sys", "sysfs", "sysfs", [*quiet, access]),
        _mount("/etc/resolv.conf", "bind", place.resolv_conf, [*quiet, "rbind", "ro"]),
        _mount("/etc/hosts", "bind", place.hosts, [*quiet, "rbind", "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [access, *quiet]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _last_of_each(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One mount for each destination: a later one takes the place of an earlier one."""
    kept: dict[str, dict[str, Any]] = {}
    for mount in mounts:
        kept[mount["destination"]] = mount
    return list(kept.values())


def _device_rules(insecure: bool) -> list[dict[str, Any]]:
    if insecure:
        return [{"allow": True, "type": kind, "access": "rwm"} for kind in ("c", "b")]
    return [{"allow": False, "access": "rwm"}]


def _insecure_devices() -> list[dict[str, Any]]:
    devices = [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor}
        for name, major, minor in (*_INSECURE_DEVICES, ("loop-control", *_LOOP_CONTROL))
    ]
    return devices + [
        {"path": f"/dev/loop{number}", "type": "b", "major": 7, "minor": number}
        for number in range(_free_loop() + _SPARE_LOOPS + 1)
    ]


def _free_loop() -> int:
    try:
        fd = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return max(0, fcntl.ioctl(fd, _LOOP_CTL_GET_FREE))
    except OSError:
        return 0
    finally:
        os.close(fd)


def _limits(limits: Resources) -> dict[str, Any]:
    memory = {"limit": limits.memory, "swap": limits.memory_swap}
    cpu = {
        "shares": limits.cpu_shares,
        "quota": limits.cpu_quota,
        "period": limits.cpu_period,
        "cpus": limits.cpuset_cpus,
        "mems": limits.cpuset_mems,
    }
    made: dict[str, dict[str, Any]] = {"memory": memory, "cpu": cpu}
    return {kind: given for kind, all in made.items() if (given := {k: v for k, v in all.items() if v})}
