"""The picture of the SDK's guide is of the program that the guide names."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "llb.md").read_text()


def test_the_picture_of_the_guide_is_of_the_program_that_it_names():
    example = re.search(r"draw_llb\.py (\S+\.py)", GUIDE)
    assert example is not None
    command = [sys.executable, str(ROOT / "scripts" / "draw_llb.py"), example[1]]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    picture = (ROOT / "docs" / "llb.svg").read_text()
    shown = [unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", picture)]
    assert sorted(shown) == sorted(re.findall(r"label=\"([^\"]*)\"", drawn))
    assert picture.count('class="edge"') == drawn.count(" -> ")
