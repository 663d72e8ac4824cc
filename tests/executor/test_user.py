from __future__ import annotations

import os

import pytest

from buildkit.core.errors import InvalidInput
from buildkit.executor.user import Identity, read_account_file, resolve_user

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nann:x:10:20::/:/bin/sh\nbroken\n7up:x:9:9::/:\n",
    "/etc/group": "root:x:0:\nstaff:x:20:\nwheel:x:30:bob,ann\naudio:x:40:ann\nbroken:x\n",
}


@pytest.mark.row("X6", "L80", "D101")
@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("", Identity(0, 0)),
        ("root", Identity(0, 0)),
        ("ann", Identity(10, 20, (30, 40))),
        ("10", Identity(10, 20, (30, 40))),
        ("ann:wheel", Identity(10, 30)),
        ("ann:77", Identity(10, 77)),
        ("7", Identity(7, 0)),
        ("7:8", Identity(7, 8)),
        ("root:8", Identity(0, 8)),
        ("7up", Identity(9, 9)),
    ],
)
def test_names_and_numbers_are_looked_up_in_the_root(name, identity):
    assert resolve_user(name, FILES.__getitem__) == identity


@pytest.mark.row("X6")
@pytest.mark.parametrize("name", ["nobody", "ann:nogroup", "99999999999"])
def test_an_unknown_user_is_an_error_that_names_it(name):
    with pytest.raises(InvalidInput, match=name.rpartition(":")[2]):
        resolve_user(name, FILES.__getitem__)


def test_the_default_user_needs_no_files():
    assert resolve_user("", lambda _: "") == Identity(0, 0)


def test_an_account_file_must_be_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "passwd")
    fd = os.open(tmp_path / "passwd", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(InvalidInput, match="/etc/passwd is not a regular file"):
        read_account_file(fd, "/etc/passwd")


def test_an_account_file_must_be_of_sane_size(tmp_path):
    (tmp_path / "passwd").touch()
    os.truncate(tmp_path / "passwd", 11 << 20)
    with pytest.raises(InvalidInput, match="exceeds"):
        read_account_file(os.open(tmp_path / "passwd", os.O_RDONLY), "/etc/passwd")
