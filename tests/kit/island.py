"""A network for one test, away from the machine's own, with a web server on the far side of its only link."""

from __future__ import annotations

import ctypes
import http.server
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
WORLD = "192.0.2.2"
"""The server's address. Nothing there knows a way back to addresses other than the island's own, 192.0.2.1."""

_libc = ctypes.CDLL(None, use_errno=True)


class Island:
    """What can be seen of the network that the test stands in."""

    visitors: list[str]

    def links(self) -> set[str]:
        """Names of all interfaces."""
        lines = _run("ip", "-o", "link").splitlines()
        return {line.split(": ")[1].split("@")[0] for line in lines}

    def rules(self) -> str:
        """Rules of the firewall that belong to containers."""
        return "\n".join(line for line in _run("iptables-save").splitlines() if "10.10." in line)


@contextmanager
def island() -> Iterator[Island]:
    """Enter the network with this thread, the main one: threads and processes that it starts are born there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made = Island()
    made.visitors = []
    _enter(_new())
    try:
        outside = in_thread(_new)
        _run("ip", "link", "set", "lo", "up")
        _run(
            "ip",
            "link",
            "add",
            "out",
            "type",
            "veth",
            "peer",
            "name",
            "in",
            "netns",
            f"/proc/{os.getpid()}/fd/{outside}",
        )
        _run("ip", "address", "add", "192.0.2.1/30", "dev", "out")
        _run("ip", "link", "set", "out", "up")
        server = in_thread(lambda: _serve(outside, made.visitors))
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield made
        finally:
            server.shutdown()
            serving.join()
            server.server_close()
            os.close(outside)
    finally:
        _enter(home)


def in_thread(work: Callable[[], T]) -> T:
    """Do ``work`` in a thread of its own, which may enter namespaces for good."""
    outcome: list[T] = []
    thread = threading.Thread(target=lambda: outcome.append(work()))
    thread.start()
    thread.join()
    return outcome[0]


def _new() -> int:
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare failed")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")
    os.close(namespace)


def _serve(outside: int, visitors: list[str]) -> http.server.HTTPServer:
    _enter(os.dup(outside))
    _run("ip", "address", "add", f"{WORLD}/30", "dev", "in")
    _run("ip", "link", "set", "in", "up")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visitors.append(self.client_address[0])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the world\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    return http.server.ThreadingHTTPServer((WORLD, 80), Answer)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def plugin(directory: Path, name: str, script: str) -> None:
    """A CNI plugin of the test's own: a shell script."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)
