"""Keys of whole graphs against those that BuildKit 0.32 wrote into a cache of mode max (recorded, less the tools')."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.kit.key_cases import CASES, context, tools
from tests.kit.workshop import workshop

from buildkit.session.files import Directories
from buildkit.session.session import Session
from buildkit.solver.digests import content_key, record_digest

pytestmark = pytest.mark.root
RECORDED = json.loads((Path(__file__).parent.parent / "golden/op_keys.json").read_text())
MOST_OUTPUTS = 3


@pytest.mark.row("L104", "L105", "L139", "L140", "L150", "L151", "L154", "S6", "S21", "S23", "S29", "S30", "S34")
@pytest.mark.parametrize("case", CASES)
async def test_the_keys_of_a_graph_are_the_recorded_ones(case, tmp_path):
    session = Session.new(
        locals=Directories({"context": context(tmp_path / "context"), "tools": tools(tmp_path / "tools")})
    )
    async with workshop(tmp_path / "shop") as shop:
        async with shop.built(CASES[case](), session=session):
            steps = shop.records.last
    keys = {record_digest(op, output) for step in steps for op in step.ops for output in range(MOST_OUTPUTS)}
    inputs = [one for step in steps for one in step.inputs]
    keys |= {content_key(one.content) for one in inputs if one.content}
    assert set(RECORDED[case]["records"]) <= keys
    assert set(RECORDED[case]["selectors"]) <= {one.selector for one in inputs}
