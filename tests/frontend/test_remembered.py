"""A frontend that is run once and then remembered, until anything that it asked is answered otherwise."""

import re

import pytest

from buildkit import llb
from buildkit.core.db import Database
from buildkit.core.errors import NotFound
from buildkit.core.identity import new_id
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.frontend.frontend import Bridge, ImageConfig, Warning
from buildkit.frontend.remembered import Remembered


class World:
    """A bridge with files and images; counts what it is asked."""

    def __init__(self):
        self.files = {"Dockerfile": b"FROM a"}
        self.digest = "sha256:" + "1" * 64
        self.reads = self.resolved = 0
        self.warned, self.noted = [], []

    def bridge(self):
        return Bridge(
            solving=self, resolving=self, reading=self, warn=self.warn, note=self.note, session_id=new_id(),
            platform=Platform("linux", "amd64"), worker_platforms=lambda: (Platform("linux", "amd64"),),
            llb_caps=frozenset(), caps=frozenset(),
        )  # fmt: skip

    async def solve(self, definition, *, evaluate=False, cache_imports=()):
        return definition

    async def read_file(self, ref, path, *, offset=0, length=None):
        self.reads += 1
        if path not in self.files:
            raise NotFound(f"{path}: not found")
        return self.files[path]

    async def resolve_image(self, ref, *, platform, mode="default", log_name="", store=None):
        self.resolved += 1
        return ImageConfig(ref, self.digest, b"{}")

    async def warn(self, warning):
        self.warned.append(warning)

    async def note(self, line):
        self.noted.append(line)


class Simple:
    """Reads two files, resolves an image, warns, and builds on a local directory."""

    runs = 0

    async def solve(self, bridge, options, inputs):
        Simple.runs += 1
        context = llb.local("context", session=bridge.session_id)
        source = context.marshal()
        ref = await bridge.solving.solve(source)
        text = await bridge.reading.read_file(ref, "Dockerfile")
        try:
            await bridge.reading.read_file(ref, ".dockerignore")
        except NotFound:
            pass
        image = await bridge.resolving.resolve_image("a", platform=Platform("linux", "arm64"), log_name="x")
        await bridge.warn(Warning(source.head, f"warned of {text.decode()}"))
        await bridge.note("noted")
        state = llb.image(f"a@{image.digest}").file(llb.copy(context, "/", "/"))
        return Result({"": await bridge.solving.solve(state.marshal())}, metadata={"k": text})


@pytest.fixture
def world():
    Simple.runs = 0
    return World()


@pytest.fixture
def remembered(tmp_path):
    return Remembered(Simple, Database(tmp_path / "db"), [])


async def build(remembered, world, **options):
    bridge = world.bridge()
    result = await remembered.solve(bridge, options, {})
    return result, bridge.session_id


def digests(definition):
    return re.findall(rb"sha256:[0-9a-f]{64}", b"".join(definition.ops))


async def test_the_second_build_does_not_run_the_frontend_and_says_the_same(remembered, world):
    first, one = await build(remembered, world)
    second, two = await build(remembered, world)
    assert Simple.runs == 1
    assert second.metadata == first.metadata == {"k": b"FROM a"}
    assert [w.message for w in world.warned] == ["warned of FROM a"] * 2
    assert world.noted == ["noted"] * 2
    ops = second.refs[""].ops
    assert next(op.replace(two.encode(), one.encode()) for op in ops) in first.refs[""].ops
    assert not any(one.encode() in op for op in ops)


async def test_digests_follow_the_session(remembered, world):
    await build(remembered, world)
    second, session = await build(remembered, world)
    Simple.runs = 0
    fresh = await Simple().solve(replace_session(world.bridge(), session), {}, {})
    assert second.refs[""].ops == fresh.refs[""].ops
    assert set(second.refs[""].metadata) == set(fresh.refs[""].metadata)
    assert world.warned[1].vertex == world.warned[2].vertex


def replace_session(bridge, session):
    from buildkit.core.values import replace

    return replace(bridge, session_id=session)


@pytest.mark.parametrize("change", ["file", "new file", "image", "option"])
async def test_a_different_answer_runs_it_again_and_asks_nothing_twice(remembered, world, change):
    await build(remembered, world)
    world.reads = world.resolved = 0
    options = {}
    if change == "file":
        world.files["Dockerfile"] = b"FROM b"
    elif change == "new file":
        world.files[".dockerignore"] = b"*"
    elif change == "image":
        world.digest = "sha256:" + "2" * 64
    else:
        options = {"build-arg:x": "y"}
    result, _ = await build(remembered, world, **options)
    assert Simple.runs == 2
    assert (world.reads, world.resolved) == (2, 1)
    assert result.metadata["k"] == world.files["Dockerfile"]


async def test_subrequests_are_always_asked(remembered, world):
    for _ in range(2):
        await build(remembered, world, requestid="frontend.lint")
    assert Simple.runs == 2


async def test_what_cannot_be_read_is_forgotten(tmp_path, world):
    db = Database(tmp_path / "db")
    remembered = Remembered(Simple, db, [])
    await build(remembered, world)
    db.execute("UPDATE frontend_memory SET body = ?", (b"\x81\xa1x",))
    result, _ = await build(remembered, world)
    assert Simple.runs == 2
    assert result.metadata == {"k": b"FROM a"}


async def test_other_code_remembers_nothing(tmp_path, world):
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("1")
    remembered = Remembered(Simple, Database(tmp_path / "db"), [str(code)])
    await build(remembered, world)
    (code / "a.py").write_text("22")
    await build(remembered, world)
    assert Simple.runs == 2


async def test_only_so_many_builds_are_remembered(tmp_path, world, monkeypatch):
    monkeypatch.setattr("buildkit.frontend.remembered.KEPT", 2)
    db = Database(tmp_path / "db")
    remembered = Remembered(Simple, db, [])
    for number in range(4):
        await build(remembered, world, n=str(number))
    assert db.execute("SELECT count(*) FROM frontend_memory") == [(2,)]
