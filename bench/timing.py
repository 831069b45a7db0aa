"""Statistics of repeated timings: spread, ratios, and the exponent of growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "SHORTEST", "Spread", "calls_per_timing", "geometric_mean", "growth_exponent", "ratio",
    "spread",
]  # fmt: skip

# Seconds. Processors that were idle take tens of milliseconds to reach their pace and to spread
# threads: much shorter timings would measure that.
SHORTEST = 0.1


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Spread of the ratio, round by round: both timings of a round met the same machine."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])


def growth_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of the best fit ``seconds ~ sizes ** p``, by least squares in logarithms."""
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes: got {list(sizes)}, expected at least two different ones")
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(slope)


def calls_per_timing(seconds: float, shortest: float = SHORTEST) -> int:
    """How many calls of so many seconds make one timing in the steady state."""
    return max(1, int(np.ceil(shortest / max(seconds, 1e-9))))
