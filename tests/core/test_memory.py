"""Memory that nobody uses goes back to the system."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

from buildkit.core.memory import be_frugal, give_back

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from buildkit.core.memory import be_frugal, give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

be_frugal()
kept = []
pieces = []
for _ in range(4000):
    pieces.append(bytearray(20_000))
    kept.append(bytearray(600))
del pieces
before = resident()
give_back()
print(before - resident())
"""


def test_free_pieces_between_those_in_use_are_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(SOURCE)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20_000_000


def test_what_only_refers_to_itself_is_given_back():
    class Ring:
        pass

    gc.disable()
    try:
        ring = Ring()
        ring.ring = ring
        gone = weakref.ref(ring)
        del ring
        give_back()
        assert gone() is None
    finally:
        gc.enable()


def test_a_library_without_such_calls_is_left_alone(monkeypatch):
    monkeypatch.setattr("buildkit.core.memory._function", lambda name: None)
    be_frugal()
    give_back()
