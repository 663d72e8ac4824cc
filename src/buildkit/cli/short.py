"""The short form, ``buildctl build PATH``: the flags that users of Dockerfiles know, turned into the long ones."""

from __future__ import annotations

import os

from buildkit.cli.flags import BadUsage, Flag, Parsed
from buildkit.cli.output import make_output, parse_output
from buildkit.client.options import OutputOptions
from buildkit.core.values import replace

FLAGS = (
    Flag("file", "Dockerfile to build (default PATH/Dockerfile)", short="f", metavar="FILE"),
    Flag("tag", "name of the image; may be repeated", "list", "t", "NAME"),
    Flag("target", "stage to build", metavar="STAGE"),
    Flag("build-arg", "build argument; without a value the environment's", "list", metavar="NAME[=VALUE]"),
    Flag("label", "label of the image", "list", metavar="NAME=VALUE"),
    Flag("platform", "platforms to build for", "list", metavar="OS/ARCH,..."),
    Flag("push", "push the image to its registry: --output type=image,push=true", "bool"),
    Flag("add-host", "line for /etc/hosts of every step", "list", metavar="HOST:IP"),
    Flag("network", "network of every step: sandbox, host or none", metavar="MODE"),
    Flag("shm-size", "bytes of /dev/shm", metavar="BYTES"),
    Flag("ulimit", "limit of every step", "list", metavar="NAME=SOFT:HARD"),
    Flag("cgroup-parent", "parent cgroup of every step", metavar="PATH"),
    Flag("build-context", "extra context", "list", metavar="NAME=PATH|URL"),
    Flag("no-cache-filter", "stages to build anew", "list", metavar="STAGE"),
    Flag("annotation", "annotation of the image", "list", metavar="[PLACE:]KEY=VALUE"),
    Flag("syntax", "who reads `# syntax=`: builtin (this frontend) or forward (the image it names)", metavar="WHO"),
    Flag("quiet", "print nothing but the image's digest", "bool", "q"),
    Flag("iidfile", "write the image's digest to a file", metavar="FILE"),
)
NAMES = tuple(flag.name for flag in FLAGS)

_REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
_STDIN = "-"
_NAMED_TYPES = ("image", "oci", "docker")
_SCHEMES = (*_REMOTE, "docker-image://", "oci-layout://", "target:", "input:")
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def is_remote(context: str) -> bool:
    """Whether the frontend fetches this context itself."""
    return context.startswith(_REMOTE) or (context.partition("#")[0].endswith(".git") and not os.path.isdir(context))


def short_locals(parsed: Parsed, context: str) -> dict[str, str]:
    """The directories that the build may read; raises `BadUsage`."""
    found: dict[str, str] = {}
    file = parsed.text("file")
    if not is_remote(context):
        if not os.path.isdir(context):
            what = "is not a directory" if os.path.exists(context) else "does not exist"
            raise BadUsage(f"build context {context} {what}")
        found["context"] = context
        if file == _STDIN:
            return {**found, **_named_directories(parsed)}
        found["dockerfile"] = (os.path.dirname(file) or ".") if file else context
        path = os.path.join(found["dockerfile"], os.path.basename(file) or "Dockerfile")
        if file and not os.path.isfile(path):
            raise BadUsage(f"Dockerfile {file} {'is not a file' if os.path.exists(path) else 'does not exist'}")
    elif file == _STDIN:
        raise BadUsage(f"-f - and {context}: the Dockerfile of a remote context comes with it")
    return {**found, **_named_directories(parsed)}


def _named_directories(parsed: Parsed) -> dict[str, str]:
    named = _pairs(parsed, "build-context")
    return {name: value for name, value in named if not value.startswith(_SCHEMES)}


def short_inputs(parsed: Parsed) -> dict[str, bytes]:
    """The Dockerfile that ``-f -`` reads from standard input, as a definition that makes it."""
    if parsed.text("file") != _STDIN:
        return {}
    import sys

    from buildkit.llb.file import mkfile
    from buildkit.llb.state import scratch

    text = sys.stdin.buffer.read()
    name = "[internal] load build definition from standard input"
    return {"dockerfile": scratch().file(mkfile("/Dockerfile", text), name=name).marshal().to_bytes()}


def short_attrs(parsed: Parsed, context: str) -> dict[str, str]:
    """What the frontend is told; raises `BadUsage`."""
    attrs: dict[str, str] = {}
    file = parsed.text("file")
    if is_remote(context):
        attrs["context"] = context
    if file and file != _STDIN:
        attrs["filename"] = file if is_remote(context) else os.path.basename(file)
    for text in parsed.all("build-arg"):
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            attrs[f"build-arg:{name}"] = value if equals else os.environ[name]
    attrs |= {f"label:{name}": value for name, value in _pairs(parsed, "label", optional=True)}
    for name, value in _pairs(parsed, "build-context"):
        attrs[f"context:{name}"] = value if value.startswith(_SCHEMES) else f"local:{name}"
    simple = {
        "target": parsed.text("target"),
        "syntax": parsed.text("syntax"),
        "platform": ",".join(parsed.all("platform")),
        "add-hosts": ",".join(_host(text) for text in parsed.all("add-host")),
        "force-network-mode": _network(parsed.text("network")),
        "shm-size": _bytes(parsed.text("shm-size")),
        "ulimit": ",".join(parsed.all("ulimit")),
        "cgroup-parent": parsed.text("cgroup-parent"),
        "no-cache": ",".join(parsed.all("no-cache-filter")),
    }
    return {**attrs, **{key: value for key, value in simple.items() if value}}


def short_outputs(parsed: Parsed) -> list[OutputOptions]:
    """``-o`` also takes a directory or ``-``; ``-t``, ``--push`` and ``--annotation`` apply to every image."""
    outputs = [_short_output(text) for text in parsed.all("output")]
    names, push = ",".join(parsed.all("tag")), parsed.on("push")
    if push and not names and not any("name" in one.attrs for one in outputs):
        raise BadUsage("--push needs a name: give -t NAME")
    if (push or names) and not any(one.type in _NAMED_TYPES for one in outputs):
        outputs.append(OutputOptions("image"))
    if push and not any(one.type == "image" for one in outputs):
        outputs.append(OutputOptions("image"))
    if parsed.given("iidfile") and not any(one.type in _NAMED_TYPES for one in outputs):
        raise BadUsage("--iidfile needs an image: give -t NAME, or -o type=oci,dest=FILE")
    extra = dict(_annotation(text) for text in parsed.all("annotation"))
    return [_with_extras(one, names, push, extra) for one in outputs]


def _with_extras(output: OutputOptions, names: str, push: bool, extra: dict[str, str]) -> OutputOptions:
    if output.type not in _NAMED_TYPES:
        return output
    attrs = {**extra, **output.attrs}
    if names:
        attrs.setdefault("name", names)
    if push and output.type == "image":
        attrs.setdefault("push", "true")
    return replace(output, attrs=attrs)


def _short_output(text: str) -> OutputOptions:
    if "=" in text:
        return parse_output(text)
    return make_output("tar" if text == "-" else "local", {"dest": text})


def _annotation(text: str) -> tuple[str, str]:
    """``index,manifest[linux/amd64]:key=value`` with one place; without a place it is the manifest's."""
    key, equals, value = text.partition("=")
    if not equals:
        raise BadUsage(f"--annotation {text}: expected KEY=VALUE")
    place, colon, name = key.partition(":")
    if not colon:
        return f"annotation.{key}", value
    kind, bracket, platform = place.partition("[")
    return f"annotation-{kind}{bracket}{platform}.{name}", value


def _pairs(parsed: Parsed, flag: str, *, optional: bool = False) -> list[tuple[str, str]]:
    pairs = []
    for text in parsed.all(flag):
        name, equals, value = text.partition("=")
        if not name or not (equals or optional):
            raise BadUsage(f"--{flag} {text}: expected NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _host(text: str) -> str:
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name or not address:
        raise BadUsage(f"--add-host {text}: expected HOST:IP")
    return f"{name}={address.strip('[]')}"


def _network(mode: str) -> str:
    known: dict[str, str] = {"": "", "default": "", "sandbox": "sandbox", "host": "host", "none": "none"}
    if mode not in known:
        raise BadUsage(f"--network {mode}: expected sandbox, host or none")
    return known[mode]


def _bytes(text: str) -> str:
    if not text:
        return ""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "b")
    if not digits.isascii() or not digits.isdigit() or unit not in _UNITS:
        raise BadUsage(f"--shm-size {text}: expected a number of bytes, or one ending in k, m or g")
    return str(int(digits) * _UNITS[unit])
