"""Who signs: keys of GnuPG and OpenSSH, made and used by the real programs."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.webs import Origin


def _run(*command: str | Path, **options: object) -> bytes:
    ran = subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    assert ran.returncode == 0, ran.stderr.decode()
    return bytes(ran.stdout)


@dataclass
class SshSigner:
    """A key of ssh-keygen's."""

    path: Path
    format = "ssh"

    @property
    def public(self) -> bytes:
        return self.path.with_suffix(".pub").read_bytes()

    def sign(self, content: bytes, *options: str, namespace: str = "git") -> bytes:
        return _run("ssh-keygen", "-q", "-Y", "sign", "-f", self.path, "-n", namespace, *options, input=content)

    def config(self) -> list[str]:
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.path}.pub"]


def ssh_signer(folder: Path, name: str = "id", *options: str) -> SshSigner:
    """Make a key; ``options`` such as ``-t rsa`` say which kind, else it is of Ed25519."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("ssh-keygen", "-q", "-N", "", "-f", folder / name, *(options or ("-t", "ed25519")))
    return SshSigner(folder / name)


@dataclass
class GpgSigner:
    """A key in a home of gpg's. ``when`` is the time that gpg believes it is, such as ``20200101T000000``."""

    home: GpgHome
    who: str
    when: str = ""

    @property
    def public(self) -> bytes:
        return self.home.run("--armor", "--export", f"={self.who}")

    @property
    def id(self) -> str:
        """The id of the primary key."""
        lines = self.home.run("--with-colons", "--list-keys", f"={self.who}").decode().splitlines()
        return next(line.split(":")[4] for line in lines if line.startswith("pub:"))

    def sign(self, content: bytes, *options: str) -> bytes:
        return self.home.run("--armor", "--detach-sign", "-u", f"={self.who}", *options, when=self.when, input=content)

    def config(self) -> list[str]:
        """What git needs to sign with this."""
        script = self.home.path / f"gpg-{self.when or 'now'}"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, self.home.command(self.when)))} "$@"\n')
        script.chmod(0o755)
        return ["-c", f"gpg.program={script}", "-c", f"user.signingKey={self.id}"]


class GpgHome:
    """A home of gpg's, with an agent of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, when: str = "") -> list[str | Path]:
        time = ["--faked-system-time", when] if when else []
        return ["gpg", "--homedir", self.path, "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback",
                "--passphrase", "", *time]  # fmt: skip

    def run(self, *args: str, when: str = "", **options: object) -> bytes:
        return _run(*self.command(when), *args, **options)

    def signer(
        self, who: str, algorithm: str = "ed25519", expires: str = "0", *, when: str = "", subkey: str = ""
    ) -> GpgSigner:
        """Make a key; a ``subkey`` of that algorithm signs in its place."""
        usage = "cert" if subkey else "sign,cert"
        self.run("--quick-generate-key", who, algorithm, usage, expires, when=when)
        made = GpgSigner(self, who, when)
        if subkey:
            lines = self.run("--with-colons", "--list-keys", f"={who}").decode().splitlines()
            fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr:"))
            self.run("--quick-add-key", fingerprint, subkey, "sign", expires, when=when)
        return made

    def revoke(self, signer: GpgSigner, reason: str = "0") -> bytes:
        """The public key with its revocation; ``reason`` is a number as gpg asks for it."""
        answers = f"y\n{reason}\nall is lost\n\ny\n".encode()
        command = [
            *self.command(),
            "--no-batch",
            "--command-fd",
            "0",
            "--no-tty",
            "--armor",
            "--gen-revoke",
            signer.who,
        ]
        revocation = _run(*command, input=answers)
        self.run("--import", input=revocation)
        return signer.public


@contextmanager
def gpg_home() -> Iterator[GpgHome]:
    """A home with a path that is short enough for the agent's sockets."""
    path = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    try:
        yield GpgHome(path)
    finally:
        subprocess.run(["gpgconf", "--homedir", path, "--kill", "all"], check=False, env=os.environ)
        shutil.rmtree(path, ignore_errors=True)


def sign_commit(origin: Origin, signer: SshSigner | GpgSigner | None, **files: str) -> str:
    """Commit and push; gives the commit."""
    for name, content in files.items():
        (origin.work / name).write_text(content)
    origin.git("add", "-A")
    how = [] if signer is None else ["-S"]
    origin.git(*(signer.config() if signer is not None else ()), "commit", "-q", "--allow-empty", "-m", "change", *how)
    origin.git("push", "-q", "--force", "origin", "HEAD")
    return origin.git("rev-parse", "HEAD")


def sign_tag(origin: Origin, signer: SshSigner | GpgSigner | None, name: str) -> str:
    """Make and push an annotated tag; gives the tag object."""
    how = ["-a"] if signer is None else ["-s"]
    origin.git(*(signer.config() if signer is not None else ()), "tag", "-f", *how, "-m", "tagged", name)
    origin.git("push", "-q", "--force", "origin", f"refs/tags/{name}")
    return origin.git("rev-parse", name)


def armored(content: bytes, kind: str) -> bytes:
    """A block of OpenPGP."""
    lines = base64.encodebytes(content).decode()
    return f"-----BEGIN {kind}-----\n\n{lines}-----END {kind}-----\n".encode()
