"""The same programs give the same bytes as BuildKit's own client writes (tests/golden/llb_programs.json)."""

import base64
import json
from pathlib import Path

import pytest
from tests.kit.golden_programs import AMD64, PROGRAMS

from buildkit import llb
from buildkit.api import ops_pb2 as pb
from buildkit.core.digest import sha256

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "llb_programs.json").read_text())


@pytest.mark.row("L2", "L8", "L16", "L17", "L200", "L201", "L202", "L203", "L204", "L205", "L206", "L209", "L210")
@pytest.mark.parametrize("name", GOLDEN)
def test_a_program_has_the_bytes_that_buildkit_gives_it(name):
    wanted = base64.b64decode(GOLDEN[name]["definition"])
    state, options = PROGRAMS[name]()
    written = state.marshal(**{"platform": AMD64, "local_unique_id": "u", **options})
    assert readable(written.to_bytes()) == readable(wanted)
    assert [sha256(op) for op in written.ops] == GOLDEN[name]["vertices"]
    assert written.to_bytes() == wanted


@pytest.mark.row("L1", "L208")
@pytest.mark.parametrize("name", GOLDEN)
def test_what_buildkit_wrote_is_read_and_written_again_unchanged(name):
    written = base64.b64decode(GOLDEN[name]["definition"])
    definition = llb.Definition.from_bytes(written)
    assert definition.to_bytes() == written
    again = llb.load(definition).marshal()
    assert again.head == definition.head and sorted(again.ops) == sorted(definition.ops)
    assert (again.metadata, again.source.locations) == (definition.metadata, definition.source.locations)


def test_every_program_is_compared():
    assert PROGRAMS.keys() == GOLDEN.keys()
    assert len(GOLDEN) > 70


def readable(definition: bytes) -> list[str]:
    """What differs is seen in these lines; the bytes decide."""
    message = pb.Definition.FromString(definition)
    ops = [str(pb.Op.FromString(op)) for op in getattr(message, "def")]
    metadata = [f"{digest} {message.metadata[digest]}" for digest in sorted(message.metadata)]
    return [*ops, *metadata, str(message.Source)]
