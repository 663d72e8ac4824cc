"""What a build was asked to attest (``attest:provenance=…``, ``attest:sbom=…``), checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.gobool import FALSE, TRUE
from buildkit.core.values import dataclass

_MODES = {"min": "min", "max": "max", "full": "max"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Provenance that was asked for."""

    mode: str = "max"
    version: str = "v1"
    """``v1`` or ``v0.2``."""
    builder: str = ""
    reproducible: bool = False
    inline_only: bool = False
    """Only for images that are pushed or stored, not for files."""
    complete: bool = False
    """Fail where something went in of which nobody can say what it was."""
    usage: bool = False
    """Say also what steps and the machine used."""
    filename: str = "provenance.json"
    """What it is called beside exported files."""


def parse_wanted(options: Mapping[str, str]) -> Wanted | None:
    """None when nobody asked for provenance. Raises `InvalidInput`, and `Unsupported` by name."""
    if not any("attest" in name.lower() for name in options):
        return None
    from buildkit.frontend.dockerfile.buildoptions import parse_attestations

    asked = parse_attestations(options)
    if "sbom" in asked:
        raise Unsupported("SBOM attestations (attest:sbom) are not supported yet")
    attrs = asked.get("provenance")
    if attrs is None:
        return None
    mode = attrs.get("mode", "max")
    if mode not in _MODES:
        raise InvalidInput(f'invalid mode "{mode}"')
    version = attrs.get("version", "v1")
    if version not in ("v1", "v0.2"):
        raise InvalidInput(f'invalid provenance version "{version}"')
    return Wanted(
        _MODES[mode],
        version,
        attrs.get("builder-id", ""),
        _flag(attrs, "reproducible"),
        _flag(attrs, "inline-only"),
        _flag(attrs, "complete-materials"),
        _flag(attrs, "capture-usage"),
        attrs.get("filename", "provenance.json"),
    )


def _flag(attrs: Mapping[str, str], name: str) -> bool:
    value = attrs.get(name, "false")
    if value not in TRUE | FALSE:
        raise InvalidInput(f'failed to parse {name} flag "{value}"')
    return value in TRUE
