"""The list of packages of a result: runs a scanner image over it when ``attest:sbom`` asks for one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from buildkit.core.errors import InvalidInput
from buildkit.core.jsonfields import parse_fields
from buildkit.core.platform import Platform
from buildkit.core.result import Attestation
from buildkit.core.values import dataclass, field
from buildkit.frontend.dockerfile.buildoptions import Sbom
from buildkit.frontend.frontend import Bridge, Ref
from buildkit.llb.mount import bind, tmpfs
from buildkit.llb.source import image
from buildkit.llb.state import State

_SOURCES = "/run/src"
_OUTPUT = "/run/out/"
_CORE = "sbom"
_PREDICATE = "https://spdx.dev/Document"


@dataclass(frozen=True, slots=True)
class Scanner:
    """An image that lists packages: what it runs, where and with which environment."""

    image: str
    platform: Platform
    arguments: tuple[str, ...]
    directory: str = ""
    environment: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])

    def scan(self, name: str, core: State, extras: Mapping[str, State], *, ignore_cache: bool) -> State:
        """What the scanner writes about ``core``, and about more trees by name."""
        state = image(self.image, platform=self.platform)
        if self.directory:
            state = state.dir(self.directory)
        for pair in (*self.environment, *self._orders(bool(extras))):
            key, _, value = pair.partition("=")
            state = state.env(key, value)
        mounts = [
            tmpfs("/tmp"),  # noqa: S108
            bind(posixpath.join(_SOURCES, "core", _CORE), core, readonly=True),
            *(
                bind(posixpath.join(_SOURCES, "extras", f"{_CORE}-{extra}"), tree, readonly=True)
                for extra, tree in extras.items()
            ),
            bind(_OUTPUT),
        ]
        title = f"[{name}] generating sbom using {self.image}"
        if ignore_cache:
            return state.run(self.arguments, mounts=mounts, name=title, ignore_cache=True).mount(_OUTPUT)
        return state.run(self.arguments, mounts=mounts, name=title).mount(_OUTPUT)

    def _orders(self, has_extras: bool) -> list[str]:
        orders = [
            f"BUILDKIT_SCAN_DESTINATION={_OUTPUT}",
            f"BUILDKIT_SCAN_SOURCE={posixpath.join(_SOURCES, 'core', _CORE)}",
        ]
        if has_extras:
            orders.append(f"BUILDKIT_SCAN_SOURCE_EXTRAS={posixpath.join(_SOURCES, 'extras')}")
        return orders + [f"BUILDKIT_SCAN_{key}={value}" for key, value in self.parameters.items()]


async def find_scanner(bridge: Bridge, sbom: Sbom, platform: Platform, mode: str) -> Scanner:
    """Look up the scanner's image; raises `InvalidInput` if it runs nothing."""
    if platform.os == "windows":
        raise InvalidInput(f"scanner {sbom.generator} can not run on {platform}: sbom needs a linux worker")
    found = await bridge.resolving.resolve_image(sbom.generator, platform=platform, mode=mode)
    config = parse_fields(found.config, f"scanner {found.ref} has no image config").within("config")
    arguments = (*config.texts("Entrypoint"), *config.texts("Cmd"))
    environment, directory = tuple(config.texts("Env")), config.text("WorkingDir")
    if not arguments:
        raise InvalidInput(f"scanner {found.ref} does not have cmd")
    return Scanner(found.ref, platform, arguments, directory, environment, sbom.parameters)


def attestation(ref: Ref | None) -> Attestation[Ref]:
    """What the scanner wrote, as a bundle of statements about the result."""
    metadata = {"reason": b"sbom", "sbom-core": _CORE.encode()}
    return Attestation("bundle", _PREDICATE, ref=ref, metadata=metadata)
