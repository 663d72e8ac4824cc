"""Sources: images, git repositories, files from the web, directories of the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Unpack

from buildkit.core import wire
from buildkit.core.digest import Digest
from buildkit.core.errors import InvalidInput
from buildkit.core.gojson import go_json
from buildkit.llb import caps
from buildkit.llb.constraints import Constraints, Options, constraints_of
from buildkit.llb.state import State
from buildkit.llb.vertex import Encoded, Marshalling, Output

ResolveMode = Literal["default", "pull", "local"]
GIT_AUTH_HEADER = "GIT_AUTH_HEADER"
GIT_AUTH_TOKEN = "GIT_AUTH_TOKEN"  # noqa: S105
"""The secrets that a git source asks for when none are named."""

_SOURCE_FIELD = 3
_PLATFORM_SCHEMES = ("docker-image://", "oci-layout://")


class SourceOp:
    """A vertex that brings something in."""

    def __init__(
        self, identifier: str, attrs: Mapping[str, str], constraints: Constraints, error: InvalidInput | None = None
    ) -> None:
        self.identifier = identifier
        self.attrs = attrs
        self.constraints = constraints
        self._error = error

    def inputs(self) -> Sequence[Output]:
        """None."""
        return ()

    def encode(self, marshalling: Marshalling) -> Encoded:
        """See `Vertex.encode`."""
        if self._error is not None:
            raise self._error
        if not self.identifier:
            raise InvalidInput("source identifier can't be empty")
        constraints, attrs = self.constraints, self.attrs
        if self.identifier.startswith("local://") and "local.session" not in attrs:
            unique = constraints.local_unique_id or marshalling.defaults.local_unique_id
            attrs = {**attrs, "local.unique": unique}
            constraints = constraints.requiring(caps.SOURCE_LOCAL_UNIQUE)
        op = marshalling.op(constraints, platform=self.identifier.startswith(_PLATFORM_SCHEMES))
        body = wire.text(1, self.identifier) + wire.mapping(2, {k: v.encode() for k, v in attrs.items()})
        return marshalling.finish(op, constraints, wire.field(_SOURCE_FIELD, body))


def from_source(
    identifier: str,
    attrs: Mapping[str, str],
    constraints: Constraints,
    *required: str,
    error: InvalidInput | None = None,
) -> State:
    """A state of any source, by identifier and attributes as they stand in the op."""
    op = SourceOp(identifier, attrs, constraints.requiring(*required), error)
    return State(Output(op, 0, constraints.platform))


def image(
    ref: str,
    *,
    resolve_mode: ResolveMode | None = None,
    record_type: Literal["", "internal", "frontend"] = "",
    layer_limit: int | None = None,
    checksum: Digest = "",
    **options: Unpack[Options],
) -> State:
    """An image of a registry; ``busybox`` is ``docker.io/library/busybox:latest``.

    A bad reference is an error (`InvalidInput`) when the state is marshalled.
    """
    from buildkit.oci.names import parse_reference

    error = None
    try:
        ref = str(parse_reference(ref).with_default_tag())
    except InvalidInput as problem:
        error = problem
    attrs: dict[str, str] = {}
    required = [caps.SOURCE_IMAGE]
    if resolve_mode is not None and resolve_mode != "default":
        attrs["image.resolvemode"] = resolve_mode
        if resolve_mode == "pull":
            required.append(caps.SOURCE_IMAGE_RESOLVE_MODE)
    if record_type:
        attrs["image.recordtype"] = record_type
    if layer_limit is not None:
        attrs["image.layerlimit"] = str(layer_limit)
        required.append(caps.SOURCE_IMAGE_LAYER_LIMIT)
    if checksum:
        attrs["image.checksum"] = checksum
        required.append(caps.SOURCE_IMAGE_CHECKSUM)
    return from_source("docker-image://" + ref, attrs, constraints_of(options), *required, error=error)


def oci_layout(
    ref: str, *, session: str = "", store: str = "", layer_limit: int | None = None, **options: Unpack[Options]
) -> State:
    """An image in a content store of the client; ``ref`` must have a digest."""
    attrs = _present({"oci.session": session, "oci.store": store})
    if layer_limit is not None:
        attrs["oci.layerlimit"] = str(layer_limit)
    return from_source("oci-layout://" + ref, attrs, constraints_of(options), caps.SOURCE_OCI_LAYOUT)


def image_blob(
    ref: str, *, filename: str = "", mode: int = 0, uid: int = 0, gid: int = 0, **options: Unpack[Options]
) -> State:
    """One blob of a registry as a file; ``ref`` names it by digest."""
    return _blob("docker-image+blob://", ref, _file_attrs(filename, mode, uid, gid), constraints_of(options))


def oci_layout_blob(
    ref: str, *, session: str = "", store: str = "", filename: str = "", mode: int = 0, uid: int = 0, gid: int = 0,
    **options: Unpack[Options],
) -> State:  # fmt: skip
    """One blob of a content store of the client as a file."""
    attrs = _file_attrs(filename, mode, uid, gid) | _present({"oci.session": session, "oci.store": store})
    return _blob("oci-layout+blob://", ref, attrs, constraints_of(options))


def _blob(scheme: str, ref: str, attrs: dict[str, str], constraints: Constraints) -> State:
    from buildkit.oci.names import parse_reference

    name, error = "invalid", None
    try:
        parsed = parse_reference(ref)
        if parsed.tag:
            raise InvalidInput("tagged image reference not allowed for blob reference")
        if not parsed.digest:
            raise InvalidInput("checksum required in blob reference")
        name = str(parsed)
    except InvalidInput as problem:
        error = problem
    return from_source(scheme + name, attrs, constraints, caps.SOURCE_IMAGE_BLOB, error=error)


def local(
    directory: str,
    *,
    session: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
    shared_key: str = "",
    differ: Literal["", "none", "metadata"] = "",
    differ_required: bool = False,
    metadata_only: bool = False,
    metadata_exceptions: Sequence[str] = (),
    **options: Unpack[Options],
) -> State:
    """A directory that the client offers by the name ``directory``; ``follow`` are the paths wanted, links included."""
    attrs: dict[str, str] = {}
    required = [caps.SOURCE_LOCAL]
    for key, value, cap in (
        ("local.session", session, caps.SOURCE_LOCAL_SESSION_ID),
        ("local.includepattern", _json_list(include), caps.SOURCE_LOCAL_INCLUDE_PATTERNS),
        ("local.followpaths", _json_list(follow), caps.SOURCE_LOCAL_FOLLOW_PATHS),
        ("local.excludepatterns", _json_list(exclude), caps.SOURCE_LOCAL_EXCLUDE_PATTERNS),
        ("local.sharedkeyhint", shared_key, caps.SOURCE_LOCAL_SHARED_KEY_HINT),
    ):
        if value:
            attrs[key] = value
            required.append(cap)
    if differ:
        attrs["local.differ"] = differ
        if differ_required:
            required.append(caps.SOURCE_LOCAL_DIFFER)
    if metadata_only:
        attrs["local.metadatatransfer"] = "true"
        attrs |= _present({"local.metadatatransferexclude": _json_list(metadata_exceptions)})
        required.append(caps.SOURCE_LOCAL_METADATA_TRANSFER)
    return from_source("local://" + directory, attrs, constraints_of(options), *required)


def http(
    url: str,
    *,
    checksum: Digest = "",
    filename: str = "",
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    auth_header_secret: str = "",
    accept: str = "",
    user_agent: str = "",
    signature: bytes = b"",
    signature_key: bytes = b"",
    **options: Unpack[Options],
) -> State:
    """A file of the web; ``signature`` is a detached OpenPGP signature in armour."""
    attrs = _file_attrs(filename, mode, uid, gid)
    attrs |= _present(
        {
            "http.checksum": checksum,
            "http.authheadersecret": auth_header_secret,
            "http.header.accept": accept,
            "http.header.user-agent": user_agent,
            "http.sig.pubkey": signature_key.decode(errors="surrogateescape"),
            "http.sig.signature": signature.decode(errors="surrogateescape"),
        }
    )
    required = [
        cap
        for present, cap in (
            (checksum, caps.SOURCE_HTTP_CHECKSUM),
            (mode & 0o777, caps.SOURCE_HTTP_PERM),
            (uid or gid, caps.SOURCE_HTTP_UID_GID),
            (auth_header_secret, caps.SOURCE_HTTP_AUTH),
            (accept or user_agent, caps.SOURCE_HTTP_HEADER),
            (signature or signature_key, caps.SOURCE_HTTP_SIGNATURE_VERIFY),
            (True, caps.SOURCE_HTTP),
        )
        if present
    ]
    return from_source(url, attrs, constraints_of(options), *required)


def git(
    url: str,
    ref: str = "",
    *,
    subdir: str = "",
    keep_git_dir: bool = False,
    auth_token_secret: str | None = None,
    auth_header_secret: str | None = None,
    known_ssh_hosts: str = "",
    ssh_agent: str = "",
    checksum: str = "",
    skip_submodules: bool = False,
    mtime: Literal["", "checkout", "commit"] = "",
    fetch_by_commit: bool = False,
    bundle: str = "",
    bundle_session: str = "",
    bundle_store: str = "",
    checkout_bundle: bool = False,
    signature_key: bytes = b"",
    reject_expired_keys: bool = False,
    require_signed_tag: bool = False,
    ignore_signed_tag: bool = False,
    **options: Unpack[Options],
) -> State:
    """A git repository at a branch, tag or commit (empty: the remote's default branch).

    With ``signature_key`` (OpenPGP in armour, or a line of OpenSSH) the tag or the commit has to be signed by it.
    """
    from buildkit.llb.giturl import UnknownProtocol, parse_git_url

    parsed = None
    try:
        try:
            parsed = parse_git_url(url)
        except UnknownProtocol:
            url = "https://" + url
            parsed = parse_git_url(url)
        url = parsed.remote
    except InvalidInput:
        pass
    identifier = url if parsed is None else parsed.identifier(ref, subdir)
    attrs: dict[str, str] = {}
    required = [caps.SOURCE_GIT]

    def add(key: str, value: str, cap: str) -> None:
        if value:
            attrs[key] = value
            if cap:
                required.append(cap)

    add("git.keepgitdir", "true" if keep_git_dir else "", caps.SOURCE_GIT_KEEP_DIR)
    add("git.fullurl", url, caps.SOURCE_GIT_FULL_URL)
    auth_cap = "" if auth_token_secret is None and auth_header_secret is None else caps.SOURCE_GIT_HTTP_AUTH
    add("git.authtokensecret", GIT_AUTH_TOKEN if auth_token_secret is None else auth_token_secret, auth_cap)
    add("git.authheadersecret", GIT_AUTH_HEADER if auth_header_secret is None else auth_header_secret, auth_cap)
    if parsed is not None and parsed.scheme == "ssh":
        if known_ssh_hosts:
            attrs["git.knownsshhosts"] = known_ssh_hosts.removesuffix("\n") + "\n"
        required.append(caps.SOURCE_GIT_KNOWN_SSH_HOSTS)
        add("git.mountsshsock", ssh_agent or "default", caps.SOURCE_GIT_MOUNT_SSH_SOCK)
    add("git.checksum", checksum, caps.SOURCE_GIT_CHECKSUM)
    add("git.skipsubmodules", "true" if skip_submodules else "", caps.SOURCE_GIT_SKIP_SUBMODULES)
    add("git.mtime", mtime, caps.SOURCE_GIT_MTIME)
    add("git.fetchbycommit", "true" if fetch_by_commit else "", caps.SOURCE_GIT_FETCH_BY_COMMIT)
    add("git.bundle", bundle, caps.SOURCE_GIT_BUNDLE)
    add("oci.session", bundle_session, "")
    add("oci.store", bundle_store, "")
    add("git.checkoutbundle", "true" if checkout_bundle else "", caps.SOURCE_GIT_CHECKOUT_BUNDLE)
    add("git.sig.pubkey", signature_key.decode(errors="surrogateescape"), caps.SOURCE_GIT_SIGNATURE_VERIFY)
    add("git.sig.rejectexpired", "true" if reject_expired_keys else "", caps.SOURCE_GIT_SIGNATURE_VERIFY)
    add("git.sig.requiresignedtag", "true" if require_signed_tag else "", caps.SOURCE_GIT_SIGNATURE_VERIFY)
    add("git.sig.ignoresignedtag", "true" if ignore_signed_tag else "", caps.SOURCE_GIT_SIGNATURE_VERIFY)
    return from_source("git://" + identifier, attrs, constraints_of(options), *required)


def _present(attrs: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in attrs.items() if value}


def _file_attrs(filename: str, mode: int, uid: int, gid: int) -> dict[str, str]:
    perm = mode & 0o777
    return _present(
        {
            "http.filename": filename,
            "http.perm": f"0{perm:o}" if perm else "",
            "http.uid": str(uid) if uid else "",
            "http.gid": str(gid) if gid else "",
        }
    )


def _json_list(items: Sequence[str]) -> str:
    return go_json(list(items)) if items else ""
