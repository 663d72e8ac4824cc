"""What the user lends to a build: secrets, agents, entitlements, trust in registries."""

from __future__ import annotations

import os
from collections.abc import Iterable

from buildkit.cli.flags import BadUsage, key_values, split_csv
from buildkit.client.options import RegistryTLS, SecretOptions, SSHOptions
from buildkit.core.errors import InvalidInput
from buildkit.core.gobool import TRUE

_ENTITLEMENTS = ("network.host", "security.insecure", "device")


def parse_secret(text: str) -> SecretOptions:
    """``id=…,src=file`` or ``id=…,env=NAME``; raises `BadUsage`, also for a file that is not there or too big."""
    from buildkit.session import secrets

    try:
        source = secrets.settle(secrets.parse_secret(text), os.environ)
    except InvalidInput as error:
        raise BadUsage(error.message) from None
    return SecretOptions(source.id, source.path, source.variable)


def parse_ssh(text: str) -> SSHOptions:
    """``default``, ``id=socket``, ``id=key,key`` or ``id=socket,raw=true``; raises `BadUsage`."""
    from buildkit.client.texts import read_agent

    try:
        return read_agent(text)
    except InvalidInput as error:
        raise BadUsage(str(error)) from None


def parse_all_ssh(texts: Iterable[str]) -> tuple[SSHOptions, ...]:
    """Every ``--ssh``; raises `BadUsage` for an id given twice."""
    agents = tuple(parse_ssh(text) for text in texts)
    if len({agent.id for agent in agents}) != len(agents):
        raise BadUsage("duplicate agent ID")
    return agents


def check_entitlement(text: str) -> str:
    """An entitlement that exists; raises `BadUsage`."""
    name = split_csv(text)[0].partition("=")[0]
    if name not in _ENTITLEMENTS or (name != "device" and text != name):
        raise BadUsage(f"unknown entitlement {text}")
    return text


def parse_registry_tls(texts: Iterable[str]) -> tuple[RegistryTLS, ...]:
    """``--registry-auth-tlscontext``, merged by host; raises `BadUsage`."""
    flag = "--registry-auth-tlscontext"
    found: dict[str, RegistryTLS] = {}
    for text in texts:
        fields = {key: value for key, value, _ in key_values(text)}
        host, authority = fields.get("host", ""), fields.get("ca", "")
        cert, key = fields.get("cert", ""), fields.get("key", "")
        insecure = fields.get("insecure", "") in TRUE
        if not host:
            raise BadUsage(f"{flag} requires host=<host>")
        if not authority and not insecure and not (cert and key):
            raise BadUsage(f"{flag} requires ca=<ca> or cert=<cert>,key=<key> or insecure=true")
        if bool(cert) != bool(key):
            raise BadUsage(f"{flag} requires cert=<cert>,key=<key>")
        before = found.get(host, RegistryTLS(host))
        found[host] = RegistryTLS(
            host,
            before.insecure or insecure,
            (*before.authorities, *([authority] if authority else ())),
            (*before.pairs, *([(cert, key)] if cert else ())),
        )
    return tuple(found.values())
