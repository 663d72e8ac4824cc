from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.errors import Corrupt, Exhausted, InvalidInput, Unsupported
from buildkit.oci import compress
from buildkit.oci.compress import compressor, decompress, detect

TEXT = b"".join(b"line %d of something that repeats itself\n" % number for number in range(5000))
PACKED = {
    "gzip": gzip.compress(TEXT),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(TEXT),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "uncompressed": TEXT,
}


def packed(content: bytes, kind: str, level: int | None = None, block: int = 1 << 20) -> bytes:
    stream = compressor(kind, level)
    parts = [stream.compress(content[start : start + block]) for start in range(0, len(content), block)]
    return b"".join(parts) + stream.flush()


def plain(content: bytes, step: int = 1000, **options) -> bytes:
    stream = decompress(io.BytesIO(content), **options)
    return b"".join(iter(lambda: stream.read(step), b""))


@pytest.mark.parametrize("kind", PACKED)
def test_every_kind_is_told_by_its_first_bytes_and_read(kind: str) -> None:
    assert detect(PACKED[kind][:6]) == kind
    assert plain(PACKED[kind]) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_members_in_a_row_and_padding_are_one_stream(kind: str) -> None:
    assert plain(PACKED[kind] * 3 + bytes(300_000)) == TEXT * 3


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_truncated_stream_is_refused(kind: str, cut: int) -> None:
    with pytest.raises(Corrupt, match=f"{kind} stream is truncated"):
        plain(PACKED[kind][:-cut])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_a_damaged_stream_is_refused(kind: str) -> None:
    content = bytearray(PACKED[kind])
    content[len(content) // 2] ^= 0x55
    with pytest.raises(Corrupt, match=kind):
        plain(bytes(content))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_wrong_checksum_is_noticed(kind: str) -> None:
    content = bytearray(PACKED[kind])
    content[-5 if kind == "gzip" else -1] ^= 1
    with pytest.raises(Corrupt):
        plain(bytes(content))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_other_bytes_after_the_end_are_refused(kind: str) -> None:
    with pytest.raises(Corrupt, match="something else follows"):
        plain(PACKED[kind] + b"garbage")


@pytest.mark.parametrize("kind", PACKED)
def test_output_is_limited(kind: str) -> None:
    assert plain(PACKED[kind], most_bytes=len(TEXT)) == TEXT
    with pytest.raises(Exhausted, match="more bytes than allowed"):
        plain(PACKED[kind], most_bytes=len(TEXT) - 1)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_is_read_in_pieces(kind: str) -> None:
    make = {"gzip": gzip.compress, "zstd": zstandard.compress, "bzip2": bz2.compress, "xz": lzma.compress}[kind]
    stream = decompress(io.BytesIO(make(bytes(50 << 20))), most_bytes=1 << 20)
    with pytest.raises(Exhausted):
        while piece := stream.read(1 << 16):
            assert len(piece) <= 1 << 16


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_many_small_members_take_time_by_their_size_and_not_by_its_square(kind: str, monkeypatch) -> None:
    make = {"gzip": gzip.compress, "zstd": zstandard.compress, "bzip2": bz2.compress, "xz": lzma.compress}[kind]
    given = []
    real = compress._decoder(kind)

    class Noted:
        def __init__(self) -> None:
            self._real = real()

        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            given.append(len(data))
            return self._real.decompress(data, max_length)

        def __getattr__(self, name: str):
            return getattr(self._real, name)

    monkeypatch.setattr(compress, "_decoder", lambda kind: Noted)
    content = make(b"x") * 20_000
    assert plain(content, 1 << 16) == b"x" * 20_000
    assert sum(given) < 8 * len(content)


def test_a_zstd_frame_that_unpacks_to_much_at_once_is_not_moved_with_every_read() -> None:
    """Reading in small pieces costs by the size: the rest of what a decoder gave is never copied."""
    decoder = compress._ZstdDecoder()
    decoder.decompress(zstandard.compress(bytes(8 << 20)), 1)
    rest = decoder._ready
    for _ in range(100):
        decoder.decompress(b"", 1000)
    assert decoder._ready.obj is rest.obj and len(decoder._ready) == len(rest) - 100_000


@pytest.mark.parametrize(
    ("kind", "level"),
    [("gzip", None), *(("gzip", level) for level in range(10)), ("zstd", None), ("zstd", 0), ("zstd", 1), ("zstd", 19)],
)
@pytest.mark.row("E36")
def test_every_level_round_trips_through_other_readers(kind: str, level: int | None) -> None:
    content = packed(TEXT, kind, level, block=7777)
    read = (
        gzip.decompress
        if kind == "gzip"
        else lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
    )
    assert read(content) == TEXT
    assert (len(content) < len(TEXT)) is (level != 0 or kind == "zstd")


@pytest.mark.row("E56")
def test_gzip_headers_carry_neither_time_nor_name() -> None:
    for level in (None, 0, 1, 6, 9):
        assert packed(b"x", "gzip", level)[:8] == b"\x1f\x8b\x08\0\0\0\0\0"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_the_same_bytes_come_out_however_many_streams_run(kind: str) -> None:
    content = random.Random(1).randbytes(1 << 20) + TEXT * 20
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(packed(content, kind))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {packed(content, kind)}


@pytest.mark.parametrize("kind", ["uncompressed", "gzip", "zstd"])
def test_nothing_compresses_to_a_valid_stream(kind: str) -> None:
    assert plain(packed(b"", kind)) == b""


@pytest.mark.row("E34")
def test_unknown_kinds_and_levels_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="unsupported compression type lzw"):
        compressor("lzw")
    with pytest.raises(Unsupported, match="estargz"):
        compressor("estargz")
    for kind, level in (("gzip", 10), ("gzip", -1), ("zstd", 23)):
        with pytest.raises(InvalidInput, match=f"compression level {level} is not one of {kind}"):
            compressor(kind, level)


def test_a_missing_encoder_is_an_error_and_not_another_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "isal", None)
    with pytest.raises(ImportError):
        compressor("gzip")


@given(st.binary(max_size=5000), st.integers(1, 3000), st.sampled_from(["uncompressed", "gzip", "zstd"]))
def test_any_content_survives_any_step(content: bytes, step: int, kind: str) -> None:
    if kind == "uncompressed" and detect(content[:6]) != "uncompressed":
        return
    assert plain(packed(content, kind, block=step), step) == content


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd", "bzip2", "xz"]))
def test_noise_is_corrupt_and_never_worse(noise: bytes, kind: str) -> None:
    try:
        plain(PACKED[kind][:20] + noise)
    except Corrupt:
        pass
