"""The SLSA predicate, version 1: ``min`` without what a user may want to hide, ``max`` with every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from buildkit.core.digest import Digest, algorithm, hex_of
from buildkit.core.platform import format_platform, host_platform, normalize
from buildkit.core.values import dataclass, field, replace
from buildkit.core.version import DOCKERFILE
from buildkit.llb.giturl import fragment_form
from buildkit.oci.names import parse_reference
from buildkit.solve.provenance.capture import Capture, Image, redact
from buildkit.solve.provenance.steps import build_steps, source_map

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
COMPATIBILITY = 30

_OF_THIS_HOST = frozenset(("cgroup-parent", "image-resolve-mode", "platform", "cache-imports"))
_HIDDEN = ("build-arg:", "label:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the builder. Times are nanoseconds since 1970."""

    id: str
    started: int
    finished: int
    builder: str = ""
    reproducible: bool = False
    environment: Mapping[str, object] = field(default_factory=dict[str, object])
    """What else is to be said of the builder."""
    steps: Mapping[Digest, object] = field(default_factory=dict[Digest, object])
    """What steps used: `buildkit.solve.provenance.usage`."""
    machine: Sequence[object] = ()
    """What the machine was seen to use."""


def predicate(
    captured: Capture, run: Run, *, mode: str = "max", layers: Mapping[tuple[Digest, int], object] = {}
) -> dict[str, Any]:
    """The predicate; ``mode`` is ``min`` or ``max``, ``layers`` are lists of layers by vertex and output."""
    config, args = _config_source(captured, filter_args(captured.args))
    root = _root(captured, _asked(config, captured.frontend, args))
    vcs = {key.removeprefix("vcs:"): redact(value) for key, value in args.items() if key.startswith("vcs:") and value}
    args = {key: value for key, value in args.items() if not key.startswith("vcs:")}
    complete = bool(captured.frontend)
    request: dict[str, Any] = {"frontend": captured.frontend, "args": dict(sorted(args.items()))}
    if mode == "min":
        for one in (request, root.get("request", {})):
            complete = _without_hidden(one) and complete
    else:
        request["secrets"] = [_lent(one.id, one.optional) for one in captured.secrets]
        request["ssh"] = [_lent(one.id, one.optional) for one in captured.agents]
    request["locals"] = [{"name": name} for name in captured.locals]
    request["root"] = root
    request["compatibilityVersion"] = COMPATIBILITY
    internal: dict[str, Any] = {"builderPlatform": format_platform(normalize(host_platform()))}
    if captured.frontend == "dockerfile.v0":
        internal["dockerfileVersion"] = DOCKERFILE
    metadata: dict[str, Any] = {"vcs": vcs}
    if mode == "max":
        steps, names = build_steps(captured.definition, run.steps)
        internal["buildConfig"] = {"llbDefinition": steps, "digestMapping": names}
        if captured.definition.source is not None and captured.definition.source.files:
            metadata["source"] = source_map(captured.definition.source, names)
        metadata["layers"] = {
            f"{names[vertex]}:{output}": listed for (vertex, output), listed in layers.items() if vertex in names
        }
    metadata["sysUsage"] = list(run.machine)
    internal |= run.environment
    all_known = captured.is_complete
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            **_present({"resolvedDependencies": materials(captured)}),
            "externalParameters": {"configSource": config, "request": _present(request)},
            "internalParameters": internal,
        },
        "runDetails": {
            "builder": {"id": run.builder},
            "metadata": {
                "invocationId": run.id,
                "startedOn": _time(run.started),
                "finishedOn": _time(run.finished),
                "buildkit_metadata": _present(metadata),
                **({"buildkit_hermetic": True} if all_known and not captured.network else {}),
                "buildkit_completeness": {"request": complete, "resolvedDependencies": all_known},
                **({"buildkit_reproducible": True} if run.reproducible else {}),
            },
        },
    }


def materials(captured: Capture) -> list[dict[str, Any]]:
    """What went in: images, then single blobs, then git with its bundles, then files."""
    out = [_material(image_url(image), image.digest) for image in captured.images]
    out += [_material(image_url(blob, ref_type="blob"), blob.digest) for blob in captured.blobs]
    for url, commit in captured.git:
        out.append({"uri": url, "digest": _commit(commit)})
        bundles = (bundle for remote, bundle in captured.bundles if remote == url)
        out += [_material(image_url(one, ref_type="bundle", vcs_url=url), one.digest) for one in bundles]
    return out + [_material(url, digest) for url, digest in captured.files]


def image_url(image: Image, **qualifiers: str) -> str:
    """The package URL of an image: ``pkg:docker/name@tag?platform=os%2Farch``."""
    reference = parse_reference(image.reference)
    if reference.digest:
        qualifiers["digest"] = reference.digest
    else:
        reference = reference.with_default_tag()
    name = quote(replace(reference, tag="", digest="").familiar, safe="/")
    if reference.tag:
        name += "@" + quote(reference.tag, safe="")
    if image.platform is not None:
        qualifiers["platform"] = format_platform(normalize(image.platform))
    query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in sorted(qualifiers.items()))
    return f"pkg:{'oci' if image.local else 'docker'}/{name}" + (f"?{query}" if query else "")


def filter_args(args: Mapping[str, str]) -> dict[str, str]:
    """Options without those of this host, of attestations, and without passwords in URLs of contexts."""
    key_of_context = args.get("contextkey") or "context"
    kept = {}
    for key, value in args.items():
        if key in _OF_THIS_HOST or key.startswith("attest:"):
            continue
        is_context = key == key_of_context or key.startswith("context:")
        kept[key] = redact(value) if is_context else value
    return kept


def _config_source(captured: Capture, args: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Where the build's configuration came from, and the options without what says so."""
    args = dict(args)
    config: dict[str, Any] = {}
    key = args.get("contextkey") or ("input:context" if args.get("input:context") else "context")
    if context := args.pop(key, ""):
        config["uri"] = fragment_form(context, with_subdir=True) or context
        bare = fragment_form(context, with_subdir=False)
        commit = dict(captured.git).get(bare or "")
        if commit:
            config["digest"] = _commit(commit)
        elif digest := dict(captured.files).get(context):
            config["digest"] = {algorithm(digest): hex_of(digest)}
    if path := args.pop("filename", ""):
        config["path"] = path
    return config, args


def _asked(config: Mapping[str, Any], frontend: str, args: Mapping[str, str]) -> dict[str, Any]:
    """A request as provenance tells it."""
    return {
        "configSource": dict(config),
        "request": _present({"frontend": frontend, "args": dict(sorted(args.items()))}),
    }


def _root(captured: Capture, own: Mapping[str, Any]) -> dict[str, Any]:
    """What the build was asked for, unless that says nothing or is what its result was asked for."""
    if captured.root is None:
        return {}
    config, args = _config_source(captured, filter_args(captured.root.options))
    asked = _asked(config, captured.root.frontend, args)
    return asked if asked["request"] and asked != own else {}


def _without_hidden(request: dict[str, Any]) -> bool:
    """Drop what a user may want to hide; whether nothing was dropped."""
    args = request.get("args", {})
    kept = {key: value for key, value in args.items() if not key.startswith(_HIDDEN)}
    if kept:
        request["args"] = kept
    else:
        request.pop("args", None)
    return len(kept) == len(args)


def _lent(id: str, optional: bool) -> dict[str, Any]:
    return {"id": id, "optional": True} if optional else {"id": id}


def _material(uri: str, digest: Digest) -> dict[str, Any]:
    return {"uri": uri, "digest": {algorithm(digest): hex_of(digest)}} if digest else {"uri": uri}


def _commit(commit: str) -> dict[str, str]:
    return {"sha256" if len(commit) == 64 else "sha1": commit}


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
