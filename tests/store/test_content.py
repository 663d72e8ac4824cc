from __future__ import annotations

import os
import threading
import time

import pytest

from buildkit.core.digest import sha256
from buildkit.core.errors import Corrupt, FailedPrecondition, InvalidInput, NotFound
from buildkit.store.content import PARTIAL_KEPT, ContentStore


@pytest.fixture
def content(tmp_path):
    return ContentStore(tmp_path)


def leftovers(content):
    return list((content.root / "ingest").iterdir())


def test_what_is_put_can_be_read_by_its_digest(content):
    digest = content.put(b"hello")
    assert digest == sha256(b"hello")
    assert content.read(digest) == b"hello"
    assert content.get(digest).size == 5
    assert [blob.digest for blob in content.walk()] == [digest]


def test_missing_blobs_are_named(content):
    digest = sha256(b"nothing")
    assert content.find(digest) is None
    for ask in (content.get, content.open, content.read, content.verify):
        with pytest.raises(NotFound, match=digest):
            ask(digest)


def test_digests_that_are_none_never_become_paths(content):
    for bad in ("sha256:../../etc/passwd", "sha256:ABC", "md5:" + "0" * 32, ""):
        with pytest.raises(InvalidInput):
            content.path(bad)


def test_a_wrong_digest_leaves_nothing(content):
    with pytest.raises(Corrupt, match="expected"), content.ingest(sha256(b"right")) as ingest:
        ingest.write(b"wrong")
        ingest.commit()
    assert leftovers(content) == [] and list(content.walk()) == []


@pytest.mark.parametrize("size", [3, 9])
def test_a_wrong_size_leaves_nothing(content, size):
    with pytest.raises(Corrupt, match=str(size)), content.ingest(sha256(b"right"), size) as ingest:
        ingest.write(b"right")
        ingest.commit()
    assert leftovers(content) == [] and list(content.walk()) == []


def test_a_wrong_digest_of_a_resumable_ingest_leaves_nothing_to_resume(content):
    with pytest.raises(Corrupt), content.ingest(sha256(b"right"), resume="layer") as ingest:
        ingest.write(b"wrong")
        ingest.commit()
    assert leftovers(content) == []


def test_leaving_without_commit_leaves_nothing(content):
    with content.ingest() as ingest:
        ingest.write(b"half")
    assert leftovers(content) == []


def test_an_interrupted_download_goes_on_where_it_stopped_even_in_another_process(content, tmp_path):
    digest = sha256(b"one two")
    with content.ingest(digest, 7, resume="layer") as ingest:
        ingest.write(b"one ")
    again = ContentStore(tmp_path)
    with again.ingest(digest, 7, resume="layer") as ingest:
        assert ingest.offset == 4
        ingest.write(b"two")
        assert ingest.commit() == digest
    assert again.read(digest) == b"one two"


def test_too_few_bytes_can_still_be_completed(content):
    digest = sha256(b"one two")
    with pytest.raises(Corrupt, match="got 4 bytes"), content.ingest(digest, 7, resume="layer") as ingest:
        ingest.write(b"one ")
        ingest.commit()
    with content.ingest(digest, 7, resume="layer") as ingest:
        assert ingest.offset == 4


def test_a_server_that_cannot_resume_starts_over(content):
    with content.ingest(resume="layer") as ingest:
        ingest.write(b"junk")
    with content.ingest(sha256(b"good"), resume="layer") as ingest:
        ingest.restart()
        ingest.write(b"good")
        ingest.commit()
    assert content.has(sha256(b"good"))


def test_two_ingests_of_one_name_do_not_share(content):
    digest = sha256(b"same")
    with content.ingest(digest, resume="layer") as one, content.ingest(digest, resume="layer") as two:
        for ingest in (one, two):
            ingest.write(b"same")
            ingest.commit()
    assert content.read(digest) == b"same" and leftovers(content) == []


def test_an_ingest_is_over_after_commit(content):
    with content.ingest() as ingest:
        ingest.write(b"x")
        ingest.commit()
        with pytest.raises(FailedPrecondition):
            ingest.commit()


def test_opening_removes_temporary_files_and_old_partial_ones(content, tmp_path):
    (tmp_path / "ingest" / "killed").write_bytes(b"x")
    for name, age in (("partial-old", PARTIAL_KEPT + 60), ("partial-new", 60)):
        (tmp_path / "ingest" / name).write_bytes(b"x")
        os.utime(tmp_path / "ingest" / name, (time.time() - age,) * 2)
    assert [path.name for path in leftovers(ContentStore(tmp_path))] == ["partial-new"]


def test_many_threads_may_ingest_one_blob(content):
    payload = os.urandom(1 << 20)
    threads = [threading.Thread(target=content.put, args=(payload,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content.verify(sha256(payload)) and len(list(content.walk())) == 1


def test_damage_is_found_by_verify(content):
    digest = content.put(b"good")
    content.path(digest).write_bytes(b"evil")
    assert not content.verify(digest)


def test_other_algorithms_have_their_own_folder(content):
    import hashlib

    digest = "sha512:" + hashlib.sha512(b"x").hexdigest()
    with content.ingest(digest) as ingest:
        ingest.write(b"x")
        assert ingest.commit() == digest
    assert content.read(digest) == b"x"


def test_reading_has_a_limit(content):
    digest = content.put(b"12345")
    with pytest.raises(Corrupt, match="limit is 4"):
        content.read(digest, limit=4)


def test_bytes_beyond_the_expected_size_are_refused_before_they_are_written(content):
    with content.ingest(sha256(b"right"), 5) as ingest:
        ingest.write(b"righ")
        with pytest.raises(Corrupt, match="more than the expected 5 bytes"):
            ingest.write(b"t" * 1000)
        assert ingest.offset == 4 and leftovers(content) == []


def test_a_resumed_ingest_that_is_too_long_already_begins_anew(content):
    with content.ingest(sha256(b"right"), 50, resume="layer") as ingest:
        ingest.write(b"something long")
    with content.ingest(sha256(b"right"), 5, resume="layer") as ingest:
        assert ingest.offset == 0
        ingest.write(b"right")
        assert ingest.commit() == sha256(b"right")
