"""A real registry (Debian's docker-registry), its guards, and a proxy that breaks things on purpose."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from buildkit.core.values import dataclass, field

USER, PASSWORD = "user", "pass word"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when someone listens there."""
    while process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.01)
    raise RuntimeError(f"process ended with {process.returncode}: {process.args}")


@dataclass(frozen=True)
class Authority:
    """A certificate authority and one server certificate for this machine (PEM files)."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509.oid import NameOID

        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)

        def certificate(name, public, issuer, signer, *, is_ca):
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            built = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
            built = built.public_key(public).serial_number(x509.random_serial_number())
            built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
            built = built.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            identifier = x509.SubjectKeyIdentifier.from_public_key(public)
            built = built.add_extension(identifier, critical=False)
            if not is_ca:
                import ipaddress

                names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
            return built.sign(signer, hashes.SHA256()), subject

        ca_key = rsa.generate_private_key(65537, 2048)
        key = rsa.generate_private_key(65537, 2048)
        ca, ca_name = certificate("test authority", ca_key.public_key(), None, ca_key, is_ca=True)
        leaf, _ = certificate("localhost", key.public_key(), ca_name, ca_key, is_ca=False)
        pem = serialization.Encoding.PEM
        (folder / "ca.crt").write_bytes(ca.public_bytes(pem))
        (folder / "server.crt").write_bytes(leaf.public_bytes(pem))
        traditional = serialization.PrivateFormat.TraditionalOpenSSL
        (folder / "server.key").write_bytes(key.private_bytes(pem, traditional, serialization.NoEncryption()))
        return cls(folder / "ca.crt", folder / "server.crt", folder / "server.key")


@dataclass
class TokenServer:
    """Gives RS256 tokens with an x5c header; anonymous callers may only pull."""

    url: str
    authority: Authority
    requests: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    """(method, user, scopes) of each request."""
    clients: list[str] = field(default_factory=list)
    """What programs that ask by OAuth call themselves."""
    refuse_get: bool = False
    """Answer GET with 405, as servers that only speak OAuth do."""
    refuse_post: bool = False
    """Answer POST with 404, as servers that do not speak OAuth do."""
    seconds: int | None = 300
    """How long tokens are said to live; None: nothing is said."""

    def token(self, user: str, service: str, scopes: list[str]) -> str:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding

        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [a for a in actions.split(",") if user or a == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        body = b"".join(self.authority.certificate.read_bytes().splitlines()[1:-1])
        header = {"typ": "JWT", "alg": "RS256", "x5c": [body.decode()]}
        claims = {"iss": "issuer", "sub": user, "aud": service, "exp": now + 300, "nbf": now - 5, "iat": now}
        claims |= {"jti": str(now), "access": access}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        key = serialization.load_pem_private_key(self.authority.key.read_bytes(), None)
        return (signed + b"." + _base64url(key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@contextmanager
def token_server(authority: Authority, *, tls: bool = False) -> Iterator[TokenServer]:
    """Run a token server on the loopback interface; with ``tls`` it shows the certificate of ``authority``."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            query = parse_qs(urlsplit(self.path).query)
            user = secret = ""
            if self.headers.get("Authorization", "").startswith("Basic "):
                user, _, secret = base64.b64decode(self.headers["Authorization"][6:]).decode().partition(":")
            self.grant(query, user, secret, refuse=405 if server.refuse_get else 0)

        def do_POST(self):
            query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            refuse = 404 if server.refuse_post else 0
            server.clients.append(query["client_id"][0])
            if query["grant_type"] == ["refresh_token"]:
                self.grant(query, USER, PASSWORD if query["refresh_token"] == ["identity"] else "", refuse=refuse)
            else:
                self.grant(query, query["username"][0], query["password"][0], refuse=refuse)

        def grant(self, query, user, secret, *, refuse=0):
            scopes = " ".join(query.get("scope", [])).split()
            server.requests.append((self.command, user, tuple(scopes)))
            if refuse or (user and (user, secret) != (USER, PASSWORD)):
                self.send_response(refuse or 401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            token = server.token(user, query["service"][0], scopes)
            said = {"token": token, "access_token": token, "expires_in": server.seconds}
            body = json.dumps({key: value for key, value in said.items() if value is not None}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate, authority.key)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server = TokenServer(f"http{'s' * tls}://127.0.0.1:{listener.server_port}/token", authority)
    with serving(listener):
        yield server


@contextmanager
def serving(listener: ThreadingHTTPServer) -> Iterator[None]:
    """Answer requests in threads of its own for the scope."""
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave early are the point
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@contextmanager
def registry(
    folder: Path, *, htpasswd: bool = False, tokens: TokenServer | None = None, tls: Authority | None = None
) -> Iterator[str]:
    """Run docker-registry with its blobs in memory; yields ``127.0.0.1:port``."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"inmemory": {}, "delete": {"enabled": True}},
    }
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    config["http"] = http
    if htpasswd:
        import bcrypt

        (folder / "htpasswd").write_bytes(USER.encode() + b":" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)))
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if tokens is not None:
        ca = str(tokens.authority.ca)
        options = {"realm": tokens.url, "service": "test", "issuer": "issuer", "rootcertbundle": ca}
        config["auth"] = {"token": options}
    (folder / "config.yml").write_text(json.dumps(config))
    log = (folder / "log").open("wb")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "OTEL_"))}
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        wait_for_port(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        log.close()


@dataclass
class Fault:
    """What to do to matching requests, ``times`` over: answer ``status``, or cut the answer after some bytes."""

    path: str
    """Regular expression searched in ``METHOD /path``."""
    times: int = 1
    status: int = 0
    cut_after: int = -1
    corrupt: bool = False
    redirect: str = ""
    drop: bool = False
    """Close the connection without an answer."""


@dataclass
class FaultyProxy:
    """A reverse proxy to a registry."""

    host: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path, headers) of each request."""

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, f"{method} {path}")) for method, path, _ in self.requests)


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy before the registry at ``upstream``."""

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self):
            proxy.requests.append((self.command, self.path, dict(self.headers)))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = next(
                (f for f in proxy.faults if f.times and re.search(f.path, f"{self.command} {self.path}")), None
            )
            if fault is not None:
                fault.times -= 1
                if fault.drop:
                    self.close_connection = True
                    return
                if fault.status:
                    self.send_response(fault.status)
                    self.send_header("Content-Length", "0")
                    if fault.redirect:
                        self.send_header("Location", fault.redirect + self.path)
                    self.end_headers()
                    return
            connection = HTTPConnection(upstream)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            if fault is not None and fault.corrupt:
                content = bytes([content[0] ^ 1]) + content[1:]
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name != "Transfer-Encoding":
                    self.send_header(name, value.replace(upstream, proxy.host))
            self.end_headers()
            if fault is not None and fault.cut_after >= 0:
                content = content[: fault.cut_after]
                self.close_connection = True
            self.wfile.write(content)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = relay

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    proxy = FaultyProxy(f"127.0.0.1:{listener.server_port}")
    with serving(listener):
        yield proxy


def put_manifest(host: str, repository: str, tag: str, manifest: dict[str, object], *blobs: bytes) -> str:
    """Put a manifest and the blobs that it names into an open registry; gives its digest."""
    import hashlib

    connection = HTTPConnection(host)

    def ask(method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> str:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        assert 200 <= answer.status < 300, (path, answer.status)
        return answer.getheader("Location") or ""

    for blob in blobs:
        place = ask("POST", f"/v2/{repository}/blobs/uploads/").removeprefix(f"http://{host}")
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", blob)
    content = json.dumps(manifest).encode()
    ask("PUT", f"/v2/{repository}/manifests/{tag}", content, str(manifest["mediaType"]))
    connection.close()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
