from __future__ import annotations

from buildkit.core.db import Database
from buildkit.store.lease import Offer
from buildkit.store.store import Store
from buildkit.worker.leases import Leases


class Asking:
    """A step that these sessions wait for."""

    def __init__(self, *sessions):
        self._sessions = sessions

    def sessions(self):
        return self._sessions


async def fetch(descriptor):
    raise AssertionError


async def test_a_step_may_fetch_what_any_of_its_jobs_may_and_no_more(tmp_path):
    store = Store.open(tmp_path, Database(tmp_path / "db"), snapshotter="native")
    leases = Leases(store)
    async with store.lease() as one, store.lease() as two, store.lease() as other:
        for lease, digest in ((one, "a"), (two, "b"), (other, "c")):
            lease.offers[digest] = Offer(fetch)
        with leases.lent("1", one), leases.lent("2", two), leases.lent("3", other):
            async with leases.of(Asking("1", "2", "unknown")) as lease:
                assert sorted(lease.offers) == ["a", "b"]
                lease.offers["new"] = Offer(fetch)
        assert sorted(one.offers) == ["a", "b", "new"]
        assert sorted(other.offers) == ["c"]
        async with leases.of(Asking("1")) as lease:
            assert lease.offers == {}
    await store.close()


async def test_a_step_of_a_build_without_session_may_fetch_what_that_build_may(tmp_path):
    store = Store.open(tmp_path, Database(tmp_path / "db"), snapshotter="native")
    leases = Leases(store)
    async with store.lease() as open_to_all, store.lease() as other:
        open_to_all.offers["a"] = other.offers["b"] = Offer(fetch)
        with leases.lent("", open_to_all), leases.lent("1", other):
            async with leases.of(Asking()) as lease:
                assert sorted(lease.offers) == ["a"]
            async with leases.of(Asking("1")) as lease:
                assert sorted(lease.offers) == ["b"]
    await store.close()
