"""Rows of the specification that tests prove, of rows in all, by area."""

import ast
import os
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPECIFICATION = Path(os.environ.get("SPECIFICATION", ROOT.parent / "shared/spec/features.md"))
AREAS = {
    "A": "gRPC API and sessions",
    "L": "LLB",
    "S": "solver, keys, GC, progress",
    "D": "Dockerfile frontend",
    "E": "exporters, attestations",
    "C": "cache backends",
    "B": "buildkitd",
    "T": "buildctl, progress UI",
    "X": "executor, worker",
    "Z": "packaging, ecosystem",
}


def rows_of_specification(text: str) -> set[str]:
    return set(re.findall(r"^\| ([A-Z]\d+) \|", text, re.MULTILINE))


def rows_of_tests(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "row":
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def main() -> int:
    if not SPECIFICATION.exists():
        print(f"rows: the specification is not at {SPECIFICATION}: SPECIFICATION=FILE says where")
        return 1
    every, proved = rows_of_specification(SPECIFICATION.read_text()), rows_of_tests(ROOT / "tests")
    unknown = sorted(proved - every)
    total, done = Counter(row[0] for row in every), Counter(row[0] for row in proved & every)
    for letter, area in AREAS.items():
        print(f"{letter}  {area:<28} {done[letter]:>4} of {total[letter]:>4}")
    print(f"   {'total':<28} {sum(done.values()):>4} of {sum(total.values()):>4}")
    if unknown:
        print("unknown rows in tests: " + ", ".join(unknown))
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
