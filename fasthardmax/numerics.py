"""The numerics contract: the one arithmetic that every engine's answer must equal bit for bit.

1. *Canonical score.* ``s_ij = ((q_i0*k_j0 + q_i1*k_j1) + q_i2*k_j2) + ...`` in increasing feature
   order, each product and each sum rounded to the compute dtype, never fused. A float mask is
   added last, with one rounding. Queries ``A x`` are formed by the same rule.
2. *Tie set.* ``C_i``: the allowed keys whose canonical score equals (``==``) the row's maximum.
3. *Mean.* One winner gives its value bit for bit; several are summed in increasing index and
   divided once by their count. ``ties="first"`` and ``ties="last"`` take one end of the set.
4. *Screening.* An engine may look for winners in any arithmetic, provided that every key within
   ``screening_slack`` of the best approximate score is then rescored canonically.
5. *No silent infinity.* Inputs are finite, and scores are bounded by ``score_limit`` beforehand.
6. *Update.* ``x + c (m - x)``, unfused, with ``c = alpha / (1 + alpha)`` rounded once.

So an output never depends on engine, block size, thread count, memory layout or batch split.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "canonical_scores",
    "compute_dtype",
    "peak_score",
    "score_limit",
    "screening_slack",
    "step",
    "step_size",
]

_ROWS_IN_CACHE = 1 << 15  # elements of one score block: both operands of an addition stay in L2


@lru_cache(maxsize=256)
def compute_dtype(*dtypes: DTypeLike) -> np.dtype[Any]:
    """The dtype in which a call computes and answers: NumPy's promotion, at least float32.

    float16 becomes float32, integers and booleans become float64, and float32 with float64 gives
    float64. Raises ``TypeError`` where that is neither float32 nor float64.
    """
    promoted = np.result_type(*dtypes)
    if promoted == np.float16:
        return np.dtype(np.float32)
    if promoted.kind in "biu":
        return np.dtype(np.float64)
    if promoted in (np.float32, np.float64):
        return promoted
    raise TypeError(f"dtype {promoted} is not supported")


def canonical_scores(query: NDArray[Any], key: NDArray[Any]) -> NDArray[Any]:
    """Canonical scores (m, n) of ``query`` (m, d) against ``key`` (n, d), in O(m n d).

    With ``key = A`` it forms the queries ``A x`` of the rows ``x``.
    """
    m, d = query.shape
    n = len(key)
    scores = np.zeros((m, n), dtype=query.dtype)
    if d == 0 or n == 0:
        return scores
    rows = max(1, _ROWS_IN_CACHE // n)
    columns = np.ascontiguousarray(key.T)
    for start in range(0, m, rows):
        block = scores[start : start + rows]
        features = query[start : start + rows].T
        np.multiply(features[0][:, None], columns[0], out=block)
        for f in range(1, d):
            block += features[f][:, None] * columns[f]
    return scores


def step_size(alpha: float, dtype: np.dtype[Any]) -> np.floating[Any]:
    """``alpha / (1 + alpha)`` rounded once to ``dtype``; 1 for an infinite ``alpha``."""
    if math.isinf(alpha):
        return dtype.type(1)
    exact = Fraction(alpha) / (1 + Fraction(alpha))
    near = dtype.type(float(exact))
    # Rounding through float64 can miss float32's nearest by one neighbour; exact distances cannot.
    around = (near, np.nextafter(near, dtype.type(0)), np.nextafter(near, dtype.type(1)))
    return min(around, key=lambda c: abs(Fraction(float(c)) - exact))


def step(points: NDArray[Any], mean: NDArray[Any], c: np.floating[Any]) -> NDArray[Any]:
    """One update ``x + c (m - x)``, unfused, so that a point that is its own mean stays put."""
    moved = mean - points
    moved *= c
    moved += points
    return moved


@lru_cache(maxsize=8)
def score_limit(dtype: np.dtype[Any]) -> float:
    """Largest admitted bound on |score|: a quarter of the largest number.

    The factor four leaves room for screening in another order of summation and for the slack.
    """
    return float(np.finfo(dtype).max) / 4


def peak_score(query_peak: NDArray[Any], key_peak: NDArray[Any]) -> NDArray[Any]:
    """Bound on every partial score from the features' largest magnitudes, (..., d) each.

    Rounding is monotone, so |fl(s + p)| <= fl(|s| + |p|): the score of the magnitudes bounds
    every intermediate result of every pair. It is summed in float64 and widened by what either
    dtype may add by rounding, underflow aside. It is infinite where it overflows float64.
    """
    with np.errstate(over="ignore"):
        products = query_peak.astype(np.float64) * key_peak.astype(np.float64)
        widening = 1 + query_peak.shape[-1] * 2.0**-22  # gamma_d <= 2 d u while d <= 2**23
        peak: NDArray[Any] = products.sum(axis=-1) * widening
    return peak


def screening_slack(d: int, dtype: np.dtype[Any]) -> tuple[float, float]:
    """``(relative, absolute)`` slack below the best approximate score that still may win.

    A key can win only if its approximate score is at least ``best - relative * B - absolute``,
    where ``B = sum_f |q_f| max_j |k_jf|`` bounds ``sum_f |q_f k_jf|`` for every key j.

    Derivation. With unit roundoff u, a dot product of d terms evaluated in any order, fused or
    not, errs by at most ``gamma_d B + d eta``: ``gamma_d = d u / (1 - d u)`` (Higham, *Accuracy
    and Stability of Numerical Algorithms*, section 3.1) and eta, half the smallest subnormal, for
    each product that underflows. Call that bound e. It holds for the approximate score a and for
    the canonical score s, so ``|a - s| <= 2 e``. Let j win canonically and let h be best in a:
    ``a_j >= s_j - 2e >= s_h - 2e >= a_h - 4e``. B itself and the subtraction are computed in
    the compute dtype with relative errors below ``gamma_(d+2)``; using ``gamma_(d+4)`` for
    ``gamma_d`` and 8 in place of 4 covers both with room to spare.

    A float mask is added last, in both arithmetics. Each such addition errs by at most u times
    its own result, so the slack grows by ``8 u |best|`` and not with the size of the mask.
    """
    info = np.finfo(dtype)
    u = float(info.eps) / 2
    terms = (d + 4) * u
    gamma = terms / (1 - terms)
    return 8 * gamma, 8 * d * float(info.smallest_subnormal)
