"""Refs that last as long as a lease: views, copied only when a tree is needed, and trees of steps that failed."""

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


async def end_lent(parts: Parts, lease: Lease) -> None:
    """Forget the views and fleeting trees that only ``lease`` held, unless something was made from them."""
    for id in lease.refs & (parts.views.keys() | parts.fleeting):
        if not parts.leases.holds(id):
            view, record = parts.views.pop(id, None), parts.record(id)
            parts.fleeting.discard(id)
            if view is not None:
                await view.leave()
            if not parts.records.is_parent(id):
                await drop(parts, record)
