"""Every kind of source; those of the web, git and blobs are made when a build has one."""

from __future__ import annotations

from buildkit.core.db import Database
from buildkit.source.answers import Answers
from buildkit.source.image import Images
from buildkit.source.local import Locals
from buildkit.source.memory import FileMemory
from buildkit.source.pull import Pulls
from buildkit.source.source import Factory, Later, Sources


def open_sources(images: Images, answers: Answers, pulls: Pulls, db: Database) -> Sources:
    """The sources of an engine, with the registry, sessions and store of its images."""
    sessions, store = images.sessions, images.store

    def web() -> Factory:
        from buildkit.source.http import Web

        return Web(images.registry.transport, sessions, store, answers, pulls)

    def git() -> Factory:
        from buildkit.source.git import GitRepositories

        return GitRepositories(sessions, store, answers, pulls, images.visits)

    def blobs() -> Factory:
        from buildkit.source.blob import Blobs

        return Blobs(images.visits, sessions, store, pulls)

    return Sources(
        images,
        Locals(sessions, store, FileMemory(db)),
        Later(("http", "https"), web),
        Later(("git",), git),
        Later(("docker-image+blob", "oci-layout+blob"), blobs),
    )
