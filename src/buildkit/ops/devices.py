"""Which devices a step gets: what it asks for, named in full, if the build may have it."""

from __future__ import annotations

from buildkit.api import ops as pb
from buildkit.core.entitlement import Grants
from buildkit.core.errors import PermissionDenied
from buildkit.executor.devices import load_devices
from buildkit.executor.settings import DeviceSettings


def settle_devices(op: pb.ExecOp, grants: Grants, settings: DeviceSettings) -> None:
    """Put full names in place of those asked for; they are part of the step's key.

    A build that was granted all devices is not looked at: what is missing shows when the step runs.
    Raises `PermissionDenied`, and `FailedPrecondition` for a device that nobody knows.
    """
    if grants.all_devices:
        return
    allowed: list[pb.CDIDevice] = []
    asked: list[tuple[str, bool]] = []
    for device in op.cdiDevices:
        meant = grants.devices.get(device.name)
        if meant:
            allowed.append(pb.CDIDevice(name=meant, optional=device.optional))
        else:
            asked.append((device.name, device.optional))
    devices = load_devices(settings)
    wanted = devices.resolve(asked)
    granted = set(devices.resolve((name, False) for name in grants.devices)) if wanted else set()
    forbidden = [name for name in wanted if name not in granted and not devices.found[name].auto_allowed]
    if forbidden:
        names = ", ".join(forbidden)
        some = f"device {names} is" if len(forbidden) == 1 else f"devices {names} are"
        raise PermissionDenied(f"{some} requested by the build but not allowed")
    del op.cdiDevices[:]
    op.cdiDevices.extend([*allowed, *(pb.CDIDevice(name=name) for name in wanted)])
