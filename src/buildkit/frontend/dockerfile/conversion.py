"""The seam around the conversion to LLB: what ``convert.convert`` takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildkit.core.platform import Platform
from buildkit.frontend.dockerfile.inputs import BuildInputs
from buildkit.frontend.dockerfile.linter import Report
from buildkit.frontend.dockerfile.options import BuildOptions
from buildkit.frontend.dockerfile.outline import Outline
from buildkit.frontend.frontend import Resolving
from buildkit.llb.definition import SourceFile
from buildkit.llb.state import State


@dataclass(frozen=True, slots=True)
class Conversion:
    """One Dockerfile to convert for one platform."""

    content: bytes
    options: BuildOptions
    resolving: Resolving
    platform: Platform | None = None
    """The target; None is the build platform, chosen implicitly."""
    inputs: BuildInputs | None = None
    """Contexts of the build; None knows but ``local://context`` (or ``main_context``) and no named ones."""
    main_context: State | None = None
    """Used when ``inputs`` is None."""
    source: SourceFile | None = None
    """What source maps point at."""
    llb_caps: frozenset[str] | None = None
    report: Report | None = None
    """Hears of every finding as it is made; None turns checks off."""
    all_stages: bool = False
    """Convert stages that the target does not need too (to check them)."""


@dataclass(frozen=True, slots=True)
class ScanTargets:
    """What a package lister is to look at: the result, and more trees by name."""

    core: State
    extras: Mapping[str, State]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a Dockerfile means."""

    state: State
    image: bytes
    """The image config as JSON text, without layers' diff ids of its own steps."""
    image_platform: Platform
    """The platform in that config."""
    base_image: bytes | None
    """The base image's config, None when there is none."""
    outline: Outline
    scan: ScanTargets
    epoch: int | None = None
    """``SOURCE_DATE_EPOCH`` in seconds."""
    ignore_cache: bool = False
    """Whether scanning must not be cached either."""
