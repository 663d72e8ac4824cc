from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.snapshotter import SnapshotterConformance, layer, listing, write

from buildkit.core.db import Database
from buildkit.store.native import NativeSnapshotter
from buildkit.store.overlay import OverlaySnapshotter, works

pytestmark = [pytest.mark.root, pytest.mark.row("X61", "X63", "X64", "L152")]


class _Suite(SnapshotterConformance):
    kind: type

    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "snapshots"

    @pytest.fixture
    def reopened(self, root, tmp_path):
        return lambda: self.kind(root, Database(tmp_path / "db"))

    @pytest.fixture
    def snapshots(self, reopened):
        return reopened()


class TestOverlay(_Suite):
    kind = OverlaySnapshotter

    def test_it_works_here(self, tmp_path):
        assert works(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_stack_of_layers_writes_nothing(self, snapshots, root):
        layer(snapshots, "one", "", write(a="1"))
        layer(snapshots, "two", "", write(b="2"))
        from buildkit.store.snapshot import Part

        snapshots.compose("merged", [Part("", "one"), Part("", "two")])
        assert not any(path.is_file() for path in (root / "3").rglob("*"))

    @pytest.mark.parametrize("count", [130, 620])
    def test_chains_beyond_every_limit_of_the_kernel_work(self, snapshots, count):
        def change(number: int):
            def inner(at: Path) -> None:
                (at / "last").write_text(str(number))
                (at / f"f{number}").write_text("x")
                if number > 2:
                    (at / f"f{number - 2}").unlink()

            return inner

        parent = ""
        for number in range(count):
            parent = layer(snapshots, f"layer{number}", parent, change(number))
        shown = listing(snapshots, parent)
        assert shown == {"last": str(count - 1), "f0": "x", f"f{count - 1}": "x", f"f{count - 2}": "x"}

    def test_flattened_floors_are_made_once_per_step(self, tmp_path):
        snapshots = OverlaySnapshotter(tmp_path / "s", Database(tmp_path / "db"), limit=6, step=3)
        parent = ""
        for number in range(14):
            parent = layer(snapshots, f"layer{number}", parent, write(**{f"f{number}": "x", "d__same": str(number)}))
        assert listing(snapshots, parent)["d/same"] == "13"
        assert len(listing(snapshots, parent)) == 16
        floors = sorted(path.name for path in (tmp_path / "s").glob("*/flat*"))
        assert floors == ["flat12", "flat6", "flat9"]


class TestNative(_Suite):
    kind = NativeSnapshotter
