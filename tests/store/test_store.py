from __future__ import annotations

import pytest
from tests.conformance.collector import CollectorConformance
from tests.conformance.store import StoreConformance
from tests.kit.stores import store_at


class TestNativeStore(StoreConformance, CollectorConformance):
    @pytest.fixture
    async def store(self, tmp_path):
        async with store_at(tmp_path) as store:
            yield store
