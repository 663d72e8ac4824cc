"""Traces out of real steps."""

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.daemon.test_traces import PARENT, collector
from tests.kit.daemons import CONTROL, running_daemon
from tests.kit.rootfs import PATH
from tests.root.test_executor import Box

from buildkit.core.values import replace
from buildkit.daemon.traces import Destination
from buildkit.llb import mkdir, mkfile, scratch

pytestmark = pytest.mark.root
OTEL = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///dev/otel-grpc.sock", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc"]


@pytest.fixture(params=["crun", "runc"])
async def box(request, tmp_path):
    server = await asyncio.start_unix_server(lambda reader, writer: None, tmp_path / "spans")
    made = Box(tmp_path, runtimes=(request.param,), trace_socket=f"{tmp_path}/spans")
    yield made
    made.executor.close()
    server.close()


@pytest.mark.row("X23", "X4")
async def test_a_step_finds_the_socket_and_the_trace_it_belongs_to(box):
    out = await box.run("env; test -S /dev/otel-grpc.sock && echo there", trace_parent=PARENT)
    lines = sorted(line for line in out.splitlines() if line.startswith(("OTEL", "TRACE", "there")))
    assert lines == [*OTEL, "OTEL_TRACES_EXPORTER=otlp", f"TRACEPARENT={PARENT}", "there"]
    await box.run("true", remove_stubs_recursive=True)
    assert (box.upper / "dev").is_dir() and not list((box.upper / "dev").iterdir())


@pytest.mark.row("X23")
async def test_what_a_step_says_of_its_own_traces_stays_so(box):
    env = (PATH, "OTEL_TRACES_EXPORTER=none")
    assert "OTEL_TRACES_EXPORTER=none\n" in await box.run("env | grep OTEL_TRACES_EXPORTER", env=env)


@pytest.mark.row("X23")
async def test_a_socket_that_is_gone_is_left_out(box, tmp_path):
    box.executor._settings = replace(box.executor._settings, trace_socket=f"{tmp_path}/gone")
    assert await box.run("ls /dev | grep otel; env | grep -c OTEL") == "3\n"


@pytest.mark.row("X23", "B63")
async def test_the_trace_of_a_client_reaches_the_steps_of_its_build(tmp_path):
    program = Path(shutil.which("busybox")).read_bytes()
    root = scratch().file(mkdir("/bin")).file(mkfile("/bin/busybox", program, mode=0o755))
    definition = root.run(["/bin/busybox", "env"]).root.marshal().to_pb()
    async with collector() as (port, _):
        changes = {"traces": Destination("grpc", f"127.0.0.1:{port}"), "trace_socket": f"{tmp_path}/spans"}
        async with running_daemon(tmp_path, **changes) as peer:
            watching = asyncio.create_task(peer.listing("Status", Ref="one"))
            await peer.ask(CONTROL, "Solve", {"traceparent": [PARENT]}, Ref="one", Session="s", Definition=definition)
            logs = b"".join(log.msg for status in await watching for log in status.logs)
    assert f"TRACEPARENT={PARENT}\n" in logs.decode()
