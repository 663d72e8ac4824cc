import re

import pytest

from buildkit.core.digest import EMPTY, algorithm, hex_of, parse_digest, sha256
from buildkit.core.errors import InvalidInput, NotFound, VertexDetail
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Extendable:
    shared: str = ""
    many: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Extended(Extendable):
    first: str
    name: str = "d"


def test_a_digest_is_checked_where_it_comes_from_outside():
    assert parse_digest(sha256(b"")) == EMPTY
    assert algorithm(EMPTY) == "sha256"
    assert len(hex_of(EMPTY)) == 64
    for bad in ("", "sha256:abc", "md5:" + "0" * 32, EMPTY.upper(), EMPTY + "\n"):
        with pytest.raises(InvalidInput, match="invalid digest"):
            parse_digest(bad)


def test_errors_gather_prefixes_and_details_on_their_way_out():
    error = NotFound('"/x": not found').prefixed("failed to compute cache key: ").detailed(VertexDetail("sha256:1"))
    assert str(error) == 'failed to compute cache key: "/x": not found'
    assert error.details == (VertexDetail("sha256:1"),)


def test_ids_are_25_characters_of_base_36_and_differ():
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-z]{25}", one) for one in ids)


def test_a_value_may_extend_another():
    assert Extended("x", shared="s") == Extended("x", "d", shared="s")
    assert (Extended("x").name, Extended("x").shared, Extended("x").many) == ("d", "", [])
