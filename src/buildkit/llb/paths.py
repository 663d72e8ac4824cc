"""Paths as Go's ``path`` package normalises them."""

from __future__ import annotations

import posixpath


def clean(path: str) -> str:
    """Without ``.``, ``..`` and doubled slashes where avoidable; an empty path is ``.``."""
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def join(*parts: str) -> str:
    """Put parts together and `clean`; empty parts count for nothing, and all empty is an empty path."""
    present = [part for part in parts if part]
    return clean("/".join(present)) if present else ""
