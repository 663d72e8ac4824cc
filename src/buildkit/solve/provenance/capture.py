"""The sources, secrets and agents that a definition used, with what names resolved to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from buildkit.api import ops as pb
from buildkit.core.digest import Digest, sha256
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field
from buildkit.llb.definition import Definition
from buildkit.solve.refs import FrontendRequest
from buildkit.solver.record import StepRecord

_LOCAL = "local://"
_BLOBS = ("docker-image+blob", "oci-layout+blob")
_CREDENTIALS = re.compile(r"(?<=://)[^/@:\s]*(:?)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was used; ``local`` if it came from a layout of the client."""

    reference: str
    digest: Digest
    platform: Platform | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Lent:
    """A secret or an agent that the client lent."""

    id: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one result was made from."""

    definition: Definition
    frontend: str = ""
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    root: FrontendRequest | None = None
    """What the whole build was asked for, which may be a client that asked a frontend for this result."""
    images: tuple[Image, ...] = ()
    blobs: tuple[Image, ...] = ()
    git: tuple[tuple[str, str], ...] = ()
    """(URL, commit)"""
    bundles: tuple[tuple[str, Image], ...] = ()
    """(URL, bundle) of repositories that were not fetched from their remotes."""
    files: tuple[tuple[str, Digest], ...] = ()
    """(URL, digest) of what came over HTTP."""
    locals: tuple[str, ...] = ()
    secrets: tuple[Lent, ...] = ()
    agents: tuple[Lent, ...] = ()
    network: bool = False
    """Whether a step could reach the network."""
    nested: bool = False
    """Whether a step made a definition of its own, of which nothing is known here."""

    @property
    def is_complete(self) -> bool:
        """Whether everything that went in can be told from everything else."""
        return not self.locals and not self.nested


def capture(
    definition: Definition,
    records: Sequence[StepRecord],
    frontend: str,
    args: Mapping[str, str],
    root: FrontendRequest | None = None,
) -> Capture:
    """``records`` are of the whole build: they know what names resolved to, and the frontend's own directories."""
    facts = {record.vertex: record.facts for record in records if record.facts.get("kind") == "source"}
    identifiers = (str(one.get("identifier", "")) for one in facts.values())
    locals = {one.removeprefix(_LOCAL) for one in identifiers if one.startswith(_LOCAL)}
    images: dict[tuple[str, str], Image] = {}
    blobs: dict[str, Image] = {}
    git: dict[str, str] = {}
    bundles: dict[tuple[str, str], Image] = {}
    files: dict[str, str] = {}
    secrets: dict[str, bool] = {}
    agents: dict[str, bool] = {}
    network = nested = False
    for digest, op in parse_ops(definition):
        kind = op.WhichOneof("op")
        if kind == "source":
            pin = str(facts.get(digest, {}).get("pin") or "")
            scheme, _, name = op.source.identifier.partition("://")
            if scheme in ("docker-image", "oci-layout"):
                image = _image(scheme, name, pin, op)
                images[(image.reference, str(image.platform))] = image
            elif scheme in _BLOBS:
                blobs[op.source.identifier] = _blob(op.source.identifier)
            elif scheme == "git":
                attrs = op.source.attrs
                url = _git_url(name, attrs.get("git.fullurl") or "")
                git[url] = pin
                if locator := attrs.get("git.bundle"):
                    bundles[url, locator] = _blob(locator, with_digest=False)
                for key in ("git.authtokensecret", "git.authheadersecret"):
                    if id := attrs.get(key):
                        secrets.setdefault(id, True)
                if id := attrs.get("git.mountsshsock"):
                    agents.setdefault(id, True)
            elif scheme in ("http", "https"):
                files[redact(op.source.identifier)] = pin
        elif kind == "build":
            nested = True
        elif kind == "exec":
            network = network or op.exec.network != pb.NONE
            for id, optional in _secrets(op.exec):
                secrets[id] = secrets.get(id, True) and optional
            for mount in op.exec.mounts:
                if mount.mountType == pb.SSH:
                    agents[mount.SSHOpt.ID] = agents.get(mount.SSHOpt.ID, True) and mount.SSHOpt.optional
    return Capture(
        definition=definition,
        frontend=frontend,
        args=args,
        root=root,
        images=tuple(images[key] for key in sorted(images)),
        blobs=tuple(blobs[key] for key in sorted(blobs)),
        git=tuple(sorted(git.items())),
        bundles=tuple((key[0], bundles[key]) for key in sorted(bundles)),
        files=tuple(sorted(files.items())),
        locals=tuple(sorted(locals)),
        secrets=tuple(Lent(id, secrets[id]) for id in sorted(secrets)),
        agents=tuple(Lent(id, agents[id]) for id in sorted(agents)),
        network=network,
        nested=nested,
    )


def parse_ops(definition: Definition) -> Iterator[tuple[Digest, pb.Op]]:
    """Each op with the digest of its bytes."""
    for content in definition.ops:
        yield sha256(content), pb.Op.FromString(content)


def _image(scheme: str, name: str, pin: str, op: pb.Op) -> Image:
    reference, at, digest = name.partition("@")
    tagged = ":" in reference.rpartition("/")[2]
    platform = None
    if op.HasField("platform"):
        platform = Platform(op.platform.OS, op.platform.Architecture, op.platform.Variant)
    return Image(reference if tagged or not at else name, digest or pin, platform, scheme == "oci-layout")


def _git_url(name: str, full: str) -> str:
    """The remote and what was checked out of it: ``https://host/path#ref``."""
    remote, hash, fragment = name.partition("#")
    ref = fragment.partition(":")[0]
    return redact((full or f"https://{remote}") + (hash + ref if ref else ""))


def _blob(locator: str, *, with_digest: bool = True) -> Image:
    scheme, _, name = locator.partition("://")
    place, _, digest = name.rpartition("@")
    return Image(name if with_digest else place, digest, local=scheme == "oci-layout+blob")


def redact(text: str) -> str:
    """A URL without its user and password."""
    return _CREDENTIALS.sub(lambda found: "xxxxx:xxxxx@" if found[1] else "xxxxx@", text)


def _secrets(op: pb.ExecOp) -> Iterator[tuple[str, bool]]:
    for mount in op.mounts:
        if mount.mountType == pb.SECRET:
            yield mount.secretOpt.ID, mount.secretOpt.optional
    for variable in op.secretenv:
        yield variable.ID, variable.optional
