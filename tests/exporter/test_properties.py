"""Exporters refuse nonsense with a word about it, and nothing else."""

from __future__ import annotations

import io
import json
import tarfile

from hypothesis import assume, given
from hypothesis import strategies as st

from buildkit.core.errors import BuildkitError, Corrupt
from buildkit.core.result import Result
from buildkit.exporter.config import LayerFacts, Times, patch_config
from buildkit.exporter.epoch import Epoch, format_rfc3339, parse_rfc3339
from buildkit.exporter.exporters import TYPES, open_exporter
from buildkit.exporter.platforms import platforms_of
from buildkit.exporter.rewrite import ClampedTar

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)
entries = st.fixed_dictionaries(
    {}, optional={"empty_layer": st.booleans(), "created_by": st.text(), "created": st.just("2020-01-01T00:00:00Z")}
)
layers = st.lists(st.builds(LayerFacts, st.just("sha256:x"), st.one_of(st.none(), st.integers(0, 10**18)), st.text()))


@given(st.dictionaries(st.sampled_from(["os", "architecture", "history", "created", "config", "x"]), values), layers)
def test_any_config_is_patched_or_refused(config, made):
    content = json.dumps(config).encode()
    try:
        patched = json.loads(patch_config(content, made, Times(Epoch(5))))
    except BuildkitError:
        return
    assert list(patched) == sorted(patched) and patched.get("config") == config.get("config")


@given(st.lists(entries, max_size=6), layers)
def test_a_history_has_one_entry_with_content_for_each_layer(history, made):
    config = {"os": "linux", "architecture": "amd64", "history": history}
    found = json.loads(patch_config(json.dumps(config).encode(), made, Times()))["history"]
    assert sum(not entry.get("empty_layer", False) for entry in found) == len(made)
    assert [entry.get("created_by", "") for entry in found[: len(history)]] == [
        e.get("created_by", "") for e in history
    ]


@given(st.sampled_from(TYPES), st.dictionaries(st.text(max_size=20), st.text(max_size=10)))
def test_any_attributes_are_taken_or_refused(kind, attrs):
    try:
        open_exporter(kind, attrs)
    except BuildkitError as error:
        assert str(error)


@given(
    st.one_of(
        st.binary(),
        values.map(lambda v: json.dumps(v).encode()),
        values.map(lambda v: json.dumps({"Platforms": v}).encode()),
    )
)
def test_any_mapping_of_platforms_is_read_or_refused(mapping):
    try:
        platforms_of(Result({}, single=False, metadata={"refs.platforms": mapping}))
    except BuildkitError as error:
        assert str(error)


@given(st.integers(0, 4 * 10**18))
def test_times_survive_writing_and_reading(time):
    assert parse_rfc3339(format_rfc3339(time)) == time


@given(st.binary(max_size=3000), st.integers(0, 2000))
def test_a_damaged_tar_is_read_or_corrupt(noise, place):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("n" * 200)
        entry.size, entry.mtime = 700, 50.5
        tar.addfile(entry, io.BytesIO(bytes(700)))
    content = out.getvalue()
    assume(noise)
    damaged = content[:place] + noise + content[place + len(noise) :]
    try:
        b"".join(ClampedTar(io.BytesIO(damaged), 10).read())
    except Corrupt as error:
        assert str(error)
