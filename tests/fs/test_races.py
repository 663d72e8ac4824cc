"""Attack: while a file operation runs, somebody swaps a directory on its way for a link out of the root."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager

import pytest
from tests.kit.swaps import SECRET, World, worlds
from tests.kit.trees import plant, tar_of

from buildkit.api import ops as pb
from buildkit.core.errors import BuildkitError
from buildkit.executor.bundle import Bundle
from buildkit.executor.executor import Container, Process
from buildkit.executor.stubs import make_parents, missing_places, remove_stubs
from buildkit.executor.user import Identity
from buildkit.fs import copy as copying
from buildkit.fs import syscalls, tree
from buildkit.fs.copy import CopyOptions, copy_tree
from buildkit.fs.extract import apply_layer
from buildkit.fs.places import make_directory, make_file, make_link, remove_path
from buildkit.fs.removal import remove
from buildkit.fs.tree import open_in_root, walk
from buildkit.ops.owner import find_owner
from buildkit.store.view import View

OWNER = (12, 34)
COPY = CopyOptions(
    create_dest_path=True, allow_wildcard=True, dir_contents=True, follow_links=True, owner=OWNER, timestamp=5
)
LAYER = tar_of(
    ("d/f", b"new"), ("d/sub/", b""), ("d/sub/h", b"new"), ("d/.wh.g", b""), ("d/hard", "= d/f"), ("d/link", "-> f"),
    ("d/sub/.wh..wh..opq", b""),
)  # fmt: skip


@contextmanager
def opened(*paths):
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def copied(source, dest, options=COPY):
    def act(world: World) -> None:
        with opened(world.source, world.root) as (source_fd, dest_fd):
            copy_tree(source_fd, dest_fd, source, dest, options)

    return act


def unpacked(world: World) -> None:
    (world.source / "archive").write_bytes(LAYER)
    options = CopyOptions(create_dest_path=True, unpack=lambda stream: stream)
    copied("archive", "/d/sub", options)(world)


def in_root(call):
    def act(world: World) -> None:
        with opened(world.root) as (fd,):
            call(fd)

    return act


def pipe(world: World) -> None:
    os.mkfifo(world.source / "pipe", 0o600)
    copied("pipe", "/d/pipe")(world)


def working_directory(world: World) -> None:
    bundle = Bundle(world.root.parent, Container((), Process(("true",), (), "/d/sub/new/er")))
    bundle.make_working_directory(Identity(*OWNER))


def stubs(world: World) -> None:
    places = missing_places(str(world.root), ["/d/sub/m/x", "/d/f2"], recursive=True)
    make_parents(str(world.root), ["/d/sub/m/x", "/d/f2"])
    remove_stubs(str(world.root), [*places, f"{world.root}/d/x", f"{world.root}/d/f"])


ACTIONS = {
    "copy of a file": copied("d/f", "/d/sub/new"),
    "copy of a tree": copied("d", "/d/sub/"),
    "copy that makes directories": copied("e", "/d/a/b/c/"),
    "copy by wildcard": copied("*/f", "/d/"),
    "copy of a named pipe": pipe,
    "unpacking an archive": unpacked,
    "mkdir": in_root(lambda fd: make_directory(fd, "/d/sub/new", 0o700, parents=False, owner=OWNER, timestamp=5)),
    "mkdir with parents": in_root(lambda fd: make_directory(fd, "/d/a/b", 0o700, parents=True, owner=OWNER)),
    "mkfile": in_root(lambda fd: make_file(fd, "/d/sub/g", 0o600, b"new", owner=OWNER, timestamp=5)),
    "mkfile of a new one": in_root(lambda fd: make_file(fd, "/d/new", 0o600, b"new", owner=OWNER, timestamp=5)),
    "symlink": in_root(lambda fd: make_link(fd, "x", "/d/sub/l", owner=OWNER, timestamp=5)),
    "rm": in_root(lambda fd: remove_path(fd, "/d/sub/g", allow_not_found=False, wildcard=False)),
    "rm of a tree": in_root(lambda fd: remove_path(fd, "/d", allow_not_found=False, wildcard=False)),
    "rm by wildcard": in_root(lambda fd: remove_path(fd, "/d/*", allow_not_found=True, wildcard=True)),
    "removal of a tree": in_root(lambda fd: remove("d", fd)),
    "applying a layer": lambda world: apply_layer(io.BytesIO(LAYER), str(world.root), owner=OWNER) and None,
    "making a working directory": working_directory,
    "making and removing mount points": stubs,
}  # fmt: skip


PLACES = {"d": "", "d/sub": "", "d/a": "", "d/f": "x", "d/new": "x", "d/sub/new": "x", "d/sub/g": "x", "d/sub/h": "",
          "d/pipe": "x"}  # fmt: skip
"""What is swapped, and for a link to what."""

_first, *_rest = PLACES


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "again and again"])
@pytest.mark.parametrize("place", [_first, *(pytest.param(one, marks=pytest.mark.slow) for one in _rest)])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_place_in_the_root_swapped_for_a_link_at_any_moment_leads_nowhere(tmp_path, action, place, again):
    for world in worlds(tmp_path, f"rootfs/{place}", again=again, link=PLACES[place]):
        with world.armed():
            try:
                action(world)
            except (BuildkitError, OSError):
                pass  # refused, or nobody was misled
        assert world.look() == world.before


@pytest.fixture(params=["near", "far"])
def far(request, monkeypatch):
    """Whether directories above are closed and opened again, as in deep trees."""
    if request.param == "far":
        monkeypatch.setattr(copying, "_MOST_OPEN", 1)
        monkeypatch.setattr(tree, "_MOST_OPEN", 1)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("source", ["d", "d/f", "d/sub", "d/*", "d/link", "*/f"])
def test_a_directory_of_the_source_swapped_for_a_link_at_any_moment_shows_nothing(tmp_path, source, again):
    for world in worlds(tmp_path, "src/d", again=again):
        with world.armed():
            try:
                copied(source, "/got/")(world)
            except (BuildkitError, OSError):
                pass
        assert SECRET not in world.inside() and world.look() == world.before


@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
def test_a_context_read_in_place_whose_directory_is_swapped_shows_nothing(tmp_path, again):
    for world in worlds(tmp_path, "src/d", again=again):
        with world.armed():
            try:
                listing = View(str(world.source)).listing()
                with opened(world.source, world.root) as (source_fd, dest_fd):
                    copy_tree(source_fd, dest_fd, "/", "/got/", COPY, listing)
            except (BuildkitError, OSError):
                pass
        assert SECRET not in world.inside() and world.look() == world.before


@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("kernel", ["new", "old"])
def test_accounts_and_parts_of_mounts_are_never_read_through_a_swapped_link(tmp_path, monkeypatch, kernel, again):
    if kernel == "old":
        monkeypatch.setattr(syscalls, "openat2", _unknown)
    owner = pb.ChownOpt(user=pb.UserOpt(byName=pb.NamedUserOpt(name=SECRET, input=0)))
    for world in worlds(tmp_path, "rootfs/d", again=again):
        (world.root / "d/passwd").write_text("ann:x:1:1::/:\n")
        (world.root / "etc/passwd").symlink_to("/d/passwd")
        with world.armed(), opened(world.root) as (fd,):
            try:
                assert find_owner(owner, {0: fd}) == (0, 0)
                with open(open_in_root(fd, "d/sub/g", os.O_RDONLY)) as file:
                    assert SECRET not in file.read()
            except (BuildkitError, OSError):
                pass


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("place", ["d", "d/sub"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
def test_a_walk_never_enters_a_swapped_link(tmp_path, place, again):
    for world in worlds(tmp_path, f"src/{place}", again=again):
        found = b""
        with world.armed():
            try:
                for entry in walk(str(world.source)):
                    if not entry.is_dir and not entry.link_target:
                        with open(entry.open(), "rb") as file:
                            found += file.read()
            except OSError:
                pass
        assert SECRET.encode() not in found


def _unknown(*args):
    raise OSError(errno.ENOSYS, "not here")


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("place", ["d", "d/sub", "d/a"])
def test_a_deep_target_swapped_for_a_link_at_any_moment_leads_nowhere(tmp_path, place):
    for world in worlds(tmp_path, f"rootfs/{place}", again=False):
        plant(world.source, "d/a/b/c/x", "d/sub/z")
        with world.armed():
            try:
                copied("/", "/")(world)
            except (BuildkitError, OSError):
                pass
        assert world.look() == world.before


@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("place", ["d/f", "d/sub/g"])
def test_a_file_of_the_source_swapped_for_a_link_at_any_moment_shows_nothing(tmp_path, place, again):
    for world in worlds(tmp_path, f"src/{place}", again=again, link="x"):
        with world.armed():
            try:
                copied("d", "/got/")(world)
            except (BuildkitError, OSError):
                pass
        assert SECRET not in world.inside()


@pytest.mark.parametrize("place", ["d/f", "d/new", "d/sub/g", "d/made"])
def test_a_file_of_the_root_swapped_for_a_link_at_any_moment_is_not_written_through(tmp_path, place):
    def write(world: World) -> None:
        with opened(world.source, world.root) as (source_fd, fd):
            make_file(fd, f"/{place}", 0o600, b"new")
            copy_tree(source_fd, fd, "d/f", f"/{place}", COPY)

    for world in worlds(tmp_path, f"rootfs/{place}", again=False, link="missing" if place == "d/made" else "x"):
        with world.armed():
            try:
                write(world)
            except (BuildkitError, OSError):
                pass
        assert world.look() == world.before


def test_a_directory_of_an_archive_swapped_for_a_link_at_any_moment_is_not_changed_through_it(tmp_path):
    archive = tar_of(("d/sub/", b""), ("d/sub/h/", b""), ("d/sub/h/i", b"new"))
    for world in worlds(tmp_path, "rootfs/d/sub/h", again=False):
        with world.armed():
            try:
                apply_layer(io.BytesIO(archive), str(world.root), owner=OWNER)
            except (BuildkitError, OSError):
                pass
        assert world.look() == world.before
