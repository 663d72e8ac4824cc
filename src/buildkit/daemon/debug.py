"""The debug address: what goes on inside, over HTTP, for those whom the address lets in (rows B64, B65).

Go's profiles have no counterpart; ``/debug/stacks`` shows every thread and task instead.
"""

from __future__ import annotations

import asyncio
import gc
import http.server
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from buildkit.core.errors import InvalidInput
from buildkit.core.version import SPOKEN

log = getLogger(__name__)

Page = Callable[[], str]


@contextmanager
def serving(address: str, metrics: Page) -> Iterator[str]:
    """Serve the pages in a thread of its own while the scope lasts; gives the address that it has.

    ``address`` is ``host:port``, ``tcp://host:port`` or ``unix:///path``; raises `InvalidInput`, `OSError`.
    """
    loop = asyncio.get_running_loop()
    pages: Mapping[str, Page] = {
        "/metrics": metrics,
        "/debug/vars": variables,
        "/debug/stacks": lambda: stacks(loop),
        "/debug/gc": lambda: f"{gc.collect()} objects\n",
    }
    scheme, _, name = address.rpartition("://")
    if scheme not in ("", "tcp", "unix"):
        raise InvalidInput(f"debug address {address}: unknown scheme {scheme}")
    server = _UnixServer(name, pages) if scheme == "unix" else _TcpServer(_host_and_port(name), pages)
    thread = threading.Thread(target=server.serve_forever, name="debug", daemon=True)
    thread.start()
    shown = name if scheme == "unix" else ":".join(map(str, server.socket.getsockname()[:2]))
    log.debug("debug handlers listening at %s", shown)
    try:
        yield shown
    finally:
        server.shutdown()
        server.server_close()
        if scheme == "unix":
            Path(name).unlink(missing_ok=True)


def variables() -> str:
    """JSON, as Go's ``expvar`` has it: how the daemon was started and what it takes."""
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split(":")[1].strip() for line in status if line.startswith(("Vm", "Threads"))}
    found = {"cmdline": sys.orig_argv, "version": SPOKEN, "pid": os.getpid(), "memstats": sizes, "gc": gc.get_stats()}
    return json.dumps(found, indent=1) + "\n"


def stacks(loop: asyncio.AbstractEventLoop) -> str:
    """The stack of every thread, and where every task waits."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    out = []
    for number, frame in sys._current_frames().items():
        out += [f"thread {names.get(number, number)}:\n", *traceback.format_stack(frame), "\n"]
    done: list[str] = []
    told = threading.Event()

    def look() -> None:
        for task in asyncio.all_tasks(loop):
            done.append(f"task {task.get_name()}:\n")
            done.extend("".join(traceback.format_stack(frame)) for frame in task.get_stack())
            done.append("\n")
        told.set()

    loop.call_soon_threadsafe(look)
    if not told.wait(5):
        out.append("the loop does not answer\n")
    return "".join((*out, *done))


class _TcpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: object, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        super().__init__(address, _Handler)  # type: ignore[arg-type]


class _UnixServer(_TcpServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        path = Path(str(self.server_address))
        path.unlink(missing_ok=True)
        kept = os.umask(0o177)
        try:
            self.socket.bind(str(path))
        finally:
            os.umask(kept)
        self.server_name, self.server_port = "", 0


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _TcpServer)  # noqa: S101
        page = self.server.pages.get(self.path.partition("?")[0])
        text = page() if page is not None else "there is " + ", ".join(self.server.pages) + "\n"
        content = text.encode()
        self.send_response(200 if page is not None else 404)
        kind = "application/json" if self.path == "/debug/vars" else "text/plain; version=0.0.4; charset=utf-8"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return str(self.client_address)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("debug request: " + format, *args)


def _host_and_port(name: str) -> tuple[str, int]:
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"debug address {name}: no host:port")
    return host.strip("[]"), int(port)
