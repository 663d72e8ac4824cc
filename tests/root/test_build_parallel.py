"""Work at once: stages of one build, builds of one engine, and how much at most."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.kit.projects import Project

from buildkit.client.embedded import EmbeddedClient
from buildkit.client.options import SolveOptions
from buildkit.core.errors import BuildkitError
from buildkit.core.progress import VertexUpdate
from buildkit.engine.engine import EngineConfig, open_engine

pytestmark = pytest.mark.root

MEETING = """FROM base AS one
RUN --mount=type=cache,target=/c touch /c/one; until [ -e /c/two ]; do :; done
FROM base AS two
RUN --mount=type=cache,target=/c touch /c/two; until [ -e /c/one ]; do :; done
FROM scratch
COPY --from=one /etc/group /1
COPY --from=two /etc/group /2
"""
LOCKED = """FROM base AS one
RUN --mount=type=cache,target=/c,sharing=locked [ ! -e /c/busy ]; touch /c/busy; echo one >> /c/log; rm /c/busy
FROM base AS two
RUN --mount=type=cache,target=/c,sharing=locked [ ! -e /c/busy ]; touch /c/busy; echo two >> /c/log; rm /c/busy
FROM base
COPY --from=one /etc/group /1
COPY --from=two /etc/group /2
RUN --mount=type=cache,target=/c,sharing=locked sort /c/log > /out
"""


def options(project: Project, dockerfile: str) -> SolveOptions:
    layout, _, digest = project.base.partition("@")
    project.put("Dockerfile", dockerfile)
    context = str(project.context)
    attrs = {"context:base": f"oci-layout://base@{digest}"}
    return SolveOptions("dockerfile.v0", attrs, None, {"context": context, "dockerfile": context}, {"base": layout})


async def executed(client: EmbeddedClient, wanted: SolveOptions) -> list[str]:
    """Build; gives the names of the steps that ended without having come from the cache."""
    async with client.build(wanted) as build:
        steps = {}
        async for batch in build.progress():
            for update in batch:
                if isinstance(update, VertexUpdate):
                    steps[update.digest] = update
        await build.result()
    return [one.name for one in steps.values() if one.completed and not one.cached and not one.error]


async def build_at_once(project: Project, *dockerfiles: str, parallelism: int = 0) -> list[list[str]]:
    """Build all at once in one engine."""
    async with AsyncExitStack() as scope:
        config = EngineConfig(root=project.folder / "state", max_parallelism=parallelism)
        client = EmbeddedClient(await scope.enter_async_context(open_engine(config)))
        wanted = [options(project, text) for text in dockerfiles]
        return await asyncio.gather(*(executed(client, one) for one in wanted))


def test_independent_stages_run_at_the_same_time(project):
    project.build(MEETING)


def test_a_locked_cache_mount_is_used_by_one_step_at_a_time(project):
    assert project.text(LOCKED) == "one\ntwo\n"


def test_the_same_build_many_times_at_once_executes_each_step_once(project):
    project.write(f="x")
    text = "FROM base\nCOPY f /f\nRUN --mount=type=cache,target=/c echo x >> /c/log; cp /c/log /out\nRUN cat /f\n"
    ran = asyncio.run(build_at_once(project, *[text] * 8))
    assert project.text(text) == "x\n"
    assert [sum("RUN cat" in name for name in names) for names in ran] == [1] * 8


@pytest.mark.row("X76")
def test_no_more_steps_run_at_once_than_allowed(project):
    lines = "".join(
        f"FROM base AS s{n}\nRUN --mount=type=cache,target=/c mkdir /c/busy && echo {n} >> /c/log && rmdir /c/busy\n"
        for n in range(6)
    )
    copies = "".join(f"COPY --from=s{n} /etc/group /{n}\n" for n in range(6))
    asyncio.run(build_at_once(project, f"{lines}FROM scratch\n{copies}", parallelism=1))


def test_a_build_that_fails_does_not_disturb_another_in_the_same_engine(project):
    good, bad = asyncio.run(build_good_and_bad(project))
    assert isinstance(bad, BuildkitError) and "exit code: 1" in bad.message
    assert any("RUN true" in name for name in good)


async def build_good_and_bad(project):
    shared = "FROM base\nRUN echo shared\n"
    async with open_engine(EngineConfig(root=project.folder / "state")) as engine:
        client, other = EmbeddedClient(engine), Project(project.folder / "bad", project.base)
        wanted = options(project, shared + "RUN true\n"), options(other, shared + "RUN false\n")
        return await asyncio.gather(*(executed(client, one) for one in wanted), return_exceptions=True)


def test_a_cancelled_build_leaves_a_shared_step_to_the_other(project):
    asyncio.run(cancel_one_of_two(project))
    assert project.text("FROM base\nRUN --mount=type=cache,target=/c cp /c/log /out\n") == "ran\n"


async def cancel_one_of_two(project):
    mount = "RUN --mount=type=cache,target=/c"
    text = f"FROM base\n{mount} touch /c/began; until [ -e /c/go ]; do :; done; echo ran >> /c/log\n"
    other = f"FROM base\n{mount} until [ -e /c/began ]; do :; done\n"
    go = f"FROM base\n{mount} touch /c/go\n"
    async with open_engine(EngineConfig(root=project.folder / "state", max_parallelism=4)) as engine:
        client = EmbeddedClient(engine)
        wanted = options(project, text)
        first, second = (asyncio.ensure_future(executed(client, wanted)) for _ in range(2))
        began = options(Project(project.folder / "o", project.base), other)
        await executed(client, began)
        first.cancel()
        await asyncio.wait([first])
        await executed(client, options(Project(project.folder / "g", project.base), go))
        await second
