"""Capability ids of the gateway itself: what a frontend may ask of the build that runs it."""

from __future__ import annotations

from buildkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Cap:
    """One capability. ``disabled`` says why it is not there; clients that need it then fail with that text."""

    id: str
    deprecated: bool = False
    disabled: str = ""


_CONTAINERS = "containers for clients and frontends are not supported yet"

GATEWAY = tuple(
    sorted(
        (
            *(
                Cap(id)
                for id in (
                    "solve.base",
                    "resolveimage",
                    "resolveimage.resolvemode",
                    "readfile",
                    "return",
                    "returnmap",
                    "readdir",
                    "statfile",
                    "importcaches",
                    "proto.refarray",
                    "reference.output",
                    "frontend.inputs",
                    "gateway.solve.metadata",
                    "frontend.caps",
                    "gateway.solve.evaluate",
                    "gateway.evaluate",
                    "gateway.warnings",
                    "reference.attestations",
                    "source.metaresolver",
                    "source.metaresolver.http.checksumrequest",
                )
            ),
            Cap("solve.inlinereturn", deprecated=True),
            *(
                Cap(id, disabled=_CONTAINERS)
                for id in (
                    "gateway.exec",
                    "gateway.exec.extrahosts",
                    "gateway.exec.secretenv",
                    "gateway.exec.signals",
                    "gateway.exec.filesystem",
                )
            ),
            Cap(
                "source.metaresolver.image.attestations",
                disabled="resolving the attestations of images is not supported yet",
            ),
        ),
        key=lambda cap: cap.id,
    )
)
"""What BuildKit 0.32 advertises, and what of it is missing here."""
