"""What was asked of a frontend, kept with its result so that later checks can compare (``verifier.requestopts``)."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.core.platform import format_platform, host_platform

KEY = "verifier.requestopts"
_LABEL = "label:"


def capture(options: Mapping[str, str]) -> bytes:
    """The value for `KEY` in a result's metadata: platforms and labels asked for, and the subrequest, as JSON."""
    from buildkit.core.gojson import go_json

    platforms = options["platform"].split(",") if "platform" in options else [format_platform(host_platform())]
    labels = {key.removeprefix(_LABEL): value for key, value in sorted(options.items()) if key.startswith(_LABEL)}
    request = options.get("requestid", "")
    return go_json({"Platforms": platforms, "Labels": labels, "Request": request}).encode()
