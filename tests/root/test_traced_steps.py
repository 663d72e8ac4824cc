"""Traces out of real steps."""

import asyncio

import pytest
from tests.daemon.test_traces import PARENT
from tests.kit.rootfs import PATH
from tests.root.test_executor import Box

from buildkit.core.values import replace

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
