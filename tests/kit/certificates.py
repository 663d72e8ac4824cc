"""An authority, and certificates that it signs."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs, and knows where it put things."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.path = self._write("ca.pem", self._sign(self.name, self.key, "", authority=True))

    def _sign(self, name, key, host, *, authority=False):
        builder = x509.CertificateBuilder(
            self.name, name, key.public_key(), x509.random_serial_number(), _NOW - _DAY, _NOW + _DAY
        ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name, content):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def issue(self, directory, host):
        """``cert.pem`` and ``key.pem`` for ``host`` beside ``ca.pem``; the directory."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        self._write(f"{directory}/ca.pem", Path(self.path).read_bytes())
        self._write(f"{directory}/cert.pem", self._sign(name, key, host))
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        self._write(f"{directory}/key.pem", pem)
        return str(self.directory / directory)

    def client_directory(self):
        """Files for a client."""
        return self.issue("client", "client")

    def server_context(self, host):
        """TLS of a server called ``host`` that wants certificates of this authority."""
        files = self.issue("server", host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{files}/cert.pem", f"{files}/key.pem")
        context.load_verify_locations(self.path)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2"])
        return context


def authority(directory):
    """A new one."""
    return Authority(directory)
