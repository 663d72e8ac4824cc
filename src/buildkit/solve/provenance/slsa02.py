"""The SLSA predicate, version 0.2, for those who still ask for it: what version 1 says, told its way (row E104)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREDICATE_TYPE = "https://slsa.dev/provenance/v0.2"
_NOT_OF_THE_ENVIRONMENT = ("builderPlatform", "buildConfig")
BUILD_TYPE = "https://mobyproject.org/buildkit@v1"


def to_slsa02(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The older form of a predicate made by `buildkit.solve.provenance.predicate.predicate`."""
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    source, internal = definition["externalParameters"]["configSource"], definition["internalParameters"]
    environment = {"platform": internal["builderPlatform"]}
    environment |= {key: value for key, value in internal.items() if key not in _NOT_OF_THE_ENVIRONMENT}
    names = (("uri", "uri"), ("digest", "digest"), ("path", "entryPoint"))
    out: dict[str, Any] = {"builder": run["builder"], "buildType": BUILD_TYPE}
    if "resolvedDependencies" in definition:
        out["materials"] = definition["resolvedDependencies"]
    out["invocation"] = {
        "configSource": {older: source[name] for name, older in names if name in source},
        "parameters": definition["externalParameters"]["request"],
        "environment": environment,
    }
    if "buildConfig" in internal:
        out["buildConfig"] = internal["buildConfig"]
    return out | {"metadata": _metadata(run["metadata"])}


def _metadata(known: Mapping[str, Any]) -> dict[str, Any]:
    complete = known["buildkit_completeness"]
    out = {
        "buildInvocationID": known["invocationId"],
        "buildStartedOn": known["startedOn"],
        "buildFinishedOn": known["finishedOn"],
        "completeness": {
            "parameters": complete["request"],
            "environment": True,
            "materials": complete["resolvedDependencies"],
        },
        "reproducible": known.get("buildkit_reproducible", False),
        f"{BUILD_TYPE}#metadata": known["buildkit_metadata"],
    }
    return out | ({f"{BUILD_TYPE}#hermetic": True} if known.get("buildkit_hermetic") else {})
