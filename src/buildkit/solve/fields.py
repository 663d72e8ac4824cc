"""The fields of a step's cache key, from what its op noted: named as users know them."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from buildkit.core.explanation import Change
from buildkit.core.pattern import Pattern
from buildkit.solver.record import StepRecord

Field = tuple[str, str]
"""What kind of thing, and which."""

HIDDEN = "(hidden)"
_SECRET_NAME = Pattern(
    r"(?i).*(?:^|_|-)(?:api-?key|auth|credentials?|key|passwords?|passwd|pword|secrets?|tokens?|apikey)(?:$|_|-).*"
)
_META = {"cwd": "workdir", "user": "user", "hostname": "hostname", "extraHosts": "host", "ulimit": "ulimit"}
_LONGEST = 200
_ACTIONS = (("src", "copy"), ("data", "mkfile"), ("oldpath", "symlink"), ("makeParents", "mkdir"))
_ACTION_FIELDS = {"mode": "chmod", "owner": "chown", "dest": "destination", "src": "name", "data": "text"}
NAMED = ("image", "blob", "checksum", "commit")
_PLUMBING = ("input", "output", "resultID")


def fields_of(facts: Mapping[str, Any]) -> dict[Field, Any]:
    """Every field with its value, comparable from build to build."""
    kind = facts.get("kind")
    if kind == "exec":
        return dict(_exec(facts))
    if kind == "file":
        return dict(_file(facts))
    if kind == "source":
        return dict(_source(facts))
    return {}


def _exec(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    key = facts["key"]
    op = key["Exec"]
    platform = [key.get(name, "") for name in ("OS", "Arch", "Variant", "OSVersion")]
    yield ("platform", ""), "/".join(filter(None, platform))
    for name, value in op.get("meta", {}).items():
        if name == "args":
            yield ("command", ""), _command(value)
        elif name == "env":
            for entry in value:
                variable, _, text = entry.partition("=")
                yield ("env", variable), text
        else:
            yield (_META.get(name, name), ""), value
    for mount in op.get("mounts", ()):
        yield ("mount", mount.get("dest", "")), {k: v for k, v in mount.items() if k not in _PLUMBING and k != "dest"}
    for secret in op.get("secretenv", ()):
        yield ("secret", secret.get("name", "")), secret.get("ID", "")
    for name, value in op.items():
        if name not in ("meta", "mounts", "secretenv"):
            yield (name, ""), value
    for number, paths in enumerate(facts.get("selectors", ())):
        if any(path != "/" for path in paths):
            yield ("source", str(number)), paths


def _command(args: list[str]) -> str:
    if len(args) == 3 and args[:2] == ["/bin/sh", "-c"]:
        return args[2]
    import shlex

    return shlex.join(args)


def _file(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    key = facts["key"]
    for number, encoded in enumerate(key["Actions"]):
        action = json.loads(b64decode(encoded))
        kind = next((kind for mark, kind in _ACTIONS if mark in action), "rm" if "path" in action else "action")
        path = f"action {number + 1}" if len(key["Actions"]) > 1 else ""
        yield ("action", path), kind
        for name, value in action.items():
            text = b64decode(value).decode(errors="replace") if name == "data" else value
            yield (_ACTION_FIELDS.get(name, name), path), text
    for paths in facts.get("selectors", ()):
        if paths:
            yield ("source", ""), paths
    if "indexes" in key:
        yield ("order", ""), key["indexes"]


def _source(facts: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    identifier = str(facts.get("identifier", ""))
    if identifier.startswith("local://"):
        return
    yield ("source", ""), identifier
    for name, value in facts.get("attrs", {}).items():
        yield ("attribute", name), value
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
            yield (name, ""), facts[name]


def _name(text: str) -> str:
    """A name without the digest behind it."""
    return text.partition("@sha256:")[0]


def named_change(field: Field, old: Any, new: Any) -> Change | None:
    """The change of a field whose value is a name and what it stands for; None for other fields."""
    if field[0] not in NAMED or old is None or new is None:
        return None
    if old[0] == new[0]:
        return Change(field[0], new[0], old[1], new[1])
    return Change(field[0], new[0], "@".join(old), "@".join(new))


def shown(field: Field, value: Any, secrets: tuple[str, ...] = ()) -> str | None:
    """A value for people to read: short, and without secrets."""
    if value is None:
        return None
    if field[0] == "env" and _SECRET_NAME.fullmatch(field[1]):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def is_local(record: StepRecord) -> bool:
    """Whether a step reads a directory of the client, which every build does."""
    return str(record.facts.get("identifier", "")).startswith("local://")
