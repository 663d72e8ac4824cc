"""Benchmarks: ours against real peers in one run, interleaved, as ratios. ``python -m bench --help``."""
