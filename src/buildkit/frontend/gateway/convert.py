"""The gateway's messages as values, both ways."""

from __future__ import annotations

from buildkit.api import fsutil_stat_pb2, ops_pb2, worker_pb2
from buildkit.api import gateway_pb2 as pb
from buildkit.core.errors import InvalidInput, Range
from buildkit.core.platform import Platform
from buildkit.core.result import Attestation, Subject
from buildkit.core.values import dataclass, field
from buildkit.executor.settings import DeviceSettings
from buildkit.frontend.frontend import FileStat, Ref, Warning
from buildkit.llb.definition import Definition, SourceFile
from buildkit.source.source import Inquiry, Known

_KINDS = {pb.InToto: "in-toto", pb.Bundle: "bundle"}
_ALGORITHMS = dict(enumerate(("sha256", "sha384", "sha512")))
_SUBJECTS = {pb.Self: "self", pb.Raw: "raw"}


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What clients learn of a worker."""

    id: str
    labels: dict[str, str]
    platforms: tuple[Platform, ...]
    gc_policies: tuple[worker_pb2.GCPolicy, ...] = ()
    version: worker_pb2.BuildkitVersion = field(default_factory=worker_pb2.BuildkitVersion)
    devices: DeviceSettings = DeviceSettings(
        (),
    )
    """Where its devices are described; they are looked for whenever someone asks."""

    def to_pb(self) -> worker_pb2.WorkerRecord:
        """The wire form."""
        return worker_pb2.WorkerRecord(
            ID=self.id,
            Labels=self.labels,
            platforms=[platform_to_pb(platform) for platform in self.platforms],
            GCPolicy=self.gc_policies,
            BuildkitVersion=self.version,
            CDIDevices=self._devices(),
        )

    def _devices(self) -> list[worker_pb2.CDIDevice]:
        from buildkit.executor.devices import load_devices

        return [
            worker_pb2.CDIDevice(Name=one.name, AutoAllow=one.auto_allowed, Annotations=one.annotations)
            for one in load_devices(self.devices).found.values()
        ]


def platform_to_pb(platform: Platform) -> ops_pb2.Platform:
    """The wire form of a platform."""
    return ops_pb2.Platform(
        OS=platform.os,
        Architecture=platform.architecture,
        Variant=platform.variant,
        OSVersion=platform.os_version,
        OSFeatures=platform.os_features,
    )


def platform_from_pb(message: ops_pb2.Platform) -> Platform:
    """A platform that a client named."""
    return Platform(message.OS, message.Architecture, message.Variant, message.OSVersion, tuple(message.OSFeatures))


def stat_to_pb(stat: FileStat) -> fsutil_stat_pb2.Stat:
    """The wire form of a file's metadata."""
    return fsutil_stat_pb2.Stat(
        path=stat.path,
        mode=stat.mode,
        uid=stat.uid,
        gid=stat.gid,
        size=stat.size,
        modTime=stat.modified,
        linkname=stat.link_target,
        devmajor=stat.device_major,
        devminor=stat.device_minor,
        xattrs=stat.xattrs,
    )


def warning_from_pb(message: pb.WarnRequest) -> Warning:
    """A warning that a client gives."""
    source = None
    if message.HasField("info"):
        definition = Definition.from_pb(message.info.definition) if message.info.HasField("definition") else None
        source = SourceFile(message.info.filename, message.info.language, message.info.data, definition)
    ranges = tuple(Range(r.start.line, r.start.character, r.end.line, r.end.character) for r in message.ranges)
    return Warning(
        message.digest,
        message.short.decode("utf-8", "replace"),
        message.level,
        tuple(line.decode("utf-8", "replace") for line in message.detail),
        message.url,
        source,
        ranges,
    )


def attestation_from_pb(message: pb.Attestation, ref: Ref | None) -> Attestation[Ref]:
    """An attestation that a client returns; its tree was looked up already."""
    if message.kind not in _KINDS:
        raise InvalidInput(f"unknown attestation kind {message.kind}")
    subjects = tuple(Subject(_SUBJECTS.get(s.kind, "self"), s.name, tuple(s.digest)) for s in message.inTotoSubjects)
    return Attestation(
        _KINDS[message.kind],
        message.inTotoPredicateType,
        ref=ref,
        path=message.path,
        subjects=subjects,
        metadata=dict(message.metadata),
    )


def attestation_to_pb(attestation: Attestation[Ref], ref: pb.Ref | None) -> pb.Attestation:
    """The wire form of an attestation whose tree is known to the client as ``ref``."""
    if attestation.content:
        raise InvalidInput("attestations with content at hand do not travel to clients")
    kinds = {value: key for key, value in _KINDS.items()}
    subjects = {value: key for key, value in _SUBJECTS.items()}
    return pb.Attestation(
        kind=kinds[attestation.kind],
        inTotoPredicateType=attestation.predicate_type,
        ref=ref,
        path=attestation.path,
        metadata=attestation.metadata,
        inTotoSubjects=[
            pb.InTotoSubject(kind=subjects[s.kind], name=s.name, digest=s.digests) for s in attestation.subjects
        ],
    )


def inquiry_from_pb(request: pb.ResolveSourceMetaRequest) -> Inquiry:
    """What a client asks of a source; raises `InvalidInput` for a digest that nobody knows."""
    if not request.HTTP.HasField("ChecksumRequest"):
        return Inquiry(objects=request.Git.ReturnObject)
    wanted = request.HTTP.ChecksumRequest
    if wanted.Algo not in _ALGORITHMS:
        raise InvalidInput(f"unsupported checksum algorithm {wanted.Algo}")
    return Inquiry(objects=request.Git.ReturnObject, algorithm=_ALGORITHMS[wanted.Algo], suffix=wanted.Suffix)


def describe_to_pb(identifier: str, known: Known, inquiry: Inquiry, response: pb.ResolveSourceMetaResponse) -> None:
    """Fill in what is known of a source."""
    if not identifier.startswith(("http://", "https://")):
        response.Git.CopyFrom(
            pb.ResolveSourceGitResponse(
                Checksum=known.checksum,
                Ref=known.ref,
                CommitChecksum=known.commit_checksum,
                CommitObject=known.commit,
                TagObject=known.tag,
            )
        )
        return
    response.HTTP.Checksum = known.checksum
    response.HTTP.Filename = known.filename
    if known.last_modified is not None:
        response.HTTP.LastModified.FromSeconds(known.last_modified)
    if known.suffixed:
        response.HTTP.ChecksumResponse.CopyFrom(pb.ChecksumResponse(Digest=known.suffixed, Suffix=inquiry.suffix))
