from concurrent.futures import ThreadPoolExecutor
from threading import Event

from buildkit.core.db import Database
from buildkit.store.listings import Listings


class Slow(Database):
    """Its tables take until somebody else has asked for something."""

    asked = Event()

    def ensure(self, schema):
        self.asked.wait(0.1)
        super().ensure(schema)

    def execute(self, sql, values=()):
        self.asked.set()
        return super().execute(sql, values)


def test_two_threads_may_be_the_first_to_ask(tmp_path):
    listings = Listings(Slow(tmp_path / "db"))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(listings.has, ("a", "b"))) == [False, False]
