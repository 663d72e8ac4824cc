"""Source maps: which lines of which file made an op, for errors that point at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput, Range

if TYPE_CHECKING:
    from buildkit.api import ops_pb2 as pb
    from buildkit.llb.definition import Definition


@dataclass(frozen=True, slots=True, eq=False)
class SourceFile:
    """A text file. ``language`` is a name of GitHub's linguist; ``definition`` yields the file's tree."""

    filename: str
    language: str = ""
    content: bytes = b""
    definition: Definition | None = None

    def at(self, *ranges: Range) -> Location:
        """These parts of the file."""
        return Location(self, ranges)

    def same(self, other: SourceFile) -> bool:
        """Whether both are one file in the eyes of a reader."""
        if (self.filename, self.language, self.content) != (other.filename, other.language, other.content):
            return False
        mine, theirs = self.definition, other.definition
        return mine is None or theirs is None or mine.ops[-1:] == theirs.ops[-1:]


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Parts of a file."""

    file: SourceFile
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceMap:
    """``pb.Source``: files, and for each op's digest the places (index of file, ranges) that made it."""

    files: tuple[SourceFile, ...] = ()
    locations: Mapping[Digest, tuple[tuple[int, tuple[Range, ...]], ...]] = field(default_factory=dict)

    def locations_of(self, digest: Digest) -> tuple[Location, ...]:
        """The places that made an op."""
        return tuple(Location(self.files[index], ranges) for index, ranges in self.locations.get(digest, ()))

    def to_pb(self) -> pb.Source:
        """The wire form."""
        from buildkit.api import ops_pb2 as pb

        out = pb.Source()
        for file in self.files:
            entry = out.infos.add(filename=file.filename, data=file.content, language=file.language)
            if file.definition is not None:
                entry.definition.CopyFrom(file.definition.to_pb())
        for digest, places in self.locations.items():
            target = out.locations[digest].locations
            for index, ranges in places:
                location = target.add(sourceIndex=index)
                for r in ranges:
                    location.ranges.add(
                        start=pb.Position(line=r.start_line, character=r.start_character),
                        end=pb.Position(line=r.end_line, character=r.end_character),
                    )
        return out

    @classmethod
    def from_pb(cls, message: pb.Source) -> SourceMap:
        """Read the wire form; raises `InvalidInput` when a location names a file that is not there."""
        from buildkit.llb.definition import Definition

        files = tuple(
            SourceFile(
                entry.filename,
                entry.language,
                entry.data,
                Definition.from_pb(entry.definition) if entry.HasField("definition") else None,
            )
            for entry in message.infos
        )
        locations = {
            digest: tuple((location.sourceIndex, _ranges_of(location)) for location in places.locations)
            for digest, places in message.locations.items()
        }
        for places in locations.values():
            for index, _ in places:
                if not 0 <= index < len(files):
                    raise InvalidInput(f"failed to find source map with index {index}")
        return cls(files, locations)


def _ranges_of(location: pb.Location) -> tuple[Range, ...]:
    return tuple(Range(r.start.line, r.start.character, r.end.line, r.end.character) for r in location.ranges)


class SourceMapCollector:
    """Gathers the locations of ops while they are marshalled; files that are the same are kept once."""

    def __init__(self) -> None:
        self._files: list[SourceFile] = []
        self._index: dict[SourceFile, int] = {}
        self._locations: dict[Digest, tuple[tuple[int, tuple[Range, ...]], ...]] = {}

    def add(self, digest: Digest, locations: Iterable[Location]) -> None:
        """Note where an op comes from."""
        places = tuple((self._index_of(location.file), location.ranges) for location in locations)
        self._locations[digest] = self._locations.get(digest, ()) + places

    def result(self) -> SourceMap:
        """What was gathered."""
        return SourceMap(tuple(self._files), self._locations)

    def _index_of(self, file: SourceFile) -> int:
        index = self._index.get(file)
        if index is None:
            index = next((i for i, known in enumerate(self._files) if known.same(file)), len(self._files))
            if index == len(self._files):
                self._files.append(file)
            self._index[file] = index
        return index
