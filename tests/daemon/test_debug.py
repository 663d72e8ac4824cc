import http.client
import json
import re
import socket

import pytest
from tests.daemon.test_command import process
from tests.kit.daemons import Peer, connected, drive

from buildkit.core.errors import InvalidInput
from buildkit.daemon.debug import serving
from buildkit.llb import mkfile, scratch


def get(address, path):
    connection = http.client.HTTPConnection(address)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.row("B64", "B65")
async def test_the_debug_address_tells_what_was_built_and_what_goes_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with process(tmp_path, f"--addr=unix://{tmp_path}/s", f"--debugaddr={address}"):
        async with connected(tmp_path / "s") as channel:
            await drive(Peer(channel, None), scratch().file(mkfile("/a", b"")))
        status, text = get(address, "/metrics")
        assert status == 200 and 'buildkit_builds_total{status="success"} 1' in text
        assert 'buildkit_builds_steps_total{kind="total"} 1' in text
        assert re.search(r'buildkit_build_duration_seconds_count{status="success"} 1', text)
        assert json.loads(get(address, "/debug/vars")[1])["cmdline"][-1] == f"--debugaddr={address}"
        stacks = get(address, "/debug/stacks")[1]
        assert "thread MainThread" in stacks and "task " in stacks
        assert get(address, "/debug/gc")[0] == 200
        assert get(address, "/nothing")[0] == 404


async def test_the_debug_address_may_be_a_socket_that_only_its_owner_opens(tmp_path):
    path = tmp_path / "debug"
    with serving(f"unix://{path}", lambda: "here\n"), socket.socket(socket.AF_UNIX) as client:
        assert path.stat().st_mode & 0o777 == 0o600
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"here" in client.makefile("rb").read()
    assert not path.exists()


@pytest.mark.parametrize("address", ["nowhere", "host:x", "tcp://:99999", "ftp://x:1"])
async def test_debug_addresses_that_make_no_sense_are_refused(address):
    with pytest.raises(InvalidInput, match="debug address"), serving(address, str):
        pass
