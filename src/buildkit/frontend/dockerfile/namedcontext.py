"""Named contexts: ``context:<name>=docker-image://…`` and their like, which stand in for stages and images."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.goquote import quote
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile.deferred import Deferred
from buildkit.frontend.dockerfile.remotecontext import CONTEXT_FILE, find_git_context
from buildkit.frontend.frontend import Bridge, LayoutStore, NotAnImage
from buildkit.llb.constraints import Options
from buildkit.llb.definition import Definition
from buildkit.llb.loading import load
from buildkit.llb.source import http, image, local, oci_layout
from buildkit.llb.state import State

IGNORE_FILE = ".dockerignore"
_MAX_MUTATIONS = 10
_URL_SCHEMES = frozenset(("git", "http", "https"))

Follow = Callable[[], Sequence[str]]
"""The paths wanted of a directory, known when the whole Dockerfile has been read; none is all."""


@dataclass(frozen=True, slots=True)
class LoadedContext:
    """A context ready to use. ``config`` is the image config as JSON text where there is one."""

    state: State
    config: bytes | None = None
    digest: Digest = ""


@dataclass(frozen=True, slots=True)
class ContextNames:
    """What all named contexts of a build share: ``inputs`` by name, sessions by directory, metadata of inputs."""

    bridge: Bridge
    inputs: Mapping[str, Definition]
    sessions: Mapping[str, str]
    metadata: Mapping[str, str]
    """Values of ``input-metadata:<name>``."""
    mutated: Callable[[str, str], None]
    """Remembers that a source policy changed what a name stands for."""


@dataclass(frozen=True, slots=True)
class NamedContext:
    """One context: its name with the platform as the option has it, and where it is."""

    names: ContextNames
    name: str
    full_name: str
    where: str
    shared_key: str = ""
    platform: Platform | None = None
    mode: str = "default"
    follow: Follow | None = None

    async def load(self) -> LoadedContext:
        """Find it; raises `BuildkitError`."""
        context = self
        for _ in range(_MAX_MUTATIONS + 1):
            try:
                return await context._load()
            except NotAnImage as error:
                scheme, separator, rest = error.identifier.partition("://")
                if not separator:
                    raise InvalidInput(f"could not parse ref: {error.identifier}") from None
                where = error.identifier if scheme in _URL_SCHEMES else f"{scheme}:{rest}"
                self.names.mutated(self.full_name, where)
                context = replace(context, where=where)
        raise InvalidInput(
            "context recursion limit exceeded; this may indicate a cycle in the provided source policies: "
            + context.where
        )

    async def _load(self) -> LoadedContext:
        scheme, colon, rest = self.where.partition(":")
        if not colon:
            raise InvalidInput(f"invalid context specifier {self.where} for {self.full_name}")
        if scheme.startswith("git@"):
            scheme = "git"
        if scheme == "docker-image":
            return await self._image(rest.removeprefix("//"))
        if scheme in ("git", "http", "https"):
            return LoadedContext(self._remote(scheme))
        if scheme == "oci-layout":
            return await self._layout(rest.removeprefix("//"))
        if scheme == "local":
            return LoadedContext(await self._local(rest))
        if scheme == "input":
            return self._input(rest)
        raise InvalidInput(f"unsupported context source {scheme} for {self.full_name}")

    async def _image(self, ref: str) -> LoadedContext:
        from buildkit.oci.names import parse_reference

        if ref == "scratch":
            return LoadedContext(State(None))
        found = await self.names.bridge.resolving.resolve_image(
            str(parse_reference(ref).with_default_tag()),
            platform=self.platform,
            mode=self.mode,
            log_name=f"[context {self.full_name}] load metadata for {ref}",
        )
        state = image(found.ref, **self._titled(ref))
        return LoadedContext(state.with_image_config(found.config), _undated(found.config), found.digest)

    def _remote(self, scheme: str) -> State:
        state = find_git_context(self.where)
        if state is not None:
            return state
        if scheme == "git":
            raise InvalidInput(f"invalid git context {self.where}")
        return http(self.where, filename=CONTEXT_FILE, name=f"[context {self.full_name}] {self.where}")

    async def _layout(self, spec: str) -> LoadedContext:
        from buildkit.oci.names import parse_exact, parse_reference

        try:
            written = parse_exact(spec)
            shown = str(parse_reference(self.name).with_digest(written.digest))
        except BuildkitError as error:
            raise error.prefixed(f"could not parse oci-layout reference {quote(spec)}: ") from None
        if not written.digest:
            raise InvalidInput(f"oci-layout reference {quote(spec)} has no digest")
        session, store = self.names.bridge.session_id, written.name
        found = await self.names.bridge.resolving.resolve_image(
            shown,
            platform=self.platform,
            log_name=f"[context {self.full_name}] load metadata for {shown}",
            store=LayoutStore(session, store),
        )
        state = oci_layout(shown, session=session, store=store, **self._titled("OCI load from client"))
        return LoadedContext(state.with_image_config(found.config), found.config, found.digest)

    def _titled(self, name: str) -> Options:
        options: Options = {"name": f"[context {self.full_name}] {name}"}
        if self.platform is not None:
            options["platform"] = self.platform
        return options

    async def _local(self, directory: str) -> State:
        session = self.names.sessions.get(directory, self.names.bridge.session_id)
        rules = local(
            directory,
            session=session,
            follow=[IGNORE_FILE],
            shared_key=f"context:{self.full_name}-{IGNORE_FILE}",
            differ="none",
            name=f"[context {self.full_name}] load {IGNORE_FILE}",
        )
        bridge = self.names.bridge
        ref = await bridge.solving.solve(rules.marshal(), evaluate=True)
        exclude = parse_ignore_file(await _read_or_nothing(bridge, ref), IGNORE_FILE)
        return Deferred(
            lambda: local(
                directory,
                session=session,
                exclude=exclude,
                shared_key=f"context:{self.full_name}-{self.shared_key}",
                follow=() if self.follow is None else self.follow(),
                name=f"[context {self.full_name}] load from client",
            )
        ).state

    def _input(self, name: str) -> LoadedContext:
        definition = self.names.inputs.get(name)
        if definition is None:
            raise InvalidInput(f"invalid input {name} for {self.full_name}")
        state = load(definition)
        text = self.names.metadata.get(name)
        if text is None:
            return LoadedContext(state)
        try:
            encoded: Any = json.loads(text).get("containerimage.config")
            config = None if encoded is None else base64.b64decode(encoded, validate=True)
        except (ValueError, RecursionError, AttributeError, TypeError, binascii.Error) as error:
            raise InvalidInput(f"failed to parse input metadata {text}: {error}") from None
        return LoadedContext(state if config is None else state.with_image_config(config), config)


async def _read_or_nothing(bridge: Bridge, ref: object) -> bytes:
    try:
        return await bridge.reading.read_file(ref, IGNORE_FILE)
    except BuildkitError:
        return b""


def parse_ignore_file(content: bytes, name: str) -> list[str]:
    """The patterns of an ignore file; raises `InvalidInput` with its name."""
    if not content:
        return []
    from buildkit.fs.patterns import parse_ignore

    try:
        return parse_ignore(content.decode("utf-8", "surrogateescape"))
    except BuildkitError as error:
        raise error.prefixed(f"failed parsing {name}: ") from None


def _undated(config: bytes) -> bytes:
    """The config of an image that stands in for another: when it was made is not said of the result's base."""
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return config
    if not isinstance(document, dict):
        return config
    return json.dumps({key: value for key, value in document.items() if key != "created"}).encode()
