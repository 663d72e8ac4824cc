from __future__ import annotations

from pathlib import Path

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.daemon.config import DaemonConfig
from buildkit.daemon.flags import overlay, parse_flags
from buildkit.daemon.toml import parse_config
from buildkit.executor.settings import NetworkSettings

START = DaemonConfig(root=Path("/nowhere"), addresses=())


@pytest.mark.row("B34", "X45")
def test_the_configuration_file_says_everything_about_the_network():
    text = """
        [worker.oci]
        networkMode = "bridge"
        cniConfigPath = "/c"
        cniBinaryPath = "/p"
        cniPoolSize = 16
        bridgeName = "br"
        bridgeSubnet = "10.1.0.0/16"
    """
    found = parse_config(text, START).config.worker.network
    assert found == NetworkSettings("bridge", "/c", ("/p",), 16, "br", "10.1.0.0/16")


@pytest.mark.row("B16", "X42")
def test_a_network_nobody_configured_is_the_automatic_one():
    found = parse_config("", START).config.worker.network
    assert found == NetworkSettings("auto")
    assert (found.config, found.bridge, found.subnet) == ("/etc/buildkit/cni.json", "buildkit0", "10.10.0.0/16")


@pytest.mark.row("B16")
def test_flags_about_the_network_come_before_the_file():
    words = ["--oci-worker-net=cni", "--oci-cni-config-path", "/c", "--oci-cni-binary-dir=/p", "--oci-cni-pool-size=3"]
    found = overlay(parse_flags(words, {}), START).worker.network
    assert found == NetworkSettings("cni", "/c", ("/p",), 3)
    with pytest.raises(InvalidInput, match="--oci-cni-pool-size: x is not a number"):
        overlay(parse_flags(["--oci-cni-pool-size=x"], {}), START)
