from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound
from buildkit.session.outputs import Destination, Destinations, Output, parse_output, resolve_destination


@pytest.mark.row("T20")
def test_output_flags_are_parsed(tmp_path):
    file = f"{tmp_path}/x.tar"
    assert parse_output(f"type=oci,dest={file},Name=a") == Output("oci", {"name": "a"}, Destination(file=file))
    assert parse_output("type=local,dest=d") == Output("local", {}, Destination(directory="d"))
    image = Destination(directory="d", image=True)
    assert parse_output("type=oci,dest=d,tar=false") == Output("oci", {"tar": "false"}, image)
    assert parse_output("type=image,name=x,push=true") == Output("image", {"name": "x", "push": "true"})


@pytest.mark.row("T20")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dest=x", "--output requires type=<type>"),
        ("foo", "invalid value foo"),
        ("type=local", "invalid output option: output: output directory is required for local exporter"),
        ("type=image,dest=x", "invalid output option: output: output x is not supported by image exporter"),
        ("type=tar,dest=.", "invalid output option: output: destination file is a directory"),
        ("type=oci,output=x", "output=x not supported for --output, you meant dest=x?"),
        ("type=oci,dest=/nowhere/x", "invalid output option: output: open /nowhere/x: no such file or directory"),
    ],
)
def test_a_bad_output_flag_says_what_is_wrong(text, message):
    with pytest.raises(InvalidInput) as caught:
        parse_output(text)
    assert str(caught.value) == message


@pytest.mark.row("T20")
def test_an_archive_is_not_written_to_a_console(tmp_path):
    console, other = os.openpty()
    with pytest.raises(InvalidInput) as caught:
        resolve_destination("oci", "", {}, stdout=other)
    assert str(caught.value) == "output file is required for oci exporter. refusing to write to console"
    os.close(console)
    os.close(other)
    with (tmp_path / "f").open("wb") as file:
        assert resolve_destination("tar", "-", {}, stdout=file.fileno()) == Destination(file="-")


async def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "out"
    target.write_bytes(b"old")
    outputs = Destinations([Destination(), Destination(file=str(target))])
    with pytest.raises(ZeroDivisionError):
        async with outputs.open_file("1", {}) as out:
            out.write(b"half")
            raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    async with outputs.open_file("1", {}) as out:
        out.write(b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


async def test_a_device_is_written_to_and_not_replaced():
    async with Destinations([Destination(file="/dev/null")]).open_file("0", {}) as out:
        out.write(b"x")
    assert not os.path.isfile("/dev/null")


async def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    async with Destinations([Destination(file=str(tmp_path / "link"))]).open_file("0", {}) as out:
        out.write(b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"x"


async def test_standard_output_is_written_and_left_open(capfdbinary):
    async with Destinations([Destination(file="-")]).open_file("0", {}) as out:
        out.write(b"bytes")
    os.write(1, b"!")
    assert capfdbinary.readouterr().out == b"bytes!"


async def test_what_was_not_asked_for_is_not_given(tmp_path):
    outputs = Destinations([Destination(directory=str(tmp_path / "a" / "b")), Destination(file="/nowhere/x")])
    assert outputs.directory("0").is_dir()
    with pytest.raises(NotFound):
        outputs.directory("7")
    with pytest.raises(NotFound):
        async with outputs.open_file("0", {}):
            pass
    with pytest.raises(FailedPrecondition, match="cannot write /nowhere/x"):
        async with outputs.open_file("1", {}):
            pass


async def test_a_file_has_no_name_before_it_is_whole(tmp_path):
    target = tmp_path / "out.tar"
    async with Destinations([Destination(file=str(target))]).open_file("0", {}) as out:
        out.write(b"part of it")
        assert list(tmp_path.iterdir()) == []
    assert target.read_bytes() == b"part of it" and [*tmp_path.iterdir()] == [target]


async def test_a_file_gets_a_name_at_once_where_the_file_system_cannot_do_without(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_TMPFILE", 0)
    target = tmp_path / "out.tar"
    async with Destinations([Destination(file=str(target))]).open_file("0", {}) as out:
        out.write(b"whole")
        assert len(list(tmp_path.iterdir())) == 1
    assert target.read_bytes() == b"whole" and [*tmp_path.iterdir()] == [target]


async def test_a_new_file_gets_its_name_in_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda self, target: pytest.fail("renamed"))
    async with Destinations([Destination(file=str(tmp_path / "out.tar"))]).open_file("0", {}) as out:
        out.write(b"whole")
    assert (tmp_path / "out.tar").read_bytes() == b"whole"
