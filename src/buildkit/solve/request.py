"""What a solve is asked for and what it answers, as values (``moby.buildkit.v1.SolveRequest`` and its response)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.core.entitlement import Grants
from buildkit.core.values import dataclass, field
from buildkit.llb.definition import Definition
from buildkit.source.pull import Pull

if TYPE_CHECKING:
    from buildkit.core.digest import Digest
    from buildkit.oci.spec import Descriptor
    from buildkit.source.policy import Policy


@dataclass(frozen=True, slots=True)
class ExporterRequest:
    """One output: its exporter's name and attributes. Its position is its id."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """One build.

    Either ``definition`` is given, or ``frontend`` (with its attributes and inputs), or neither: then a client
    drives the build through the bridge and returns the result.
    """

    id: str
    session: str = ""
    definition: Definition | None = None
    frontend: str = ""
    frontend_attrs: Mapping[str, str] = field(default_factory=dict[str, str])
    frontend_inputs: Mapping[str, Definition] = field(default_factory=dict[str, Definition])
    exporters: tuple[ExporterRequest, ...] = ()
    entitlements: Grants = Grants()
    internal: bool = False
    policies: tuple[Policy, ...] = ()
    """What sources may be, and what to take in their place."""
    policy_session: str = ""
    """The session whose client is asked about every source."""
    pull: Pull = Pull.ALWAYS
    """Whether names of sources are looked up anew."""
    provenance: bool = False
    """Say also what each result was made from."""
    session_exporters: bool = False
    """Ask the session for further exporters once the result is there."""
    trace_parent: str = ""
    """The client's span, as W3C Trace Context writes it."""
    deterministic: bool = False
    """Times in layers that depend on a step's own inputs only (the embedded engine's default)."""


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """The root of an image that was exported, and the bytes of its documents, by digest, its own among them."""

    root: Descriptor
    documents: Mapping[Digest, bytes]


@dataclass(frozen=True, slots=True)
class SolveResponse:
    """What the exporters and the frontend have to say: flat texts by key (``containerimage.digest``, …)."""

    exporter_response: Mapping[str, str]
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """What the frontend said of its result (``result.txt`` of a subrequest, image configs)."""
    provenance: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The SLSA predicate as JSON, by platform; ``""`` is a lone result's."""
    images: Mapping[int, ExportedImage] = field(default_factory=dict[int, ExportedImage])
    """By the place of the exporter; only where ``provenance`` was asked for."""
