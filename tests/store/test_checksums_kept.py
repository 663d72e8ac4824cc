"""Content digests outlast the process that computed them."""

from __future__ import annotations

import pytest
from tests.kit.stores import commit, store_at

from buildkit.fs.contenthash import Selector
from buildkit.store import checksums


@pytest.mark.row("S33")
async def test_a_digest_is_computed_once_for_the_life_of_a_ref(tmp_path, monkeypatch):
    selectors = [Selector("d")]
    async with store_at(tmp_path) as store, store.lease() as lease:
        ref = await commit(store, lease, d__f="1")
        first = await store.checksum(ref, selectors, lease)
    monkeypatch.setattr(checksums, "digest_tree", None)
    async with store_at(tmp_path) as store, store.lease() as lease:
        assert await store.checksum(ref, selectors, lease) == first
        with pytest.raises(TypeError):
            await store.checksum(ref, [Selector("d/f")], lease)
