"""What a build may have of this machine: the session that goes with a build's options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from typing import TYPE_CHECKING

from buildkit.client.options import RegistryTLS, SolveOptions
from buildkit.core import wire
from buildkit.core.errors import InvalidInput
from buildkit.session.auth import DockerKeys
from buildkit.session.files import Directories
from buildkit.session.outputs import Destinations, resolve_destination
from buildkit.session.secrets import SecretFiles, SecretSource
from buildkit.session.session import Agents, Session
from buildkit.session.stores import Layouts

if TYPE_CHECKING:
    from buildkit.core.progress import Sink
    from buildkit.oci.hosts import Tls

_OPS, _SOURCE = 1, 3
"""Fields of ``pb.Definition`` and ``pb.Op``."""


@asynccontextmanager
async def open_session(options: SolveOptions, progress: Sink, shared_key: str = "") -> AsyncIterator[Session]:
    """A new session that lends what ``options`` name; raises `InvalidInput` for what is not there.

    Only what is named is lent: a build without secrets has nobody to ask for them. ``progress`` hears which
    credentials are used.
    """
    if options.definition is not None:
        _check_locals(options.definition, options.locals)
    keys = DockerKeys(tls={one.host: _tls_of(one) for one in options.registry_tls}, progress=progress)
    with closing(keys):
        async with _agents_of(options) as agents:
            secrets = [SecretSource(secret.id, secret.path, secret.env, secret.value) for secret in options.secrets]
            places = [resolve_destination(output.type, output.dest, output.attrs) for output in options.outputs]
            yield Session.new(
                shared_key=shared_key,
                locals=Directories(options.locals) if options.locals else None,
                auth=keys,
                secrets=SecretFiles(secrets) if secrets else None,
                ssh=agents,
                stores=Layouts(options.oci_layouts) if options.oci_layouts else None,
                outputs=Destinations(places) if places else None,
            )


def _check_locals(definition: bytes, lent: Mapping[str, str]) -> None:
    """Raise `InvalidInput` for a directory that the definition reads and nobody lends."""
    try:
        names = list(_locals_of(definition))
    except InvalidInput:
        return  # whoever solves it says what is wrong with it
    for name in names:
        if name not in lent:
            raise InvalidInput(f"local directory {name} not enabled")


def _locals_of(definition: bytes) -> Iterator[str]:
    for op in (content for number, _, content in wire.read(definition) if number == _OPS):
        for source in (content for number, _, content in wire.read(op) if number == _SOURCE):
            for identifier in (wire.read_text(content) for number, _, content in wire.read(source) if number == 1):
                if identifier.startswith("local://"):
                    yield identifier.removeprefix("local://")


def _agents_of(options: SolveOptions) -> AbstractAsyncContextManager[Agents | None]:
    if not options.ssh:
        return nullcontext()
    from buildkit.session.ssh import AgentSource, open_agents

    return open_agents(AgentSource(agent.id, agent.paths, agent.raw) for agent in options.ssh)


def _tls_of(one: RegistryTLS) -> Tls:
    from buildkit.oci.hosts import KeyPair, Tls

    pairs = tuple(KeyPair(certificate, key) for certificate, key in one.pairs)
    return Tls(verify=not one.insecure, authorities=one.authorities, key_pairs=pairs)
