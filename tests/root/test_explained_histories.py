"""Whatever a project went through: what ran and what is told of it follow from what was built before."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.client.embedded import open_embedded
from buildkit.client.options import PruneOptions, SolveOptions
from buildkit.core.values import dataclass, replace
from buildkit.llb import copy, local, mkfile, scratch

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = ("a", "b", "d/c")


@dataclass(frozen=True)
class Version:
    """A project: files by name with content and mode, a text, and a destination."""

    files: tuple[tuple[str, tuple[str, int] | None], ...] = tuple((name, ("1", 0o644)) for name in NAMES)
    text: str = "1"
    dest: str = "/x/"

    def state(self):
        made = scratch().file(mkfile("/text", self.text.encode()), name="first")
        chosen = copy(local("src"), "/", self.dest, contents_only=True, create_parents=True)
        return made.file(chosen, name="second")

    def write(self, folder: Path) -> None:
        (folder / "d").mkdir(exist_ok=True)
        for name, found in self.files:
            (folder / name).unlink(missing_ok=True)
            if found is not None:
                (folder / name).write_text(found[0])
                os.chmod(folder / name, found[1])

    def first(self, old: Version) -> frozenset[tuple[str, str]]:
        """Fields and paths in which the first step differs."""
        return frozenset() if self.text == old.text else frozenset({("text", "")})

    def second(self, old: Version) -> frozenset[tuple[str, str]]:
        """Those of the second."""
        found = set() if self.text == old.text else {("input", "first")}
        found |= set() if self.dest == old.dest else {("destination", "")}
        for (name, new), (_, was) in zip(self.files, old.files, strict=True):
            if new != was:
                if new is None or was is None:
                    found.add(("file", f"/{name}"))
                else:
                    found |= {(what, f"/{name}") for what, i in (("content", 0), ("mode", 1)) if new[i] != was[i]}
        return frozenset(found)


edits = st.one_of(
    st.tuples(
        st.just("file"),
        st.sampled_from(NAMES),
        st.one_of(st.none(), st.tuples(st.sampled_from("123"), st.sampled_from((0o600, 0o644)))),
    ),
    st.tuples(st.just("text"), st.sampled_from("123")),
    st.tuples(st.just("dest"), st.sampled_from(("/x/", "/y/"))),
    st.tuples(st.just("back"), st.integers(0, 5)),
    st.just(("prune",)),
    st.just(("restart",)),
)


def edited(version, edit, history):
    match edit:
        case ("file", name, found):
            return replace(version, files=tuple((one, found if one == name else was) for one, was in version.files))
        case ("text", text):
            return replace(version, text=text)
        case ("dest", dest):
            return replace(version, dest=dest)
        case ("back", number):
            return history[number % len(history)]
    return version


class World:
    """A project and an engine; checks each build against what was built before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: list[Version] = []
        self.cached: set[tuple[str, Version]] = set()
        (folder / "src").mkdir()

    async def build(self, client, version):
        version.write(self.folder / "src")
        told = []
        options = SolveOptions(
            definition=version.state().marshal().to_bytes(),
            locals={"src": str(self.folder / "src")},
            explained=told.extend,
        )
        async with client.build(options) as build:
            async for _ in build.progress():
                pass
            await build.result()
        self.check(version, {one.name: one for one in told})

    def check(self, version, told):
        ran = set()
        for name, step, key in (
            ("second", Version.second, version),
            ("first", Version.first, Version(text=version.text)),
        ):
            if (name, key) not in self.cached and (name == "second" or "second" in ran):
                ran.add(name)
                self.cached.add((name, key))
                earlier = [step(version, old) for old in self.history]
                changes = frozenset((one.field, one.path) for one in told[name].changes)
                if not earlier:
                    assert told[name].reason == "new"
                elif min(map(len, earlier)) == 0:
                    assert told[name].reason == "evicted"
                else:
                    assert len(changes) == min(map(len, earlier)) and changes in earlier
                    assert told[name].reason == ("input" if changes == {("input", "first")} else "changed")
        assert ran == set(told)
        self.history.append(version)


async def live(folder, steps):
    world, steps = World(folder), list(steps)
    version = Version()
    while steps:
        async with open_embedded(folder / "state", waiting=print) as client:
            await world.build(client, version)
            while steps:
                edit = steps.pop(0)
                if edit == ("restart",):
                    break
                if edit == ("prune",):
                    async for _ in client.prune(PruneOptions(all=True)):
                        pass
                    world.cached.clear()
                version = edited(version, edit, world.history)
                await world.build(client, version)


@settings(max_examples=40, deadline=None)
@given(st.lists(edits, min_size=1, max_size=8))
def test_what_is_told_is_the_difference_to_the_nearest_earlier_build(steps):
    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), steps))
