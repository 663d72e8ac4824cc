"""Explanations as people and programs read them."""

from __future__ import annotations

import json

import pytest

from buildkit.cli.explain import explanation_json, explanation_text
from buildkit.core.explanation import Change, Explanation

NAME = "[3/3] RUN make"
BEFORE = "[2/3] COPY . /"


def explained(reason, *changes, name=NAME):
    return Explanation("sha256:1", name, reason, tuple(changes))


@pytest.mark.parametrize(
    ("reason", "change", "sentence"),
    [
        ("changed", ("command", "", "true", "echo two"), 'the command changed from true to "echo two"'),
        ("changed", ("env", "A", None, "1"), "the variable A is new: 1"),
        ("changed", ("env", "A", "1", None), "the variable A is gone: 1"),
        ("changed", ("env", "A", "", "1"), 'the variable A changed from "" to 1'),
        ("changed", ("workdir", "", "/a", "/b"), "the workdir changed from /a to /b"),
        ("changed", ("user", "", None, "u"), "the user is new: u"),
        ("changed", ("mount", "/c", "bind", "bind, readonly"), 'the mount /c changed from bind to "bind, readonly"'),
        ("changed", ("content", "/a", "sha256:1", "sha256:2"), "the content of /a changed"),
        ("changed", ("file", "/a", None, "file"), "/a is new"),
        ("changed", ("file", "/a", "file", None), "/a is gone"),
        ("changed", ("file", "/a", "file", "link"), "/a became a link"),
        ("changed", ("mode", "/a", "0644", "0755"), "the mode of /a changed from 0644 to 0755"),
        ("changed", ("image", "a:1", "sha256:1", "sha256:2"), "the image a:1 changed from sha256:1 to sha256:2"),
        (
            "changed",
            ("image", "a:2", "a:1@sha256:1", "a:2@sha256:2"),
            "the image changed from a:1@sha256:1 to a:2@sha256:2",
        ),
        (
            "changed",
            ("commit", "https://x/y.git#main", "a", "b"),
            "the commit of https://x/y.git#main changed from a to b",
        ),
        ("changed", ("action", "action 2", None, "copy"), "action 2 is new: copy"),
        ("changed", ("text", "", "a\n", "b\n"), r'the text changed from "a\n" to "b\n"'),
        ("input", ("input", BEFORE, None, BEFORE), f"{BEFORE} is not as it was"),
        ("input", ("input", BEFORE, "[1/2] FROM a", BEFORE), f"it follows {BEFORE} instead of [1/2] FROM a"),
        (
            "evicted",
            ("result", "r", None, "prune: everything unused, at T"),
            "its result was removed (prune: everything unused, at T)",
        ),
        ("evicted", ("result", "r", None, "its layers were not here"), "its layers were not here"),
        ("failed", ("error", "", "exit code: 1", None), "it failed the last time: exit code: 1"),
        ("ignore-cache", ("no-cache", "", None, "every step"), "the cache is ignored (--no-cache)"),
        ("ignore-cache", ("no-cache", "", None, "stages a,b"), "the cache is ignored (--no-cache, stages a,b)"),
        ("ignore-cache", ("no-cache", "", None, None), "the cache is ignored (as its definition says)"),
    ],
)
def test_a_sentence_for(reason, change, sentence):
    assert explanation_text([explained(reason, Change(*change))]) == f"{NAME}\n  ran because {sentence}\n"


def test_a_step_without_a_record_and_one_after_it():
    told = explanation_text([explained("new", name=BEFORE), explained("input", Change("input", BEFORE, None, BEFORE))])
    assert told.splitlines() == [
        BEFORE,
        "  ran because there is no earlier record of it",
        NAME,
        f"  ran because it follows {BEFORE}, which ran anew",
    ]


def test_many_changes_are_counted():
    told = explanation_text([explained("changed", *(Change("file", f"/{n}", None, "file") for n in range(30)))])
    lines = told.splitlines()
    assert lines[1:3] == ["  ran because /0 is new", "  and because /1 is new"]
    assert lines[-1] == "  and 10 more changes" and len(lines) == 22


def test_what_terminals_take_for_commands_is_not_written():
    assert "\x1b" not in explanation_text(
        [explained("changed", Change("file", "/\x1b[2J", None, "file"), name="a\x1b")]
    )


def test_json_has_an_object_for_each_step():
    told = explanation_json([explained("new"), explained("changed", Change("env", "A", "1", None))])
    assert [json.loads(line) for line in told.splitlines()] == [
        {"vertex": "sha256:1", "name": NAME, "reason": "new", "field": "", "path": "", "old": None, "new": None},
        {"vertex": "sha256:1", "name": NAME, "reason": "changed", "field": "env", "path": "A", "old": "1", "new": None},
    ]
    assert explanation_json([]) == explanation_text([]) == ""


def test_several_changes_of_a_step_are_all_in_its_object():
    changes = [{"field": "env", "path": name, "old": "1", "new": "2"} for name in "AB"]
    told = explanation_json([explained("changed", *(Change(**one) for one in changes))])
    assert json.loads(told) == {
        "vertex": "sha256:1",
        "name": NAME,
        "reason": "changed",
        **changes[0],
        "changes": changes,
    }
