"""Devices into a container's runtime configuration: environment, nodes, mounts, hooks, groups."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from typing import Any

from buildkit.core.errors import BuildkitError, FailedPrecondition, Unsupported
from buildkit.executor.cdi import DeviceNode, Edits, Hook, number

_KINDS = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}


def apply_edits(config: dict[str, Any], edits: Edits, mounts: Sequence[dict[str, Any]]) -> None:
    """Change a configuration in place. ``mounts`` are the edits' as the runtime is to make them.

    Raises `FailedPrecondition` when the host lacks a device, `Unsupported`.
    """
    try:
        _apply(config, edits)
    except BuildkitError as error:
        raise error.prefixed("CDI device injection failed: failed to inject devices: ") from None
    if mounts:
        places = {mount["destination"] for mount in mounts}
        kept = [mount for mount in config["mounts"] if mount["destination"] not in places]
        config["mounts"] = sorted([*kept, *mounts], key=lambda mount: _depth(mount["destination"]))


def _apply(config: dict[str, Any], edits: Edits) -> None:
    if edits.net_devices:
        raise Unsupported(f"net device {edits.net_devices[0].host_interface_name} is not supported yet")
    process, linux = config["process"], config["linux"]
    _set_variables(process["env"], edits.env)
    for node in edits.device_nodes:
        device = _device(node)
        for key, name in (("uid", "uid"), ("gid", "gid")):
            if key not in device and process["user"][name] > 0:
                device[key] = process["user"][name]
        others = [one for one in linux.get("devices", ()) if one["path"] != device["path"]]
        linux["devices"] = [*others, device]
        if device["type"] in ("b", "c"):
            rule = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
            linux["resources"]["devices"].append({**rule, "access": node.permissions or "rwm"})
    for hook in edits.hooks:
        config.setdefault("hooks", {}).setdefault(hook.hook_name, []).append(_hook(hook))
    share = edits.intel_rdt
    if share is not None:
        if share.schemata or share.enable_monitoring:
            raise Unsupported("schemata and monitoring of intelRdt are not supported yet")
        known = {"closID": share.clos_id, "l3CacheSchema": share.l3_cache_schema, "memBwSchema": share.mem_bw_schema}
        linux["intelRdt"] = {name: value for name, value in known.items() if value}
    groups = process["user"]["additionalGids"]
    for gid in map(number, edits.additional_gids):
        if gid and gid not in groups:
            groups.append(gid)


def _set_variables(env: list[str], given: Sequence[str]) -> None:
    """A variable that is set already changes its value in its place."""
    places = {entry.partition("=")[0]: number for number, entry in enumerate(env)}
    for entry in given:
        name = entry.partition("=")[0]
        if name in places:
            env[places[name]] = entry
        else:
            places[name] = len(env)
            env.append(entry)


def _device(node: DeviceNode) -> dict[str, Any]:
    """A node with what its host's counterpart adds."""
    kind, major, minor = node.type, number(node.major), number(node.minor)
    device: dict[str, Any] = {"path": node.path, "type": kind, "major": major, "minor": minor}
    if node.file_mode is not None:
        device["fileMode"] = number(node.file_mode)
    for name, value in (("uid", node.uid), ("gid", node.gid)):
        if value is not None:
            device[name] = number(value)
    complete = kind != "" and (major != 0 or kind == "p")
    path = node.host_path or node.path
    try:
        found = os.lstat(path)
        host = _KINDS.get(stat.S_IFMT(found.st_mode))
        if host is None:
            raise FailedPrecondition(f'failed to stat CDI host device "{path}": not a device node')
    except (OSError, FailedPrecondition) as error:
        if complete:
            return device
        if isinstance(error, FailedPrecondition):
            raise
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise FailedPrecondition(f'failed to stat CDI host device "{path}": {reason}') from None
    device.setdefault("fileMode", stat.S_IMODE(found.st_mode))
    if complete:
        return device
    if kind not in ("", host):
        pair = f'("{node.path}", "{path}"), host type mismatch ({kind}, {host})'
        raise FailedPrecondition(f"CDI device {pair}")
    device["type"] = host
    if host != "p" and major == 0:
        device["major"], device["minor"] = os.major(found.st_rdev), os.minor(found.st_rdev)
    return device


def _hook(hook: Hook) -> dict[str, Any]:
    made: dict[str, Any] = {"path": hook.path}
    if hook.args:
        made["args"] = list(hook.args)
    if hook.env:
        made["env"] = list(hook.env)
    if hook.timeout is not None:
        made["timeout"] = number(hook.timeout)
    return made


def _depth(destination: str) -> int:
    return posixpath.normpath(destination).count("/")
