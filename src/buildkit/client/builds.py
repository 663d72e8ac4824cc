"""A build as Python programs describe it, and what they get back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypedDict, TypeVar, Unpack

from buildkit.client.options import CacheOptions, OutputOptions, SecretOptions, SolveOptions, SSHOptions
from buildkit.client.texts import read_agent, read_cache, read_secret
from buildkit.core.errors import InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass
from buildkit.llb.constraints import refuse_unknown
from buildkit.llb.definition import Definition
from buildkit.llb.state import State

if TYPE_CHECKING:
    from buildkit.core.explanation import Explanation

T = TypeVar("T")

Path: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = State | Definition | Path
"""What to build: a graph, or a directory with a Dockerfile in it."""


class BuildOptions(TypedDict, total=False):
    """How to build it; every part may be left out.

    - ``outputs``: as ``buildctl build --output`` takes them, or `OutputOptions`; a bare path is a directory for the
      files of the result
    - ``target``: the stage of the Dockerfile; ``build_args``: its arguments
    - ``frontend``: what reads the directory, ``dockerfile.v0`` unless given; ``attrs``: what else it is told
      (``buildctl build --opt``)
    - ``locals``: directories that the build may read, by name; of a directory that is built, ``context`` and
      ``dockerfile``
    - ``oci_layouts``: directories with images that it may read, by name
    - ``secrets``: as ``buildctl build --secret`` takes them (``id=token,src=FILE``), or `SecretOptions`, which may hold
      a value
    - ``ssh``: as ``buildctl build --ssh`` takes them (``default``, ``id=SOCKET``, ``id=KEY,KEY``), or `SSHOptions`
    - ``allow``: entitlements: ``network.host``, ``security.insecure``, ``device``
    - ``exports``, ``imports``: where the cache goes and comes from: ``type=registry,ref=…``, or `CacheOptions`
    - ``explain``: find out why steps ran, for `Result.explain`. An engine in this process does so unless told not to,
      a buildkitd of ours when it is asked; others can not: `Unsupported`
    """

    outputs: Iterable[str | OutputOptions]
    target: str
    build_args: Mapping[str, str]
    frontend: str
    attrs: Mapping[str, str]
    locals: Mapping[str, Path]
    oci_layouts: Mapping[str, Path]
    secrets: Iterable[str | SecretOptions]
    ssh: Iterable[str | SSHOptions]
    allow: Iterable[str]
    exports: Iterable[str | CacheOptions]
    imports: Iterable[str | CacheOptions]
    explain: bool


@dataclass(frozen=True, slots=True)
class Result:
    """How a build ended that succeeded."""

    ref: str
    """Its id, by which a daemon remembers it."""
    exporter: Mapping[str, str]
    """What the outputs have to say, for example ``containerimage.digest``."""
    metadata: Mapping[str, bytes]
    """What the frontend had to say when it was asked for something else than an image."""
    explanations: tuple[Explanation, ...] | None = None

    def explain(self) -> tuple[Explanation, ...]:
        """Why each step that ran did, as ``buildctl build --explain`` tells it; nothing when all were cached.

        Raises `InvalidInput` when the build was not asked to find out (`BuildOptions`, ``explain``).
        """
        if self.explanations is None:
            raise InvalidInput("nobody asked why the steps of this build ran: build with explain=True")
        return self.explanations

    @property
    def digest(self) -> str:
        """The image's digest; ``""`` when no image was made."""
        return self.exporter.get("containerimage.digest", "")


def solve_options(source: Source, **options: Unpack[BuildOptions]) -> SolveOptions:
    """One build as a value; raises `InvalidInput` for what makes no sense and `TypeError` for unknown options."""
    refuse_unknown(options, BuildOptions.__optional_keys__)
    attrs = dict(options.get("attrs", {}))
    if target := options.get("target", ""):
        attrs["target"] = target
    attrs |= {f"build-arg:{name}": value for name, value in options.get("build_args", {}).items()}
    frontend = options.get("frontend", "")
    places = {name: os.fspath(path) for name, path in options.get("locals", {}).items()}
    definition: bytes | None = None
    if isinstance(source, State | Definition):
        if frontend or attrs:
            raise InvalidInput("a graph is built as it is: frontend, attrs, target and build_args are for Dockerfiles")
        definition = _definition_of(source)
    else:
        frontend = frontend or "dockerfile.v0"
        places = {"context": os.fspath(source), "dockerfile": os.fspath(source), **places}
    return SolveOptions(
        frontend=frontend,
        frontend_attrs=attrs,
        definition=definition,
        locals=places,
        oci_layouts={name: os.fspath(path) for name, path in options.get("oci_layouts", {}).items()},
        outputs=_read("outputs", options.get("outputs", ()), _output_of),
        exports=_read("exports", options.get("exports", ()), read_cache),
        imports=_read("imports", options.get("imports", ()), read_cache),
        secrets=_read("secrets", options.get("secrets", ()), read_secret),
        ssh=_read("ssh", options.get("ssh", ()), read_agent),
        allow=_read("allow", options.get("allow", ()), str),
        ref=new_id(),
    )


def _read(name: str, given: Iterable[str | T], read: Callable[[str], T]) -> tuple[T, ...]:
    if isinstance(given, str):
        raise TypeError(f"{name}: a list is wanted, not a text: [{given!r}]")
    return tuple(read(one) if isinstance(one, str) else one for one in given)


def _definition_of(source: State | Definition) -> bytes:
    graph = source.marshal(python_lines=True) if isinstance(source, State) else source
    if not graph.ops:
        raise InvalidInput("the graph is empty: there is nothing to build")
    return graph.to_bytes()


def _output_of(output: str) -> OutputOptions:
    if "=" not in output:
        return OutputOptions("local", {}, output)
    from buildkit.session.outputs import parse_output

    parsed = parse_output(output)
    return OutputOptions(parsed.type, parsed.attrs, parsed.destination.file or parsed.destination.directory)
