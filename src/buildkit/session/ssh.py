"""Lending ssh agents: sockets of agents that run, or keys, which an agent of our own then holds.

Whoever uses a lent agent may list its keys and have it sign. Everything else is refused here, unless the socket is
lent raw: then it need not even be that of an agent.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from buildkit.core.aio import gather_all
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.core.sockets import socket_folder
from buildkit.core.values import dataclass
from buildkit.session.session import Agents

DEFAULT_ID = "default"

_LIST, _SIGN, _FAILURE = 11, 13, 5
_ALLOWED = (_LIST, _SIGN)
_LARGEST_MESSAGE = 256 << 10
_LARGEST_KEY = 100 << 10
_CHUNK = 64 << 10
_ADDING_SECONDS = 30
_READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class AgentSource:
    """One agent to lend: a socket, or files of private keys; with no path, the agent of ``$SSH_AUTH_SOCK``."""

    id: str = DEFAULT_ID
    paths: tuple[str, ...] = ()
    raw: bool = False

    def __str__(self) -> str:
        return f"{{{self.id} [{' '.join(self.paths)}] {str(self.raw).lower()}}}"


class SSHAgents:
    """Agents of this machine, by id."""

    def __init__(self, sockets: Mapping[str, tuple[str, bool]]) -> None:
        """``sockets``: the path by id, and whether it is lent raw."""
        self._sockets = dict(sockets)

    async def check(self, id: str) -> None:
        """Raises `NotFound` when there is no such agent; "" is the default one."""
        self._find(id)

    async def forward(self, id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to the agent until one of them ends it; raises `NotFound` or `FailedPrecondition`."""
        path, raw = self._find(id)
        try:
            replies, requests = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise FailedPrecondition(f"failed to connect to {path}: {error.strerror}") from error
        try:
            if raw:
                await gather_all((_copy(reader, requests), _copy(replies, writer)))
            else:
                await _filter(reader, writer, replies, requests)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            requests.close()

    def _find(self, id: str) -> tuple[str, bool]:
        id = id or DEFAULT_ID
        if id not in self._sockets:
            raise NotFound(f"unset ssh forward key {id}")
        return self._sockets[id]


@asynccontextmanager
async def open_agents(
    sources: Iterable[AgentSource], environ: Mapping[str, str] = os.environ
) -> AsyncIterator[SSHAgents]:
    """The agents, while the scope lasts; keys are loaded into agents that are started for them.

    Raises `InvalidInput` for a source that cannot be lent.
    """
    sockets: dict[str, tuple[str, bool]] = {}
    async with AsyncExitStack() as scope:
        for source in sources:
            if source.id in sockets:
                raise InvalidInput(f'duplicate agent ID "{source.id}"')
            try:
                path = _socket_of(source, environ)
                if not path:
                    path = await scope.enter_async_context(_agent_with_keys(source.paths))
            except InvalidInput as error:
                raise error.prefixed(f"failed to convert agent config {source}: ") from None
            sockets[source.id] = (path, source.raw)
        yield SSHAgents(sockets)


@asynccontextmanager
async def agent_socket(agents: Agents, id: str, *, uid: int = 0, gid: int = 0, mode: int = 0o600) -> AsyncIterator[str]:
    """A socket with this owner and mode that leads to a lent agent, while the scope lasts; gives its path."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback is a task
        connections.add(task)
        try:
            with suppress(FailedPrecondition, NotFound):
                await agents.forward(id, reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    with socket_folder() as directory:
        path = Path(directory, "agent.sock")
        server = await asyncio.start_unix_server(serve, path)
        try:
            os.chown(path, uid, gid)
            path.chmod(mode)
            path.parent.chmod(0o711)  # the socket's own mode says who may use it
            yield str(path)
        finally:
            server.close()
            for task in connections:
                task.cancel()
            if connections:
                await asyncio.wait(connections)


def _socket_of(source: AgentSource, environ: Mapping[str, str]) -> str:
    """The socket of an agent that runs already; "" when the paths are keys."""
    paths = [path for path in source.paths if path]
    if source.raw and len(paths) != 1:
        raise InvalidInput("raw mode must supply exactly one path")
    if not paths:
        paths = [environ.get("SSH_AUTH_SOCK", "")]
        if not paths[0]:
            raise InvalidInput("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
    complaint = f'failed to convert agent config for ID: "{source.id}": '
    sockets = [path for path in paths if _is_socket(path, complaint)]
    if not sockets and source.raw:
        raise InvalidInput(f"{complaint}raw mode only supported with socket paths")
    if len(sockets) > 1:
        raise InvalidInput(f"{complaint}only single socket allowed")
    if sockets and len(paths) > 1:
        raise InvalidInput(f"{complaint}invalid combination of keys and sockets")
    return sockets[0] if sockets else ""


def _is_socket(path: str, complaint: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError as error:
        raise InvalidInput(f"{complaint}stat {path}: {(error.strerror or '').lower()}") from None


@asynccontextmanager
async def _agent_with_keys(paths: Iterable[str]) -> AsyncIterator[str]:
    """An agent that holds keys and ends with the scope, or with this process; gives its socket."""
    from asyncio.subprocess import DEVNULL, PIPE

    with socket_folder() as directory:
        socket = f"{directory}/agent.sock"
        # the agent lasts as long as its command, and that until our end of the pipe is closed
        try:
            agent = await asyncio.create_subprocess_exec(
                *("ssh-agent", "-a", socket, "sh", "-c", f"printf '{_READY.decode().strip()}\\n'; exec cat >/dev/null"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise InvalidInput(f"cannot hold keys: ssh-agent: {error.strerror}") from error
        assert agent.stdin is not None  # noqa: S101 - they are pipes
        assert agent.stdout is not None  # noqa: S101
        try:
            if await agent.stdout.readline() != _READY:
                raise InvalidInput("cannot hold keys: ssh-agent did not start")
            for path in paths:
                await _add_key(path, socket)
            yield socket
        finally:
            agent.stdin.close()
            await agent.wait()


async def _add_key(path: str, socket: str) -> None:
    from asyncio.subprocess import DEVNULL, PIPE

    key = await asyncio.to_thread(_read_key, path)
    environ = {"PATH": os.environ.get("PATH", os.defpath), "SSH_AUTH_SOCK": socket, "SSH_ASKPASS_REQUIRE": "never"}
    # in a session of its own there is no terminal to ask for a passphrase on
    adding = await asyncio.create_subprocess_exec(
        *("ssh-add", "-q", "-"), stdin=PIPE, stdout=DEVNULL, stderr=PIPE, env=environ, start_new_session=True
    )
    try:
        async with asyncio.timeout(_ADDING_SECONDS):
            _, complaint = await adding.communicate(key)
    except TimeoutError:
        raise InvalidInput(f"failed to parse {path}: ssh-add does not end") from None
    finally:
        if adding.returncode is None:
            adding.kill()
            await adding.wait()
    if adding.returncode:
        said = complaint.decode(errors="replace").strip().splitlines()
        raise InvalidInput(f"failed to parse {path}: {said[-1] if said else 'not a private key without passphrase'}")


def _read_key(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LARGEST_KEY)
    except OSError as error:
        raise InvalidInput(f"failed to read {path}: {error.strerror}") from None


async def _filter(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    replies: asyncio.StreamReader,
    requests: asyncio.StreamWriter,
) -> None:
    """Pass on requests that change nothing, one after the other; answer the others with a refusal."""
    while True:
        request = await _read_message(reader)
        if request[4] in _ALLOWED:
            requests.write(request)
            await requests.drain()
            writer.write(await _read_message(replies))
        else:
            writer.write(bytes((0, 0, 0, 1, _FAILURE)))
        await writer.drain()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """A whole message with its length; raises `ConnectionError` for one that no agent sends."""
    head = await reader.readexactly(4)
    size = int.from_bytes(head, "big")
    if not 0 < size <= _LARGEST_MESSAGE:
        raise ConnectionError(f"message of {size} bytes")
    return head + await reader.readexactly(size)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(_CHUNK):
        writer.write(content)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
