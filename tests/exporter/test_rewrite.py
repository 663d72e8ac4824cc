"""Clamping the times of tars that came from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path

import pytest
from tests.kit.exports import bench
from tests.kit.stores import FakeImage

from buildkit.core.errors import Corrupt, Unsupported
from buildkit.core.result import Result
from buildkit.exporter.rewrite import ClampedTar

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "rewritten_tars.json").read_text())
"""Tars, compressed, and the digests of what BuildKit 0.32 makes of them for the epoch 1000."""

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def member(name, mtime, size=0, **more):
    one = tarfile.TarInfo(name)
    one.mtime, one.size = mtime, size
    one.pax_headers = more
    return one


def tar_of(*members, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(b"x" * one.size))
    return out.getvalue()


def clamped(content, latest):
    tar = ClampedTar(io.BytesIO(content), latest)
    return b"".join(tar.read()), tar.changed


def times(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {one.name: one.mtime for one in tar}


@pytest.mark.row("E38")
@pytest.mark.parametrize("format", FORMATS)
def test_later_times_become_the_epoch_and_nothing_else_changes(format):
    name = "d/" * 60 + "name"
    content = tar_of(member("old", 5, 700), member("new", 50, 1 << 20), member(name, 50, 3), format=format)
    result, changed = clamped(content, 10)
    assert changed and times(result) == {"old": 5, "new": 10, name: 10}
    with tarfile.open(fileobj=io.BytesIO(result)) as tar:
        assert [len(tar.extractfile(one).read().strip(b"x")) for one in tar] == [0, 0, 0]
    assert clamped(result, 10) == (result, False)


@pytest.mark.row("E38")
@pytest.mark.parametrize("format", FORMATS)
def test_a_tar_with_early_times_is_left_as_it_is(format):
    content, _ = clamped(tar_of(member("old", 5, 700), format=format), 5)
    assert clamped(content, 5) == (content, False)
    assert content.endswith(bytes(1024)) and not content.endswith(bytes(2048))


@pytest.mark.row("E38")
def test_a_tar_is_spelled_as_go_spells_it():
    plain = tar_of(member("d/" * 60 + "name", 5, 3), format=tarfile.USTAR_FORMAT)
    other = bytearray(plain)
    other[100:108], other[329:345] = b"   644 \0", bytes(16)
    other[148:156] = b"%06o\0 " % (sum(other[:148]) + sum(other[156:512]) + 8 * 32)
    result, changed = clamped(bytes(other), 10)
    assert changed and result[100:108] == b"0000644\0" and result[329:345] == b"0000000\0" * 2
    assert result == clamped(plain, 10)[0]
    assert clamped(result[:-1024], 10) == (result, True)


@pytest.mark.row("E38")
def test_records_with_fractions_are_clamped_too():
    content = tar_of(member("a", 50.25, 3, atime="60.5", ctime="7", comment="kept"), member("b", 1, 4))
    result, changed = clamped(content, 10)
    with tarfile.open(fileobj=io.BytesIO(result)) as tar:
        headers = tar.getmember("a").pax_headers
        assert tar.extractfile("b").read() == b"xxxx"
    assert changed and headers == {"atime": "10", "ctime": "7", "comment": "kept"}


@pytest.mark.row("E38")
@pytest.mark.parametrize("name", GOLDEN)
def test_a_rewritten_tar_is_the_one_that_buildkit_writes(name):
    known = GOLDEN[name]
    result, changed = clamped(zlib.decompress(base64.b64decode(known["tar"])), 1000)
    assert changed and hashlib.sha256(result).hexdigest() == known["rewritten"]
    assert clamped(result, 1000) == (result, False)


def test_sparse_files_are_refused():
    sparse = member("a", 5)
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(Unsupported, match="sparse"):
        clamped(tar_of(sparse, format=tarfile.GNU_FORMAT), 10)


@pytest.mark.parametrize("cut", [100, 513, 1200])
def test_a_truncated_tar_is_corrupt(cut):
    with pytest.raises(Corrupt):
        clamped(tar_of(member("a", 5, 2000))[:cut], 10)


@pytest.mark.row("E38")
@pytest.mark.parametrize(("is_base", "time"), [(True, 50), (False, 10)])
async def test_only_the_base_images_layers_keep_their_times(is_base, time, tmp_path):
    async with bench(tmp_path) as b:
        image = FakeImage(b.store, [tar_of(member("a", 50, 3))])
        base = b'{"rootfs":{"type":"layers","diff_ids":["%b"]}}' % image.layers[0].diff_id.encode()
        metadata = {"containerimage.base.config": base} if is_base else {}
        result = Result({"": image.load(b.lease)}, metadata=metadata)
        archive = await b.archive(result, attrs={"rewrite-timestamp": "true", "source-date-epoch": "10"})
    with archive.layer(0) as layer:
        assert [one.mtime for one in layer] == [time]
    same = archive.config["rootfs"]["diff_ids"] == [image.layers[0].diff_id]
    assert same == is_base


@pytest.mark.row("E38")
async def test_rewritten_layers_get_the_compression_that_is_asked_for_whatever_was_made_before(tmp_path):
    attrs = {"rewrite-timestamp": "true", "source-date-epoch": "10"}
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1")
        await b.archive(ref, attrs={**attrs, "compression": "uncompressed"})
        archive = await b.archive(ref, attrs={**attrs, "compression": "zstd"})
    (layer,) = archive.root["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert archive.blob(layer["digest"]).startswith(b"\x28\xb5\x2f\xfd")
