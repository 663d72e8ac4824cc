import asyncio

import pytest
from tests.kit.stores import commit, files_of, store_at

from buildkit.core.errors import NotFound
from buildkit.fs.contenthash import Selector

WHOLE = [Selector()]


async def bring(store, lease, *, changed=True, **files):
    """Write files into the tree called ``k`` and have it lent."""
    async with store.kept_tree("k", lease, description="local source for k") as tree:
        for name, content in files.items():
            (tree.path / name).write_text(content)
        return tree.path, tree.lend(changed=changed)


@pytest.mark.row("A157", "L41")
async def test_what_was_brought_is_there_the_next_time(tmp_path):
    async with store_at(tmp_path) as store:
        async with store.lease() as lease:
            first, ref = await bring(store, lease, a="1")
            assert await files_of(store, ref, lease) == {"a": "1"}
        async with store.lease() as lease:
            second, ref = await bring(store, lease, b="2")
            assert await files_of(store, ref, lease) == {"a": "1", "b": "2"}
        assert first == second


async def test_two_users_at_once_have_trees_of_their_own(tmp_path):
    async with store_at(tmp_path) as store, store.lease() as one, store.lease() as two:
        first, ref = await bring(store, one, a="1")
        second, other = await bring(store, two, b="2")
        assert first != second
        assert await files_of(store, ref, one) == {"a": "1"}
        assert await files_of(store, other, two) == {"b": "2"}


async def test_a_tree_that_was_not_lent_stays_for_the_next_user(tmp_path):
    async with store_at(tmp_path) as store, store.lease() as lease:
        with pytest.raises(ZeroDivisionError):
            async with store.kept_tree("k", lease) as tree:
                (tree.path / "half").write_text("x")
                raise ZeroDivisionError
        _, ref = await bring(store, lease, a="1")
        assert await files_of(store, ref, lease) == {"a": "1", "half": "x"}


async def test_a_ref_ends_with_its_lease_and_the_tree_does_not(tmp_path):
    async with store_at(tmp_path) as store:
        async with store.lease() as lease:
            path, ref = await bring(store, lease, a="1")
        with pytest.raises(NotFound):
            store.description(ref)
        assert (path / "a").read_text() == "1"
        assert [(usage.mutable, usage.in_use) for usage in await store.usage()] == [(True, False)]


async def test_what_is_built_on_a_tree_takes_it_over(tmp_path):
    async with store_at(tmp_path) as store:
        async with store.lease() as lease:
            path, ref = await bring(store, lease, a="1")
            built = await commit(store, lease, ref, b="2")
            assert await files_of(store, ref, lease) == {"a": "1"}
        async with store.lease() as lease:
            assert await files_of(store, built, lease) == {"a": "1", "b": "2"}
            other, fresh = await bring(store, lease, c="3")
            assert other != path
            assert await files_of(store, fresh, lease) == {"c": "3"}
        assert (path / "a").read_text() == "1"


async def test_digests_are_remembered_until_the_tree_changes(tmp_path):
    async with store_at(tmp_path) as store:
        async with store.lease() as lease:
            path, ref = await bring(store, lease, a="1")
            first = await store.checksum(ref, WHOLE, lease)
        (path / "a").write_text("behind our back")
        async with store.lease() as lease:
            _, ref = await bring(store, lease, changed=False)
            assert await store.checksum(ref, WHOLE, lease) == first
        async with store.lease() as lease:
            _, ref = await bring(store, lease, changed=True)
            assert await store.checksum(ref, WHOLE, lease) != first


async def test_digests_of_a_tree_that_is_written_to_are_gone_whatever_happens(tmp_path):
    async with store_at(tmp_path) as store:
        async with store.lease() as lease:
            _, ref = await bring(store, lease, a="1")
            first = await store.checksum(ref, WHOLE, lease)
        async with store.lease() as lease:
            with pytest.raises(asyncio.CancelledError):
                async with store.kept_tree("k", lease) as tree:
                    (tree.path / "a").write_text("2")
                    raise asyncio.CancelledError
            _, ref = await bring(store, lease, changed=False)
            assert await store.checksum(ref, WHOLE, lease) != first


async def test_a_cache_mount_of_the_same_name_is_another_tree(tmp_path):
    from buildkit.store.caches import Sharing

    async with store_at(tmp_path) as store, store.lease() as lease:
        async with store.cache_mount("k", Sharing.SHARED, None, "", lease) as path:
            (path / "poison").write_text("x")
        _, ref = await bring(store, lease, a="1")
        assert await files_of(store, ref, lease) == {"a": "1"}


async def test_what_was_announced_is_told_to_the_next_user_unless_the_one_between_failed(tmp_path):
    async with store_at(tmp_path) as store:
        for announced, expected in ((b"one", b""), (b"two", b"one"), (b"two", b"two"), (b"", b"two"), (b"x", b"")):
            async with store.lease() as lease, store.kept_tree("k", lease) as tree:
                assert tree.announced == expected
                tree.lend(changed=announced != expected, announced=announced)
        async with store.lease() as lease:
            with pytest.raises(ZeroDivisionError):
                async with store.kept_tree("k", lease) as tree:
                    assert tree.announced == b"x"
                    raise ZeroDivisionError
        async with store.lease() as lease, store.kept_tree("k", lease) as tree:
            assert tree.announced == b""
