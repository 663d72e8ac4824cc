"""Git bundles: repositories in one file, fetched as a blob in place of a remote, or made of a checkout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.core.digest import Digest, parse_digest
from buildkit.core.errors import BuildkitError, Exhausted, FailedPrecondition, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass
from buildkit.llb.giturl import is_commit
from buildkit.oci.names import Reference, parse_reference
from buildkit.oci.spec import Descriptor
from buildkit.source.gitcommand import Git, Repository

if TYPE_CHECKING:
    from buildkit.source.origin import Origin

FILE_NAME = "bundle"
"""What a checkout as a bundle is called."""
_REGISTRY, _LAYOUT = "docker-image+blob", "oci-layout+blob"
_COMPLETE = "bundle-imported"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Where a bundle is kept: a blob of a registry, or of an OCI layout that a session lends as ``store``."""

    name: str
    digest: Digest
    reference: Reference | None
    store: str = ""
    session: str = ""


def read_bundle(attrs: Mapping[str, str]) -> Bundle | None:
    """Read ``git.bundle`` and what belongs to it; raises `InvalidInput`."""
    locator = attrs.get("git.bundle", "")
    if not locator:
        return None
    scheme, separator, name = locator.partition("://")
    failed = f'failed to parse git.bundle locator "{locator}": '
    if not separator:
        raise InvalidInput(f"{failed}missing scheme")
    if scheme not in (_REGISTRY, _LAYOUT):
        raise InvalidInput(
            f'git.bundle locator scheme "{scheme}" is not supported; expected "{_REGISTRY}" or "{_LAYOUT}"'
        )
    place, _, text = name.partition("@")
    try:
        digest = parse_digest(text)
    except InvalidInput as error:
        raise error.prefixed(f"{failed}invalid digest: ") from None
    if not digest.startswith("sha256:"):
        algorithm = digest.partition(":")[0]
        raise InvalidInput(
            f'git.bundle locator "{locator}": digest algorithm "{algorithm}" not supported, expected "sha256"'
        )
    if not attrs.get("git.checksum"):
        raise InvalidInput("git.bundle requires git.checksum to be set")
    if scheme == _LAYOUT:
        return Bundle(name, digest, None, attrs.get("oci.store") or place, attrs.get("oci.session", ""))
    try:
        return Bundle(name, digest, parse_reference(name))
    except InvalidInput as error:
        raise error.prefixed(failed) from None


async def import_bundle(
    repository: Repository, bundle: Bundle, checksum: str, origin: Origin, offline: BuildkitError | None
) -> None:
    """Fill an empty repository from a bundle, once; raises `FailedPrecondition` if ``checksum`` is not in it."""
    git, path = repository.git, repository.path
    complete = path / _COMPLETE
    if not complete.exists():
        if offline is not None and bundle.reference is not None:
            raise offline
        _clear(path)
        file = path / "bundle.pack"
        await _download(file, bundle, origin)
        local = git.at(path, protocols=("file",))
        format = ["--object-format=sha256"] if await _is_long(local, file, bundle) else []
        await git.run("init", "--quiet", "--bare", "--template=", *format)
        try:
            await local.run("fetch", "--quiet", "--", str(file), "+refs/*:refs/*")
        except BuildkitError as error:
            raise error.prefixed(f"failed to import git bundle {bundle.name}: ") from None
        file.unlink()
        complete.touch()
    if not await git.succeeds("cat-file", "-e", checksum + "^{commit}"):
        raise FailedPrecondition(f"commit {checksum} not found in bundle {bundle.name}")


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


async def _download(file: Path, bundle: Bundle, origin: Origin) -> None:
    from buildkit.source.file import FileWriter

    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        writer = FileWriter(fd)
        size = await origin.size(bundle.digest)
        if size > shutil.disk_usage(file.parent).free:
            raise Exhausted(f"no space for {size} bytes")
        await origin.fetch(Descriptor("", bundle.digest, size), writer, lambda count: None)
        if writer.digest != bundle.digest:
            raise FailedPrecondition(f"expected checksum to match {bundle.digest}, got {writer.digest}")
    except BuildkitError as error:
        raise error.prefixed(f"failed to fetch git bundle {bundle.name}: ") from None
    finally:
        os.close(fd)


async def _is_long(git: Git, file: Path, bundle: Bundle) -> bool:
    """Whether ids are of SHA-256."""
    try:
        said = await git.text("ls-remote", "--", str(file))
    except BuildkitError as error:
        raise error.prefixed(f"failed to inspect git bundle {bundle.name}: ") from None
    if not said:
        raise FailedPrecondition(f"failed to inspect git bundle {bundle.name}: no refs found")
    id = said.partition("\t")[0]
    if not is_commit(id):
        raise FailedPrecondition(f'failed to inspect git bundle {bundle.name}: invalid object ID "{id}"')
    return len(id) == 64


def bundle_ref(ref: str) -> str:
    """The ref that a bundle made of ``ref`` has."""
    if not ref or is_commit(ref):
        return "refs/heads/main"
    if ref.startswith("refs/tags/"):
        return ref
    return "refs/heads/" + ref.removeprefix("refs/").removeprefix("heads/")


async def write_bundle(repository: Repository, ref: str, id: str, root: Path) -> None:
    """Write ``id`` with all its history, as ``ref``, to a bundle in ``root``."""
    own = repository.path / f"bundle-{new_id()}"
    own.mkdir()
    git = repository.git.at(own)
    format = ["--object-format=sha256"] if len(id) == 64 else []
    try:
        await git.run("init", "--quiet", "--bare", "--template=", *format)
        (own / "objects/info").mkdir(parents=True, exist_ok=True)
        (own / "objects/info/alternates").write_text(f"{repository.path}/objects\n")
        with suppress(FileNotFoundError):
            shutil.copyfile(repository.path / "shallow", own / "shallow")
        await git.run("update-ref", ref, id)
        # one thread: the same commit is the same file
        await git.run("-c", "pack.threads=1", "bundle", "create", "--quiet", str(root / FILE_NAME), ref)
        (root / FILE_NAME).chmod(0o666)  # as BuildKit makes it: steps that copy the file have the same key
    finally:
        shutil.rmtree(own, ignore_errors=True)
