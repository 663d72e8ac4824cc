"""The fields of a step's cache key, from what its op noted: named and written as users know them."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from buildkit.core.explanation import Change

Field = tuple[str, str]
"""What kind of thing, and which."""

Part = tuple[str, ...]

NAMED = ("image", "blob", "checksum", "commit")
"""Fields of sources: a name, and the digest that it stands for."""

_META = {"cwd": "workdir", "cgroupParent": "cgroup-parent", "validExitCodes": "exit-codes"}
_AGENT = "SSH_AUTH_SOCK"
_NETWORKS = ("sandbox", "host", "none")
_SECURITY = ("sandbox", "insecure")
_MOUNTS = ("bind", "secret", "ssh", "cache", "tmpfs")
_SHARING = ("shared", "private", "locked")
_NO_INPUT = _NO_OUTPUT = -1
_ROOT = "/"
_ACTIONS = (("src", "copy"), ("data", "mkfile"), ("oldpath", "symlink"), ("makeParents", "mkdir"))
_ACTION_FIELDS = {
    "mode": "chmod",
    "modeStr": "chmod",
    "owner": "chown",
    "dest": "destination",
    "data": "text",
    "include_patterns": "include",
    "exclude_patterns": "exclude",
    "required_paths": "required",
    "followSymlink": "follow-links",
    "dirCopyContents": "copy-contents",
    "attemptUnpackDockerCompatibility": "unpack",
    "allowWildcard": "allow-wildcard",
    "allowEmptyWildcard": "allow-empty-wildcard",
    "createDestPath": "create-parents",
    "alwaysReplaceExistingDestPaths": "always-replace",
    "makeParents": "parents",
    "allowNotFound": "allow-not-found",
    "oldpath": "link-target",
    "newpath": "path",
}
_NO_MODE = -1


def fields_of(facts: Mapping[str, Any]) -> dict[Field, Any]:
    """Every field with its value: text, or for those `NAMED` a name and what it stands for."""
    kind = facts.get("kind")
    if kind == "exec":
        return dict(_exec(facts))
    if kind == "file":
        return dict(_file(facts))
    if kind == "source":
        return dict(_source(facts))
    return {("id", ""): facts["id"]} if kind == "passthrough" else {}


def _exec(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    key = facts["key"]
    op = key["Exec"]
    platform = [key.get(name, "") for name in ("OS", "Arch", "Variant", "OSVersion")]
    yield ("platform", ""), "/".join(filter(None, platform))
    mounts = op.get("mounts", ())
    agents = {f"{_AGENT}={one.get('dest')}" for one in mounts if "SSHOpt" in one}
    for name, value in op.get("meta", {}).items():
        if name == "args":
            yield ("command", ""), _command(value)
        elif name == "env":
            for entry in value:
                variable, _, text = entry.partition("=")
                if entry not in agents:  # follows from the mount
                    yield ("env", variable), text
        elif name == "extraHosts":
            yield ("host", ""), ", ".join(one.get("Host", "") for one in value)
        elif name == "ulimit":
            yield from (
                (("ulimit", one.get("Name", "")), f"{one.get('Soft', 0)}:{one.get('Hard', 0)}") for one in value
            )
        else:
            yield (_META.get(name, name), ""), _text(value)
    yield ("network", ""), _word(_NETWORKS, op.get("network", 0))
    yield ("security", ""), _word(_SECURITY, op.get("security", 0))
    selectors = [list(paths) for paths in facts.get("selectors", ())]
    for mount in mounts:
        text = _mount(mount, _taken(selectors, mount))
        if (mount.get("dest"), text) != (_ROOT, "bind"):
            yield ("mount", mount.get("dest", "")), text
    for secret in op.get("secretenv", ()):
        yield ("secret", secret.get("name", "")), secret.get("ID", "") + ", optional" * secret.get("optional", False)
    for device in op.get("cdiDevices", ()):
        yield ("device", device.get("name", "")), "optional" if device.get("optional") else "required"
    for name, value in op.items():
        if name not in ("meta", "mounts", "secretenv", "cdiDevices", "network", "security"):
            yield (name, ""), _text(value)


def _command(args: list[str]) -> str:
    if len(args) == 3 and args[:2] == ["/bin/sh", "-c"]:
        return args[2]
    import shlex

    return shlex.join(args)


def _taken(selectors: list[list[str]], mount: Mapping[str, Any]) -> str:
    """The path of its input that a mount shows: the next of those that the step noted for the input, in order."""
    number = mount.get("input", 0)
    of_input = "input" not in mount or number != _NO_INPUT
    if not of_input or _word(_MOUNTS, mount.get("mountType", 0)) not in ("bind", "cache"):
        return ""
    return selectors[number].pop(0) if number < len(selectors) and selectors[number] else ""


def _mount(mount: Mapping[str, Any], source: str) -> str:
    """A mount in a few words, like ``cache, id=//root/.cache, locked``."""
    cache, lent = mount.get("cacheOpt", {}), {**mount.get("secretOpt", {}), **mount.get("SSHOpt", {})}
    said = {
        "source": source if source != _ROOT else "",
        "id": cache.get("ID") or lent.get("ID"),
        "uid": lent.get("uid"),
        "gid": lent.get("gid"),
        "mode": f"{lent['mode']:04o}" if "mode" in lent else "",
        "size": mount.get("TmpfsOpt", {}).get("size"),
    }
    words = [_word(_MOUNTS, mount.get("mountType", 0)), *(f"{name}={value}" for name, value in said.items() if value)]
    if "sharing" in cache:
        words.append(_word(_SHARING, cache["sharing"]))
    flags = {
        "optional": lent.get("optional"),
        "readonly": mount.get("readonly"),
        "discarded": words[0] == "bind" and not mount.get("readonly") and mount.get("output") == _NO_OUTPUT,
    }
    return ", ".join([*words, *(name for name, is_on in flags.items() if is_on)])


def _file(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    key = facts["key"]
    selected = [path for paths in facts.get("selectors", ()) for path in paths]
    for number, encoded in enumerate(key["Actions"]):
        action = json.loads(b64decode(encoded))
        kind = facts["kinds"][number] if "kinds" in facts else _guessed_kind(action)
        path = f"action {number + 1}" if number else ""
        yield ("action", path), kind
        for name, value in action.items():
            if name == "src" and selected:  # only its last part; the whole is among those selected
                continue
            if (text := _action_value(name, value)) is not None:
                yield (_ACTION_FIELDS.get(name, "source" if name == "src" else name), path), text
    if selected:
        yield ("source", ""), ", ".join(selected)
    if "indexes" in key:
        yield ("order", ""), _text(key["indexes"])


def _guessed_kind(action: Mapping[str, Any]) -> str:
    """For records of before kinds were noted."""
    return next((kind for mark, kind in _ACTIONS if mark in action), "rm" if "path" in action else "action")


def _action_value(name: str, value: Any) -> str | None:
    if name == "data":
        return b64decode(value).decode(errors="replace")
    if name == "mode":
        return None if value == _NO_MODE else f"{value & 0o7777:04o}"
    if name == "owner":
        return ":".join(_owner(value[part]) for part in ("user", "group") if value.get(part))
    if name == "timestamp" and value == -1:
        return None
    return _text(value)


def _owner(option: Mapping[str, Any]) -> str:
    said = option.get("User") or option
    return str(said["byName"].get("name", "")) if "byName" in said else str(said.get("byId", 0))


def _source(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    identifier = str(facts.get("identifier", ""))
    if identifier.startswith("local://"):
        return
    yield ("source", ""), identifier
    for name, value in facts.get("attrs", {}).items():
        yield ("attribute", name), _text(value)
    for name, value, field in (
        ("image", "digest", "image"),
        ("blob", "digest", "blob"),
        ("url", "checksum", "checksum"),
    ):
        if name in facts:
            yield (field, ""), (_name(facts[name]), facts.get(value))
    if "commit" in facts:
        yield ("commit", ""), (f"{facts.get('remote')}#{facts.get('ref')}", facts["commit"])
    for name in ("platform", "filename", "mode", "owner", "modified"):
        if name in facts:
            yield (name, ""), _text(facts[name])


def _name(text: str) -> str:
    """A name without the digest behind it."""
    return text.partition("@sha256:")[0]


def _word(words: Sequence[str], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def field_change(field: Field, old: Any, new: Any) -> Change:
    """The change of a field from one value to another; None where it has none."""
    if field[0] not in NAMED:
        return Change(*field, old, new)
    if old is None or new is None:
        return Change(field[0], (new or old)[0], *(None if one is None else str(one[1]) for one in (old, new)))
    if old[0] == new[0]:
        return Change(field[0], new[0], old[1], new[1])
    return Change(field[0], new[0], f"{old[0]}@{old[1]}", f"{new[0]}@{new[1]}")


def part_of(facts: Mapping[str, Any]) -> Part:
    """What a step is for, whatever else it says: its command, what it does to which file, what it fetches; or none."""
    kind, fields = facts.get("kind"), fields_of(facts)
    if kind == "exec":
        return kind, fields.get(("command", ""), "")
    if kind == "file":
        places = (fields.get((name, "")) for name in ("destination", "path"))
        return kind, fields[("action", "")], next(filter(None, places), "")
    return (kind, _unversioned(str(facts.get("identifier")))) if kind == "source" else ()


def _unversioned(identifier: str) -> str:
    """Less the tag and digest of an image, or the ref of a repository."""
    if identifier.startswith(("docker-image", "oci-layout")):
        place, slash, last = identifier.partition("@")[0].rpartition("/")
        return place + slash + last.partition(":")[0]
    return identifier.partition("#")[0]


def is_local(facts: Mapping[str, Any]) -> bool:
    """Whether a step reads a directory of the client, which every build does."""
    return str(facts.get("identifier", "")).startswith("local://")
