"""What names of commits stand for: asked of the remote, as ``git checkout`` would understand them."""

from __future__ import annotations

import re

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, NotFound
from buildkit.core.values import dataclass
from buildkit.llb.giturl import is_commit
from buildkit.source.gitcommand import Git

_BRANCH = re.compile(r"refs/heads/(\S+)")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A ref, in full, and what it stands for. ``commit`` is set when that is an annotated tag: what it tags."""

    ref: str
    checksum: str
    commit: str = ""

    def commit_for(self, keep_git_dir: bool) -> str:
        """What names the tree: with a ``.git`` directory the tag counts, else only what it tags."""
        return self.checksum if keep_git_dir or not self.commit else self.commit


async def resolve_ref(git: Git, remote: str, ref: str) -> Resolved:
    """Ask the remote; branches come before tags, ``""`` is its default branch.

    Raises `NotFound`, and what `Git.run` raises.
    """
    if not ref:
        ref = await _default_branch(git, remote)
    try:
        said = (await git.run("ls-remote", "--", remote, ref, ref + "^{}")).decode(errors="replace")
    except BuildkitError as error:
        raise error.prefixed(f"failed to fetch remote {remote}: ") from None
    named = {name: checksum for checksum, _, name in (line.partition("\t") for line in said.splitlines())}
    short = {prefix: prefix + ref.removeprefix(prefix) for prefix in ("refs/", "refs/heads/", "refs/tags/")}
    for name in short.values():
        if name in named:
            if not is_commit(named[name]):
                raise InvalidInput(f'invalid commit sha "{named[name]}"')
            is_tag = name == short["refs/tags/"]
            return Resolved(name, named[name], named.get(name + "^{}", "") if is_tag else "")
    import json

    raise NotFound(f"repository does not contain ref {ref}, output: {json.dumps(said, ensure_ascii=False)}")


async def _default_branch(git: Git, remote: str) -> str:
    try:
        said = await git.text("ls-remote", "--symref", "--", remote, "HEAD")
    except BuildkitError as error:
        raise error.prefixed(f"error fetching default branch for repository {remote}: ") from None
    match = _BRANCH.search(said)
    if match is None:
        raise NotFound(f"could not find default branch for repository: {remote}")
    if match[1].startswith("-"):
        raise InvalidInput(f'invalid git ref "{match[1]}"')
    return match[1]


def check_sums(expected: str, *found: str) -> None:
    """Raise `FailedPrecondition` unless ``expected`` begins one of the ids that were found; ``""`` expects nothing."""
    ids = [one for one in found if one]
    if expected and not any(one.startswith(expected) for one in ids):
        raise FailedPrecondition(f"expected checksum to match {expected}, got {' or '.join(ids)}")
