"""How many layers are worked on at once."""

from __future__ import annotations

import threading

import pytest
from tests.kit.stores import FakeImage, commit, store_at, tar_of

from buildkit.core.aio import gather_all
from buildkit.store.blobs import Blobs, Compression
from buildkit.store.trees import Trees


@pytest.mark.row("X77")
@pytest.mark.parametrize("cores", [1, 3])
async def test_as_many_layers_are_compressed_at_once_as_there_are_cores(tmp_path, monkeypatch, cores):
    working, most, lock, full = 0, 0, threading.Lock(), threading.Barrier(cores)
    write = Blobs._write

    def watched(*args):
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        full.wait()
        try:
            return write(*args)
        finally:
            with lock:
                working -= 1

    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(Blobs, "_write", watched)
    async with store_at(tmp_path) as store, store.lease() as lease:
        refs = [await commit(store, lease, name=str(number)) for number in range(2 * cores)]
        await gather_all(store.layers(ref, Compression("zstd"), lease) for ref in refs)
    assert most == cores


@pytest.mark.row("X77")
async def test_layers_of_an_image_are_unpacked_one_after_the_other_the_lowest_first(tmp_path, monkeypatch):
    events = []
    apply = Trees._apply

    def watched(self, record, below, descriptor):
        events.append(("begin", descriptor.digest))
        apply(self, record, below, descriptor)
        events.append(("end", descriptor.digest))

    monkeypatch.setattr(Trees, "_apply", watched)
    async with store_at(tmp_path) as store, store.lease() as lease:
        image = FakeImage(store, [tar_of(**{f"f{number}": "x"}) for number in range(4)])
        await store.mounts(image.load(lease), lease)
    digests = [layer.descriptor.digest for layer in image.layers]
    assert events == [(what, digest) for digest in digests for what in ("begin", "end")]
