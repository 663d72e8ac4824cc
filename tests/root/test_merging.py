from __future__ import annotations

import pytest
from tests.conformance.merging import MergingConformance

pytestmark = pytest.mark.root


class TestOverlayMerging(MergingConformance):
    snapshotter = "overlayfs"
