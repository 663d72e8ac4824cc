"""What the user lends to a build: secrets, agents, entitlements, trust in registries."""

from __future__ import annotations

import os
from collections.abc import Iterable

from buildkit.cli.flags import BadUsage, key_values, split_csv
from buildkit.client.options import RegistryTLS, SecretOptions, SSHOptions

_ENTITLEMENTS = ("network.host", "security.insecure", "device")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_LONGEST_SECRET = 500 * 1024


def parse_secret(text: str) -> SecretOptions:
    """``id=…,src=file`` or ``id=…,env=NAME``; raises `BadUsage`."""
    kind = id = path = env = ""
    for part in split_csv(text):
        key, equals, value = part.partition("=")
        key = key.lower()
        if not equals:
            raise BadUsage(f"invalid field '{part}' must be a key=value pair")
        if key == "type":
            if value not in ("file", "env"):
                raise BadUsage(f'unsupported secret type "{value}"')
            kind = value
        elif key == "id":
            id = value
        elif key in ("source", "src"):
            path = value
        elif key == "env":
            env = value
        else:
            raise BadUsage(f"unexpected key '{key}' in '{part}'")
    if kind == "env" and not env:
        path, env = "", path
    return _find_secret(id, path, env)


def _find_secret(id: str, path: str, env: str) -> SecretOptions:
    """Without a source: the variable of that name, else the file of that name."""
    if not id:
        raise BadUsage("secret missing ID")
    if not path and not env:
        env, path = (id, "") if id in os.environ else ("", id)
    if path:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise BadUsage(f"failed to stat {path}: {error.strerror}") from None
        if size > _LONGEST_SECRET:
            raise BadUsage(f"secret {id} too big. max size {_LONGEST_SECRET // 1024}KB")
    return SecretOptions(id, path, env)


def parse_ssh(text: str) -> SSHOptions:
    """``default``, ``id=socket``, ``id=key,key`` or ``id=socket,raw=true``; raises `BadUsage`."""
    id, equals, value = text.partition("=")
    paths, raw = [], False
    for part in value.split(",") if equals else ():
        key, has_value, flag = part.partition("=")
        if has_value and key == "raw":
            if flag not in (*_TRUE, *_FALSE):
                raise BadUsage(f"invalid value for 'raw': {flag}")
            raw = flag in _TRUE
        else:
            paths.append(part)
    if raw and len(paths) != 1:
        raise BadUsage(f'raw mode must supply exactly one socket path for "{id}"')
    return SSHOptions(id, tuple(paths), raw)


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
        insecure = fields.get("insecure", "") in _TRUE
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
