"""`Definition`: a graph written down, and the files and lines it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.core import wire
from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput, Range, SourceDetail
from buildkit.core.values import dataclass, field
from buildkit.llb.metadata import OpMetadata

if TYPE_CHECKING:
    from buildkit.api import ops as pb
    from buildkit.api import ops_pb2

NOT_UTF8 = "string field contains invalid UTF-8"


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

    def detail(self, ranges: tuple[Range, ...]) -> SourceDetail:
        """These parts of the file as errors and warnings carry them to clients."""
        definition = b"" if self.definition is None else self.definition.to_bytes()
        return SourceDetail(self.filename, self.content, self.language, ranges, definition)

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

    def to_bytes(self) -> bytes:
        """The wire form, serialized."""
        locations = {
            digest: b"".join(wire.field(1, _encode_place(index, ranges)) for index, ranges in places)
            for digest, places in self.locations.items()
        }
        out = [wire.mapping(1, locations)]
        for file in self.files:
            entry = wire.text(1, file.filename) + wire.data(2, file.content)
            if file.definition is not None:
                entry += wire.field(3, file.definition._encoded())
            out.append(wire.field(2, entry + wire.text(4, file.language)))
        return b"".join(out)

    @classmethod
    def from_pb(cls, message: pb.Source) -> SourceMap:
        """Read the wire form; raises `InvalidInput` when a location names a file that is not there."""
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


def _encode_place(index: int, ranges: tuple[Range, ...]) -> bytes:
    out = wire.number(1, index)
    for r in ranges:
        start = wire.number(1, r.start_line) + wire.number(2, r.start_character)
        end = wire.number(1, r.end_line) + wire.number(2, r.end_character)
        out += wire.field(2, wire.field(1, start) + wire.field(2, end))
    return out


def _ranges_of(location: pb.Location) -> tuple[Range, ...]:
    return tuple(Range(r.start.line, r.start.character, r.end.line, r.end.character) for r in location.ranges)


@dataclass(frozen=True, slots=True)
class Definition:
    """``pb.Definition`` as a value. The last of ``ops`` has no body and points at the result; none is empty."""

    ops: tuple[bytes, ...] = ()
    metadata: Mapping[Digest, OpMetadata] = field(default_factory=dict)
    source: SourceMap | None = None

    @property
    def head(self) -> Digest:
        """The digest of the op that makes the result, or an empty string."""
        from buildkit.api import ops as pb

        if not self.ops:
            return ""
        last = pb.Op.FromString(self.ops[-1])
        return last.inputs[0].digest if last.inputs else ""

    def to_message(self) -> pb.Definition:
        """What solving reads of it: ops and metadata, no source map."""
        from buildkit.api import ops as pb

        out = pb.Definition()
        getattr(out, "def").extend(self.ops)
        for digest, metadata in self.metadata.items():
            metadata.write(out.metadata[digest])
        return out

    def to_pb(self) -> ops_pb2.Definition:
        """The wire form."""
        from buildkit.api import ops_pb2

        return ops_pb2.Definition.FromString(self.to_bytes())

    @classmethod
    def from_pb(cls, message: pb.Definition) -> Definition:
        """Read the wire form."""
        return cls(
            tuple(getattr(message, "def")),
            {digest: OpMetadata.from_pb(metadata) for digest, metadata in message.metadata.items()},
            SourceMap.from_pb(message.Source) if message.HasField("Source") else None,
        )

    def to_bytes(self) -> bytes:
        """Serialize, equal bytes for equal definitions; raises `InvalidInput` for text that is not UTF-8."""
        try:
            return self._encoded()
        except UnicodeEncodeError:
            raise InvalidInput(NOT_UTF8) from None

    def _encoded(self) -> bytes:
        out = [wire.field(1, op) for op in self.ops]
        out.append(wire.mapping(2, {digest: metadata.to_bytes() for digest, metadata in self.metadata.items()}))
        if self.source is not None:
            out.append(wire.field(3, self.source.to_bytes()))
        return b"".join(out)

    @classmethod
    def from_bytes(cls, content: bytes) -> Definition:
        """Parse what `to_bytes` or another client wrote; raises `InvalidInput`."""
        from buildkit.api import ops as pb

        try:
            return cls.from_pb(pb.Definition.FromString(content))
        except pb.DecodeError as error:
            raise InvalidInput(f"not an LLB definition: {error}") from None
