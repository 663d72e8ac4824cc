"""``buildctl debug dump-llb``: a definition as JSON or as a graph."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed

if TYPE_CHECKING:
    from buildkit.api import ops_pb2 as pb

_ESCAPES = {"\\": "\\\\", '"': '\\"', **dict(zip("\a\b\f\n\r\t\v", (f"\\{c}" for c in "abfnrtv"), strict=True))}

COMMAND = Command(
    "debug dump-llb",
    "Show a definition from a file or from standard input: one JSON object a line, or a graph. Needs no daemon.",
    (Flag("dot", "draw it in graphviz's language", "bool"),),
    "[FILE]",
)


def run(parsed: Parsed) -> None:
    """Read and print."""
    if len(parsed.words) > 1:
        raise BadUsage(f"one FILE is shown at a time: {' '.join(parsed.words)}")
    name = parsed.words[0] if parsed.words else "-"
    if name == "-":
        if os.isatty(0):
            raise BadUsage("please name a file or pipe LLB definition to stdin")
        content = sys.stdin.buffer.read()
    else:
        with open(name, "rb") as source:
            content = source.read()
    definition = parse_definition(content)
    lines = draw(definition) if parsed.on("dot") else to_json(definition)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def parse_definition(content: bytes) -> pb.Definition:
    """A serialized ``pb.Definition``; raises `BadUsage`."""
    from google.protobuf.message import DecodeError

    from buildkit.api import ops_pb2 as pb

    try:
        return pb.Definition.FromString(content)
    except DecodeError:
        raise BadUsage("failed to parse input: this is no LLB definition") from None


def ops_of(definition: pb.Definition) -> Iterator[tuple[str, pb.Op]]:
    """Every op with its digest; raises `BadUsage`."""
    from google.protobuf.message import DecodeError

    from buildkit.api import ops_pb2 as pb
    from buildkit.core.digest import sha256

    for content in getattr(definition, "def"):
        try:
            op = pb.Op.FromString(content)
        except DecodeError as error:
            raise BadUsage(f"failed to parse op: {error}") from None
        yield sha256(content), op


def to_json(definition: pb.Definition) -> Iterator[str]:
    """A line for each op, as Go's client writes it."""
    from buildkit.cli.pbjson import to_go
    from buildkit.core.gojson import go_json

    for digest, op in ops_of(definition):
        found = to_go(op)
        ordered = {key: found[key] for key in ("inputs", "Op", "platform", "constraints") if key in found}
        metadata = to_go(definition.metadata[digest]) if digest in definition.metadata else {}
        yield go_json({"Op": ordered, "Digest": digest, "OpMetadata": metadata})


def draw(definition: pb.Definition) -> Iterator[str]:
    """A node for each op, an edge for each input, labelled with the place where it is mounted."""
    ops = list(ops_of(definition))
    yield "digraph {"
    for digest, op in ops:
        name, shape = _name_and_shape(digest, op)
        yield f"  {_quoted(digest)} [label={_quoted(name)} shape={_quoted(shape)}];"
    for digest, op in ops:
        for number, source in enumerate(op.inputs):
            label = ""
            if op.WhichOneof("op") == "exec":
                places = [m.dest for m in op.exec.mounts if m.input == number and m.dest != "/"]
                label = places[-1] if places else ""
            yield f"  {_quoted(source.digest)} -> {_quoted(digest)} [label={_quoted(label)}];"
    yield "}"


def _name_and_shape(digest: str, op: pb.Op) -> tuple[str, str]:
    kind = op.WhichOneof("op")
    if kind == "source":
        return op.source.identifier, "ellipse"
    if kind == "exec":
        return " ".join(op.exec.meta.args), "box"
    if kind == "file":
        return ",".join(_action(action) for action in op.file.actions), "note"
    shapes = {"build": "box3d", "merge": "invtriangle", "diff": "doublecircle"}
    return (kind, shapes[kind]) if kind in shapes else (digest, "plaintext")


def _action(action: pb.FileAction) -> str:
    kind = action.WhichOneof("action")
    if kind == "copy":
        return f"copy{{src={action.copy.src}, dest={action.copy.dest}}}"
    if kind == "symlink":
        return f"symlink{{oldpath={action.symlink.oldpath}, newpath={action.symlink.newpath}}}"
    return f"{kind}{{path={getattr(action, kind).path}}}" if kind else ""


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    """As Go's ``%q`` writes it."""
    if letter.isprintable() and letter not in _ESCAPES:
        return letter
    number = ord(letter)
    form = f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return _ESCAPES.get(letter, form)
