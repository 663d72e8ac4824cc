import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.rpc.hpack import STATIC, Decoder, HeaderError, decode_huffman, encode

field = st.tuples(st.binary(min_size=1, max_size=40), st.binary(max_size=300)) | st.sampled_from(STATIC)


@given(st.lists(st.lists(field, max_size=12), max_size=4))
def test_what_the_encoder_writes_the_decoder_reads(lists):
    decoder = Decoder()
    for headers in lists:
        assert decoder.decode(encode(tuple(headers))) == tuple(headers)


def test_the_dynamic_table_works_as_in_the_rfc():
    # RFC 7541, C.4: three requests with Huffman coding on one connection
    blocks = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ]
    decoder = Decoder()
    first, second, third = (dict(decoder.decode(bytes.fromhex(block))) for block in blocks)
    assert first[b":authority"] == second[b":authority"] == third[b":authority"] == b"www.example.com"
    assert second[b"cache-control"] == b"no-cache"
    assert third[b"custom-key"] == b"custom-value"


@given(st.binary(max_size=200))
def test_garbage_is_headers_or_a_header_error(block):
    try:
        Decoder().decode(block)
    except HeaderError:
        pass


def test_a_header_bomb_is_refused():
    decoder = Decoder(max_list_size=1000)
    block = encode(((b"x-big", b"a" * 400),))
    with pytest.raises(HeaderError, match="larger than 1000"):
        decoder.decode(block * 3)


def test_bad_huffman_padding_is_refused():
    with pytest.raises(HeaderError):
        decode_huffman(b"\xff\xff\xff\xff")
