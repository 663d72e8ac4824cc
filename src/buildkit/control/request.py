"""``SolveRequest`` from the wire to a value: old fields translated, everything checked that can be checked now."""

from __future__ import annotations

from collections import Counter

from buildkit.api import control_pb2 as pb
from buildkit.core.entitlement import grant
from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.llb.definition import Definition
from buildkit.solve.request import ExporterRequest, SolveRequest
from buildkit.source.policy import from_pb

COMPATIBILITY = (10, 20, 30)
"""Versions of behaviour that a client may ask for; the last is today's."""
CACHE_TYPES = ("registry", "inline", "local", "gha", "s3", "azblob")


def read_request(message: pb.SolveRequest, id: str, allowed: frozenset[str]) -> SolveRequest:
    """What a client asks of the build ``id``, with the entitlements that are ``allowed`` at most.

    Raises `InvalidInput`, `PermissionDenied` or `Unsupported`.
    """
    _check_compatibility(message.CompatibilityVersion)
    _check_caches(message)
    if message.ProxyNetwork:
        raise Unsupported("the proxy network is not supported yet")
    return SolveRequest(
        id=id,
        session=message.Session,
        definition=Definition.from_pb(message.Definition) if message.HasField("Definition") else None,
        frontend=message.Frontend,
        frontend_attrs=dict(message.FrontendAttrs),
        frontend_inputs={name: Definition.from_pb(one) for name, one in message.FrontendInputs.items()},
        exporters=_exporters(message),
        entitlements=grant(message.Entitlements, allowed),
        policies=(from_pb(message.SourcePolicy),) if message.SourcePolicy.rules else (),
        session_exporters=message.EnableSessionExporter,
        policy_session=message.SourcePolicySession,
        internal=message.Internal,
        provenance=not message.Internal,
    )


def _check_compatibility(version: int) -> None:
    if version == 0 or version in COMPATIBILITY[-1:]:
        return
    newest = COMPATIBILITY[-1]
    if version > newest:
        raise InvalidInput(f"unsupported compatibility-version {version}: upgrade buildkit (max supported: {newest})")
    if version in COMPATIBILITY:
        raise Unsupported(f"compatibility-version {version} is not supported yet (supported: {newest})")
    supported = " ".join(map(str, COMPATIBILITY))
    raise InvalidInput(f"unsupported compatibility-version {version} (supported: [{supported}])")


def _exporters(message: pb.SolveRequest) -> tuple[ExporterRequest, ...]:
    found = [ExporterRequest(one.Type, dict(one.Attrs)) for one in message.Exporters]
    if not found and message.ExporterDeprecated:
        found = [ExporterRequest(message.ExporterDeprecated, dict(message.ExporterAttrsDeprecated))]
    return tuple(found)


def _check_caches(message: pb.SolveRequest) -> None:
    exports = [one.Type for one in message.Cache.Exports]
    exports += ["registry"] if message.Cache.ExportRefDeprecated else []
    for type in exports:
        if type not in CACHE_TYPES:
            raise InvalidInput(f'unknown cache exporter: "{type}"')
    again = [type for type, times in Counter(exports).items() if times > 1 and type != "inline"]
    if again:
        raise InvalidInput(f"duplicate cache exports [{' '.join(again)}]")
    if exports:
        raise Unsupported(f"exporting a build cache (type {exports[0]}) is not supported yet")
    imports = [one.Type for one in message.Cache.Imports]
    imports += ["registry"] if message.Cache.ImportRefsDeprecated else []
    if imports:
        raise Unsupported(f"importing a build cache (type {imports[0]}) is not supported yet")
