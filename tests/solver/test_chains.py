"""What a cache export writes down, and that an import of it serves another machine."""

import pytest
from tests.kit.graphs import FakeResults, World, counts, vertex
from tests.kit.origins import import_keys

from buildkit.core.digest import sha256_text
from buildkit.core.errors import NotFound
from buildkit.solver.chains import Mode
from buildkit.solver.digests import content_key, record_digest
from buildkit.solver.origins import Import, Origin


def seeded(seed):
    return record_digest(sha256_text("seed " + seed), 0)


def picture(chain):
    """The chain as cacheconfig v0 draws it, with digests instead of indexes."""
    return {
        record.digest: [sorted((way.selector, way.record.digest) for way in ways) for ways in record.inputs]
        for record in chain.records
    }


async def chain_of(w, edge, **rest):
    async with w.job() as job:
        await job.build(edge)
        return job.chain([edge], **rest)


def served(chain, results=None, opened=None):
    async def open_import():
        if opened is not None:
            opened.append(1)
        return Origin(import_keys(chain.records), results or FakeResults())

    return Import("elsewhere", open_import)


@pytest.mark.row("C24", "S20")
async def test_a_chain_has_a_record_for_each_key_with_selectors_and_contents():
    base = vertex("base", "b", "base")
    copied = vertex("copy", "c", "copied", base, vertex("ctx", "x", "files"), content=[1])
    top = vertex("run", "r", "run", copied, selectors={0: "sel"})
    assert picture(await chain_of(World(), top)) == {
        seeded("b"): [],
        seeded("x"): [],
        content_key(sha256_text("content files")): [],
        seeded("c"): [
            [("", seeded("b"))],
            sorted([("", seeded("x")), ("", content_key(sha256_text("content files")))]),
        ],
        seeded("r"): [[("sel", seeded("c"))]],
    }


async def test_inputs_come_before_what_needs_them():
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", vertex("v2", "s2", "r2"))))
    assert [record.digest for record in chain.records] == [seeded("s2"), seeded("s1"), seeded("s0")]
    assert [top.digest for top in chain.tops] == [seeded("s0")]


async def test_both_keys_of_a_root_are_known_and_random_ones_are_not():
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("v1", ("s1", "s1b"), "r1")))
    assert picture(chain)[seeded("s0")] == [sorted([("", seeded("s1")), ("", seeded("s1b"))])]
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("v1", "random:aa", "r1")))
    assert not chain.records
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("v1", "random:aa", "r1"), content=[0]))
    assert picture(chain)[seeded("s0")] == [[("", content_key(sha256_text("content r1")))]]


async def test_backlinks_add_what_earlier_builds_learned():
    w = World()
    await w.build(vertex("v0", "s0", "r0", vertex("v1", "old", "r1"), content=[0]))
    top = vertex("v0", "s0", "r0", vertex("v1", "new", "r1"), content=[0])
    chain = await chain_of(w, top)
    assert ("", seeded("old")) in picture(chain)[seeded("s0")][0]
    assert ("", seeded("new")) in picture(chain)[seeded("s0")][0]
    chain = await chain_of(w, top, backlinks=False)
    assert ("", seeded("old")) not in picture(chain)[seeded("s0")][0]


async def test_the_chain_of_a_cached_build_is_that_of_the_first():
    w = World()

    def g():
        return vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", vertex("v2", ("s2", "s2b"), "r2")), content=[0])

    first = await chain_of(w, g())
    again = await chain_of(w.restart(), g())
    assert picture(again) == picture(first)


def names(chosen):
    return sorted(result.name for results in chosen.values() for result in results)


async def test_modes_choose_which_results_are_attached():
    middle = vertex("v1", "s1", "r1", vertex("v2", "s2", "r2"))
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("vx", "sx", "rx", middle), export_cache=False))
    assert names(chain.select(Mode.MAX)) == ["r1", "rx"]
    assert names(chain.select(Mode.MIN, lambda name: False)) == ["rx"]
    assert names(chain.select(Mode.MIN, lambda name: name == "r1")) == ["r1", "rx"]
    assert names(chain.select(Mode.TRANSFERABLE, lambda name: name == "r1")) == ["r1"]


async def test_roots_carry_results_only_when_asked():
    chain = await chain_of(World(), vertex("v1", "s1", "r1"), roots=True)
    assert names(chain.select(Mode.MAX)) == ["r1"]


@pytest.mark.row("S39", "C26")
async def test_an_import_is_a_hit_elsewhere_and_is_saved_under_local_keys():
    def g():
        return vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", vertex("v2", "s2", "r2")))

    chain = await chain_of(World(), g())
    w, remote = World(), FakeResults()
    assert await w.build(h := g(), [served(chain, remote)]) == "r0"
    assert counts(h) == (3, 0)
    assert (remote.loads, w.results.loads) == (["r0"], [])
    assert await w.restart().build(h := g()) == "r0"
    assert counts(h) == (3, 0)


async def test_the_chain_of_an_imported_build_says_who_loads_its_results():
    g = vertex("v0", "s0", "r0", vertex("v1", "s1", "r1", vertex("v2", "s2", "r2")))
    chain = await chain_of(World(), g)
    w, remote = World(), FakeResults()
    async with w.job() as job:
        await job.build(g, [served(chain, remote)])
        again = job.chain([g])
    assert picture(again) == picture(chain)
    assert [record.results[0].results for record in again.records] == [remote, remote, w.results]


@pytest.mark.row("S39")
async def test_an_import_adds_to_a_local_cache_that_has_only_the_lower_part():
    w = World()
    lower = vertex("v1", "s1", "r1", vertex("v2", "s2", "r2"))
    chain = await chain_of(World(), vertex("v0", "s0", "r0", lower))
    await w.build(vertex("v1", "s1", "r1", vertex("v2", "s2", "r2")))
    g = vertex("v0", "s0", "no", vertex("v1", "s1", "no", vertex("v2", "s2", "no")))
    assert await w.build(g, [served(chain)]) == "r0"
    assert counts(g) == (3, 0)


async def test_an_import_is_not_opened_when_the_local_cache_has_it_all():
    w, opened = World(), []
    chain = await chain_of(w, vertex("v0", "s0", "r0"))
    assert await w.build(vertex("v0", "s0", "no"), [served(chain, opened=opened)]) == "r0"
    assert opened == []


async def test_an_import_that_cannot_be_opened_is_a_miss():
    async def broken():
        raise NotFound("no such cache")

    w = World()
    assert await w.build(g := vertex("v0", "s0", "r0", vertex("v1", "s1", "r1")), [Import("x", broken)]) == "r0"
    assert counts(g) == (2, 2)


async def test_an_imported_result_that_cannot_be_fetched_is_made_again():
    chain = await chain_of(World(), vertex("v0", "s0", "r0", vertex("v1", "s1", "r1")))
    remote = FakeResults()
    remote.unloadable.add("r0")
    w = World()
    g = vertex("v0", "s0", "made", vertex("v1", "s1", "r1"))
    assert await w.build(g, [served(chain, remote)]) == "made"
    assert remote.loads == ["r0", "r1"]
    assert counts(g) == (2, 1)


@pytest.mark.row("C26")
async def test_imported_content_keys_match():
    first = vertex("v0", "s0", "r0", vertex("v1", "s1", "same"), content=[0])
    chain = await chain_of(World(), first)
    w = World()
    g = vertex("v0", "s0", "no", vertex("v1", "other", "same"), content=[0])
    assert await w.build(g, [served(chain)]) == "r0"
    assert counts(g) == (2, 1)
    assert await w.build(h := vertex("v0", "s0", "no", vertex("v1", "other", "same"), content=[0])) == "r0"
    assert counts(h) == (2, 0)
