"""Compare the Dockerfile frontend with the corpus, case by case.

CORPUS=DIR compares another unpacked set, DUMP=OUT writes what ours gives as OUT/<id>.json, ONLY=ID,… takes some cases,
SHOW=N prints the first N differences.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from tests.kit.corpus.compare import CHOICES, Difference, chosen, differences  # noqa: E402
from tests.kit.corpus.files import Absent, open_corpus  # noqa: E402
from tests.kit.corpus.ours import make, read_word  # noqa: E402


class Outcome(NamedTuple):
    """One case compared; ``choices`` is None when a difference is not accounted for."""

    id: str
    found: list[Difference]
    choices: set[str] | None


def compare(id: str) -> Outcome:
    """Make and compare one case."""
    corpus = open_corpus(os.environ.get("CORPUS"))
    case = corpus.case(id)
    try:
        ours = make(case, corpus.meta)
    except Exception as error:
        return Outcome(id, [Difference("crash", None, f"{type(error).__name__}: {error}")], None)
    if folder := os.environ.get("DUMP"):
        form = {"id": id, **{key: case.expected[key] for key in ("sha256", "utf8")}, **ours}
        (Path(folder) / f"{id}.json").write_text(json.dumps(form, sort_keys=True, ensure_ascii=False))
    found = differences(case, ours)
    return Outcome(id, found, chosen(case, found, ours, lambda content: make(case.with_content(content), corpus.meta)))


def compare_words(shell: dict[str, Any]) -> list[dict[str, Any]]:
    """The words that are read differently."""
    wrong = []
    for case in shell["cases"]:
        expected = {k: v for k, v in case.items() if k not in ("word", "mode", "escape")}
        if "words" in expected:
            expected["words"] = expected["words"] or []
        if read_word(shell["env"], case) != expected:
            wrong.append(case)
    return wrong


def main() -> int:
    """Print the table and the count; 1 if something differs that we did not choose."""
    try:
        corpus = open_corpus(os.environ.get("CORPUS"))
    except Absent as absent:
        print(f"skipped: {absent}")
        return 0
    if folder := os.environ.get("DUMP"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    only = os.environ.get("ONLY", "")
    ids = only.split(",") if only else corpus.ids()
    with multiprocessing.Pool(min(2, os.cpu_count() or 1)) as pool:
        outcomes = pool.map(compare, ids, chunksize=20)
    shell = corpus.shell_cases()
    wrong_words = compare_words(shell)
    return report(outcomes, len(shell["cases"]), wrong_words)


def report(outcomes: list[Outcome], words: int, wrong_words: list[dict[str, Any]]) -> int:
    """Print what was found."""
    by_key: Counter[str] = Counter()
    choices: Counter[str] = Counter()
    wrong = [outcome for outcome in outcomes if outcome.choices is None]
    picked = [outcome for outcome in outcomes if outcome.choices]
    for outcome in wrong:
        by_key.update({_key(difference.key) for difference in outcome.found})
    for outcome in picked:
        choices.update(outcome.choices or ())
    for title, hand_made in (("real", False), ("hand-made", True)):
        group = [outcome for outcome in outcomes if outcome.id.startswith("T") == hand_made]
        equal = sum(not outcome.found for outcome in group)
        print(f"{title:<12}{len(group):>6} cases{equal:>6} equal")
    print(f"{'words':<12}{words:>6} cases{words - len(wrong_words):>6} equal")
    for key, count in by_key.most_common():
        print(f"  differing in {key}: {count}")
    for choice in CHOICES:
        if choices[choice.name]:
            print(f"  chosen: {choice.name}: {choices[choice.name]} ({choice.reason})")
    for outcome in wrong[: int(os.environ.get("SHOW", "10"))]:
        for difference in outcome.found[:3]:
            print(f"{outcome.id} {difference.key}")
            expected, ours = _first(difference.expected, difference.ours)
            print(f"    expected {expected}\n    ours     {ours}")
    for case in wrong_words[:10]:
        print(f"word {case}")
    equal = sum(not outcome.found for outcome in outcomes)
    print(f"corpus: {equal} of {len(outcomes)} equal, {len(picked)} chosen")
    return 1 if wrong or wrong_words else 0


def _key(key: str) -> str:
    return key if not key.startswith("targets.") else f"targets.*.{key.rpartition('.')[2]}"


def _first(expected: object, ours: object, path: str = "") -> tuple[str, str]:
    """The first part that differs."""
    if isinstance(expected, dict) and isinstance(ours, dict):
        for key in sorted({*expected, *ours}):
            if expected.get(key) != ours.get(key):
                return _first(expected.get(key), ours.get(key), f"{path}.{key}")
    if isinstance(expected, list) and isinstance(ours, list) and len(expected) == len(ours):
        for index, (one, other) in enumerate(zip(expected, ours, strict=True)):
            if one != other:
                return _first(one, other, f"{path}[{index}]")
    if isinstance(expected, str) and isinstance(ours, str):
        start = next((n for n, (a, b) in enumerate(zip(expected, ours, strict=False)) if a != b), 0)
        start = max(0, start - 60)
        return f"{path} …{expected[start : start + 200]!r}", f"{path} …{ours[start : start + 200]!r}"
    return f"{path} {str(expected)[:300]}", f"{path} {str(ours)[:300]}"


if __name__ == "__main__":
    sys.exit(main())
