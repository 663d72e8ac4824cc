"""Attributes of exporters, good and bad."""

from __future__ import annotations

import pytest

from buildkit.core.errors import InvalidInput, Unsupported
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.exporter.annotations import parse_annotations
from buildkit.exporter.attrs import parse_flag, parse_image_attrs
from buildkit.exporter.epoch import Epoch, choose_epoch
from buildkit.exporter.platforms import platforms_of, ref_of
from buildkit.store.blobs import Compression

AMD64, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


def parsed(**attrs):
    values = {key.replace("_", "-"): value for key, value in attrs.items()}
    return parse_image_attrs(values, inline_attestations=False)


def refusal(**attrs):
    with pytest.raises(InvalidInput) as caught:
        parsed(**attrs)
    return str(caught.value)


@pytest.mark.row("E43")
def test_unknown_attributes_are_kept():
    assert parsed(name="x", something="y").rest == {"something": "y"}


@pytest.mark.row("E44")
def test_a_flag_must_be_a_go_bool():
    tail = ': strconv.ParseBool: parsing "yes": invalid syntax'
    assert refusal(oci_mediatypes="yes") == "non-bool value specified for oci-mediatypes" + tail
    with pytest.raises(InvalidInput, match="non-bool value specified for push: "):
        parse_flag({"push": "yes"}, "push", False)
    assert parse_flag({"push": ""}, "push", False) and parse_flag({"push": "T"}, "push", False)
    assert not parse_flag({"push": "0"}, "push", True) and parse_flag({}, "push", True)


@pytest.mark.row("E34", "E35", "E36")
def test_compression_has_kind_level_and_force():
    attrs = parsed(compression="zstd", compression_level="22", force_compression="")
    assert attrs.compression == Compression("zstd", 22, True) and parsed().compression == Compression("gzip")


@pytest.mark.row("E34", "E36")
def test_bad_compression_is_refused():
    assert refusal(compression="x") == "unsupported compression type x"
    assert refusal(compression_level="x").startswith("non-integer value x specified for compression-level: ")
    assert "0 to 9" in refusal(compression_level="10")
    assert refusal(force_compression="x").startswith("non-bool value x specified for force-compression: ")
    conflict = 'exporter option "compression=estargz" conflicts with "oci-mediatypes=false"'
    assert refusal(compression="estargz", oci_mediatypes="false") == conflict
    with pytest.raises(Unsupported, match="compression=estargz"):
        parsed(compression="estargz")


@pytest.mark.row("E31")
def test_artifacts_need_oci_types():
    conflict = 'exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"'
    assert refusal(oci_artifact="true", oci_mediatypes="false") == conflict


@pytest.mark.row("E37")
def test_an_epoch_is_a_number_or_explicitly_none():
    assert parsed(source_date_epoch="12").epoch == Epoch(12)
    assert parsed(source_date_epoch="").epoch == Epoch(None) and parsed().epoch is None
    assert refusal(source_date_epoch="x").startswith("invalid source-date-epoch: ")


@pytest.mark.row("E37")
def test_the_exporters_epoch_wins_over_the_frontends():
    metadata = {"source.date.epoch": b"5", "source.date.epoch/linux/arm64": b"7"}
    assert choose_epoch(Epoch(None), metadata, "linux/arm64") == Epoch(None)
    assert choose_epoch(None, metadata, "linux/arm64") == Epoch(5)
    assert choose_epoch(None, {"source.date.epoch/linux/arm64": b"7"}, "linux/arm64") == Epoch(7)
    with pytest.raises(InvalidInput, match='invalid SOURCE_DATE_EPOCH from frontend: "x"'):
        choose_epoch(None, {"source.date.epoch": b"x"}, "")


@pytest.mark.row("E39")
def test_annotations_go_where_their_key_says():
    rules, rest = parse_annotations(
        {
            "annotation.a": "1",
            "annotation-manifest[linux/arm64].a": "2",
            "annotation-index.b": "3",
            "annotation-index-descriptor.c": "4",
            "annotation-manifest-descriptor[linux/amd64].d": "5",
            "name": "x",
        }
    )
    assert rules.of(AMD64).manifest == {"a": "1"} and rules.of(ARM).manifest == {"a": "2"}
    assert rules.of(AMD64).manifest_descriptor == {"d": "5"} and rules.of(None).manifest_descriptor == {}
    assert rules.of(None).index == {"b": "3"} and rules.of(None).index_descriptor == {"c": "4"}
    assert rest == {"name": "x"} and rules.platforms == {"linux/arm64", "linux/amd64"}


@pytest.mark.row("E39", "E45")
def test_later_annotations_win_and_bad_kinds_are_refused():
    ours, theirs = (parse_annotations({"annotation.a": value})[0] for value in ("1", "2"))
    assert ours.merged(theirs).of(None).manifest == {"a": "2"}
    with pytest.raises(InvalidInput, match="unrecognized annotation type x"):
        parse_annotations({"annotation-x.a": "1"})


def test_a_lone_ref_has_its_configs_platform():
    result = Result({"": None}, metadata={"containerimage.config": b'{"os":"linux","architecture":"aarch64"}'})
    assert [one.id for one in platforms_of(result)] == ["linux/arm64"]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({}, "unable to export multiple refs, missing platforms mapping"),
        ({"refs.platforms": b""}, "invalid empty platforms index"),
        ({"refs.platforms": b"[]"}, "failed to parse platforms"),
        ({"refs.platforms": b'{"Platforms":[{"ID":"","Platform":{}}]}'}, "invalid empty platform key"),
        ({"refs.platforms": b'{"Platforms":[{"ID":"a","Platform":{"os":"linux"}}]}'}, "invalid platform value"),
    ],
)
def test_a_broken_mapping_of_platforms_is_refused(metadata, text):
    with pytest.raises(InvalidInput, match=text):
        platforms_of(Result({"linux/amd64": None}, single=False, metadata=metadata))


def test_a_platform_without_ref_is_refused():
    with pytest.raises(InvalidInput, match="failed to find ref for ID linux/arm64"):
        ref_of(Result({"linux/amd64": "a", "linux/386": "b"}, single=False), "linux/arm64")
    assert ref_of(Result({"linux/amd64": "a"}, single=False), "linux/arm64") == "a"
