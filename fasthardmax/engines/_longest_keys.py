"""How long keys are, from their middle, and how long one must be to win."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _longest_kernels as kernels
from ._arrays import at_most, readonly, rows_of

__all__ = ["Lengths", "Middle", "find_middle", "find_reach", "measure"]

_ROWS_PER_RANGE = 1 << 12
_SOME = 1 << 12  # lengths that stand for all
# Lengths whose squares are far from underflow and overflow.
_LEAST, _LARGEST = 1e-120, 1e120


class Middle(NamedTuple):
    """Where lengths are taken from."""

    centre: NDArray[np.float64]  # (d,)
    peak: float  # bounds its distance from zero, and each key's


class Lengths(NamedTuple):
    """Distances of all keys of an entry from their middle."""

    middle: Middle
    all: NDArray[np.float64]  # (S,)
    some: NDArray[np.float64]  # sorted

    def share(self, radius: float) -> float:
        """About which share of the keys are no shorter than ``radius``."""
        return 1 - float(np.searchsorted(self.some, radius)) / len(self.some)


def find_middle(problem: Problem, k: int, some: NDArray[Any]) -> Middle | None:
    """The mean of ``some`` keys of entry ``k``; None where squares could under- or overflow."""
    peak = 1.001 * math.hypot(*problem.key_peak[k].tolist())
    if not _LEAST < peak < _LARGEST:
        return None
    return Middle(some.mean(axis=0, dtype=np.float64), peak)


def measure(key: NDArray[Any], middle: Middle, num_threads: int) -> Lengths:
    """The lengths of keys (S, d), in O(S d)."""
    length = np.empty(len(key), np.float64)
    key = readonly(key)

    def turn(start: int, stop: int) -> None:
        kernels.find_lengths(key, middle.centre, start, stop, length)

    for_each_range(turn, len(key), _ROWS_PER_RANGE, num_threads)
    return Lengths(middle, length, np.sort(rows_of(length, at_most(_SOME, len(key)))))


def find_reach(problem: Problem, winner: NDArray[np.int64], middle: Middle) -> NDArray[np.float64]:
    """How far from the middle a key must be, at least, to do as well as each query's winner.

    Of the only entry of ``problem``. Derivation: let h be the winner, let j be a key no farther
    than r from the middle c, and let p bound |c| and the distance of each key from zero. Canonical
    scores err by at most ``gamma_d |q| p + d eta`` (see ``screening_slack``), so j loses if

        q.(k_h - c) - |q| r > 2 (gamma_d |q| p + d eta).

    In float64 the first term errs by less than ``gamma_(d+2) 2 |q| p``, underflow aside; |q|, r and
    their product by a relative ``gamma_(d+4)`` each, where only r <= 2 p matters. Together that is
    less than ``10 gamma_(d+4) |q| p + 3 d eta``: less than twice the slack for |q| p.
    """
    reach = np.empty(problem.n_queries, np.float64)
    relative, absolute = screening_slack(problem.n_features, problem.dtype)
    query, key, winner = (readonly(a) for a in (problem.query[0], problem.key[0], winner))

    def turn(start: int, stop: int) -> None:
        kernels.find_reach(
            query, key, winner, middle.centre, 2 * relative * middle.peak, 2 * absolute,
            start, stop, reach,
        )  # fmt: skip

    for_each_range(turn, len(reach), _ROWS_PER_RANGE, problem.num_threads)
    return reach
