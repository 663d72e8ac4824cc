"""Which command an address stands for."""

from __future__ import annotations

import pytest

from buildkit.client.commands import command_of
from buildkit.core.errors import BuildkitError


@pytest.mark.row("T5", "T6", "T7", "T8")
@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("docker-container://box", "docker exec -i box buildctl dial-stdio"),
        ("docker-container://Box_1?context=far", "docker --context=far exec -i Box_1 buildctl dial-stdio"),
        ("podman-container://box", "podman exec -i box buildctl dial-stdio"),
        ("nerdctl-container://box", "nerdctl exec -i box buildctl dial-stdio"),
        ("nerdctl-container://box?namespace=n", "nerdctl exec --namespace n -i box buildctl dial-stdio"),
        (
            "kube-pod://pod?context=c&namespace=n&container=x",
            "kubectl --context=c --namespace=n exec --container=x -i pod -- buildctl dial-stdio",
        ),
        ("kube-pod://pod", "kubectl --context= --namespace= exec --container= -i pod -- buildctl dial-stdio"),
        ("ssh://host", "ssh -- host buildctl dial-stdio"),
        ("ssh://me@host:22", "ssh -l me -p 22 -- host buildctl dial-stdio"),
        ("ssh://me@host/run/b.sock", "ssh -l me -- host buildctl --addr unix:///run/b.sock dial-stdio"),
    ],
)
def test_an_address_behind_a_program_names_its_command(address, command):
    assert command_of(address) == command.split()


@pytest.mark.row("T5")
@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("docker-container://", "url lacks container name"),
        ("podman-container://-v", 'unsupported container name: "-v"'),
        ("nerdctl-container://?namespace=n", "url lacks container name"),
        ("kube-pod://", "url lacks pod name"),
        ("kube-pod://A_b", 'unsupported pod name: "A_b"'),
        ("kube-pod://a?namespace=--x_", 'unsupported namespace name: "--x_"'),
        ("kube-pod://a?container=$(x)", 'unsupported container name: "$(x)"'),
        ("ssh://a:b@c", "plain-text password is not supported"),
        ("ssh://", "no host specified"),
        ("ssh://h?x=1", 'extra query after the host: "x=1"'),
        ("ssh://h#x", 'extra fragment after the host: "x"'),
        ("ssh://h:port", "ssh://h:port is not an address"),
        ("npipe://x", "npipe connections are only supported on windows"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(address, text):
    with pytest.raises(BuildkitError) as raised:
        command_of(address)
    assert raised.value.message.startswith(text)


@pytest.mark.parametrize("address", ["unix:///run/b.sock", "tcp://host:1"])
def test_a_socket_needs_no_command(address):
    assert command_of(address) is None
