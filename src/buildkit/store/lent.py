"""Refs of views: what is lent to the store for as long as a lease lasts, copied only when a tree is needed."""

from __future__ import annotations

import time

from buildkit.core.identity import new_id
from buildkit.store.lease import Lease
from buildkit.store.parts import Parts, drop
from buildkit.store.records import Record, RecordKind
from buildkit.store.refs import Ref
from buildkit.store.view import View


def add_view(parts: Parts, view: View, lease: Lease, description: str, record_type: str) -> Ref:
    """See `buildkit.store.store.Store.add_view`."""
    id = new_id()
    parts.views[id] = view
    parts.records.lend(
        Record(
            id,
            RecordKind.LAYER,
            snapshot=id,
            description=description,
            record_type=record_type,
            created=time.time_ns(),
        )
    )
    ref = Ref(id)
    lease.hold(ref)
    return ref


async def end_views(parts: Parts, lease: Lease) -> None:
    """Forget the views that only ``lease`` held, and their copies unless something was made from them."""
    for id in lease.refs & parts.views.keys():
        if not parts.leases.holds(id):
            view = parts.views.pop(id)
            record = parts.record(id)
            await view.leave()
            if not parts.records.is_parent(id):
                await drop(parts, record)
