"""Images as refs whose layers are fetched and unpacked when someone needs them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from buildkit.core.digest import Digest, parse_digest, sha256_text
from buildkit.core.identity import new_id
from buildkit.core.progress import Reporter
from buildkit.oci.spec import compression_of
from buildkit.store.lease import Fetch, Lease, Offer
from buildkit.store.parts import Parts
from buildkit.store.records import AS_IMPORTED, LayerBlob, Record, RecordKind
from buildkit.store.refs import LayerSource, Ref


def chain_id(below: Digest, diff_id: Digest) -> Digest:
    """The name of a stack of layers (OCI image-spec ``config.md``): ``below`` with one layer more."""
    return sha256_text(f"{below} {diff_id}") if below else diff_id


def import_layers(
    parts: Parts,
    layers: Sequence[LayerSource],
    fetch: Fetch,
    lease: Lease,
    description: str,
    record_type: str,
    progress: Reporter | None,
) -> Ref | None:
    """See `buildkit.store.store.Store.import_image`."""
    offer = Offer(fetch, progress)
    record: Record | None = None
    for layer in layers:
        parse_digest(layer.descriptor.digest)
        parse_digest(layer.diff_id)
        lease.offers[layer.descriptor.digest] = offer
        lease.hold_blob(layer.descriptor.digest)
        record = _find(parts, record, layer) or _make(parts, record, layer, description, record_type)
    if record is None:
        return None
    ref = Ref(record.id)
    lease.hold(ref)
    return ref


def _find(parts: Parts, below: Record | None, layer: LayerSource) -> Record | None:
    """The record of the same blob on the same record."""
    parents = (below.id,) if below is not None else ()
    for record in parts.records.by_chain(chain_id(below.chain_id if below else "", layer.diff_id)):
        if record.parents == parents:
            blobs = parts.records.blobs(record.id)
            if any(b.descriptor.digest == layer.descriptor.digest and b.times == AS_IMPORTED for b in blobs):
                parts.records.add_sources(record.id, layer.descriptor)
                return record
    return None


def _make(parts: Parts, below: Record | None, layer: LayerSource, description: str, record_type: str) -> Record:
    chain = chain_id(below.chain_id if below else "", layer.diff_id)
    created = time.time_ns()
    record = Record(
        new_id(),
        RecordKind.LAYER,
        (below.id,) if below is not None else (),
        snapshot=chain,
        description=description,
        record_type=record_type,
        created=layer.created if layer.created is not None else created,
        diff_id=layer.diff_id,
        chain_id=chain,
    )
    compression = compression_of(layer.descriptor.media_type)
    return parts.records.add(record, [LayerBlob(compression, AS_IMPORTED, layer.descriptor, layer.diff_id, created)])
