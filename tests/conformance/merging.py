"""Merges and diffs of random trees are what a naive model says. A suite gives ``snapshotter``."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.kit.stores import store_at
from tests.kit.tree_model import Tree, applied, play, read_tree

from buildkit.store.blobs import Compression
from buildkit.store.lease import Lease
from buildkit.store.merge import units
from buildkit.store.refs import Ref
from buildkit.store.store import Store

EXAMPLES = int(os.environ.get("MERGING", "60"))
"""Cases; ``MERGING=10000`` for a long run."""
PATHS = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"]
deeds = st.lists(st.tuples(st.sampled_from(PATHS), st.booleans()), min_size=1, max_size=4)
layers = st.lists(st.tuples(st.integers(-1, 8), deeds), min_size=2, max_size=5)
combinations = st.lists(
    st.tuples(st.sampled_from(["merge", "diff"]), st.lists(st.integers(-1, 8), min_size=2, max_size=3)),
    min_size=1,
    max_size=3,
)


class MergingConformance:
    snapshotter: str

    @pytest.mark.row("L150", "L151", "X64")
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @example([(0, [("d/b", True)]), (1, [("d/a", True), ("d/a", False)])], [("diff", [1, 2])])
    @given(layers, combinations)
    def test_merges_and_diffs_are_what_the_model_says(self, steps, combined):
        with tempfile.TemporaryDirectory() as path:
            asyncio.run(self._check(Path(path), steps, combined))

    async def _check(self, path: Path, steps, combined) -> None:
        async with store_at(path, self.snapshotter) as store, store.lease() as lease:
            made: list[Ref | None] = [None]
            trees: dict[str, Tree] = {}
            for number, (parent, deeds) in enumerate(steps):
                await self._layer(store, lease, made, trees, made[parent % len(made)], number, deeds)
            for kind, chosen in combined:
                inputs = [made[index % len(made)] for index in chosen]
                ref = store.merge(inputs, lease) if kind == "merge" else store.diff(*inputs[:2], lease)
                if ref is not None and ref.id not in trees:
                    trees[ref.id] = await self._model(store, ref, trees)
                    made.append(ref)
            await self._layer(store, lease, made, trees, made[-1], 99, [("d/a", True), ("b", False)])
            for ref in filter(None, made):
                async with store.mounted(ref, lease) as at:
                    assert read_tree(at) == trees[ref.id]
                await store.layers(ref, Compression("uncompressed"), lease)

    async def _layer(self, store: Store, lease: Lease, made, trees, parent, number, deeds) -> None:
        tree = dict(trees[parent.id]) if parent is not None else {}
        async with store.draft(parent, lease) as draft:
            async with draft.mounted() as at:
                chosen = [(p, f"{p} {number}.{n}" if write else "") for n, (p, write) in enumerate(deeds)]
                play(at, tree, chosen)
            made.append(await draft.commit())
        trees[made[-1].id] = tree

    async def _model(self, store: Store, ref: Ref, trees: dict[str, Tree]) -> Tree:
        out: Tree = {}
        for unit in units(store._parts.records, ref.id):
            out = applied(out, trees.get(unit.lower, {}), trees.get(unit.upper, {}))
        return out
