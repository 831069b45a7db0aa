"""What an engine promises for a problem, with what it has made on the way."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["Forecast", "n_cores"]

_count_cores = lru_cache(os.cpu_count)


def n_cores(num_threads: int) -> int:
    """How many cores wait for what one thread does alone."""
    return min(num_threads, _count_cores() or 1)


class Forecast(NamedTuple):
    """Nanoseconds on one core, and what else ``run`` of the same problem takes to start from there.

    The engine alone knows what that is. Answers do not depend on it.
    """

    nanoseconds: float
    prepared: tuple[Any, ...] = ()
