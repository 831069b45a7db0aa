"""Points that are hard for a search: many of them win, or they lie degenerately, or nearly tie.

Each kind is a function of (n, d, dtype), deterministic and in random order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.clouds import gaussian, sphere

__all__ = ["HARD"]

Array = NDArray[Any]
DType = np.dtype[Any]


def _random(kind: str, n: int, d: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(kind.encode()), n, d])


def moment_curve(n: int, d: int, dtype: DType) -> Array:
    """(t, t^2, ..., t^d) at even steps of t in [-1, 1]: every point wins somewhere."""
    steps = _random("moment curve", n, d).permutation(np.linspace(-1, 1, n))
    return (steps[:, None] ** np.arange(1, d + 1)).astype(dtype)


def parabola(n: int, d: int, dtype: DType) -> Array:
    """(2 j, -j^2) around j = 0, in the first two features: integers, every one wins somewhere."""
    points = np.zeros((n, d))
    points[:, 0] = 2 * _random("parabola", n, d).permutation(np.arange(n) - n // 2)
    points[:, 1] = -((points[:, 0] / 2) ** 2)
    return points.astype(dtype)


def flat(n: int, d: int, dtype: DType, rank: int) -> Array:
    """A line or a plane that misses the origin."""
    rng = _random("flat", n, d)
    return (rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + 0.3).astype(dtype)


def slanted(n: int, d: int, dtype: DType) -> Array:
    """Gaussian points whose features correlate, and are not alike in width."""
    points = _random("slanted", n, d).standard_normal((n, d))
    points[:, 1:] = (points[:, :1] + 0.05 * points[:, 1:]) * 3.0 ** np.arange(1, d)
    return points.astype(dtype)


def all_equal(n: int, d: int, dtype: DType) -> Array:
    return np.tile(gaussian(1, d, dtype), (n, 1))


def two_far_clusters(n: int, d: int, dtype: DType) -> Array:
    rng = _random("two far clusters", n, d)
    return (rng.standard_normal((n, d)) + 1e3 * rng.choice((-1.0, 1.0), (n, 1))).astype(dtype)


def heavy_tails(n: int, d: int, dtype: DType) -> Array:
    """Student's t with 1.2 degrees of freedom."""
    return _random("heavy tails", n, d).standard_t(1.2, (n, d)).astype(dtype)


def one_outlier(n: int, d: int, dtype: DType) -> Array:
    points = gaussian(n, d, dtype)
    points[n // 3] *= 1e6
    return points


def offset(n: int, d: int, dtype: DType) -> Array:
    return (gaussian(n, d, np.dtype(np.float64)) + 1e6).astype(dtype)


def near_ties(n: int, d: int, dtype: DType) -> Array:
    """One vector, each feature of each copy moved by at most 50 ulps."""
    rng = _random("near-ties", n, d)
    base = rng.standard_normal(d).astype(dtype)
    return base + rng.integers(-50, 51, (n, d)).astype(dtype) * np.spacing(np.abs(base))


HARD: dict[str, Callable[[int, int, DType], Array]] = {
    "sphere": sphere,
    "moment curve": moment_curve,
    "parabola": parabola,
    "slanted": slanted,
    "collinear": lambda n, d, dtype: flat(n, d, dtype, 1),
    "coplanar": lambda n, d, dtype: flat(n, d, dtype, 2),
    "all equal": all_equal,
    "two far clusters": two_far_clusters,
    "heavy tails": heavy_tails,
    "one huge outlier": one_outlier,
    "offset by 1e6": offset,
    "near-ties": near_ties,
}
