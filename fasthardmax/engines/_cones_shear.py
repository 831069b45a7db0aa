"""Coordinates in which keys look alike in all directions, so that a ball fits into their hull.

Where a body fits is proved elsewhere, whatever these are: they decide only how much it holds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Slant", "find_slant"]

_SOME, _ROUNDS = 1 << 9, 4
# Correlations not worth a shear, and another; what is left of a feature that has no width.
_ALIKE, _MORE_ALIKE, _FLAT = 0.3, 0.1, 1e-6
_STEEPEST, _WIDEST = 2.0**40, 30  # numbers of a shear; binary orders between widths


class Slant(NamedTuple):
    """A shear, with ones on its diagonal and zeros above; and a power of two for each feature.

    ``matrix`` is both together: its product with keys is about as wide in each feature.
    """

    shear: NDArray[Any]  # (d, d), in the keys' dtype
    powers: NDArray[np.float64]
    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]
    upright: bool  # the matrix is the identity

    def margins(self, relative: float, absolute: float) -> tuple[float, float]:
        """What the margins of keys become for moved ones, and directions s for which |s|_inf = 1.

        A direction t = S^T s sees S k in direction s: <t, k> = <s, S k>. So what is shown of boxes
        of s and of keys S k holds for t and k, if the margins are wide enough: |t|_inf <= |S|_1,
        the largest sum of magnitudes in a column, and |k|_1 <= |S^-1|_1 |S k|_1. Products of
        float64 err by d v |S| |k|, with v of float64; for them 2 d v are added.
        """
        across, back = (np.abs(m).sum(axis=0).max() for m in (self.matrix, self.inverse))
        relative += 2 * len(self.powers) * float(np.finfo(np.float64).eps)
        return float(across * back * relative), float(across * absolute)

    def moved(self, keys: NDArray[Any]) -> NDArray[np.float64]:
        """The product of the matrix with keys."""
        exact = keys.astype(np.float64)
        return exact if self.upright else exact @ self.matrix.T


def find_slant(keys: NDArray[Any]) -> Slant:
    """By a sample of keys (n, d).

    The identity where features hardly correlate or depend on one another. Keys far from the others
    count by their direction alone, as in M-estimators of scatter (D. E. Tyler, *A distribution-free
    M-estimator of multivariate scatter*, Ann. Statist. 15, 1987).
    """
    d, dtype = keys.shape[1], keys.dtype
    columns = np.array(keys[:: max(1, len(keys) // _SOME)].T, np.float64, order="C")
    n = columns.shape[1]
    shear = np.eye(d)
    with np.errstate(all="ignore"):  # what overflows is looked at below
        for turn in range(_ROUNDS):
            sheared = shear @ columns
            order = np.sort(sheared, axis=1)
            spread = order[:, 3 * n // 4] - order[:, n // 4]
            if not np.all(np.isfinite(spread) & (spread > 0)):
                return _upright(d, dtype)
            # The middle is found anew: slant and narrow, it is not that of the features.
            unit = (sheared - order[:, n // 2, None]) / spread[:, None]
            unit /= np.maximum(1, np.sqrt(np.square(unit).sum(axis=0)))
            scatter = unit @ unit.T
            size = np.sqrt(scatter.diagonal())
            scatter /= np.outer(size, size)
            if not np.abs(scatter - np.eye(d)).max() > (_MORE_ALIKE if turn else _ALIKE):
                break
            lower = np.linalg.cholesky(scatter + _FLAT * np.eye(d))
            size *= spread
            step = np.linalg.inv(lower / lower.diagonal()) * np.outer(size, 1 / size)
            shear = np.tril(step @ shear, -1) + np.eye(d)
    orders = np.rint(np.log2(spread))
    if not np.abs(shear).max() < _STEEPEST or (turn == 0 and np.ptp(orders) <= 1):
        return _upright(d, dtype)
    return _slant(shear, np.exp2(-np.minimum(orders - orders.min(), _WIDEST)), dtype)


@lru_cache
def _upright(d: int, dtype: np.dtype[Any]) -> Slant:
    return _slant(np.eye(d), np.ones(d), dtype)


def _slant(shear: NDArray[np.float64], powers: NDArray[np.float64], dtype: Any) -> Slant:
    rounded = shear.astype(dtype)
    matrix = powers[:, None] * rounded.astype(np.float64)
    upright = bool((matrix == np.eye(len(powers))).all())
    inverse = np.linalg.inv(matrix).astype(np.float64)
    return Slant(rounded, powers, matrix, inverse, upright)
