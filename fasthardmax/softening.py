"""Softmax self-attention at an inverse temperature, to compare with: the hardmax layers, softened.

    p_ij = exp(beta <A x_i, x_j>) / sum_l exp(beta <A x_i, x_l>),    mean_i = sum_j p_ij x_j

Keys stream past panels of queries, with a running maximum and running sums: no array of n x n is
ever made, and no ``beta`` overflows.

*Contract.* Scores s_ij are canonical (:mod:`fasthardmax.numerics`), so equal scores get equal
weights, and where all others vanish beside them the mean is hardmax's. The rest is deterministic
but has its own bits: they do not depend on threads, on the batch, or on where a query stands, but
may on the processor, which fuses multiply-adds or does not.

*Accuracy.* Of the exact softmax of the canonical scores, each mean misses at most
``(8 ln n + n / 5 + 140) u max |x|``, u = 2^-53 or 2^-24; the most measured is 10 u max |x| up to
n = 1000, and 250 at n = 10^6. *Proof*, to first order in u. The logarithm of a weight comes from
four rounded factors (the difference of scores, beta, log2 e, their product), which moves the weight
by 4 u times that logarithm, and the power of two by 3 u more. Weights moved by d_j move the mean by
no more than their average d_j times the extent, 2 max |x|, and the average of |ln w_j| under the
weights themselves is at most ln n: their entropy is that average and ln(sum w), which is not
negative, as the sum counts a 1. Maxima that rise multiply weights in steps, whose logarithms add up
to the same. Each of the two sums, of weights and of weighted points, adds 64 u within 64 keys, and
6 u for each of n / 64 blocks: for its factor, a product and an addition. QED. (Underflow aside.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._state import Resumable
from ._threads import for_each_range
from .engines._arrays import readonly
from .numerics import canonical_scores, score_limit, step, step_size

__all__ = ["Softening", "soft_means"]

# Nanoseconds on one core for each pair, and for each pair and feature, in float64 (measured).
_PAIR, _PAIR_FEATURE = 0.35, 0.03
_RANGE = 2e7  # nanoseconds of a range: short enough to share out evenly and to interrupt
_THREAD = 1e6  # below, a second thread costs more than it brings


class Softening(Resumable):
    """Clouds (B, n, d) at one layer of a softmax transformer.

    It stands where :class:`~fasthardmax.stepping.Stepping` does; but every key has a share in every
    mean, so that no point has winners and none leads.
    """

    NOT_SAVED = ("_matrix", "_threads")
    name = "softmax"  # in place of an engine's

    def __init__(
        self,
        clouds: NDArray[Any],
        alpha: float,
        beta: float,
        matrix: NDArray[Any] | None,
        threads: int,
    ) -> None:
        self._beta = beta
        self._matrix = matrix
        self._threads = threads
        self._c = step_size(alpha, clouds.dtype)
        self.layer = 0
        self.points = clouds
        self.n_moving = clouds.shape[0] * clouds.shape[1]  # none is ever done
        self.n_queries = 0  # that have attended so far
        self.first, self.leader_layer, self.labels = np.full((3, *clouds.shape[:2]), -1, np.int64)
        self.count = np.zeros(clouds.shape[:2], np.int64)

    def search(self) -> None:
        """Nothing: there are no winners."""

    def go_to(self, layer: int) -> None:
        """Move to the next layer."""
        x = self.points
        query = x
        if self._matrix is not None:
            rows = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
            query = canonical_scores(rows, self._matrix).reshape(x.shape)
        mean = soft_means(query, x, self._beta, self._threads)
        self.n_queries += self.n_moving
        # One statement: an interrupt sees the old layer or the new one.
        self.points, self.layer = step(x, mean, self._c), layer


def soft_means(
    query: NDArray[Any], points: NDArray[Any], beta: float, num_threads: int
) -> NDArray[Any]:
    """Means of ``points`` (B, n, d) under softmax weights of ``query`` (B, n, d).

    C-contiguous, of one dtype, with scores below :func:`~fasthardmax.numerics.score_limit`;
    0 <= beta, finite in that dtype.
    """
    if points.size == 0:
        return points
    from . import _softmax_kernels as kernels
    from ._softmax_vectors import LEAST_POWER, panel_width

    n_batch, n, d = points.shape
    mean = np.empty_like(points)
    real = points.dtype.type
    constants = (
        real(beta * math.log2(math.e)),
        real(-score_limit(points.dtype)),
        real(LEAST_POWER[points.itemsize]),
    )
    width = panel_width(points.itemsize)
    n_panels = n_batch * -(-n // width)
    panel_time = width * n * (_PAIR + _PAIR_FEATURE * d) * points.itemsize / 8
    threads = num_threads if n_panels * panel_time > _THREAD else 1
    panels = max(1, min(int(_RANGE / panel_time), -(-n_panels // (4 * threads))))
    query, points = readonly(query), readonly(points)
    for_each_range(
        lambda start, stop: kernels.average(query, points, start, stop, *constants, mean),
        n_panels,
        panels,
        threads,
    )
    return mean
