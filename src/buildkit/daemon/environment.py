"""What the provenance of every build says of the place it was built at (row E111)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from buildkit.core.errors import InvalidInput

_BUILT_IN = ("buildConfig", "builderPlatform", "platform")


def read_environment(folder: Path) -> dict[str, Any]:
    """The objects of all ``*.json`` files of a folder as one, later names winning; {} when there is no folder.

    Raises `InvalidInput` with the file or the key, and `OSError`.
    """
    if not folder.exists():
        return {}
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json" and not path.is_dir():
            try:
                content = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"failed to parse {path}: {error}") from None
            if not isinstance(content, dict):
                raise InvalidInput(f"failed to parse {path}: it is no object")
            found |= content
    for key in _BUILT_IN:
        if key in found:
            raise InvalidInput(f'key "{key}" is builtin and not allowed to be modified in provenance config')
    return found
