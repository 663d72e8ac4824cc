"""The inputs of a build: its main context, the Dockerfile, ignore rules and named contexts."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from buildkit.core.aio import Shared
from buildkit.core.digest import Digest
from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, replace
from buildkit.frontend.dockerfile import archives
from buildkit.frontend.dockerfile.buildoptions import BuildOptions
from buildkit.frontend.dockerfile.gotext import parse_bool
from buildkit.frontend.dockerfile.namedcontext import (
    IGNORE_FILE,
    ContextNames,
    Follow,
    NamedContext,
    parse_ignore_file,
)
from buildkit.frontend.dockerfile.platformspec import platform_id
from buildkit.frontend.dockerfile.remotecontext import CONTEXT_FILE, find_git_context, find_http_context, internal
from buildkit.frontend.dockerfile.sourcetime import source_time
from buildkit.frontend.frontend import Bridge, Ref
from buildkit.llb.definition import Definition, SourceFile
from buildkit.llb.file import copy
from buildkit.llb.loading import load
from buildkit.llb.paths import clean
from buildkit.llb.source import local
from buildkit.llb.state import State

DOCKERFILE = "Dockerfile"
CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class MainContext:
    """Where the files and the Dockerfile come from; a state of None is the client's directory."""

    state: State | None
    dockerfile: State | None
    filename: str


@dataclass(frozen=True, slots=True)
class DockerfileSource:
    """The Dockerfile, and the vertex that brought it."""

    file: SourceFile
    vertex: Digest


class BuildInputs:
    """Everything that comes into one build; each part is loaded once, when it is first needed."""

    def __init__(
        self,
        bridge: Bridge,
        options: Mapping[str, str],
        build: BuildOptions,
        inputs: Mapping[str, Definition],
    ) -> None:
        self.bridge = bridge
        self._options = dict(options)
        self._inputs = inputs
        self._sessions = build.local_sessions
        self._main = Shared(self._find_main)
        self._own_rules: tuple[str, bytes] | None = None
        """Name and content of ``<Dockerfile>.dockerignore``."""
        self._rules = Shared(self._read_rules)
        self._dockerfile_directory = options.get("dockerfilekey", "dockerfile")
        self._names = ContextNames(
            bridge,
            inputs,
            build.local_sessions,
            {key.removeprefix(p): v for key, v in options.items() if key.startswith(p := "input-metadata:")},
            self._remember,
        )

    async def read_dockerfile(self) -> DockerfileSource:
        """Load the Dockerfile (``dockerfile`` will do too) and its ignore file; raises `BuildkitError`."""
        main = await self._main.wait()
        state = None if "dockerfilekey" in self._options else main.dockerfile
        state = state or self._local_dockerfile(main.filename)
        definition = state.marshal()
        ref = await self._solve(definition, "failed to resolve dockerfile: ")
        content = await self._read_first(ref, _spellings(main.filename))
        rules = f"{main.filename}{IGNORE_FILE}"
        try:
            self._own_rules = rules, await self.bridge.reading.read_file(ref, rules)
        except BuildkitError:
            pass
        file = SourceFile(main.filename, "Dockerfile", content, definition)
        return DockerfileSource(file, definition.head)

    async def main_context(self, follow: Sequence[str] = ()) -> State:
        """The main context; of a directory only ``follow`` and what its ignore rules leave. Raises `BuildkitError`."""
        main = await self._main.wait()
        if main.state is not None:
            return main.state
        try:
            exclude = await self._rules.wait()
        except BuildkitError as error:
            raise error.prefixed("failed to read dockerignore patterns: ") from None
        return local(
            CONTEXT,
            session=self._session_of(CONTEXT),
            exclude=exclude,
            follow=follow,
            shared_key=CONTEXT,
            name=internal("load build context"),
        )

    async def ignore_patterns(self) -> list[str]:
        """What the ignore rules of a context directory exclude; nothing for any other context."""
        main = await self._main.wait()
        return [] if main.state is not None else await self._rules.wait()

    def find_named_context(
        self, name: str, *, platform: Platform | None = None, mode: str = "default", follow: Follow | None = None
    ) -> NamedContext | None:
        """The context that stands in for a stage or an image; one for the platform is preferred."""
        from buildkit.oci.names import parse_reference

        try:
            known = parse_reference(name).familiar.removesuffix(":latest")
        except BuildkitError as error:
            raise error.prefixed(f"invalid context name {name}: ") from None
        for full_name in (f"{known}::{platform_id(platform)}", known):
            where = self._options.get(f"context:{full_name}")
            if where is not None:
                key = self._options.get(f"sharedkey:localdir:{full_name}", "")
                return NamedContext(self._names, known, full_name, where, key, platform, mode, follow)
        return None

    async def source_time(self, source: State, log_name: str) -> int | None:
        """When a source was made, in seconds since 1970; None when it does not say. Raises `BuildkitError`."""
        return await source_time(self.bridge, source, log_name)

    def _remember(self, full_name: str, where: str) -> None:
        self._options[f"context:{full_name}"] = where

    def _session_of(self, directory: str) -> str:
        return self._sessions.get(directory, self.bridge.session_id)

    async def _find_main(self) -> MainContext:
        options = self._options
        where = options.get(options.get("contextkey", CONTEXT), "")
        main = MainContext(None, None, options.get("filename", DOCKERFILE))
        state = find_git_context(
            where,
            keep_git_dir=_is_true(options.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")),
            commit_times=bool(options.get("build-arg:SOURCE_DATE_EPOCH")),
        )
        if state is not None:
            main = replace(main, state=state, dockerfile=state)
        elif (state := find_http_context(where)) is not None:
            main = await self._downloaded(state, main)
        else:
            main = replace(main, state=self._input(CONTEXT), dockerfile=self._input(self._dockerfile_directory))
        if main.state is not None and "contextsubdir" in options:
            action = copy(main.state, options["contextsubdir"], "/", contents_only=True)
            main = replace(main, state=State(None).file(action))
        return main

    def _input(self, name: str) -> State | None:
        definition = self._inputs.get(name)
        return None if definition is None else load(definition)

    async def _downloaded(self, state: State, main: MainContext) -> MainContext:
        """An archive is unpacked; anything else is the Dockerfile itself."""
        ref = await self._solve(state.marshal(), "failed to resolve httpcontext: ")
        try:
            header = await self.bridge.reading.read_file(ref, CONTEXT_FILE, length=archives.HEADER_SIZE)
        except BuildkitError as error:
            raise error.prefixed("failed to read downloaded context: ") from None
        if not archives.is_archive(header):
            return MainContext(state, state, CONTEXT_FILE)
        unpacked = State(None).file(copy(state, f"/{CONTEXT_FILE}", "/", unpack=True))
        return replace(main, state=unpacked, dockerfile=unpacked)

    def _local_dockerfile(self, filename: str) -> State:
        names = _spellings(filename)
        return local(
            self._dockerfile_directory,
            session=self._session_of(self._dockerfile_directory),
            follow=[names[0], f"{filename}{IGNORE_FILE}", *names[1:]],
            shared_key=self._dockerfile_directory,
            differ="none",
            name=internal(f"load build definition from {filename}"),
        )

    async def _read_first(self, ref: Ref | None, names: Sequence[str]) -> bytes:
        failure: BuildkitError | None = None
        for name in names:
            try:
                return await self.bridge.reading.read_file(ref, name)
            except BuildkitError as error:
                failure = failure or error
        assert failure is not None  # noqa: S101
        raise failure.prefixed("failed to read dockerfile: ")

    async def _read_rules(self) -> list[str]:
        if self._own_rules is not None:
            name, content = self._own_rules
            return parse_ignore_file(content, name)
        state = local(
            CONTEXT,
            session=self._session_of(CONTEXT),
            follow=[IGNORE_FILE],
            shared_key=f"{CONTEXT}-{IGNORE_FILE}",
            differ="none",
            name=internal(f"load {IGNORE_FILE}"),
        )
        ref = await self.bridge.solving.solve(state.marshal())
        try:
            content = await self.bridge.reading.read_file(ref, IGNORE_FILE)
        except BuildkitError:
            return []
        return parse_ignore_file(content, IGNORE_FILE)

    async def _solve(self, definition: Definition, prefix: str) -> Ref | None:
        try:
            return await self.bridge.solving.solve(definition)
        except BuildkitError as error:
            raise error.prefixed(prefix) from None


def _spellings(filename: str) -> list[str]:
    folder, name = posixpath.split(filename)
    return [filename, clean(posixpath.join(folder, DOCKERFILE.lower()))] if name == DOCKERFILE else [filename]


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        return False
