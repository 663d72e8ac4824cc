import asyncio
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from tests.kit.daemons import connected, running_daemon

from buildkit.control.traces import trace_methods
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.daemon.traces import EXPORT, Destination, find_destination, forwarding
from buildkit.rpc.server import Server
from buildkit.rpc.transport import serve
from buildkit.worker.traces import lent, parent_of, parse_parent

PARENT = "00-b4581ee646a09900238b855eb7bfb72c-60c174bad7d8c68c-01"


@pytest.mark.row("B63")
@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Destination("grpc", "localhost:4317")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, Destination("grpc", "x:4317")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:1"}, Destination("grpc", "[::1]:1", encrypted=True)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x:1"}, Destination("grpc", "x:1", encrypted=True)),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1/",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_HEADERS": "A=b%20c, d=e",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "1500",
            },
            Destination("http/protobuf", "http://x:1/v1/traces", headers={"a": "b c", "d": "e"}, timeout=1.5),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://y/z",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
            },
            Destination("http/protobuf", "https://y/z", encrypted=True, authority="/ca"),
        ),
    ],
)
def test_the_environment_names_the_collector(environ, wanted):
    assert find_destination(environ) == wanted


@pytest.mark.row("B63")
@pytest.mark.parametrize(
    ("name", "value", "kind", "complaint"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", InvalidInput, "unsupported opentelemetry exporter zipkin"),
        ("OTEL_TRACES_EXPORTER", "jaeger", Unsupported, "Jaeger"),
        ("JAEGER_TRACE", "x:1", Unsupported, "Jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", InvalidInput, "unsupported otlp protocol http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", Unsupported, "compression"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k", Unsupported, "client certificates"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", InvalidInput, "soon is not a number"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x", InvalidInput, "ftp://x is not http://HOST:PORT"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x:y", InvalidInput, "http://x:y is not http://HOST:PORT"),
    ],
)
def test_what_cannot_be_done_for_traces_is_said_by_name(name, value, kind, complaint):
    with pytest.raises(kind, match=complaint):
        find_destination({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", name: value})


@pytest.mark.row("B63")
def test_a_step_belongs_to_the_trace_of_the_first_build_that_has_one():
    class Step:
        def sessions(self):
            return ("a", "b", "c")

    parents = {}
    with lent(parents, "b", PARENT), lent(parents, "c", "later"):
        assert parent_of(parents, Step()) == PARENT
    assert parent_of(parents, Step()) == ""
    assert parse_parent(PARENT) == PARENT
    for text in ("", "x", PARENT.upper(), PARENT + "\n", f"00-{'0' * 32}-60c174bad7d8c68c-01"):
        assert parse_parent(text) == ""


@asynccontextmanager
async def collector():
    """A collector on loopback: its port, and a queue of what it gets."""
    got = asyncio.Queue()
    server = Server(trace_methods(got.put_nowait))
    listening = await asyncio.get_running_loop().create_server(serve(server), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], got
    finally:
        listening.close()
        server.cancel()


@pytest.mark.net
@pytest.mark.row("A8", "B11")
async def test_spans_of_clients_and_steps_reach_the_collector(tmp_path):
    async with collector() as (port, got):
        changes = {"traces": Destination("grpc", f"127.0.0.1:{port}"), "trace_socket": f"{tmp_path}/spans"}
        async with running_daemon(tmp_path, **changes) as peer:
            assert await peer.channel.unary(EXPORT, b"client's") == b""
            assert (tmp_path / "spans").stat().st_mode & 0o777 == 0o666
            async with connected(tmp_path / "spans") as channel:
                await channel.unary(EXPORT, b"step's")
            assert [await got.get(), await got.get()] == [b"client's", b"step's"]
        assert not (tmp_path / "spans").exists()


@pytest.mark.net
@pytest.mark.row("B63")
async def test_a_forwarder_sends_what_it_has_in_the_end_and_outlives_a_collector_that_is_gone(caplog):
    async with collector() as (port, got):
        async with forwarding(Destination("grpc", f"127.0.0.1:{port}"), flush_seconds=60) as forwarder:
            forwarder.take(b"spans")
        assert got.get_nowait() == b"spans"
    async with forwarding(Destination("grpc", f"127.0.0.1:{port}"), flush_seconds=60) as forwarder:
        forwarder.take(b"lost")
    assert f"spans are lost: 127.0.0.1:{port}" in caplog.text


@pytest.mark.net
@pytest.mark.row("B63")
async def test_a_collector_behind_http_gets_spans_and_headers():
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.headers["x-key"], self.headers["content-type"], self.rfile.read(5)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        to = Destination("http/protobuf", f"http://127.0.0.1:{server.server_port}/v1/traces", headers={"x-key": "k"})
        async with forwarding(to, flush_seconds=60) as forwarder:
            forwarder.take(b"spans")
        thread.join()
    assert got == [("/v1/traces", "k", "application/x-protobuf", b"spans")]
