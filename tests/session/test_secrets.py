from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.csv import split_fields
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.session.secrets import LIMIT, SecretFiles, SecretSource, parse_secret


@pytest.mark.row("T27")
@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("id=a", SecretSource("a")),
        ("id=a,src=f", SecretSource("a", "f")),
        ("ID=a,Source=f", SecretSource("a", "f")),
        ("id=a,env=V", SecretSource("a", "", "V")),
        ("id=a,type=env,src=V", SecretSource("a", "", "V")),
        ("type=file,id=a,src=f", SecretSource("a", "f")),
        ('id=a,"src=f,g"', SecretSource("a", "f,g")),
    ],
)
def test_a_secret_flag_is_parsed(text, source):
    assert parse_secret(text) == source


@pytest.mark.row("T27")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id", "invalid field 'id' must be a key=value pair"),
        ("id=a,type=x", 'unsupported secret type "x"'),
        ("k=v", "unexpected key 'k' in 'k=v'"),
    ],
)
def test_a_bad_secret_flag_says_what_is_wrong(text, message):
    with pytest.raises(InvalidInput) as caught:
        parse_secret(text)
    assert str(caught.value) == message


@pytest.mark.row("T27", "A165")
async def test_a_secret_comes_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "f").write_bytes(b"\0file")
    sources = [SecretSource("file", str(tmp_path / "f")), SecretSource("env", variable="V"), SecretSource("V")]
    secrets = SecretFiles(sources, {"V": "value"})
    assert [await secrets.get(id) for id in ("file", "env", "V")] == [b"\0file", b"value", b"value"]
    with pytest.raises(NotFound, match="not found"):
        await secrets.get("other")


@pytest.mark.row("T27")
def test_an_id_that_is_no_variable_is_a_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="failed to stat nothing"):
        SecretFiles([SecretSource("nothing")], {})
    with pytest.raises(InvalidInput, match="secret missing ID"):
        SecretFiles([SecretSource("")], {})


@pytest.mark.row("A165")
async def test_a_secret_is_at_most_500_kib(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(b"x" * LIMIT)
    secrets = SecretFiles([SecretSource("s", str(path))])
    assert len(await secrets.get("s")) == LIMIT
    path.write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(FailedPrecondition, match="invalid secret size 512001"):
        await secrets.get("s")
    with pytest.raises(InvalidInput, match=r"secret s too big\. max size 500KiB"):
        SecretFiles([SecretSource("s", str(path))])


@given(st.lists(st.text(alphabet=st.characters(blacklist_characters="\r\n", codec="utf-8"), max_size=9), min_size=1))
def test_quoted_fields_read_back(fields):
    text = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert split_fields(text, "x") == fields


@pytest.mark.parametrize("text", ['a"b', '"a', '"a"b', 'x,"'])
def test_stray_quotes_are_refused(text):
    with pytest.raises(InvalidInput, match=r"^x: "):
        split_fields(text, "x")
