"""The devices of this machine that steps may be given, by name: ``vendor/class=name``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError, FailedPrecondition
from buildkit.core.gobool import TRUE
from buildkit.core.values import dataclass
from buildkit.executor.settings import DeviceSettings

if TYPE_CHECKING:
    from buildkit.executor.cdi import Edits, Spec

_CLASS = "org.mobyproject.buildkit.device.class"
_AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow"
_ON_DEMAND = ("nvidia.com/gpu", "docker.com/gpu")
"""Kinds for which BuildKit can have an installer."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device. ``auto_allowed``: every build may have it."""

    name: str
    auto_allowed: bool
    annotations: Mapping[str, str]
    spec: Spec
    edits: Edits
    """What it needs beyond what all devices of its ``spec`` need."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What the specification files say now."""

    found: Mapping[str, Device]
    """By name, sorted."""
    broken: Mapping[str, str]
    """What is wrong with files that say nothing, by path."""

    def resolve(self, wanted: Iterable[tuple[str, bool]]) -> list[str]:
        """Names of devices, each once, for pairs of what is wanted and whether it is optional.

        Wanted is ``vendor/class=name``, ``vendor/class`` for the first one, ``vendor/class=*`` for all, or a class
        that annotations name. Raises `FailedPrecondition`.
        """
        names: dict[str, None] = {}
        for text, optional in wanted:
            matching = self._matching(text)
            if not matching and not optional:
                raise FailedPrecondition(f'required device "{text}" is not registered{self._hint(text)}')
            names.update(dict.fromkeys(matching))
        return list(names)

    def edits_of(self, names: Iterable[str]) -> Edits:
        """What changes in a container that gets the devices; what a file says for all of its devices comes once."""
        from buildkit.executor.cdi import Edits

        edits, specs = Edits(), set()
        for name in names:
            device = self.found[name]
            if id(device.spec) not in specs:
                specs.add(id(device.spec))
                edits += device.spec.container_edits
            edits += device.edits
        return edits

    def _matching(self, wanted: str) -> list[str]:
        kind, _, name = wanted.partition("=")
        vendor, slash, device_class = kind.partition("/")
        matching: list[str] = []
        if vendor and slash and device_class:
            matching = [one for one in self.found if one.startswith(f"{kind}=")]
            if name == "":
                matching = matching[:1]
            elif name != "*":
                matching = [one for one in matching if one == wanted]
        if not matching:
            matching = [one for one, device in self.found.items() if device.annotations.get(_CLASS) == wanted]
        return matching

    def _hint(self, wanted: str) -> str:
        if wanted.partition("=")[0] in _ON_DEMAND:
            return " (installing it on demand is not supported: describe it in a CDI specification file)"
        wrong = [f"{path}: {complaint}" for path, complaint in self.broken.items()]
        return f" ({'; '.join(wrong)})" if wrong else ""


def load_devices(settings: DeviceSettings) -> Devices:
    """Read every specification there is. Of files in several directories the last directory's count.

    Two of one directory that tell of the same device cancel each other out.
    """
    found: dict[str, tuple[int, str, Device]] = {}
    broken: dict[str, str] = {}
    conflicts: set[str] = set()
    for priority, path in _spec_files(settings):
        from buildkit.executor.cdi import read_spec

        try:
            spec = read_spec(Path(path))
        except (BuildkitError, OSError) as error:
            broken[path] = str(error)
            continue
        for one in spec.devices:
            annotations = {**spec.annotations, **one.annotations}
            name = f"{spec.kind}={one.name}"
            allowed = bool({name, spec.kind} & set(settings.auto_allowed)) or annotations.get(_AUTO_ALLOW) in TRUE
            other = found.get(name)
            if other is not None and other[0] == priority:
                conflicts.add(name)
                for file in (path, other[1]):
                    broken[file] = f'conflicting device "{name}" (specs "{path}", "{other[1]}")'
                continue
            conflicts.discard(name)
            found[name] = priority, path, Device(name, allowed, annotations, spec, one.container_edits)
    return Devices({name: found[name][2] for name in sorted(found) if name not in conflicts}, broken)


def _spec_files(settings: DeviceSettings) -> Iterable[tuple[int, str]]:
    for priority, directory in enumerate(settings.spec_dirs):
        try:
            names = sorted(entry.name for entry in os.scandir(directory) if not entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        for name in names:
            if name.endswith((".json", ".yaml")):
                yield priority, os.path.join(directory, name)
