"""Files of results: into directories and tars."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from tests.kit.exports import bench, platforms
from tests.kit.trees import listing, plant

from buildkit.core.errors import InvalidInput
from buildkit.core.result import Attestation, Result
from buildkit.core.values import replace
from buildkit.exporter.delivery import Delivery
from buildkit.exporter.exporters import open_exporter
from buildkit.store.times import DETERMINISTIC

INLINE = {"inline-only": b"true"}
STATEMENT = """{
  "_type": "https://in-toto.io/Statement/v1",
  "predicateType": "https://p",
  "subject": [
    {
      "name": "a",
      "digest": {
        "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
      }
    },
    {
      "name": "z/b",
      "digest": {
        "sha256": "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
      }
    }
  ],
  "predicate": {
    "a": 1
  }
}"""


def members(path):
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        return {m.name + "/" * m.isdir(): m for m in tar}


@pytest.mark.row("E4", "S103")
async def test_a_directory_gets_the_files(tmp_path):
    async with bench(tmp_path) as b:
        exported = await b.export("local", await b.ref(a="1", d__b="2"), directory=tmp_path / "out")
    assert listing(tmp_path / "out") == {"a": "1", "d": "d", "d/b": "2"}
    assert b.statuses.done == ["copying files"] and exported.response == {}
    assert b.statuses.updates[-1].current == 2 and b.statuses.updates[-1].name == "transferring"


@pytest.mark.row("E80", "E81", "S103")
async def test_each_platform_gets_a_directory_of_its_own(tmp_path):
    async with bench(tmp_path) as b:
        result = platforms(linux__amd64=await b.ref(a="1"), linux__arm64=await b.ref(a="2"))
        await b.export("local", result, directory=tmp_path / "out")
    assert listing(tmp_path / "out") == {
        "linux_amd64": "d",
        "linux_amd64/a": "1",
        "linux_arm64": "d",
        "linux_arm64/a": "2",
    }
    assert b.statuses.done == ["copying files linux/amd64", "copying files linux/arm64"]
    assert (tmp_path / "out" / "linux_amd64").stat().st_mode & 0o777 == 0o755


@pytest.mark.row("E80", "E82")
async def test_platforms_without_split_share_one_directory_unless_they_collide(tmp_path):
    async with bench(tmp_path) as b:
        result = platforms(linux__amd64=await b.ref(a="1"), linux__arm64=await b.ref(b="2"))
        await b.export("local", result, {"platform-split": "false"}, directory=tmp_path / "out")
        clash = platforms(linux__amd64=await b.ref(a="1"), linux__arm64=await b.ref(a="2"))
        text = "cannot overwrite a from linux/amd64 with linux/arm64 when split option is disabled"
        with pytest.raises(InvalidInput, match=text):
            await b.export("local", clash, {"platform-split": "false"}, directory=tmp_path / "out")
    assert listing(tmp_path / "out") == {"a": "1", "b": "2"}


@pytest.mark.row("E80")
async def test_a_single_result_is_split_on_demand(tmp_path):
    async with bench(tmp_path) as b:
        metadata = {"containerimage.config": b'{"os":"linux","architecture":"arm"}'}
        result = Result({"": await b.ref(a="1")}, metadata=metadata)
        await b.export("local", result, {"platform-split": "true"}, directory=tmp_path / "out")
    assert listing(tmp_path / "out") == {"linux_arm_v7": "d", "linux_arm_v7/a": "1"}


@pytest.mark.row("E85")
@pytest.mark.parametrize("kind", ["local", "tar"])
async def test_an_epoch_becomes_every_files_time(kind, tmp_path):
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1", d__b="2")
        out = {"directory": tmp_path / "out"} if kind == "local" else {"file": tmp_path / "out"}
        await b.export(kind, ref, {"source-date-epoch": "1000"}, **out)
    if kind == "local":
        assert {(tmp_path / "out" / name).stat().st_mtime_ns for name in ("a", "d", "d/b")} == {1000 * 10**9}
    else:
        assert {member.mtime for member in members(tmp_path / "out").values()} == {1000}


@pytest.mark.row("E86")
async def test_delete_removes_what_the_result_does_not_have(tmp_path):
    out = plant(tmp_path / "out", "old", "d/old", "a/was/a/directory")
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1", d__b="2")
        await b.export("local", ref, {}, directory=out)
        assert "old" in listing(out)
        await b.export("local", ref, {"mode": "delete"}, directory=out)
        assert listing(out) == {"a": "1", "d": "d", "d/b": "2"}
        result = platforms(linux__amd64=ref, linux__arm64=None)
        await b.export("local", result, {"mode": "delete"}, directory=out)
    assert sorted(listing(out)) == ["linux_amd64", "linux_amd64/a", "linux_amd64/d", "linux_amd64/d/b", "linux_arm64"]


@pytest.mark.row("E86")
@pytest.mark.parametrize("place", ["/", "~", "..", "."])
async def test_delete_refuses_directories_that_are_more_than_an_output(place, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    place = os.path.expanduser(place)
    if place == ".":
        place = str(tmp_path / "home" / "..")
    async with bench(tmp_path) as b:
        with pytest.raises(InvalidInput, match="mode=delete would empty"):
            await b.export("local", None, {"mode": "delete"}, directory=place)


@pytest.mark.row("E44", "E80")
@pytest.mark.parametrize(
    ("attrs", "text"),
    [
        ({"platform-split": "x"}, 'non-bool value for platform-split: x: strconv.ParseBool: parsing "x"'),
        ({"mode": "x"}, 'invalid local exporter mode "x"'),
        ({"source-date-epoch": "x"}, "invalid source-date-epoch"),
    ],
)
def test_bad_attributes_are_refused(attrs, text):
    with pytest.raises(InvalidInput, match=text):
        open_exporter("local", attrs)


@pytest.mark.row("E7")
def test_unknown_types_are_refused():
    with pytest.raises(InvalidInput, match='exporter "moby" could not be found'):
        open_exporter("moby", {})


def said(path="provenance.json", **metadata):
    return Attestation("in-toto", "https://p", b'{"a":1}', path=path, metadata=metadata)


@pytest.mark.row("E83")
@pytest.mark.parametrize("kind", ["local", "tar"])
async def test_attestations_lie_beside_the_files_that_they_are_about(kind, tmp_path):
    async with bench(tmp_path) as b:
        ref = await b.ref(a="1", z__b="2")
        result = Result({"": ref}, attestations={"": (said("x/provenance.json"), said("one.json", **INLINE))})
        await b.export(kind, result, {"attestation-prefix": "my-"}, file=tmp_path / "t", directory=tmp_path / "out")
        await b.export("local", ref, directory=tmp_path / "again")
    if kind == "tar":
        with tarfile.open(tmp_path / "t") as tar:
            tar.extractall(tmp_path / "out")
    assert sorted(listing(tmp_path / "out")) == ["a", "my-provenance.json", "z", "z/b"]
    assert sorted(listing(tmp_path / "again")) == ["a", "z", "z/b"]
    statement = tmp_path / "out" / "my-provenance.json"
    assert statement.stat().st_mode & 0o777 == 0o600
    assert statement.read_text() == STATEMENT


@pytest.mark.row("E83")
async def test_attestations_of_several_platforms_in_one_directory_are_named_after_them(tmp_path):
    both = platforms(linux__amd64=None, linux__arm64=None)
    both = replace(both, attestations={"linux/amd64": (said(),), "linux/arm64": (said(),)})
    async with bench(tmp_path) as b:
        await b.export("local", both, {"platform-split": "false"}, directory=tmp_path / "one")
        await b.export("local", both, directory=tmp_path / "split")
    assert sorted(listing(tmp_path / "one")) == ["provenance.linux_amd64.json", "provenance.linux_arm64.json"]
    assert [name for name in listing(tmp_path / "split") if "/" in name] == [
        "linux_amd64/provenance.json",
        "linux_arm64/provenance.json",
    ]


@pytest.mark.row("E83")
@pytest.mark.parametrize(
    ("listed", "prefix", "text"),
    [
        ((said("x/a.json"), said("y/a.json")), "", "duplicate attestation path name a.json"),
        ((said(),), "no/", "invalid attestation path name 'no/provenance.json'"),
        ((said("d"),), "", "attestation d: a directory of that name is in the way"),
    ],
)
async def test_names_of_attestations_that_cannot_be_are_refused(listed, prefix, text, tmp_path):
    async with bench(tmp_path) as b:
        result = Result({"": await b.ref(d__b="2")}, attestations={"": listed})
        with pytest.raises(InvalidInput, match=text):
            await b.export("local", result, {"attestation-prefix": prefix}, directory=tmp_path / "out")


@pytest.mark.row("E83")
async def test_an_attestation_takes_the_place_of_a_link_and_writes_nowhere_else(tmp_path):
    (tmp_path / "outside").write_text("kept")
    async with bench(tmp_path) as b:
        async with b.store.draft(None, b.lease) as draft:
            async with draft.mounted() as path:
                (path / "provenance.json").symlink_to(tmp_path / "outside")
            ref = await draft.commit()
        result = Result({"": ref}, attestations={"": (said(),)})
        await b.export("local", result, directory=tmp_path / "out")
    assert (tmp_path / "outside").read_text() == "kept"
    assert (tmp_path / "out" / "provenance.json").read_text().startswith("{")


@pytest.mark.row("E5", "E88", "S103")
async def test_a_tar_holds_the_whole_tree(tmp_path):
    async with bench(tmp_path) as b:
        async with b.store.draft(None, b.lease) as draft:
            async with draft.mounted() as at:
                plant(at, "dev/", "f", "d/g", "link -> f")
                os.link(at / "f", at / "hard")
                os.chmod(at / "f", 0o4755)
            ref = await draft.commit()
        await b.export("tar", ref, file=tmp_path / "out", times=DETERMINISTIC)
    found = members(tmp_path / "out")
    assert list(found) == ["d/", "d/g", "dev/", "f", "hard", "link"] and b.statuses.done == ["sending tarball"]
    assert (found["f"].mode, found["f"].size, found["link"].linkname) == (0o4755, 1, "f")
    assert found["hard"].type == tarfile.LNKTYPE and found["hard"].linkname == "f" and found["hard"].size == 0
    assert {(m.mtime, m.uname) for m in found.values()} == {(DETERMINISTIC.seconds, "")}


@pytest.mark.row("E87")
async def test_scratch_is_an_empty_directory_and_an_empty_tar(tmp_path):
    async with bench(tmp_path) as b:
        await b.export("local", None, directory=tmp_path / "out")
        await b.export("tar", None, file=tmp_path / "tar")
    assert listing(tmp_path / "out") == {} and (tmp_path / "tar").read_bytes() == bytes(1024)


async def test_several_platforms_in_a_tar(tmp_path):
    async with bench(tmp_path) as b:
        await b.export("tar", platforms(linux__arm64=None, linux__amd64=await b.ref(a="1")), file=tmp_path / "tar")
    assert list(members(tmp_path / "tar")) == ["linux_amd64/", "linux_amd64/a", "linux_arm64/"]


def test_links_in_the_target_are_replaced_and_never_followed(tmp_path):
    outside = plant(tmp_path / "outside", "kept")
    tree = plant(tmp_path / "tree", "d/f", "kept", "e/f")
    os.link(tree / "d" / "f", tree / "e" / "hard")
    out = plant(tmp_path / "out", f"d -> {outside}", f"kept -> {outside}/kept", "e -> /nowhere")
    Delivery(out).write(str(tree))
    assert listing(outside) == {"kept": "kept"}
    assert listing(out) == {"d": "d", "d/f": "d/f", "e": "d", "e/f": "e/f", "e/hard": "d/f", "kept": "kept"}
    assert os.path.samefile(out / "d" / "f", out / "e" / "hard")


def test_a_directory_gives_way_to_a_file_and_the_other_way_round(tmp_path):
    out = plant(tmp_path / "out", "a/b/c", "d")
    Delivery(out).write(str(plant(tmp_path / "tree", "a", "d/e")))
    assert listing(out) == {"a": "a", "d": "d", "d/e": "d/e"}


def test_modes_and_times_arrive(tmp_path):
    tree = plant(tmp_path / "tree", "d/f")
    os.utime(tree / "d" / "f", ns=(1, 1_500_000_001))
    os.chmod(tree / "d" / "f", 0o640)
    os.chmod(tree / "d", 0o555)
    os.utime(tree / "d", ns=(5, 5))
    (tmp_path / "out").mkdir()
    Delivery(tmp_path / "out").write(str(tree))
    file, directory = (tmp_path / "out" / "d" / "f").stat(), (tmp_path / "out" / "d").stat()
    assert (file.st_mode & 0o7777, file.st_mtime_ns) == (0o640, 1_500_000_001)
    assert (directory.st_mode & 0o7777, directory.st_mtime_ns) == (0o555, 5)
