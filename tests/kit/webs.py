"""Servers on the loopback interface: files with tags and dates, plain or by TLS; git over http, git and ssh."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.kit.registry import Authority, free_port, serving, wait_for_port

from buildkit.core.values import dataclass, field

DATE = "Sat, 21 Nov 2020 10:00:00 GMT"


@dataclass
class Page:
    """One file. ``redirect`` sends elsewhere; ``answers_head`` is what some servers do not do."""

    content: bytes = b""
    tag: str = ""
    modified: str = ""
    disposition: str = ""
    redirect: str = ""
    status: int = 200
    authorization: str = ""
    gzipped: bool = False
    cut: bool = False
    honours_tags: bool = True


@dataclass
class WebServer:
    """Pages by path; ``requests`` are (method, path, headers)."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def put(self, path: str, content: bytes = b"content", **about: object) -> str:
        """Offer a page; gives its URL."""
        self.pages[path] = Page(content, **about)  # type: ignore[arg-type]
        return self.url + path

    @property
    def methods(self) -> list[str]:
        return [method for method, _, _ in self.requests]


@contextmanager
def web_server(tls: Authority | None = None) -> Iterator[WebServer]:
    """Run a server; with ``tls`` it speaks https for ``localhost``."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            server.requests.append((self.command, self.path, dict(self.headers)))
            page = server.pages.get(self.path.partition("?")[0])
            if page is None or (page.authorization and self.headers.get("Authorization") != page.authorization):
                return self.answer(404 if page is None else 401, b"", {})
            headers = {"ETag": page.tag, "Last-Modified": page.modified, "Content-Disposition": page.disposition}
            if page.redirect:
                return self.answer(302, b"", {"Location": page.redirect})
            unchanged = (page.tag and self.headers.get("If-None-Match") == page.tag.removeprefix("W/")) or (
                page.modified and self.headers.get("If-Modified-Since") == page.modified
            )
            if unchanged and page.honours_tags:
                return self.answer(304, b"", headers)
            content = gzip.compress(page.content) if page.gzipped else page.content
            if page.gzipped:
                headers["Content-Encoding"] = "gzip"
            return self.answer(page.status, content, headers, cut=page.cut)

        def answer(self, status, content, headers, *, cut=False):
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = cut

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    scheme = "https" if tls is not None else "http"
    server = WebServer(f"{scheme}://localhost:{listener.server_port}")
    with serving(listener):
        yield server


@contextmanager
def git_web_server(folder: Path, *, authorization: str = "") -> Iterator[str]:
    """Run ``git http-backend`` over the repositories in a folder; gives the URL of the folder."""

    class Backend(BaseHTTPRequestHandler):
        def do_POST(self):
            self.do_GET()

        def do_GET(self):
            if authorization and self.headers.get("Authorization") != authorization:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            }
            ran = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
            head, _, content = ran.stdout.partition(b"\r\n\r\n")
            lines = [line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line]
            headers = {name.decode(): value.decode() for name, value in lines}
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    with serving(listener):
        yield f"http://127.0.0.1:{listener.server_port}"


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """Run ``git daemon``; gives the URL of the folder."""
    port = free_port()
    command = ["git", "-c", "safe.directory=*", "daemon", "--export-all", f"--base-path={folder}", f"--port={port}"]
    process = subprocess.Popen([*command, "--listen=127.0.0.1", "--reuseaddr"], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield f"git://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@dataclass
class SshServer:
    """A running sshd: the line for known_hosts, and the socket of an agent whose key it accepts."""

    port: int
    known_hosts: str
    agent: str


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run Debian's sshd and an ssh-agent."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    os.makedirs("/run/sshd", exist_ok=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"], stderr=log, stdout=log)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", folder / "agent"], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        while not (folder / "agent").exists():
            threading.Event().wait(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(folder / "agent")}
        subprocess.run(["ssh-add", "-q", folder / "user"], env=environment, check=True, stderr=subprocess.DEVNULL)
        key = (folder / "host.pub").read_text().split()
        yield SshServer(port, f"[127.0.0.1]:{port} {key[0]} {key[1]}\n", str(folder / "agent"))
    finally:
        for one in (agent, process):
            one.terminate()
            one.wait()
        log.close()


def basic(user: str, password: str) -> str:
    """A value of ``Authorization``."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Origin:
    """A bare repository in a served folder, and a working tree to change it."""

    def __init__(self, folder: Path, name: str = "app.git") -> None:
        self.path = folder / name
        self.work = folder / f"{name}-work"
        self.git("init", "-q", "--bare", "-b", "main", str(self.path), at=Path("/"))
        self.git("init", "-q", "-b", "main", str(self.work), at=Path("/"))
        self.git("remote", "add", "origin", str(self.path))

    def git(self, *args: str, at: Path | None = None, input: bytes | None = None) -> str:
        who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _WHO.items()}
        environment = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "GIT_CONFIG_GLOBAL": "/dev/null", **who}
        command = ["git", "-c", "protocol.file.allow=always", *args]
        run = subprocess.run(
            command, cwd=at or self.work, env=environment, capture_output=True, input=input, check=False
        )
        assert run.returncode == 0, run.stderr.decode()
        return run.stdout.decode().strip()

    def commit(self, message: str = "change", **files: str | None) -> str:
        """Commit and push; ``__`` in a name is a slash, None deletes. Gives the commit."""
        for name, content in files.items():
            path = self.work / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "--force", "origin", "HEAD", "--tags")
        return self.git("rev-parse", "HEAD")


_WHO = {"NAME": "A U Thor", "EMAIL": "author@example.org", "DATE": "2020-11-21T10:00:00+0000"}
