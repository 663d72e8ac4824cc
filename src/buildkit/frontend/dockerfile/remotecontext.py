"""Build contexts that lie elsewhere: git repositories and files of the web."""

from __future__ import annotations

from buildkit.llb.giturl import find_git_ref
from buildkit.llb.source import git, http
from buildkit.llb.state import State

CONTEXT_FILE = "context"
"""The name under which a downloaded context is stored."""


def internal(name: str) -> str:
    """How clients are shown a step that no instruction made."""
    return f"[internal] {name}"


def find_git_context(text: str, *, keep_git_dir: bool = False, commit_times: bool = False) -> State | None:
    """The repository that a context names; None if it is none; raises `InvalidInput` for a bad query."""
    found = find_git_ref(text)
    if found is None:
        return None
    return git(
        found.remote,
        found.ref,
        subdir=found.subdir,
        keep_git_dir=keep_git_dir or bool(found.keep_git_dir),
        checksum=found.checksum,
        skip_submodules=found.submodules is False,
        mtime="checkout" if found.mtime == "checkout" else "commit" if found.mtime or commit_times else "",
        fetch_by_commit=found.fetch_by_commit,
        name=internal(f"load git source {text}"),
    )


def find_http_context(text: str) -> State | None:
    """The file that a context names; None if it is no web address."""
    if not text.startswith(("http://", "https://")):
        return None
    return http(text, filename=CONTEXT_FILE, name=internal("load remote build context"))
