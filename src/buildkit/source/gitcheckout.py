"""Trees of commits, written into a directory: with or without ``.git``, whole or a part."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass
from buildkit.llb.giturl import is_commit
from buildkit.source.gitbundle import bundle_ref, write_bundle
from buildkit.source.gitcommand import Git, Repository
from buildkit.source.gitrefs import Resolved
from buildkit.source.gitwanted import Wanted

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Checkout:
    """One checkout. ``root`` is empty."""

    repository: Repository
    wanted: Wanted
    found: Resolved
    root: Path

    async def run(self) -> None:
        """Write the tree; raises `InvalidInput` for a part that is no directory, and what `Git.run` raises."""
        wanted = self.wanted
        try:
            if wanted.as_bundle:
                return await self._as_bundle()
            if wanted.keep_git_dir and not wanted.subdir:
                await self._with_git_dir()
            elif wanted.subdir:
                whole = self.root / f".{new_id()}"
                whole.mkdir()
                await self._without_git_dir(whole)
                await asyncio.to_thread(_lift, self.root, whole.name, wanted.subdir)
            else:
                await self._without_git_dir(self.root)
        except InvalidInput:
            raise
        except BuildkitError as error:
            raise error.prefixed(f"failed to checkout remote {wanted.remote}: ") from None
        if wanted.mtime == "commit":
            said = await self.repository.git.text("log", "-1", "--format=%ct", self.found.checksum + "^{commit}")
            await asyncio.to_thread(_set_times, self.root, int(said))

    async def _as_bundle(self) -> None:
        wanted, found = self.wanted, self.found
        ref = bundle_ref(wanted.ref)
        id = wanted.checksum if is_commit(wanted.checksum) else found.commit_for(ref.startswith("refs/tags/"))
        if not ref.startswith("refs/tags/"):
            id = await self.repository.git.text("rev-parse", id + "^{commit}")
        await write_bundle(self.repository, ref, id, self.root)

    async def _without_git_dir(self, tree: Path) -> None:
        """Check out by way of a repository of its own, which borrows the objects of the shared one."""
        own = self.repository.path / f"checkout-{new_id()}"
        git = self.repository.git.at(own, tree)
        try:
            await git.run("init", "--quiet", "--template=", *self._format())
            await git.run("config", "remote.origin.url", self.wanted.remote)
            await asyncio.to_thread(_borrow, own, self.repository.path)
            await git.run("checkout", "--quiet", "--force", "--detach", self.found.checksum)
            await self._submodules(git)
            if self.wanted.submodules:
                await asyncio.to_thread(_drop_links, tree)
        finally:
            await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)

    async def _with_git_dir(self) -> None:
        own = self.root / ".git"
        shared, path = self.repository.git, self.repository.path
        git = shared.at(own, self.root)
        picked = f"refs/buildkit/picked/{new_id()}"
        await git.run("init", "--quiet", *self._format())
        await git.run("remote", "add", "origin", self.wanted.remote)
        await shared.run("update-ref", picked, self.found.checksum)
        try:
            spec = picked if is_commit(self.found.ref) else f"{picked}:{self.found.ref}"
            local = shared.at(own, self.root, protocols=("file",))
            await local.run("fetch", "--quiet", "--update-head-ok", "--depth=1", "--no-tags", f"file://{path}", spec)
        finally:
            await shared.run("update-ref", "-d", picked)
        await git.run("checkout", "--quiet", "--detach", "FETCH_HEAD")
        await git.run("reflog", "expire", "--all", "--expire=now")
        with suppress(FileNotFoundError):
            (own / "FETCH_HEAD").unlink()
        await self._submodules(git)

    async def _submodules(self, git: Git) -> None:
        if self.wanted.submodules and git.work_tree is not None and (git.work_tree / ".gitmodules").is_file():
            await git.run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")

    def _format(self) -> list[str]:
        return ["--object-format=sha256"] if len(self.found.checksum) == 64 else []


def _borrow(own: Path, shared: Path) -> None:
    (own / "objects/info").mkdir(parents=True, exist_ok=True)
    (own / "objects/info/alternates").write_text(f"{shared}/objects\n")
    with suppress(FileNotFoundError):
        shutil.copyfile(shared / "shallow", own / "shallow")


def _drop_links(tree: Path) -> None:
    """Remove the files that tell git where the repositories of submodules are: they are gone with the checkout."""
    for folder, folders, files in os.walk(tree):
        if ".git" in files:
            Path(folder, ".git").unlink()
        if ".git" in folders:
            folders.remove(".git")


def _lift(root: Path, whole: str, subdir: str) -> None:
    """Put what is in a directory of the checkout in the place of the whole."""
    parts = [part for part in subdir.split("/") if part not in ("", ".")]
    root_fd = os.open(root, _DIRECTORY)
    folder = os.open(whole, _DIRECTORY, dir_fd=root_fd)
    try:
        for number, part in enumerate(parts, start=1):
            shown = "/".join(parts[:number])
            try:
                found = os.stat(part, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                raise InvalidInput(
                    f'invalid subdir {subdir}: failed to lstat "{shown}": statat {shown}: no such file or directory'
                ) from None
            if not stat.S_ISDIR(found.st_mode):
                raise InvalidInput(f'invalid subdir {subdir}: git subpath "{subdir}" contains non-directory "{shown}"')
            below = os.open(part, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = below
        for name in os.listdir(folder):  # noqa: PTH208 - of a descriptor
            if name == whole:
                raise FailedPrecondition(f"{name}: there are two of this name")
            os.rename(name, name, src_dir_fd=folder, dst_dir_fd=root_fd)
    finally:
        os.close(folder)
        os.close(root_fd)
    shutil.rmtree(root / whole)


def _set_times(root: Path, seconds: int) -> None:
    """Give everything below one time of change, directories after what they hold."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in (*files, *folders):
            os.utime(Path(folder, name), (seconds, seconds), follow_symlinks=False)
    os.utime(root, (seconds, seconds))
