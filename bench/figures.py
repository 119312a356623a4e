"""Small statistics for benchmark figures: medians, 99th percentiles, and one line of text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def median(samples: Sequence[float]) -> float:
    """The middle one, in the unit of the samples."""
    return statistics.median(samples)


def p99(samples: Sequence[float]) -> float:
    """The 99th percentile (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def line(what: str, seconds: Sequence[float], floor: Sequence[float] | None = None) -> str:
    """``what: median, p99 in ms, number of samples`` and the ratio of medians to the floor."""
    text = f"{what:<58} {median(seconds) * 1e3:8.2f} ms median {p99(seconds) * 1e3:8.2f} ms p99  n={len(seconds)}"
    if floor:
        text += f"  {median(seconds) / median(floor):.2f}x of the floor"
    return text
