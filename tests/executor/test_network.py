from __future__ import annotations

import json

import pytest

from buildkit.core.errors import FailedPrecondition, InvalidInput
from buildkit.executor.cni import Attachment, parse_network, read_network
from buildkit.executor.network import label_of, resolve_mode
from buildkit.executor.settings import NetworkSettings


def mode(asked, config="/nowhere", **environ):
    return resolve_mode(NetworkSettings(asked, config), environ)


@pytest.mark.row("X42")
def test_the_automatic_network_is_that_of_the_configuration_if_there_is_one(tmp_path):
    (tmp_path / "cni.json").touch()
    assert [mode("", str(tmp_path / "cni.json")), mode("auto", str(tmp_path / "cni.json"))] == ["cni", "cni"]
    assert [mode(""), mode("auto"), mode("auto", BUILDKIT_NETWORK_BRIDGE_AUTO="1")] == ["host", "host", "bridge"]
    assert mode("auto", BUILDKIT_NETWORK_BRIDGE_AUTO="0") == "host"


@pytest.mark.row("X42", "X43")
def test_a_network_mode_is_one_of_those_that_exist():
    assert [mode(one) for one in ("host", "none", "cni", "bridge")] == ["host", "none", "cni", "bridge"]
    assert [label_of(one) for one in ("host", "none", "cni", "bridge")] == ["host", "none", "cni", "cni"]
    with pytest.raises(InvalidInput, match='invalid network mode: "x"'):
        mode("x")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "error parsing configuration"),
        ("[]", "no JSON object"),
        ('{"name": "n"}', "missing 'type'"),
        ('{"name": "n", "plugins": []}', "no plugins in list"),
        ('{"name": "n", "plugins": [3]}', "missing 'type'"),
        ('{"name": "../n", "type": "bridge"}', "invalid network name"),
        ('{"type": "bridge"}', "invalid network name"),
        ('{"name": "n", "type": "../../bin/sh"}', "invalid plugin name"),
        ('{"name": "n", "type": "bridge", "cniVersion": "new"}', "invalid cniVersion"),
        ('{"name": "n", "type": "bridge", "cniVersion": 1}', "invalid cniVersion"),
    ],
)
def test_a_network_that_is_none_is_refused(tmp_path, text, complaint):
    path = tmp_path / "cni.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=complaint) as caught:
        read_network(str(path))
    assert str(path) in str(caught.value)


def test_one_plugin_alone_is_a_network():
    network = parse_network(json.dumps({"name": "n", "type": "bridge", "cniVersion": "0.3.1"}))
    assert (network.name, [plugin["type"] for plugin in network.plugins]) == ("n", ["bridge"])
    assert not network.at_least((0, 4, 0))
    assert network.at_least((0, 3, 1))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FailedPrecondition, match=r'failed to read cni config ".*": is a directory'):
        read_network(str(tmp_path))


def test_the_host_end_of_a_network_is_its_only_veth():
    ends = [{"name": "br0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/x"}]
    ips = [{"interface": 2, "address": "10.0.0.2/8"}, {"interface": 0, "address": "10.0.0.1/8"}]
    made = Attachment("a", "/x", result={"interfaces": ends, "ips": ips})
    assert made.host_interface() == "veth1"
    assert made.interfaces() == {"eth0": ("10.0.0.2/8",)}
    assert Attachment("a", "/x", result={"interfaces": [*ends, {"name": "veth2"}]}).host_interface() == ""
    assert Attachment("a", "/x").host_interface() == ""
