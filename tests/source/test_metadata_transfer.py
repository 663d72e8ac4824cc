"""Local sources of which the metadata is wanted, from this process and from a far client."""

from __future__ import annotations

import pytest
from tests.kit.steps import Asker, Op
from tests.kit.stores import store_at
from tests.kit.wires import borrowed

from buildkit.api.fsutil_stat_pb2 import Stat
from buildkit.core.digest import sha256
from buildkit.core.errors import InvalidInput
from buildkit.fs import packets
from buildkit.fs.metadata import METADATA_FILE, MetadataReceiver
from buildkit.session.files import Directories
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.source.local import Locals
from buildkit.source.source import Sources


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    for name in ("a/b/one.txt", "a/b/two.md", "a/z.txt", "c/d/e.md", "top.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "link").symlink_to("top.txt")
    return folder


@pytest.fixture(params=["here", "far"])
def fetch(request, tmp_path, context):
    """Fetches the directory ``context``; gives the tree's files, and what is announced in its file of metadata."""

    async def build(store, session, attrs):
        sessions = Sessions()
        op = Op("local://context", {"local.metadatatransfer": "true", **attrs})
        async with sessions.attach(session), store.lease() as lease:
            ref = await Sources(Locals(sessions, store)).open(op).snapshot(Asker(session), lease)
            async with store.mounted(ref, lease) as root:
                names = sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())
                return names, list(announced(root / METADATA_FILE))

    async def run(store, **attrs):
        lent = Session.new(shared_key="k", locals=Directories({"context": context}))
        if request.param == "here":
            return await build(store, lent, attrs)
        async with borrowed(lent, tmp_path) as session:
            return await build(store, session, attrs)

    return run


def announced(path):
    content = path.read_bytes()
    while content:
        size = int.from_bytes(content[:4], "little")
        yield Stat.FromString(content[4 : 4 + size])
        content = content[4 + size :]


@pytest.mark.row("A158", "L46")
async def test_the_metadata_of_every_file_comes_in_one_file(fetch, context, tmp_path):
    async with store_at(tmp_path) as store:
        names, found = await fetch(store)
    assert names == [METADATA_FILE]
    assert [one.path for one in found] == [
        *("a", "a/b", "a/b/one.txt", "a/b/two.md", "a/z.txt"),
        *("c", "c/d", "c/d/e.md", "link", "top.txt"),
    ]
    top = next(one for one in found if one.path == "top.txt")
    status = (context / "top.txt").stat()
    assert (top.size, top.modTime, top.mode, top.uid) == (7, status.st_mtime_ns, status.st_mode & 0o777, 0)
    assert next(one for one in found if one.path == "link").linkname == "top.txt"


@pytest.mark.row("A158", "L46")
async def test_files_that_are_excepted_come_whole(fetch, context, tmp_path):
    async with store_at(tmp_path) as store:
        names, found = await fetch(store, **{"local.metadatatransferexclude": '["**/*.md"]'})
        assert names == [METADATA_FILE, "a/b/two.md", "c/d/e.md"] and len(found) == 10
        (context / "a/b/two.md").unlink()
        names, found = await fetch(store, **{"local.metadatatransferexclude": '["a", "top.txt"]'})
        assert names == [METADATA_FILE, "a/b/one.txt", "a/z.txt", "top.txt"] and len(found) == 9


async def test_patterns_decide_what_is_announced(fetch, tmp_path):
    async with store_at(tmp_path) as store:
        _, found = await fetch(store, **{"local.includepattern": '["c"]'})
    assert [one.path for one in found] == ["c", "c/d", "c/d/e.md"]


def test_what_is_wanted_of_the_metadata_is_in_the_key():
    def key(**attrs):
        wanted = Locals(Sessions(), None).open("local", "context", {f"local.{k}": v for k, v in attrs.items()}, None)
        return wanted._wanted.key("s")

    fields = '"SessionID":"s","IncludePatterns":null,"ExcludePatterns":null,"FollowPaths":null'
    assert key(metadatatransfer="1") == sha256(f'{{{fields},"MetadataTransfer":true}}'.encode())
    excepted = key(metadatatransfer="1", metadatatransferexclude='["x"]')
    assert excepted == sha256(f'{{{fields},"MetadataTransfer":true,"MetadataExceptions":["x"]}}'.encode())


def stat(path, **fields):
    return packets.encode_stat(packets.Stat(path, **fields))


@pytest.mark.parametrize("path", ["../x", "/x", "a/../b", ""])
def test_a_sender_cannot_leave_the_tree(tmp_path, path):
    with MetadataReceiver(tmp_path, ["**"]) as receiver, pytest.raises(InvalidInput):
        receiver.feed([stat(path, size=1)])


def test_a_file_of_metadata_that_the_sender_has_is_not_taken_for_ours(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("safe")
    root = tmp_path / "root"
    root.mkdir()
    (root / METADATA_FILE).symlink_to(outside)
    with MetadataReceiver(root, ["**"]) as receiver:
        link = stat(METADATA_FILE, mode=packets.SYMLINK | 0o777, link=str(outside))
        receiver.feed([link, packets.END_OF_STATS, packets.FINISHED])
    assert outside.read_text() == "safe"
    assert not (root / METADATA_FILE).is_symlink() and (root / METADATA_FILE).read_bytes() == b""


def test_content_that_nobody_asked_for_is_refused(tmp_path):
    with MetadataReceiver(tmp_path) as receiver, pytest.raises(InvalidInput, match="not asked for"):
        receiver.feed([stat("f", size=1), packets.encode_data(0, b"x")])
