"""The layers of steps, as provenance names them: those that exist once the outputs are written (row E103)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from buildkit.core.digest import Digest
from buildkit.exporter.manifest import public_layer
from buildkit.oci.spec import Json
from buildkit.store.refs import Ref

if TYPE_CHECKING:
    from buildkit.solver.graph import Edge
    from buildkit.solver.job import Job
    from buildkit.store.store import Store

StepLayers: TypeAlias = dict[tuple[Digest, int], list[Json]]
"""Of outputs of vertices: each list of layers that is known of one."""


def layers_of_steps(job: Job[Ref | None], edge: Edge[Ref | None], store: Store) -> StepLayers:
    """What every step under an edge that was built has for layers; nothing is made, nothing is fetched."""
    found: StepLayers = {}
    steps = [record for record in job.chain([edge], roots=True, backlinks=False).records if record.vertex]
    known = store.known_layers(result.name for record in steps for result in record.results)
    for record in steps:
        for result in record.results:
            said: Json = [public_layer(layer, oci=True).to_json() for layer in known[result.name]]
            listed = found.setdefault((record.vertex, record.output), [])
            if said and said not in listed:
                listed.append(said)
    return {step: listed for step, listed in found.items() if listed}
