"""The words that sessions use in request metadata (specification rows A130, A150, A159, A167-A169)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote_plus, unquote_plus

from buildkit.core.gobool import TRUE

ID = "x-docker-expose-session-uuid"
NAME = "x-docker-expose-session-name"
SHARED_KEY = "x-docker-expose-session-sharedkey"
METHOD = "x-docker-expose-session-grpc-method"
HEALTH_TIMEOUT = "x-buildkit-session-health-custom-timeout"

FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
FETCH_TOKEN = "/moby.filesync.v1.Auth/FetchToken"  # noqa: S105
GET_AUTHORITY = "/moby.filesync.v1.Auth/GetTokenAuthority"
VERIFY_AUTHORITY = "/moby.filesync.v1.Auth/VerifyTokenAuthority"
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105
CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"
CHECK_POLICY = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy"
FIND_EXPORTERS = "/moby.exporter.v1.Exporter/FindExporters"
FINALIZE_EXPORT = "/moby.exporter.v1.Exporter/FinalizeExport"
PULL = "/moby.upload.v1.Upload/Pull"
CONTENT_INFO = "/containerd.services.content.v1.Content/Info"
CONTENT_READ = "/containerd.services.content.v1.Content/Read"
CONTENT_WRITE = "/containerd.services.content.v1.Content/Write"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"

DIRECTORY_NAME = "dir-name"
INCLUDE = "include-patterns"
EXCLUDE = "exclude-patterns"
FOLLOW = "followpaths"
EXPORTER = "buildkit-attachable-exporter-id"
EXPORTER_METADATA = "exporter-md-"
WHOLE = "buildkit-exporter-multi-platform"
AGENT = "buildkit.ssh.id"
STORE = "buildkit-attachable-store-id"
LAYOUT = "oci:"
"""What the ids of image stores begin with."""
EXPORT = "export"
"""The id of the store that takes the image of ``tar=false``: a client has at most one."""
URL_PATH = "urlpath"
URL_HOST = "urlhost"

_ENCODED = "-encoded"


def encode_values(fields: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Fields as metadata: values that are not ASCII make the whole list be escaped, and a field says so."""
    out: dict[str, list[str]] = {}
    for key, values in fields.items():
        if all(value.isascii() and value.isprintable() for value in values):
            out[key] = list(values)
        else:
            out[key] = [quote_plus(value, errors="surrogateescape") for value in values]
            out[key + _ENCODED] = ["1"]
    return out


def decode_values(metadata: Mapping[str, Sequence[str]], key: str) -> tuple[str, ...]:
    """The values of one field as they were before `encode_values`."""
    values = metadata.get(key, ())
    if first(metadata, key + _ENCODED) in TRUE:
        return tuple(unquote_plus(value, errors="surrogateescape") for value in values)
    return tuple(values)


def first(metadata: Mapping[str, Sequence[str]], key: str) -> str:
    """The first value of a field, or the empty text."""
    values = metadata.get(key) or ("",)
    return values[0]


def introduction(id: str, shared_key: str, methods: Iterable[str]) -> dict[str, list[str]]:
    """What a client says about its session when it opens it."""
    return {ID: [id], SHARED_KEY: [shared_key], METHOD: sorted(methods)}
