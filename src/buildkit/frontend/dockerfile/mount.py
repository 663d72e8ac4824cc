"""``RUN --mount=…`` and ``RUN --device=…``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from buildkit.core.csv import parse_fields
from buildkit.core.goquote import quote
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile.gotext import lower, parse_bool, parse_uint
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.suggest import suggestion

Expander = Callable[[str], str]
"""Replaces the variables in one word; raises `DockerfileError`."""

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
_KEYS = (
    "type from source target readonly id sharing required size mode uid gid src dst destination ro rw readwrite env"
).split()
_OWNED_TYPES = frozenset(("secret", "ssh", "cache"))
_SIZE = re.compile(r"(.*[0-9.])( ?)([^0-9. ]*)\Z", re.DOTALL)
_SUFFIX = re.compile(r"(?:b|([kmgtp])(?:i?b)?)?\Z")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount. Sizes in bytes, 0 is no limit; ``env`` is None when no variable was asked for."""

    type: str = "bind"
    source_stage: str = ""
    """Stage, context or image named by ``from``."""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size: int = 0
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device asked for by name."""

    name: str
    required: bool = False


def parse_mount(text: str, expand: Expander) -> Mount:
    """Read the value of ``--mount``; raises `DockerfileError`."""
    draft = _Draft()
    for field in _fields(text, "mounts"):
        key, equals, value = field.partition("=")
        key = lower(key)
        if equals:
            draft.set(key, expand(value), field)
        else:
            draft.set_bare(key, field)
    return draft.finished()


def source_stage_of(text: str) -> str:
    """What ``from`` names, before any variable is known; a variable in it is refused."""
    found = ""
    for field in _fields(text, "mounts"):
        key, equals, value = field.partition("=")
        if equals and lower(key) == "from":
            if 0 <= value.find("$") != len(value) - 1:
                raise DockerfileError("'from' doesn't support variable expansion, define alias stage instead")
            found = value
    return found


class _Draft:
    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self._type = "bind"

    def set_bare(self, key: str, field: str) -> None:
        if key in ("readonly", "ro"):
            self._values["read_only"] = True
        elif key in ("readwrite", "rw"):
            self._values["read_only"] = False
        elif key == "required":
            self._allow(key, "secret", "ssh")
            self._values["required"] = True
        else:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")

    def set(self, key: str, value: str, field: str) -> None:
        if key == "type":
            self._type = lower(value)
            if self._type not in TYPES:
                raise DockerfileError(f"unsupported mount type {quote(value)}{suggestion(value, TYPES)}")
        elif key in ("from", "id", "env"):
            self._values["source_stage" if key == "from" else key] = value
        elif key in ("source", "src"):
            self._values["source"] = value
        elif key in ("target", "dst", "destination"):
            self._values["target"] = value
        elif key in ("readonly", "ro", "readwrite", "rw"):
            self._values["read_only"] = _boolean(key, value) == key.startswith(("readonly", "ro"))
        elif key == "required":
            self._allow(key, "secret", "ssh")
            self._values["required"] = _boolean(key, value)
        elif key == "size":
            self._allow(key, "tmpfs")
            self._values["size"] = _size(key, value)
        elif key == "sharing":
            if lower(value) not in SHARINGS:
                raise DockerfileError(f"unsupported sharing value {quote(value)}{suggestion(value, SHARINGS)}")
            self._values["sharing"] = lower(value)
        elif key in ("mode", "uid", "gid"):
            try:
                self._values[key] = parse_uint(value, 32, base=8 if key == "mode" else 10)
            except ValueError:
                raise DockerfileError(f"invalid value {value} for {key}") from None
        else:
            raise DockerfileError(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")

    def _allow(self, key: str, *types: str) -> None:
        if self._type not in types:
            raise DockerfileError(f"unexpected key '{key}' for mount type '{self._type}'")

    def finished(self) -> Mount:
        if self._type not in _OWNED_TYPES:
            for key in ("mode", "uid", "gid"):
                if key in self._values:
                    raise DockerfileError(f"{key} not allowed for {quote(self._type)} type mounts")
        self._values.setdefault("read_only", self._type not in ("cache", "tmpfs"))
        mount = Mount(type=self._type, **self._values)  # type: ignore[arg-type]
        if mount.type == "secret":
            _check_secret(mount)
        if mount.sharing and mount.type != "cache":
            raise DockerfileError(f"invalid cache sharing set for {mount.type} mount")
        return mount


def _check_secret(mount: Mount) -> None:
    if mount.source_stage:
        raise DockerfileError("secret mount should not have a from")
    if mount.sharing:
        raise DockerfileError("secret mount should not define sharing")
    if not (mount.source or mount.target or mount.id):
        raise DockerfileError("invalid secret mount. one of source, target required")
    if mount.source and mount.id:
        raise DockerfileError("both source and id can't be set")


def parse_device(text: str) -> Device:
    """Read the value of ``--device``; raises `DockerfileError`."""
    name, required = "", False
    for field in _fields(text, "devices"):
        key, equals, value = field.partition("=")
        key = lower(key)
        if key == "required":
            required = _boolean(key, value) if equals else True
        elif equals and key == "name":
            if name:
                raise DockerfileError(f"device name already set to {name}")
            name = value
        elif not name:
            name = field
        elif equals:
            raise DockerfileError(f"unexpected key '{key}' in '{field}'{suggestion(key, ('name', 'required'))}")
        else:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
    return Device(name, required)


def _fields(text: str, what: str) -> list[str]:
    try:
        return parse_fields(text)
    except ValueError as error:
        raise DockerfileError(f"failed to parse csv {what}: {error}") from None


def _boolean(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise DockerfileError(f"invalid value for {key}: {value}") from None


def _size(key: str, value: str) -> int:
    """``64m``, ``1.5GiB``: 1024-based units."""
    match = _SIZE.match(value)
    suffix = _SUFFIX.match(match[3].lower()) if match else None
    if match is None or suffix is None or not _NUMBER.match(match[1]) or match[1].startswith("-"):
        raise DockerfileError(f"invalid value for {key}: {value}")
    number = float(match[1])
    if math.isinf(number):
        raise DockerfileError(f"invalid value for {key}: {value}")
    size = number * 1024 ** (" kmgtp".index(suffix[1]) if suffix[1] else 0)
    return int(size) if size < 2.0**63 else -(1 << 63)
