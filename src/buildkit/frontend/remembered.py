"""A frontend that remembers: when all that it asked of the bridge is answered as before, its own answer is as before.

Each build records what the frontend asked (files read, images resolved) and what it said (definitions, warnings,
the result). The next build with the same options asks the bridge the same questions again; if every answer is the
same, the recorded result stands, and the frontend's code is not even imported. One different answer, and the
frontend runs. Session ids are part of definitions: they are replaced, and digests follow (docs/adr/0012-remembered.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildkit.core.aio import gather_all
from buildkit.core.db import Database
from buildkit.core.digest import Digest, sha256
from buildkit.core.errors import BuildkitError, InvalidInput, NotFound, Range
from buildkit.core.platform import Platform, format_platform
from buildkit.core.result import Result
from buildkit.core.values import replace
from buildkit.frontend.frontend import (
    Bridge,
    CacheImport,
    FileStat,
    Frontend,
    FrontendResult,
    ImageConfig,
    LayoutStore,
    Ref,
    SourceMetadata,
    Warning,
)
from buildkit.llb.definition import Definition, SourceFile, SourceMap
from buildkit.source.source import Inquiry

if TYPE_CHECKING:
    from buildkit.source.attested import AttestationChain

KEPT = 64
"""Builds that are remembered; the least recently used go first."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frontend_memory (key TEXT PRIMARY KEY, body BLOB NOT NULL, used INTEGER NOT NULL);
"""
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_ABSENT = "absent"

Question = list[Any]
"""``[kind, …arguments, answer]``, of strings, numbers, bytes and lists."""


class Remembered:
    """A `Frontend` around another one, which is made when it is needed."""

    def __init__(self, make: Callable[[], Frontend], db: Database, code: Sequence[str]) -> None:
        """``code`` are the folders whose files make the answers: when those change, nothing is remembered."""
        self._make = make
        self._db = db
        self._code = code
        db.ensure(_SCHEMA)

    async def solve(
        self, bridge: Bridge, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """See `buildkit.frontend.frontend.Frontend.solve`."""
        if inputs or "requestid" in options:
            return await self._make().solve(bridge, options, inputs)
        key = self._key_of(bridge, options)
        asked = _Asked(bridge)
        memory = self._load(key)
        if memory is not None:
            result = await _Replay(memory, asked).run()
            if result is not None:
                return result
        recording = _Recording(asked)
        result = await self._make().solve(recording.bridge(), options, inputs)
        self._keep(key, recording.memory(result))
        return result

    def _key_of(self, bridge: Bridge, options: Mapping[str, str]) -> Digest:
        stamps = []
        for folder in self._code:
            with os.scandir(folder) as entries:
                files = [(one.name, one.stat()) for one in entries if one.name.endswith(".py")]
            stamps += [f"{folder}/{name} {found.st_size} {found.st_mtime_ns}" for name, found in sorted(files)]
        caps = sorted(bridge.llb_caps | bridge.caps)
        lines = [*stamps, *caps, str(bridge.platform), *(f"{name}={value}" for name, value in sorted(options.items()))]
        return sha256("\0".join(lines).encode())

    def _load(self, key: Digest) -> dict[str, Any] | None:
        rows = self._db.execute("SELECT body FROM frontend_memory WHERE key = ?", (key,))
        if not rows:
            return None
        from msgspec import DecodeError, msgpack

        try:
            return dict(msgpack.decode(rows[0][0]))
        except (DecodeError, TypeError, ValueError):
            return None

    def _keep(self, key: Digest, memory: dict[str, Any] | None) -> None:
        if memory is None:
            return
        from msgspec import msgpack

        with self._db.transaction():
            now = "(SELECT coalesce(max(used), 0) + 1 FROM frontend_memory)"
            self._db.execute(
                f"INSERT OR REPLACE INTO frontend_memory VALUES (?, ?, {now})", (key, msgpack.encode(memory))
            )
            kept = "SELECT key FROM frontend_memory ORDER BY used DESC LIMIT ?"
            self._db.execute(f"DELETE FROM frontend_memory WHERE key NOT IN ({kept})", (KEPT,))


class _Asked:
    """The bridge, asked each question once: what a replay asked in vain, the frontend need not ask again."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self._solved: dict[tuple[tuple[bytes, ...], bool], Ref | None] = {}
        self._read: dict[tuple[int, str, int, int | None], bytes | NotFound] = {}
        self._images: dict[tuple[str, str, str, str, LayoutStore | None], ImageConfig] = {}

    async def solve(self, definition: Definition, evaluate: bool) -> Ref | None:
        at = (definition.ops, evaluate)
        if at not in self._solved:
            self._solved[at] = await self.bridge.solving.solve(definition, evaluate=evaluate)
        return self._solved[at]

    async def read(self, ref: Ref | None, path: str, offset: int, length: int | None) -> bytes:
        at = (id(ref), path, offset, length)
        if at not in self._read:
            try:
                self._read[at] = await self.bridge.reading.read_file(ref, path, offset=offset, length=length)
            except NotFound as error:
                self._read[at] = error
        found = self._read[at]
        if isinstance(found, NotFound):
            raise NotFound(found.message, details=found.details)
        return found

    async def image(
        self, ref: str, platform: Platform | None, mode: str, log_name: str, store: LayoutStore | None
    ) -> ImageConfig:
        at = (ref, "" if platform is None else format_platform(platform), mode, log_name, store)
        if at not in self._images:
            self._images[at] = await self.bridge.resolving.resolve_image(
                ref, platform=platform, mode=mode, log_name=log_name, store=store
            )
        return self._images[at]


class _Recording:
    """A bridge that writes down what goes over it. What it cannot write down makes it forget everything."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._real = asked.bridge
        self._questions: list[Question] = []
        self._refs: list[Ref | None] = []
        self._definitions: list[Definition] = []
        self._whole = True

    def bridge(self) -> Bridge:
        return replace(
            self._real,
            solving=self,
            resolving=self,
            reading=self,
            warn=self.warn,
            note=None if self._real.note is None else self.note,
            worker_platforms=self.worker_platforms,
        )

    def memory(self, result: FrontendResult) -> dict[str, Any] | None:
        if not self._whole or result.attestations:
            return None
        numbers = {id(ref): number for number, ref in enumerate(self._refs) if ref is not None}
        if any(ref is not None and id(ref) not in numbers for ref in result.refs.values()):
            return None
        return {
            "session": self._real.session_id,
            "definitions": [one.to_bytes() for one in self._definitions],
            "questions": self._questions,
            "refs": {name: None if ref is None else numbers[id(ref)] for name, ref in result.refs.items()},
            "single": result.single,
            "metadata": dict(result.metadata),
        }

    def _number_of(self, ref: Ref | None) -> int:
        for number, known in enumerate(self._refs):
            if known is ref:
                return number
        self._whole = False
        return -1

    async def solve(
        self, definition: Definition, *, evaluate: bool = False, cache_imports: Sequence[CacheImport] = ()
    ) -> Ref | None:
        """Solving.solve."""
        if cache_imports:
            self._whole = False
            return await self._real.solving.solve(definition, evaluate=evaluate, cache_imports=cache_imports)
        number = len(self._definitions)
        self._definitions.append(definition)
        self._refs.append(None)
        self._questions.append(["solve", number, evaluate])
        ref = await self._asked.solve(definition, evaluate)
        self._refs[number] = ref
        return ref

    async def forward(
        self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Definition]
    ) -> FrontendResult:
        """Solving.forward."""
        self._whole = False
        return await self._real.solving.forward(frontend, options, inputs)

    async def evaluate(self, ref: Ref | None) -> None:
        """Solving.evaluate."""
        self._whole = False
        await self._real.solving.evaluate(ref)

    def definition_of(self, ref: Ref) -> Definition:
        """Solving.definition_of."""
        return self._real.solving.definition_of(ref)

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        """Resolving.resolve_image."""
        where = None
        if platform is not None:
            where = [platform.os, platform.architecture, platform.variant]
            self._whole = self._whole and not (platform.os_version or platform.os_features)
        place = None if store is None else [store.session, store.name]
        found = await self._asked.image(ref, platform, mode, log_name, store)
        self._questions.append(["image", ref, where, mode, log_name, place, _identity(found)])
        return found

    async def resolve_attestations(
        self, ref: str, *, platform: Platform | None, predicates: Sequence[str] = ()
    ) -> AttestationChain | None:
        """Resolving.resolve_attestations."""
        self._whole = False
        return await self._real.resolving.resolve_attestations(ref, platform=platform, predicates=predicates)

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        """Resolving.resolve_source."""
        self._whole = False
        return await self._real.resolving.resolve_source(identifier, attrs, inquiry=inquiry, log_name=log_name)

    async def read_file(self, ref: Ref | None, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Reading.read_file."""
        number = self._number_of(ref)
        try:
            content = await self._asked.read(ref, path, offset, length)
        except NotFound:
            self._questions.append(["read", number, path, offset, length, _ABSENT])
            raise
        self._questions.append(["read", number, path, offset, length, sha256(content)])
        return content

    async def read_dir(self, ref: Ref | None, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        """Reading.read_dir."""
        self._whole = False
        return await self._real.reading.read_dir(ref, path, pattern=pattern)

    async def stat_file(self, ref: Ref | None, path: str) -> FileStat:
        """Reading.stat_file."""
        self._whole = False
        return await self._real.reading.stat_file(ref, path)

    def worker_platforms(self) -> tuple[Platform, ...]:
        """Bridge.worker_platforms."""
        found = self._real.worker_platforms()
        self._questions.append(["platforms", [format_platform(one) for one in found]])
        return found

    async def warn(self, warning: Warning) -> None:
        """Bridge.warn."""
        file = None if warning.source is None else [warning.source.filename, warning.source.language]
        content = b"" if warning.source is None else warning.source.content
        ranges = None
        if warning.ranges is not None:
            ranges = [[r.start_line, r.start_character, r.end_line, r.end_character] for r in warning.ranges]
        told = [warning.vertex, warning.message, warning.level, list(warning.detail), warning.url]
        self._questions.append(["warn", *told, file, content, ranges])
        await self._real.warn(warning)

    async def note(self, line: str) -> None:
        """Bridge.note."""
        self._questions.append(["note", line])
        if self._real.note is not None:
            await self._real.note(line)


class _Replay:
    """Asks again what was recorded."""

    def __init__(self, memory: dict[str, Any], asked: _Asked) -> None:
        self._memory = memory
        self._asked = asked
        self._digests: dict[bytes, bytes] = {}
        self._refs: dict[int, Ref | None] = {}
        self._said: list[Question] = []

    async def run(self) -> FrontendResult | None:
        """The result as it was; None when an answer differs."""
        try:
            if not await self._ask_all(list(self._memory["questions"])):
                return None
        except (BuildkitError, KeyError, IndexError, ValueError, TypeError):
            return None
        for kind, *told in self._said:
            await (self._warn(told) if kind == "warn" else self._note(told[0]))
        refs = {name: None if at is None else self._refs[at] for name, at in self._memory["refs"].items()}
        return Result(refs, self._memory["single"], self._memory["metadata"])

    async def _ask_all(self, questions: list[Question]) -> bool:
        images = [one for one in questions if one[0] == "image"]
        asked_images = False
        for kind, *rest in questions:
            if kind == "solve":
                number, evaluate = rest
                self._refs[number] = await self._asked.solve(self._definition(number), evaluate)
            elif kind == "read":
                if not await self._reads_the_same(*rest):
                    return False
            elif kind == "platforms":
                if [format_platform(one) for one in self._asked.bridge.worker_platforms()] != rest[0]:
                    return False
            elif kind != "image":
                self._said.append([kind, *rest])
            elif not asked_images:
                asked_images = True
                if not all(await gather_all(self._resolves_the_same(*one[1:]) for one in images)):
                    return False
        return True

    async def _reads_the_same(self, number: int, path: str, offset: int, length: int | None, answer: str) -> bool:
        try:
            content = await self._asked.read(self._refs[number], path, offset, length)
        except NotFound:
            return answer == _ABSENT
        return sha256(content) == answer

    async def _resolves_the_same(
        self, ref: str, where: list[str] | None, mode: str, log_name: str, place: list[str] | None, answer: list[str]
    ) -> bool:
        platform = None if where is None else Platform(where[0], where[1], where[2])
        session = str(self._memory["session"])
        store = None
        if place is not None:
            store = LayoutStore(self._asked.bridge.session_id if place[0] == session else place[0], place[1])
        return _identity(await self._asked.image(ref, platform, mode, log_name, store)) == answer

    def _definition(self, number: int) -> Definition:
        return self._moved(Definition.from_bytes(self._memory["definitions"][number]))

    def _moved(self, old: Definition) -> Definition:
        """The definition with this build's session in it. Inputs stand before their users."""
        before, after = str(self._memory["session"]).encode(), self._asked.bridge.session_id.encode()
        if len(before) != len(after):
            raise InvalidInput("sessions of another form")
        ops = []
        for op in old.ops:
            moved = _DIGEST.sub(lambda found: self._digests.get(found[0], found[0]), op.replace(before, after))
            if moved != op:
                self._digests[sha256(op).encode()] = sha256(moved).encode()
            ops.append(moved)
        metadata = {self._digest(digest): one for digest, one in old.metadata.items()}
        source = old.source
        if source is not None:
            files = tuple(self._file(one) for one in source.files)
            source = SourceMap(files, {self._digest(digest): at for digest, at in source.locations.items()})
        return Definition(tuple(ops), metadata, source)

    def _file(self, file: SourceFile) -> SourceFile:
        return file if file.definition is None else replace(file, definition=self._moved(file.definition))

    def _digest(self, digest: Digest) -> Digest:
        return self._digests.get(digest.encode(), digest.encode()).decode()

    async def _warn(self, told: Question) -> None:
        vertex, message, level, detail, url, file, content, ranges = told
        source = None if file is None else SourceFile(file[0], file[1], content)
        places = None if ranges is None else tuple(Range(*one) for one in ranges)
        await self._asked.bridge.warn(Warning(self._digest(vertex), message, level, tuple(detail), url, source, places))

    async def _note(self, line: str) -> None:
        if self._asked.bridge.note is not None:
            await self._asked.bridge.note(line)


def _identity(image: ImageConfig) -> list[str]:
    return [image.ref, image.digest, sha256(image.config)]
