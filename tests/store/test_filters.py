from __future__ import annotations

import pytest
from tests.kit.stores import store_at

from buildkit.core.errors import InvalidInput
from buildkit.store.filters import parse_filters
from buildkit.store.gc import PrunePolicy

FIELDS = {"id": "abc", "type": "exec.cachemount", "description": "cached mount /var from exec", "mutable": ""}

pytestmark = pytest.mark.row("S69")


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([], True),
        ([""], True),
        (["id==abc"], True),
        (["id==ab"], False),
        (["id!=ab"], True),
        (["parents!=x"], True),
        (["id~=^a.c$"], True),
        (["parents~=."], False),
        (["description~=/mount .var/"], True),
        (["description~=|/var from|"], True),
        (['description=="cached mount /var from exec"'], True),
        (["mutable"], True),
        (["inuse"], False),
        (["parents"], False),
        (["mutable,id==abc"], True),
        (["mutable,id==b"], False),
        (["id==b", "mutable"], True),
        (["id==b", "inuse"], False),
        ([" id == abc"], True),
        (['"id"==abc'], True),
        ([r'id=="\x61bc"'], True),
        ([r'id=="\141bc"'], True),
    ],
)
def test_filters_select(filters, passes):
    assert parse_filters(filters)(FIELDS) is passes


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("=", "expected field or quoted"),
        ("id=abc", 'unsupported operator "="'),
        ("id==", "expected value or quoted"),
        ("id==abc,", "expected field or quoted"),
        ("id~=(", "regular expression"),
        ('id=="abc', "not terminated"),
        ("id==/abc/", "invalid quote"),
        (r'id=="\q"', "illegal escape"),
        (r'id=="\xz1"', "illegal numeric"),
        ("id abc", "expected an operator"),
    ],
)
def test_mistakes_are_shown_with_their_place(text, complaint):
    with pytest.raises(InvalidInput, match="filters: parse error: ") as raised:
        parse_filters([text])
    assert complaint in str(raised.value)


async def test_mistakes_are_told_with_what_the_filters_were_for(tmp_path):
    async with store_at(tmp_path) as store:
        with pytest.raises(
            InvalidInput, match=r"^failed to parse diskusage filters \[type==x id~=\(\]: filters: parse"
        ):
            await store.usage(["type==x", "id~=("])
        with pytest.raises(InvalidInput, match=r"^failed to parse prune filters \[id~=\(\]: filters: parse"):
            await anext(store.prune(PrunePolicy(filters=("id~=(",))))
