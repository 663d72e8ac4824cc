"""Content digests of refs, computed where the files are: in the store, or in place for a view."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.digest import EMPTY, Digest
from buildkit.core.values import astuple
from buildkit.fs.contenthash import ContentTree, Missing, Selector
from buildkit.store.lease import Lease
from buildkit.store.listings import Listings, listing_name
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.refs import Ref
from buildkit.store.trees import Trees
from buildkit.store.view import View

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ref_checksums (
    ref TEXT NOT NULL REFERENCES refs (id) ON DELETE CASCADE, selectors TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (ref, selectors)
) WITHOUT ROWID;
"""


class Checksums:
    """Digests of parts of refs; those of refs that stay are remembered."""

    def __init__(self, db: Database, parts: Parts, trees: Trees, places: Places) -> None:
        self._db = db
        self._parts = parts
        self._trees = trees
        self._places = places
        self.listings = Listings(db)
        db.ensure(_SCHEMA)

    async def digest(self, ref: Ref, selectors: Sequence[Selector], lease: Lease) -> Digest:
        """See `buildkit.store.store.Store.checksum`."""
        view = self._parts.views.get(ref.id)
        if view is None:
            return await self._of_record(ref, selectors, lease)
        async with self._trees.turn(ref.id):
            if self._parts.snapshotter.find(ref.id) is None:
                return await asyncio.to_thread(self._of_view, view, selectors)
        return await self._of_tree(ref, selectors, lease, root_header=EMPTY)

    async def _of_record(self, ref: Ref, selectors: Sequence[Selector], lease: Lease) -> Digest:
        name = json.dumps([astuple(one) for one in selectors])
        for (digest,) in self._db.execute(
            "SELECT digest FROM ref_checksums WHERE ref = ? AND selectors = ?", (ref.id, name)
        ):
            return str(digest)
        digest = await self._of_tree(ref, selectors, lease)
        if self._parts.records.find(ref.id) is not None:
            self._db.execute("INSERT OR REPLACE INTO ref_checksums VALUES (?, ?, ?)", (ref.id, name, digest))
        return digest

    async def _of_tree(
        self, ref: Ref, selectors: Sequence[Selector], lease: Lease, *, root_header: Digest = ""
    ) -> Digest:
        mounts = await self._trees.mounts(ref.id, lease)
        async with self._places.mounted_meanwhile(mounts) as path:
            return await asyncio.to_thread(digest_tree, path, selectors, root_header, self.listings)

    def _of_view(self, view: View, selectors: Sequence[Selector]) -> Digest:
        digest = view.digest(selectors)
        name = listing_name(digest, [astuple(one) for one in selectors])
        if not self.listings.has(name):
            self.listings.put(name, view.listed(selectors), view.owner)
        return digest


def digest_tree(
    path: Path, selectors: Sequence[Selector], root_header: Digest = "", listings: Listings | None = None
) -> Digest:
    """The digest of parts of a directory; ``root_header`` as `buildkit.fs.contenthash.ContentTree` has it.

    ``listings`` are told what it was made of.
    """
    with ContentTree(str(path), root_header=root_header) as tree:
        try:
            digest = tree.digest_all(selectors)
            if listings is not None:
                name = listing_name(digest, [astuple(one) for one in selectors])
                if not listings.has(name):
                    listings.put(name, tree.listed(selectors), None)
            return digest
        except Missing as error:
            from buildkit.fs.neighbours import explain_missing

            raise error.suffixed(explain_missing(str(path), error.path)) from None
