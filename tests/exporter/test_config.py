"""Image configs: history, times, and what stays as the frontend wrote it."""

from __future__ import annotations

import json

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.exporter.config import LayerFacts, Times, default_config, patch_config
from buildkit.exporter.epoch import Epoch, format_rfc3339

SECOND = 1_000_000_000


def day(number):
    return f"2020-01-{number:02d}T00:00:00Z"


DAY_ONE = 1_577_836_800 * SECOND


def layers(*days):
    """Layers made on these days of January 2020 (None: unknown)."""
    return [
        LayerFacts(f"sha256:{d}", None if d is None else DAY_ONE + (d - 1) * 86400 * SECOND, f"step {d}") for d in days
    ]


def config(*history, **more):
    return json.dumps({"os": "linux", "architecture": "amd64", "history": list(history), **more}).encode()


def patched(content, made, times=Times(), **more):
    return json.loads(patch_config(content, made, times, **more))


def stamps(content, made, times=Times(), **more):
    return [entry.get("created") for entry in patched(content, made, times, **more)["history"]]


STEP = {"created_by": "x"}
EMPTY = {"created_by": "e", "empty_layer": True}


@pytest.mark.row("E51")
def test_top_level_keys_are_sorted_and_values_stay_as_written():
    content = b'{ "os":"linux", "z": {"b": 1.0,  "a": "\\u00e9 <x> \\" y"}, "architecture":"amd64", "config": {} }'
    assert patch_config(content, [], Times()) == (
        b'{"architecture":"amd64","config":{},"created":null,"history":null,"os":"linux",'
        b'"rootfs":{"type":"layers","diff_ids":null},"z":{"b":1.0,"a":"\\u00e9 \\u003cx\\u003e \\" y"}}'
    )


@pytest.mark.row("E52")
def test_each_layer_gives_its_time_to_its_entry_and_the_last_is_the_images():
    result = patched(config(STEP, EMPTY, STEP), layers(1, 2))
    assert [entry["created"] for entry in result["history"]] == [day(1), day(2), day(2)]
    assert result["created"] == day(2) and result["rootfs"]["diff_ids"] == ["sha256:1", "sha256:2"]


@pytest.mark.row("E52")
def test_leading_entries_without_layers_get_the_first_new_layers_time():
    assert stamps(config(EMPTY, EMPTY, STEP), layers(3)) == [day(3)] * 3


@pytest.mark.row("E52")
def test_metadata_after_a_base_image_gets_the_first_new_layers_time():
    based = {**STEP, "created": day(1)}
    assert stamps(config(based, EMPTY, STEP), layers(1, 5)) == [day(1), day(5), day(5)]


@pytest.mark.row("E52")
def test_missing_entries_are_written_from_the_layers():
    history = patched(config(STEP), layers(1, 2))["history"]
    assert history[1] == {"created": day(2), "created_by": "step 2", "comment": "buildkit.exporter.image.v0"}


@pytest.mark.row("E52")
def test_surplus_entries_become_empty_layers():
    history = patched(config(STEP, STEP, STEP), layers(1))["history"]
    assert [entry.get("empty_layer", False) for entry in history] == [False, True, True]


@pytest.mark.row("E52")
def test_a_created_time_that_is_there_stays():
    assert patched(config(STEP, created=day(9)), layers(1))["created"] == day(9)


@pytest.mark.row("E52")
def test_inline_cache_is_base64():
    assert patched(config(), [], inline_cache=b"\0x")["moby.buildkit.cache.v0"] == "AHg="


@pytest.mark.row("E53")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"null", "invalid null image config for export"),
        (b'{"architecture":"amd64"}', "missing os"),
        (b'{"os":"linux"}', "missing architecture"),
        (b"{", "invalid image config"),
        (b"[]", "invalid image config"),
        (b'{"os":"linux","architecture":"a","history":[1]}', "history"),
        (b'{"os":"linux","architecture":"a","created":"tomorrow"}', "tomorrow"),
    ],
)
def test_what_is_no_config_is_refused(content, text):
    with pytest.raises(InvalidInput, match=text):
        patch_config(content, [], Times())


@pytest.mark.row("E37")
def test_an_epoch_pulls_later_times_back_and_leaves_earlier_ones():
    times = Times(Epoch(DAY_ONE // SECOND + 86400))
    result = patched(config(STEP, STEP, created=day(8)), layers(1, 5), times)
    assert [entry["created"] for entry in result["history"]] == [day(1), day(2)] and result["created"] == day(2)


@pytest.mark.row("E37")
def test_an_epoch_leaves_the_base_images_history_alone():
    based = {**STEP, "created": day(7)}
    times = Times(Epoch(DAY_ONE // SECOND))
    assert stamps(config(based, STEP), layers(7, 8), times, base=config(based)) == [day(7), day(1)]
    assert stamps(config(based, STEP), layers(7, 8), times) == [day(1), day(1)]


def test_a_fixed_time_replaces_all_but_the_base_images_times():
    based = {**STEP, "created": day(7)}
    result = patched(config(based, STEP), layers(7, 2), Times(fixed=DAY_ONE), base=config(based))
    assert [entry["created"] for entry in result["history"]] == [day(7), day(1)] and result["created"] == day(1)


def test_a_result_without_config_gets_one():
    result = patched(default_config(), [])
    assert result["os"] == "linux" and result["config"]["WorkingDir"] == "/" and result["config"]["Env"]


@pytest.mark.parametrize("time", [0, 1, 10**9, 1_795_211_544_120_000_000])
def test_times_survive_writing_and_reading(time):
    from buildkit.exporter.epoch import parse_rfc3339

    assert parse_rfc3339(format_rfc3339(time)) == time


@pytest.mark.parametrize("text", ["2020-13-01T00:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01T24:00:00Z", "", "x"])
def test_impossible_times_are_refused(text):
    from buildkit.exporter.epoch import parse_rfc3339

    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_a_time_zone_is_counted_in():
    from buildkit.exporter.epoch import parse_rfc3339

    assert parse_rfc3339("2020-01-01T02:00:00.5+02:00") == DAY_ONE + SECOND // 2


@pytest.mark.row("E51", "E52")
def test_a_recorded_config_comes_out_as_it_did():
    """The history of a real build (buildctl v0.32.2): metadata between layers takes the next layer's time."""
    times = ["23:58:04.363320955", "23:58:04.456378782", "23:58:05.524601956", "23:58:05.533218033"]
    made = [LayerFacts(f"sha256:{t}", _at(t)) for t in times]
    kinds = [STEP, STEP, EMPTY, STEP, STEP, EMPTY, EMPTY]
    expected = [times[i] for i in (0, 1, 2, 2, 3, 3, 3)]
    assert stamps(config(*kinds), made) == [f"2026-11-20T{t}Z" for t in expected]


def _at(time):
    from buildkit.exporter.epoch import parse_rfc3339

    return parse_rfc3339(f"2026-11-20T{time}Z")
