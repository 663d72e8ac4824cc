"""Running git: with nothing of this machine's configuration, few protocols, and no secret in a command line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from buildkit.core.errors import FailedPrecondition, Unauthenticated, Unavailable, Unsupported
from buildkit.core.values import dataclass, field, replace

PROTOCOLS = ("http", "https", "ssh", "git")
"""What may be fetched from; submodules included."""
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_UNREACHABLE = (
    "Could not resolve host",
    "Could not resolve hostname",
    "Connection refused",
    "Connection timed out",
    "Connection reset",
    "Failed to connect",
    "unable to connect",
    "No route to host",
    "Network is unreachable",
    "Temporary failure in name resolution",
    "early EOF",
    "The requested URL returned error: 5",
    "The remote end hung up unexpectedly",
)
_REFUSED = (
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "Permission denied (publickey",
    "The requested URL returned error: 401",
    "The requested URL returned error: 403",
    "Host key verification failed",
)
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "init.defaultBranch": "master",
    "advice.detachedHead": "false",
    "credential.helper": "",
}


class GitFailed(FailedPrecondition):
    """git ended badly; ``stderr`` is what it said."""

    def __init__(self, message: str, stderr: str) -> None:
        super().__init__(message)
        self.stderr = stderr


class GitUnreachable(Unavailable):
    """A remote did not answer."""


class GitRefused(Unauthenticated):
    """A remote wants credentials, or others."""


@dataclass(frozen=True, slots=True)
class Door:
    """What opens a remote: a value of ``Authorization`` for URLs below ``scope``, or an ssh agent's socket."""

    scope: str = ""
    authorization: str = field(default="", repr=False)
    agent: str = ""
    known_hosts: str = ""
    """A file; without one every host is believed."""

    def secrets(self) -> Iterator[str]:
        """What must not be shown."""
        if self.authorization:
            yield self.authorization
            yield self.authorization.partition(" ")[2] or self.authorization

    def config(self) -> dict[str, str]:
        """As git's configuration."""
        if not self.authorization:
            return {}
        return {f"http.{self.scope}.extraHeader": f"Authorization: {self.authorization}"}

    def ssh_command(self) -> str:
        """As the command that git starts ssh with."""
        options = {"BatchMode": "yes", "IdentityFile": "none"}
        if self.known_hosts:
            options |= {"UserKnownHostsFile": self.known_hosts, "StrictHostKeyChecking": "yes"}
        else:
            options |= {"UserKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "no", "LogLevel": "ERROR"}
        options["GlobalKnownHostsFile"] = "/dev/null"
        return " ".join(["ssh -F /dev/null", *(f"-o {name}={value}" for name, value in options.items())])


def _silent(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Git:
    """git, as it is to be called. ``log`` hears what it says, without secrets."""

    door: Door = Door()
    git_dir: Path | None = None
    work_tree: Path | None = None
    protocols: tuple[str, ...] = PROTOCOLS
    log: Callable[[str], None] = _silent

    def at(self, git_dir: Path, work_tree: Path | None = None, *, protocols: tuple[str, ...] = PROTOCOLS) -> Git:
        """The same for a repository; ``protocols`` may be others for what is fetched from this machine."""
        return replace(self, git_dir=git_dir, work_tree=work_tree, protocols=protocols)

    async def text(self, *args: str) -> str:
        """What a command prints, less the last line's end."""
        return (await self.run(*args)).decode(errors="replace").rstrip("\n")

    async def succeeds(self, *args: str) -> bool:
        """Whether a command ends well; what it says is not shown."""
        try:
            await replace(self, log=_silent).run(*args)
        except GitFailed:
            return False
        return True

    async def run(self, *args: str) -> bytes:
        """What a command prints. Raises `GitFailed`, `GitUnreachable`, `GitRefused`; `Unsupported` without git."""
        command = ["git"]
        if self.work_tree is not None:
            command += ["--work-tree", str(self.work_tree)]
        if self.git_dir is not None:
            command += ["--git-dir", str(self.git_dir)]
        place = self.work_tree or self.git_dir or Path("/")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                *args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(),
                cwd=place,
                start_new_session=True,
                umask=0o022,
            )
        except FileNotFoundError:
            raise Unsupported("failed to find git binary: git is not installed") from None
        try:
            out, err = await process.communicate()
        except BaseException:
            await _stop(process)
            raise
        said = self.redact(err.decode(errors="replace"))
        if said.strip():
            self.log(said)
        if process.returncode:
            raise _error(said, process.returncode)
        return out

    def redact(self, text: str) -> str:
        """The text without what opens doors."""
        for secret in self.door.secrets():
            text = text.replace(secret, "xxxxx")
        return text

    def _environment(self) -> Mapping[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/dev/null",
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_SSH_COMMAND": self.door.ssh_command(),
            "GIT_SSH_VARIANT": "ssh",
        }
        for name in (*_PROXIES, *(proxy.upper() for proxy in _PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
            if name in os.environ:
                environment[name] = os.environ[name]
        if self.door.agent:
            environment["SSH_AUTH_SOCK"] = self.door.agent
        config = {**_CONFIG, **self.door.config()}
        if authorities := environment.get("SSL_CERT_FILE"):
            config["http.sslCAInfo"] = authorities
        environment["GIT_CONFIG_COUNT"] = str(len(config))
        for number, (key, value) in enumerate(config.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return environment


@dataclass(frozen=True, slots=True)
class Repository:
    """A bare repository that holds what is wanted."""

    git: Git
    path: Path


def _error(said: str, status: int) -> GitFailed | GitUnreachable | GitRefused:
    message = f"git stderr:\n{said.rstrip()}\n: exit status {status}"
    if any(text in said for text in _REFUSED):
        return GitRefused(message)
    if any(text in said for text in _UNREACHABLE):
        return GitUnreachable(message)
    return GitFailed(message, said)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End git and all that it started, and wait for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        waiting = asyncio.ensure_future(process.wait())
        done, _ = await asyncio.wait([waiting], timeout=2.0)
        if done:
            break
