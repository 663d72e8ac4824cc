"""Capability ids of LLB: what a definition may require and what a daemon advertises (`BY_PING`)."""

from __future__ import annotations

SOURCE_IMAGE = "source.image"
SOURCE_IMAGE_RESOLVE_MODE = "source.image.resolvemode"
SOURCE_IMAGE_LAYER_LIMIT = "source.image.layerlimit"
SOURCE_IMAGE_CHECKSUM = "source.image.checksum"
SOURCE_IMAGE_BLOB = "source.imageblob"
SOURCE_OCI_LAYOUT = "source.ocilayout"

SOURCE_LOCAL = "source.local"
SOURCE_LOCAL_UNIQUE = "source.local.unique"
SOURCE_LOCAL_SESSION_ID = "source.local.sessionid"
SOURCE_LOCAL_INCLUDE_PATTERNS = "source.local.includepatterns"
SOURCE_LOCAL_FOLLOW_PATHS = "source.local.followpaths"
SOURCE_LOCAL_EXCLUDE_PATTERNS = "source.local.excludepatterns"
SOURCE_LOCAL_SHARED_KEY_HINT = "source.local.sharedkeyhint"
SOURCE_LOCAL_DIFFER = "source.local.differ"
SOURCE_LOCAL_METADATA_TRANSFER = "source.local.metadatatransfer"

SOURCE_GIT = "source.git"
SOURCE_GIT_KEEP_DIR = "source.git.keepgitdir"
SOURCE_GIT_FULL_URL = "source.git.fullurl"
SOURCE_GIT_HTTP_AUTH = "source.git.httpauth"
SOURCE_GIT_KNOWN_SSH_HOSTS = "source.git.knownsshhosts"
SOURCE_GIT_MOUNT_SSH_SOCK = "source.git.mountsshsock"
SOURCE_GIT_SUBDIR = "source.git.subdir"
SOURCE_GIT_CHECKSUM = "source.git.checksum"
SOURCE_GIT_SKIP_SUBMODULES = "source.git.skipsubmodules"
SOURCE_GIT_SIGNATURE_VERIFY = "source.git.signatureverify"
SOURCE_GIT_MTIME = "source.git.mtime"
SOURCE_GIT_FETCH_BY_COMMIT = "source.git.fetchbycommit"
SOURCE_GIT_BUNDLE = "source.git.bundle"
SOURCE_GIT_CHECKOUT_BUNDLE = "source.git.checkoutbundle"

SOURCE_HTTP = "source.http"
SOURCE_HTTP_AUTH = "source.http.auth"
SOURCE_HTTP_CHECKSUM = "source.http.checksum"
SOURCE_HTTP_PERM = "source.http.perm"
SOURCE_HTTP_UID_GID = "soruce.http.uidgid"
"""Misspelt on the wire, and so it stays."""
SOURCE_HTTP_HEADER = "source.http.header"
SOURCE_HTTP_SIGNATURE_VERIFY = "source.http.signatureverify"

BUILD_OP_LLB_FILENAME = "source.buildop.llbfilename"

EXEC_META_BASE = "exec.meta.base"
EXEC_META_CGROUP_PARENT = "exec.meta.cgroup.parent"
EXEC_META_NETWORK = "exec.meta.network"
EXEC_META_NETWORK_PROXY = "exec.meta.network.proxy"
EXEC_META_PROXY = "exec.meta.proxyenv"
EXEC_META_SECURITY = "exec.meta.security"
EXEC_META_SECURITY_DEVICES = "exec.meta.security.devices.v1"
EXEC_META_SETS_DEFAULT_PATH = "exec.meta.setsdefaultpath"
EXEC_META_ULIMIT = "exec.meta.ulimit"
EXEC_META_CDI = "exec.meta.cdi"
EXEC_META_LINUX_RESOURCES = "exec.meta.linux.resources"
EXEC_MOUNT_BIND = "exec.mount.bind"
EXEC_MOUNT_BIND_NO_OUTPUT = "exec.mount.bind.readwrite-nooutput"
EXEC_MOUNT_CACHE = "exec.mount.cache"
EXEC_MOUNT_CACHE_SHARING = "exec.mount.cache.sharing"
EXEC_MOUNT_SELECTOR = "exec.mount.selector"
EXEC_MOUNT_TMPFS = "exec.mount.tmpfs"
EXEC_MOUNT_TMPFS_SIZE = "exec.mount.tmpfs.size"
EXEC_MOUNT_SECRET = "exec.mount.secret"  # noqa: S105
EXEC_MOUNT_SSH = "exec.mount.ssh"
EXEC_MOUNT_CONTENT_CACHE = "exec.mount.cache.content"
EXEC_CGROUPS_MOUNTED = "exec.cgroup"
EXEC_SECRET_ENV = "exec.secretenv"  # noqa: S105
EXEC_VALID_EXIT_CODE = "exec.validexitcode"

FILE_BASE = "file.base"
FILE_RM_WILDCARD = "file.rm.wildcard"
FILE_RM_NO_FOLLOW_SYMLINK = "file.rm.nofollowsymlink"
FILE_COPY_PATTERNS = "file.copy.includeexcludepatterns"
FILE_COPY_REQUIRED_PATHS = "file.copy.requiredpaths"
FILE_COPY_ALWAYS_REPLACE = "file.copy.alwaysreplaceexistingdestpaths"
FILE_SYMLINK_CREATE = "file.symlink.create"

CONSTRAINTS = "constraints"
PLATFORM = "platform"
META_IGNORE_CACHE = "meta.ignorecache"
META_DESCRIPTION = "meta.description"
META_EXPORT_CACHE = "meta.exportcache"
MERGE_OP = "mergeop"
DIFF_OP = "diffop"
PASSTHROUGH_OP = "passthroughop"

_FEATURES = (
    "cache.gha",
    "cache.s3",
    "cache.azblob",
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.sourcedateepoch",
    "exporter.multiple",
    "exporter.session",
    "source.policy",
    "source.policy.session",
    "gc.freespacefilter",
    "history.filter",
)

BY_PING: tuple[str, ...] = tuple(
    sorted({value for name, value in globals().items() if name.isupper() and name[0] != "_"} | set(_FEATURES))
)
"""Every capability that BuildKit 0.32 advertises to clients and frontends, sorted."""
