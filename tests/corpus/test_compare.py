"""The harness notices what differs."""

import pytest
from tests.kit.corpus.compare import chosen, differences
from tests.kit.corpus.files import Absent, Case, open_corpus
from tests.kit.corpus.forms import in_runs

from buildkit.llb.caps import BY_PING


def case(**unstable):
    expected = {
        "passes": {"amd64": {"llb": {"ops": [1]}, "resolved": None}},
        "subrequests": {"frontend.targets": {}},
        "targets": None,
    }
    return Case("x", True, b"", expected, unstable)


def ours(ops, resolved=()):
    passes = {"amd64": {"llb": {"ops": ops}, "resolved": list(resolved)}}
    return {"passes": passes, "subrequests": {"frontend.targets": {}}, "targets": None}


def test_equal_cases_have_no_differences():
    assert differences(case(), ours([1])) == []


def test_a_difference_is_named_by_its_key_and_accounted_for_by_nothing():
    (found,) = differences(case(), ours([2]))
    assert (found.key, found.expected, found.ours) == ("passes.amd64.llb", {"ops": [1]}, {"ops": [2]})
    assert chosen(case(), [found], ours([2]), pytest.fail) is None
    assert chosen(case(), [], ours([1]), pytest.fail) == set()


def test_a_missing_key_is_a_difference():
    assert [d.key for d in differences(case(), ours([1], ["a"]))] == ["passes.amd64.resolved"]


def test_keys_that_are_random_in_the_original_are_skipped():
    assert differences(case(**{"passes.amd64": ["llb"]}), ours([2])) == []


def test_warnings_of_one_rule_and_place_are_sorted():
    one, two, other = (
        {"rule": rule, "msg": msg, "location": [1, 1]} for rule, msg in (("R", "b"), ("R", "a"), ("S", "0"))
    )
    assert in_runs([one, two, other]) == [two, one, other]


def test_a_corpus_that_is_not_there_says_so(tmp_path):
    with pytest.raises(Absent, match="no corpus in"):
        open_corpus(str(tmp_path))


def test_a_crash_over_check_comments_is_a_choice_when_ours_lists_stages_or_says_what_is_wrong():
    question = "frontend.targets"
    given, answer = case(), ours([1])
    given.expected["subrequests"][question] = {"panic": "x"}
    given.expected["instructions"] = answer["instructions"] = {"stages": [{"name": "a", "base": "b"}]}
    answer["subrequests"][question] = {"metadata": {"result.json": {"targets": [{"name": "a"}]}}}
    assert chosen(given, differences(given, answer), answer, pytest.fail) == {"targets-below-check-comments"}
    given.expected["instructions"] = answer["instructions"] = {"error": {"text": "bad"}}
    assert chosen(given, differences(given, answer), answer, pytest.fail) is None
    answer["subrequests"][question] = {"error": {"text": "bad"}}
    assert chosen(given, differences(given, answer), answer, pytest.fail) == {"targets-below-check-comments"}


META = {
    "session_id": "s",
    "local_unique_id": "u",
    "llb_caps": list(BY_PING),
    "gateway_caps": [],
    "fe_opts": {},
    "fe_opts_dockerignore": "",
    **dict.fromkeys(
        ("plain_config", "rich_config", "onbuild_config"), '{"architecture":"@ARCH@","os":"@OS@",@VARIANT@"config":{}}'
    ),
}


def test_a_stage_named_in_another_case_is_a_choice_that_is_checked():
    from tests.kit.corpus.ours import make

    error = (
        'failed to parse stage name "Base": invalid reference format: repository name (library/Base) must be lowercase'
    )
    expected = {
        "instructions": {"stages": [{"name": "base", "base": "a"}, {"name": "", "base": "Base"}]},
        "passes": {"amd64": {"error": {"text": error}}, "fe-opts": {"extra_opts": {}, "error": {"text": error}}},
        "subrequests": {"frontend.targets": {}},
        "targets": None,
    }
    given = Case("x", True, b"FROM a AS Base\nRUN b\nFROM Base\nRUN c\n", expected, {})
    ours = make(given, META)
    found = [d for d in differences(given, ours) if d.key.startswith("passes.amd64.")]
    remake = lambda content: make(given.with_content(content), META)  # noqa: E731
    assert chosen(given, found, ours, remake) == {"stage-names-in-any-case"}
    assert chosen(given, found, ours, lambda content: remake(b"FROM a\n")) is None
