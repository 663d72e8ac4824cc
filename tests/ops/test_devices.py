import pytest

from buildkit.api import ops as pb
from buildkit.core.entitlement import Grants, grant
from buildkit.core.errors import FailedPrecondition, InvalidInput, PermissionDenied
from buildkit.executor.settings import DeviceSettings
from buildkit.ops.devices import settle_devices

SPEC = """
cdiVersion: "0.6.0"
kind: acme.com/gpu
devices:
- {name: a, containerEdits: {env: [A=1]}}
- {name: b, containerEdits: {env: [B=1]}}
- name: free
  annotations: {org.mobyproject.buildkit.device.autoallow: "1"}
  containerEdits: {env: [C=1]}
"""


@pytest.fixture
def settled(tmp_path):
    (tmp_path / "gpu.yaml").write_text(SPEC)

    def settle(*names, allow=(), optional=False):
        op = pb.ExecOp(cdiDevices=[pb.CDIDevice(name=name, optional=optional) for name in names])
        settle_devices(op, grant(allow, frozenset(["device"])), DeviceSettings((str(tmp_path),)))
        return [device.name for device in op.cdiDevices]

    return settle


@pytest.mark.row("L92", "A33")
def test_a_build_that_was_not_granted_a_device_is_refused(settled):
    with pytest.raises(PermissionDenied, match=r"^device acme.com/gpu=a is requested by the build but not allowed$"):
        settled("acme.com/gpu", "acme.com/gpu=free")
    with pytest.raises(
        PermissionDenied, match=r"^devices acme.com/gpu=a, acme.com/gpu=b are requested by the build but"
    ):
        settled("acme.com/gpu=*")


@pytest.mark.row("L92")
def test_what_is_granted_gets_its_full_name(settled):
    assert settled("acme.com/gpu=free") == ["acme.com/gpu=free"]
    assert settled("acme.com/gpu", allow=["device=acme.com/gpu=a"]) == ["acme.com/gpu=a"]
    assert settled("acme.com/gpu=*", allow=["device=acme.com/gpu=*"]) == [
        f"acme.com/gpu={n}" for n in ("a", "b", "free")
    ]
    assert settled("mine", allow=["device=acme.com/gpu=b,alias=mine"]) == ["acme.com/gpu=b"]


@pytest.mark.row("L92")
def test_a_build_that_was_granted_everything_is_not_looked_at(settled):
    assert settled("nope", allow=["device"]) == ["nope"]


@pytest.mark.row("L92")
def test_an_unknown_device_is_left_out_only_if_it_is_optional(settled):
    assert settled("nope", optional=True) == []
    with pytest.raises(FailedPrecondition, match=r'^required device "nope" is not registered$'):
        settled("nope")


@pytest.mark.row("L92")
def test_grants_of_devices_are_read():
    allowed = frozenset(["device", "network.host"])
    assert grant(["device"], allowed) == Grants(frozenset(["device"]), all_devices=True)
    assert grant(["device=a", "network.host"], allowed).devices == {"a": ""}
    for text, complaint in (("device=a,b", 'invalid device config "b"'), ("device=a,b=c", 'config key "b"')):
        with pytest.raises(InvalidInput, match=complaint):
            grant([text], allowed)
    with pytest.raises(PermissionDenied, match="granting entitlement device is not allowed by build daemon"):
        grant(["device=a"], frozenset())
