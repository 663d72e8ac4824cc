"""Write the README's table of Dockerfile features from the list that the tests build (tests/kit/features.py)."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- features: written by scripts/features.py -->\n", "<!-- end of features -->\n"


def table() -> str:
    from tests.kit.features import FEATURES

    groups: dict[str, list[str]] = {}
    for feature in FEATURES:
        groups.setdefault(feature.group, []).append(f"`{feature.name.strip()}`".replace("|", "\\|"))
    rows = (f"| {group} | {', '.join(names)} |\n" for group, names in groups.items())
    return "| instruction | what works, each proved by a build |\n|---|---|\n" + "".join(rows)


def written(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    README.write_text(written(README.read_text()))
