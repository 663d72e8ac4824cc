from __future__ import annotations

import pytest
from tests.conformance.merging import MergingConformance

pytestmark = pytest.mark.slow


class TestNativeMerging(MergingConformance):
    snapshotter = "native"
