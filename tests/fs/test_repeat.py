"""Transfers that begin like the one before them: what they skip, and that it makes no difference otherwise."""

import os
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.trees import listing, plant

from buildkit.fs import packets
from buildkit.fs.packets import Stat
from buildkit.fs.receive import Receiver
from buildkit.fs.repeat import Repeat, join
from buildkit.fs.send import Sender, SentTree

ME = (os.geteuid(), os.getegid())
NAMES = ("a", "b/", "b/c", "b/d/", "b/d/e", "f -> b", "g")


def send(source, target, before=b""):
    """A transfer; gives what was announced, how many files were asked for and whether anything changed."""
    asked = 0
    with Sender([SentTree(str(source), owner=ME)]) as sender, Receiver(target, before=before) as receiver:
        while not receiver.done:
            answers = receiver.feed(sender.produce())
            asked += sum(packets.decode(answer).kind == packets.REQUEST for answer in answers)
            sender.take(answers)
        return receiver.announced, asked, receiver.changed


def announcement(source):
    with Sender([SentTree(str(source), owner=ME)]) as sender:
        return [one for one in sender.produce() if one != packets.END_OF_STATS]


def test_a_transfer_that_repeats_the_one_before_leaves_nothing_to_look_at(tmp_path):
    source, target = plant(tmp_path / "source", *NAMES), plant(tmp_path / "target")
    before, _, _ = send(source, target)
    stats = announcement(source)
    assert before == join(stats)
    with Receiver(target, before=before) as receiver:
        shutil.rmtree(target)
        assert not receiver.skip(stats[:3])
        assert not receiver.skip(stats[3:])
        assert receiver.feed([packets.END_OF_STATS]) == [packets.FINISHED]
        assert receiver.announced == before
        assert not receiver.changed
        assert receiver.received == sum(map(len, [*stats, packets.END_OF_STATS]))


def test_what_follows_a_difference_is_looked_at_and_what_was_before_it_too(tmp_path):
    source, target = plant(tmp_path / "source", *NAMES), plant(tmp_path / "target")
    before, _, _ = send(source, target)
    (source / "b/d/e").write_text("other")
    again, asked, changed = send(source, target, before)
    assert (asked, changed) == (1, True)
    assert again != before
    assert listing(target) == listing(source)


def test_what_is_not_announced_again_goes_even_if_all_else_repeats(tmp_path):
    source, target = plant(tmp_path / "source", *NAMES), plant(tmp_path / "target")
    before, _, _ = send(source, target)
    (source / "g").unlink()
    _, asked, changed = send(source, target, before)
    assert (asked, changed) == (0, True)
    assert not (target / "g").exists()


def test_receivers_that_do_not_compare_skip_nothing(tmp_path):
    target = plant(tmp_path / "target")
    stats = [packets.encode_stat(Stat("a", 0o644, *ME, size=1))]
    for how in ({"compare": False}, {"owner": (1, 2)}, {"mirror": False}):
        with Receiver(target, before=join(stats), **how) as receiver:
            assert receiver.skip(stats) == stats


CHANGES = st.lists(
    st.tuples(st.sampled_from(["a", "b/c", "b/d/e", "g", "z", "b/0"]), st.sampled_from(["write", "remove", "touch"])),
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(rounds=st.lists(CHANGES, min_size=1, max_size=3))
def test_trees_are_the_same_with_and_without_what_was_announced_before(tmp_path_factory, rounds):
    folder = tmp_path_factory.mktemp("repeat")
    source = plant(folder / "source", *NAMES)
    plain, quick = plant(folder / "plain"), plant(folder / "quick")
    send(source, plain)
    before, _, _ = send(source, quick)
    for number, changes in enumerate(rounds):
        for name, what in changes:
            path = source / name
            if what == "write":
                path.write_text(f"round {number}")
            elif path.exists():
                path.unlink() if what == "remove" else os.utime(path, (number, number))
        _, asked, changed = send(source, plain)
        before, asked_again, changed_again = send(source, quick, before)
        assert (asked, changed) == (asked_again, changed_again)
        assert listing(quick) == listing(plain) == listing(source)


@given(st.lists(st.binary(max_size=5)), st.lists(st.binary(max_size=5)), st.integers(1, 4))
def test_packets_are_skipped_up_to_the_first_other_one_however_they_are_grouped(old, new, step):
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    repeat = Repeat(join(old))
    for at in range(0, len(new), step):
        left = repeat.skip(new[at : at + step])
        if left:
            assert new[at : at + step][-len(left) :] == list(left)
            assert list(repeat.passed()) == old[:same] == new[: at + step - len(left)][:same]
            return
    assert same == len(new)
    assert repeat.is_whole == (len(new) == len(old))


def test_a_file_that_changed_under_its_sender_is_sent_again_even_if_its_metadata_stays(tmp_path):
    target = plant(tmp_path / "target")
    stats = [packets.encode_stat(Stat(path="f", mode=0o644, size=1000, mtime=10**18, uid=ME[0], gid=ME[1]))]
    with Receiver(target) as receiver:
        receiver.feed([*stats, packets.END_OF_STATS])
        receiver.feed([packets.encode_data(0, b"short"), packets.encode_data(0, b"")])
        before = receiver.announced
    with Receiver(target, before=before) as receiver:
        assert receiver.feed([*stats, packets.END_OF_STATS]) == [packets.encode_request(0)]
