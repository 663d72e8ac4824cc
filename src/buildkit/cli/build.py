"""``buildctl build``: the flags, and the options they amount to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed
from buildkit.cli.grants import check_entitlement, parse_all_ssh, parse_registry_tls, parse_secret
from buildkit.cli.output import parse_exports, parse_imports, parse_output
from buildkit.cli.short import FLAGS as SHORT_FLAGS
from buildkit.cli.short import NAMES as SHORT_NAMES
from buildkit.cli.short import short_attrs, short_inputs, short_locals, short_outputs
from buildkit.cli.target import ROOT_FLAG
from buildkit.client.options import OutputOptions, SolveOptions

_PROGRESS_MODES = ("", "auto", "plain", "tty", "rawjson", "quiet")
_FRONTEND = "dockerfile.v0"

COMMAND = Command(
    "build",
    "Build something: a Dockerfile in PATH, or what --frontend makes of its options, or LLB from standard input.",
    (
        ROOT_FLAG,
        Flag("output", "where the result goes: type=oci|docker|image|local|tar,...", "list", "o", "OPTIONS"),
        Flag("progress", "auto, plain, tty, rawjson or quiet", metavar="MODE"),
        Flag("no-cache", "run every step anew", "bool"),
        Flag(
            "pull",
            "look sources up: always, missing, fallback (where nobody answers) or never",
            bare="always",
            metavar="WHEN",
        ),
        Flag("explain", "tell why each step ran, as text or json, after the progress", bare="text", metavar="FORMAT"),
        Flag("explain-file", "write that to a file (--explain=json if it is not given)", metavar="FILE"),
        Flag("metadata-file", "write what the outputs have to say, as JSON", metavar="FILE"),
        Flag("ref-file", "write the build's id", metavar="FILE"),
        Flag("secret", "secret for the build: id=NAME[,src=FILE|,env=VARIABLE]", "list", metavar="OPTIONS"),
        Flag("ssh", "agent for the build: default|ID[=SOCKET|KEY,...]", "list", metavar="AGENT"),
        Flag("allow", "entitlement: network.host, security.insecure, device", "list", metavar="NAME"),
        Flag("keep-times", "keep the real times of files and of the build", "bool"),
        Flag("frontend", "frontend to ask, for example dockerfile.v0", metavar="NAME"),
        Flag("check", "run the build checks of the Dockerfile instead of building; findings exit with 1", "bool"),
        Flag(
            "print",
            "ask about the Dockerfile instead of building: outline, targets, lint, llb, describe",
            metavar="WHAT",
        ),
        Flag("opt", "option of the frontend", "list", metavar="KEY=VALUE"),
        Flag("local", "directory that the build may read", "list", metavar="NAME=PATH"),
        Flag("oci-layout", "OCI layout that the build may read", "list", metavar="NAME=PATH"),
        Flag("export-cache", "cache to write: type=local,dest=DIR", "list", metavar="OPTIONS"),
        Flag("import-cache", "cache to read: type=local,src=DIR", "list", metavar="OPTIONS"),
        Flag("source-policy-file", "rules for sources, as JSON", metavar="FILE"),
        Flag("proxy-network", "let steps reach the network only through a recording proxy", "bool"),
        Flag("registry-auth-tlscontext", "TLS for a registry's tokens: host=...,ca=...", "list", metavar="OPTIONS"),
        Flag("trace", "append the progress to a file, as JSON", metavar="FILE"),
        Flag("debug-json-cache-metrics", "write cache hits and misses to a file, stdout or stderr", metavar="FILE"),
        *SHORT_FLAGS,
    ),
    "[PATH]",
    "With PATH: buildctl build -t NAME -o type=oci,dest=image.tar PATH\n"
    "Without:   buildctl build --frontend dockerfile.v0 --local context=DIR --local dockerfile=DIR",
)

_QUESTIONS = {
    "outline": "frontend.outline",
    "targets": "frontend.targets",
    "lint": "frontend.lint",
    "llb": "frontend.convertllb",
    "describe": "frontend.subrequests.describe",
}


def read_options(parsed: Parsed) -> SolveOptions:
    """The build that a command line asks for; raises `BadUsage`."""
    if parsed.text("explain") not in ("", "text", "json"):
        raise BadUsage(f"invalid --explain={parsed.text('explain')}: expected text or json")
    mode = parsed.text("progress")
    if mode not in _PROGRESS_MODES:
        raise BadUsage(f"invalid progress mode {mode}")
    context = _context_of(parsed)
    attrs = _opts(parsed.all("opt"))
    locals_ = _directories(parsed.all("local"), "local")
    if context:
        attrs = {**short_attrs(parsed, context), **attrs}
        locals_ = {**short_locals(parsed, context), **locals_}
        outputs = short_outputs(parsed)
    else:
        for name in parsed.given(*SHORT_NAMES):
            raise BadUsage(f"--{name} needs the path of what to build: buildctl build [flags] PATH")
        outputs = [parse_output(text) for text in parsed.all("output")]
    frontend = parsed.text("frontend") or (_FRONTEND if context else "")
    attrs |= _question(parsed, frontend)
    if frontend and parsed.on("no-cache"):
        attrs["no-cache"] = ""
    pull = _pull(parsed.text("pull"))
    if frontend and pull == "always":
        attrs.setdefault("image-resolve-mode", "pull")
    _check_outputs(outputs)
    return SolveOptions(
        frontend,
        attrs,
        None if frontend else read_definition(no_cache=parsed.on("no-cache")),
        locals_,
        _directories(parsed.all("oci-layout"), "oci-layout"),
        tuple(outputs),
        tuple(parse_exports([*parsed.all("export-cache")])),
        tuple(parse_imports([*parsed.all("import-cache")])),
        tuple(parse_secret(text) for text in parsed.all("secret")),
        parse_all_ssh(parsed.all("ssh")),
        tuple(check_entitlement(text) for text in parsed.all("allow")),
        _policy(parsed.text("source-policy-file")),
        parse_registry_tls(parsed.all("registry-auth-tlscontext")),
        parsed.on("proxy-network"),
        parsed.on("keep-times"),
        pull=pull,
        frontend_inputs=short_inputs(parsed) if context else {},
    )


def _question(parsed: Parsed, frontend: str) -> dict[str, str]:
    """What ``--check`` and ``--print`` ask of the frontend instead of a build."""
    what = parsed.text("print")
    if parsed.on("check"):
        if what:
            raise BadUsage("--check and --print ask different questions: give one")
        what = "lint"
    if not what:
        return {}
    if what not in _QUESTIONS:
        raise BadUsage(f"--print {what}: expected one of {', '.join(_QUESTIONS)}")
    if not frontend:
        raise BadUsage("--check and --print ask a frontend: give a PATH or --frontend")
    return {"requestid": _QUESTIONS[what]}


def _pull(text: str) -> str:
    mode = {"true": "always", "false": ""}.get(text, text)
    if mode not in ("", "always", "missing", "fallback", "never"):
        raise BadUsage(f"invalid pull mode {text}: expected always, missing, fallback or never")
    return mode


def _context_of(parsed: Parsed) -> str:
    words = [word for word in parsed.words if word != "-"]
    if len(words) > 1:
        raise BadUsage(f"one PATH is built at a time: {' '.join(words)}")
    if parsed.given("frontend") and "-" in parsed.words:
        raise BadUsage("- reads LLB from standard input, which --frontend excludes")
    return words[0] if words else ""


def _opts(texts: Iterable[str]) -> dict[str, str]:
    attrs: dict[str, str] = {}
    if "SOURCE_DATE_EPOCH" in os.environ:
        attrs["build-arg:SOURCE_DATE_EPOCH"] = os.environ["SOURCE_DATE_EPOCH"]
    for text in texts:
        key, equals, value = text.partition("=")
        name = key.removeprefix("build-arg:")
        if not equals and name and name != key:
            if name not in os.environ:
                continue
            value = os.environ[name]
        elif not equals:
            raise BadUsage(f"invalid opt: invalid value {text}")
        attrs[key] = value
    return attrs


def _directories(texts: Sequence[str], flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals and flag == "oci-layout":
            raise BadUsage(f"oci-layout option must be 'id=path/to/layout', instead had invalid {text}")
        if not equals:
            raise BadUsage(f"invalid {flag}: invalid value {text}")
        try:
            mode = os.stat(path or ".").st_mode
        except OSError as error:
            reason = (error.strerror or "not accessible").lower()
            raise BadUsage(f"invalid {flag}: resolve : lstat {path}: {reason}") from None
        if not stat.S_ISDIR(mode):
            raise BadUsage(f"invalid {flag}: {path}: not a directory")
        found[name] = path or "."
    return found


def _check_outputs(outputs: Sequence[OutputOptions]) -> None:
    if sum(one.dest == "-" for one in outputs) > 1:
        raise BadUsage("only one output can go to standard output")


def _policy(path: str) -> str:
    if not path:
        return ""
    import json

    try:
        with open(path, encoding="utf-8") as source:
            text = source.read()
        json.loads(text)
    except OSError as error:
        raise BadUsage(f"source-policy-file {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadUsage(f'failed to unmarshal source-policy-file "{path}": {error}') from None
    return text


def read_definition(*, no_cache: bool) -> bytes:
    """A serialized ``pb.Definition`` from standard input; raises `BadUsage`."""
    if sys.stdin.isatty():
        raise BadUsage("please specify --frontend or pipe LLB definition to stdin")
    content = sys.stdin.buffer.read()
    from buildkit.api import ops

    try:
        definition = ops.Definition.FromString(content)
    except ops.DecodeError:
        raise BadUsage("failed to parse input: unexpected EOF") from None
    contents = getattr(definition, "def")
    if not contents:
        raise BadUsage("empty definition sent to build. Specify --frontend instead?")
    if not no_cache:
        return content
    from buildkit.core.digest import sha256

    for op in contents:
        definition.metadata[sha256(op)].ignore_cache = True
    return bytes(definition.SerializeToString(deterministic=True))
