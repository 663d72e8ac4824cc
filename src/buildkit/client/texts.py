"""What a build is lent and what its caches are, written as the flags of ``buildctl build`` take them."""

from __future__ import annotations

from buildkit.client.options import CacheOptions, SecretOptions, SSHOptions
from buildkit.core.csv import split_fields
from buildkit.core.errors import InvalidInput
from buildkit.core.gobool import FALSE, TRUE


def read_secret(text: str) -> SecretOptions:
    """``id=…,src=FILE``, ``id=…,env=NAME`` or ``id=…``; raises `InvalidInput`."""
    from buildkit.session.secrets import parse_secret

    found = parse_secret(text)
    return SecretOptions(found.id, found.path, found.variable)


def read_agent(text: str) -> SSHOptions:
    """``default``, ``id=socket``, ``id=key,key`` or ``id=socket,raw=true``; raises `InvalidInput`."""
    id, equals, value = text.partition("=")
    paths, raw = [], False
    for part in value.split(",") if equals else ():
        key, has_value, flag = part.partition("=")
        if has_value and key == "raw":
            if flag not in (*TRUE, *FALSE):
                raise InvalidInput(f"invalid value for 'raw': {flag}")
            raw = flag in TRUE
        else:
            paths.append(part)
    if raw and len(paths) != 1:
        raise InvalidInput(f'raw mode must supply exactly one socket path for "{id}"')
    return SSHOptions(id, tuple(paths), raw)


def read_cache(text: str) -> CacheOptions:
    """``type=…,key=value,…``; raises `InvalidInput`."""
    attrs: dict[str, str] = {}
    for entry in split_fields(text, f"invalid cache {text}"):
        key, equals, value = entry.partition("=")
        if not equals:
            raise InvalidInput(f"invalid cache {text}: {entry} is not key=value")
        attrs[key.lower()] = value
    if not attrs.get("type"):
        raise InvalidInput(f"cache {text} requires type=<type>")
    return CacheOptions(attrs.pop("type"), attrs)
