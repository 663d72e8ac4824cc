"""Trees sent and received: what goes over, and what a hostile sender cannot do."""

import os
import socket
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.api.fsutil_wire_pb2 import Packet
from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput
from buildkit.core.values import replace
from buildkit.fs import packets
from buildkit.fs.packets import Stat
from buildkit.fs.receive import Receiver
from buildkit.fs.send import Sender, SentTree

ME = (os.geteuid(), os.getegid())


def transfer(source, target, **how):
    """Send a directory into another; gives the receiver."""
    target.mkdir(exist_ok=True)
    with Sender([SentTree(str(source), owner=ME)]) as sender, Receiver(target, **how) as receiver:
        while not receiver.done:
            sender.take(receiver.feed(sender.produce()))
        assert sender.done
        return receiver


def described(root):
    """Every file: kind and mode, time, and content or target; the first of its links."""
    found, inodes = {}, {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(root))
        content = b""
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        first = inodes.setdefault(status.st_ino, name) if not path.is_dir() else name
        found[name] = (status.st_mode, status.st_mtime_ns, content, first)
    return found


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "a.b").write_text("sorts after what is in a")
    (root / "a" / "deep" / "file").write_bytes(os.urandom(600_000))
    (root / "a" / "empty").touch()
    (root / "tool").write_text("#!")
    (root / "tool").chmod(0o4755)
    (root / "private").mkdir(mode=0o500)
    (root / "link").symlink_to("a/deep/file")
    (root / "dangling").symlink_to("/nowhere")
    os.link(root / "a" / "deep" / "file", root / "again")
    os.mkfifo(root / "pipe")
    os.utime(root / "a" / "deep", ns=(1, 123456789))
    os.utime(root / "tool", ns=(1, 987654321987654321))
    (root / os.fsdecode(b"not-\xff-utf8")).write_text("odd")
    with open(root / "sparse", "wb") as file:
        file.truncate(3_000_000)
    return root


@pytest.mark.row("A152", "A153", "A154")
def test_a_tree_arrives_as_it_is(source, tmp_path):
    receiver = transfer(source, tmp_path / "target")
    assert receiver.changed
    assert described(tmp_path / "target") == described(source)


@pytest.mark.row("A157")
def test_a_tree_that_is_there_already_moves_nothing_but_stats(source, tmp_path):
    transfer(source, tmp_path / "target")
    receiver = transfer(source, tmp_path / "target")
    assert not receiver.changed
    assert receiver.received < 1500


@pytest.mark.row("A157")
@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "tool").write_text("#?"),
        lambda root: (root / "tool").chmod(0o700),
        lambda root: (root / "a").chmod(0o711),
        lambda root: (root / "again").unlink(),
        lambda root: os.replace(root / "a.b", root / "again"),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("elsewhere")),
        lambda root: ((root / "tool").unlink(), (root / "tool").mkdir()),
        lambda root: ((root / "pipe").unlink(), (root / "pipe").write_text("a file now")),
        lambda root: ((root / "a" / "deep" / "file").unlink(), (root / "a" / "deep").rmdir()),
        lambda root: os.utime(root / "a.b", ns=(5, 5)),
        lambda root: os.link(root / "tool", root / "a" / "zz"),
    ],
)
def test_every_change_arrives(source, tmp_path, change):
    transfer(source, tmp_path / "target")
    change(source)
    receiver = transfer(source, tmp_path / "target")
    assert receiver.changed
    assert described(tmp_path / "target") == described(source)


def test_merging_replaces_what_stands_in_the_way_and_leaves_the_rest(source, tmp_path):
    target = tmp_path / "target"
    (target / "tool" / "below").mkdir(parents=True)
    (target / "mine").write_text("stays")
    (target / "a").symlink_to(tmp_path)
    (target / "link").mkdir()
    for _ in range(2):
        transfer(source, target, mirror=False, compare=False, owner=ME)
        found = described(target)
        assert found.pop("mine")[2] == b"stays"
        assert found == described(source)
    assert not list(tmp_path.glob("deep"))


@pytest.mark.row("A155")
def test_a_socket_arrives_as_an_empty_file(tmp_path):
    (tmp_path / "source").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "source" / "s"))
        transfer(tmp_path / "source", tmp_path / "target")
    assert stat.S_ISREG((tmp_path / "target" / "s").lstat().st_mode)


def test_extended_attributes_arrive_except_those_of_overlays(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_text("x")
    try:
        os.setxattr(tmp_path / "source" / "f", "user.color", b"blue\0")
    except OSError:
        pytest.skip("no extended attributes here")
    transfer(tmp_path / "source", tmp_path / "target")
    assert os.getxattr(tmp_path / "target" / "f", "user.color") == b"blue\0"
    (tmp_path / "other").mkdir()
    poisoned = Stat("f", 0o644, *ME, xattrs={"user.overlay.opaque": b"y", "trusted.overlay.opaque": b"y"})
    with Receiver(tmp_path / "other") as receiver:
        receiver.feed([packets.encode_stat(poisoned), packets.END_OF_STATS])
    assert os.listxattr(tmp_path / "other" / "f") == []


def test_many_files_in_progress_do_not_use_up_descriptors(tmp_path):
    count = 300
    with Receiver(tmp_path) as receiver:
        stats = [packets.encode_stat(Stat(f"f{n:03}", 0o600, *ME, size=4)) for n in range(count)]
        receiver.feed([*stats, packets.END_OF_STATS])
        before = len(os.listdir("/proc/self/fd"))
        for part in (b"ab", b"cd"):
            receiver.feed([packets.encode_data(n, part) for n in range(count)])
        assert len(os.listdir("/proc/self/fd")) - before <= 70
        assert receiver.feed([packets.encode_data(n) for n in range(count)]) == [packets.FINISHED]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"abcd"}


DIR = packets.DIRECTORY | 0o755
LINK = packets.SYMLINK | 0o777


@pytest.mark.row("A154")
@pytest.mark.parametrize(
    "stats",
    [
        [Stat("../x", 0o644)],
        [Stat("/x", 0o644)],
        [Stat("..", DIR)],
        [Stat("a", DIR), Stat("a/..", 0o644)],
        [Stat("a", DIR), Stat("a/../b", 0o644)],
        [Stat("a//b", 0o644)],
        [Stat("a/b", 0o644)],
        [Stat("a\0b", 0o644)],
        [Stat("b", 0o644), Stat("a", 0o644)],
        [Stat("a", 0o644), Stat("a", 0o644)],
        [Stat("a", DIR), Stat("a.b", 0o644), Stat("a/c", 0o644)],
        [Stat("a", LINK, link="/tmp"), Stat("a/x", 0o644)],
        [Stat("a", 0o644), Stat("a/x", 0o644)],
        [Stat("a", 0o644, link="../../etc/passwd")],
        [Stat("a", 0o644, link="b"), Stat("b", 0o644)],
        [Stat("a", LINK, link="/etc/passwd"), Stat("b", 0o644, link="a")],
        [Stat("a", packets.IRREGULAR)],
    ],
)
def test_a_sender_cannot_write_elsewhere(tmp_path, stats):
    target = tmp_path / "target"
    target.mkdir()
    with Receiver(target, owner=ME) as receiver, pytest.raises(InvalidInput):
        receiver.feed([*map(packets.encode_stat, stats), packets.END_OF_STATS])
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize(
    "message",
    [
        packets.encode_data(0, b"not asked for"),
        packets.encode_data(7),
        b"\x08\x04\x22\x05oops!",
        b"\x12\xff",
        b"\x08" + b"\xff" * 12,
        b"\x0b",
    ],
)
def test_packets_that_make_no_sense_are_refused(tmp_path, message):
    with Receiver(tmp_path) as receiver, pytest.raises((InvalidInput, FailedPrecondition)):
        receiver.feed([message])


def test_nothing_comes_after_the_last_announcement(tmp_path):
    with Receiver(tmp_path) as receiver, pytest.raises(InvalidInput):
        receiver.feed([packets.END_OF_STATS, packets.encode_stat(Stat("a", 0o644))])


def test_files_that_were_not_completed_are_removed(tmp_path):
    with Receiver(tmp_path) as receiver:
        receiver.feed([packets.encode_stat(Stat("a", 0o644, *ME, size=9)), packets.encode_data(0, b"half")])
    assert not os.listdir(tmp_path)


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_packets_break_a_receiver(tmp_path_factory, messages):
    root = tmp_path_factory.mktemp("r")
    with Receiver(root, owner=ME) as receiver:
        try:
            receiver.feed(messages)
        except BuildkitError:
            pass


STATS = st.builds(
    Stat,
    st.text(max_size=20),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=3),
)
NAMES = st.sampled_from(["a", "a/b", "a/c", "b", "b/..", "c\0", "/d", "e"])
MODES = st.sampled_from([0o644, DIR, LINK, packets.PIPE, 0o4755, packets.DEVICE, 2**32 - 1]) | st.integers(0, 2**32 - 1)


@given(
    st.lists(st.builds(replace, STATS, path=NAMES, mode=MODES, link=NAMES | st.just("")), max_size=6),
    st.lists(st.binary(max_size=9), max_size=3),
)
def test_no_announcements_break_a_receiver_or_lead_out_of_its_directory(tmp_path_factory, stats, contents):
    root = tmp_path_factory.mktemp("r") / "target"
    root.mkdir()
    with Receiver(root) as receiver:
        try:
            asked = receiver.feed(map(packets.encode_stat, stats))
            receiver.feed([packets.encode_data(packets.decode(one).id, c) for one in asked for c in (*contents, b"")])
            receiver.feed([packets.END_OF_STATS])
        except BuildkitError:
            pass
    assert os.listdir(root.parent) == ["target"]


@given(STATS)
def test_stats_are_coded_as_protobuf_does(found):
    message = packets.encode_stat(found)
    theirs = Packet.FromString(message)
    assert packets.decode(message).stat == found
    assert packets.decode(theirs.SerializeToString(deterministic=True)).stat == found
    assert (theirs.stat.path, theirs.stat.modTime, dict(theirs.stat.xattrs)) == (found.path, found.mtime, found.xattrs)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=700))
def test_data_is_coded_as_protobuf_does(id, content):
    message = packets.encode_data(id, content)
    assert message == Packet(type=packets.DATA, ID=id, data=content).SerializeToString()
    found = packets.decode(message)
    assert (found.kind, found.id, bytes(found.content)) == (packets.DATA, id, content)


def test_a_receiver_can_ask_only_for_what_was_announced_and_once(source):
    with Sender([SentTree(str(source))]) as sender:
        sender.produce()
        sender.take([packets.encode_request(2)])
        sender.produce()
        with pytest.raises(InvalidInput, match="invalid file id 2"):
            sender.take([packets.encode_request(2)])


def test_a_file_that_vanished_is_sent_empty(source, tmp_path):
    (tmp_path / "target").mkdir()
    with Sender([SentTree(str(source))]) as sender, Receiver(tmp_path / "target", owner=ME) as receiver:
        wanted = receiver.feed(sender.produce())
        (source / "tool").unlink()
        sender.take(wanted)
        while not receiver.done:
            sender.take(receiver.feed(sender.produce()))
    assert (tmp_path / "target" / "tool").read_bytes() == b""


def test_a_file_that_is_asked_for_twice_ends_the_transfer_with_an_error(source):
    with Sender([SentTree(str(source))]) as sender:
        sender.produce()
        asked = packets.encode_request(1)
        with pytest.raises(InvalidInput, match="invalid file id 1"):
            sender.take([asked, asked])


def test_a_sender_tells_when_there_is_little_to_read(source):
    with Sender([SentTree(str(source))]) as sender:
        assert not sender.is_quick
        announced = [packets.decode(one) for one in sender.produce(announced=2)]
        assert len(announced) == 2
        announced += [packets.decode(one) for one in sender.produce()]
        assert sender.is_quick
        large = next(i for i, one in enumerate(announced) if one.stat and one.stat.size == 600_000)
        sender.take([packets.encode_request(large)])
        assert not sender.is_quick
