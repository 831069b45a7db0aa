"""Points that are hard on searches that avoid pairs, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clouds import (
    ball,
    clustered,
    gaussian,
    permuted_features,
    seeded,
    slanted,
    sphere,
    ulp_neighbours,
)

__all__ = ["HARD"]

DType = np.dtype[Any]
Array = NDArray[Any]


def _two_far(n: int, d: int, dtype: DType) -> Array:
    points = gaussian(n, d, dtype)
    points[::2] += dtype.type(100)
    return points


def _outlier(n: int, d: int, dtype: DType) -> Array:
    points = gaussian(n, d, dtype)
    points[n // 3] *= dtype.type(1e6)
    return points


def _line(n: int, d: int, dtype: DType) -> Array:
    return (np.outer(seeded("line").permutation(n) - n // 2, np.arange(1, d + 1)) / 7).astype(dtype)


def _moments(n: int, d: int, dtype: DType) -> Array:
    x = 2 * seeded("moments").permutation(n)[:, None] / n - 1
    return (x ** np.arange(1, d + 1)).astype(dtype)


def _grid(n: int, d: int, dtype: DType) -> Array:
    return seeded(f"grid {n} {d}").integers(-2, 3, (n, d)).astype(dtype)


def _some_zero(n: int, d: int, dtype: DType) -> Array:
    points = gaussian(n, d, dtype)
    points[::5] = 0
    return points


def _magnitudes(n: int, d: int, dtype: DType) -> Array:
    exponents = seeded("magnitudes").integers(-12, 12, (n, 1))
    return (gaussian(n, d, np.dtype(np.float64)) * 10.0**exponents).astype(dtype)


HARD: dict[str, Callable[[int, int, DType], Array]] = {
    "gaussian": gaussian,
    "clusters": clustered,
    "ball": ball,
    "sphere": sphere,
    "cube": lambda n, d, t: (2 * seeded("cube").random((n, d)) - 1).astype(t),
    "moment curve": _moments,
    "lattice": _grid,
    "line": _line,
    "all equal": lambda n, d, t: np.tile(gaussian(1, d, t), (n, 1)),
    "duplicates": lambda n, d, t: np.resize(gaussian(n // 7, d, t), (n, d)),
    "two far clusters": _two_far,
    "heavy tails": lambda n, d, t: seeded("heavy").standard_cauchy((n, d)).astype(t),
    "one huge outlier": _outlier,
    "offset": lambda n, d, t: gaussian(n, d, t) + t.type(1e6),
    "near ties": ulp_neighbours,
    "slanted": slanted,
    "needle": lambda n, d, t: slanted(n, d, t, 1e-6),
    "permuted features": permuted_features,
    "some at the origin": _some_zero,
    "many magnitudes": _magnitudes,
}
