"""Usage records, policies and workers as clients see them."""

from __future__ import annotations

from buildkit.api import control_pb2 as pb
from buildkit.api import worker_pb2
from buildkit.control.progress import stamp
from buildkit.core import version
from buildkit.frontend.gateway.convert import WorkerFacts
from buildkit.store.filters import Fields
from buildkit.store.gc import PrunePolicy, Usage


def usage_to_pb(usage: Usage) -> pb.UsageRecord:
    """One record of ``du``."""
    return pb.UsageRecord(
        ID=usage.id,
        Mutable=usage.mutable,
        InUse=usage.in_use,
        Size=usage.size,
        Parents=usage.parents,
        CreatedAt=stamp(usage.created),
        LastUsedAt=stamp(usage.last_used),
        UsageCount=usage.usage_count,
        Description=usage.description,
        RecordType=usage.record_type,
        Shared=usage.shared,
    )


def policy_to_pb(policy: PrunePolicy) -> worker_pb2.GCPolicy:
    """One rule of the daemon's garbage collection."""
    return worker_pb2.GCPolicy(
        all=policy.all,
        keepDuration=int(policy.keep_duration * 1e9),
        filters=policy.filters,
        reservedSpace=policy.reserved_space,
        maxUsedSpace=policy.max_used_space,
        minFreeSpace=policy.min_free_space,
    )


def policy_of(request: pb.PruneRequest) -> PrunePolicy:
    """What a client wants removed."""
    return PrunePolicy(
        filters=tuple(request.filter),
        all=request.all,
        keep_duration=request.keepDuration / 1e9,
        reserved_space=request.reservedSpace,
        max_used_space=request.maxUsedSpace,
        min_free_space=request.minFreeSpace,
    )


def buildkit_version() -> worker_pb2.BuildkitVersion:
    """Who answers."""
    return worker_pb2.BuildkitVersion(
        package=version.PACKAGE,
        version=version.SPOKEN,
        revision=version.revision(),
        dockerfileVersion=version.DOCKERFILE,
    )


def fields_of(worker: WorkerFacts) -> Fields:
    """What filters see of a worker."""
    return {"id": worker.id, **{f"labels.{name}": value for name, value in worker.labels.items()}}
