"""Clouds of points, generic and degenerate, for tests and benchmarks.

Each is a function of a dtype (some of a size too), deterministic, and built only when called.
``CLOUDS`` holds small ones by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DType = np.dtype[Any]
Cloud = Callable[[DType], Array]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def seeded(name: str) -> np.random.Generator:
    """Random numbers that depend on a name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def gaussian(n: int, d: int, dtype: DType) -> Array:
    """Generic points: hardly ever a tie."""
    return seeded(f"gaussian {n} {d}").standard_normal((n, d)).astype(dtype)


def sphere(n: int, d: int, dtype: DType) -> Array:
    """Unit vectors in random order: each wins for itself, so no key can be lost unnoticed."""
    points = seeded(f"sphere {n} {d}").standard_normal((n, d))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(dtype)


def circle(n: int, dtype: DType) -> Array:
    """Evenly spaced points on the unit circle in random order: all of them win, by little."""
    angles = 2 * np.pi * seeded(f"circle {n}").permutation(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(dtype)


def slanted(n: int, d: int, dtype: DType, narrow: float = 0.02) -> Array:
    """Gaussian points whose features correlate, and are not alike in width."""
    points = seeded(f"slanted {n} {d}").standard_normal((n, d))
    wide = 7.0 ** np.minimum(np.arange(1, d), 5)
    points[:, 1:] = (points[:, :1] + narrow * points[:, 1:]) * wide
    return points.astype(dtype)


def ball(n: int, d: int, dtype: DType) -> Array:
    """Uniform in the unit ball."""
    radii = seeded(f"ball {n} {d}").random((n, 1)) ** (1 / d)
    return (sphere(n, d, np.dtype(np.float64)) * radii).astype(dtype)


def lattice(side: int, d: int, dtype: DType) -> Array:
    """Integer points of a cube around the origin: exact ties everywhere."""
    axis = np.arange(side) - side // 2
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1)
    return grid.reshape(-1, d).astype(dtype)


def clustered(n: int, d: int, dtype: DType) -> Array:
    """Five tight clusters."""
    rng = seeded(f"clustered {n} {d}")
    centres = 3 * rng.standard_normal((5, d))
    return (centres[rng.integers(5, size=n)] + 1e-3 * rng.standard_normal((n, d))).astype(dtype)


def mirrored(dtype: DType) -> Array:
    """Generic points with all their reflections in both axes and the diagonal, and the origin."""
    quarter = seeded("mirrored").random((4, 2))
    eighth = np.concatenate([quarter, quarter[:, ::-1]])
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    return np.concatenate([*(eighth * sign for sign in signs), np.zeros((1, 2))]).astype(dtype)


def ulp_neighbours(n: int, d: int, dtype: DType) -> Array:
    """One generic vector, each coordinate of each copy moved by -1, 0 or 1 ulp."""
    rng = seeded(f"ulp_neighbours {n} {d}")
    base = rng.standard_normal(d).astype(dtype)
    moves = rng.integers(-1, 2, size=(n, d)).astype(dtype)
    return base + moves * np.spacing(np.abs(base))


def permuted_features(n: int, d: int, dtype: DType) -> Array:
    """One vector's features in many orders: sums that are equal but for rounding."""
    rng = seeded(f"permuted_features {n} {d}")
    base = rng.standard_normal(d)
    return np.stack([rng.permutation(base) for _ in range(n)]).astype(dtype)


def cancelling(n: int, dtype: DType) -> Array:
    """Large features of opposite sign around small ones: the order of summation decides."""
    rng = seeded(f"cancelling {n}")
    large = 10 ** (1.3 * np.finfo(dtype).precision) * rng.standard_normal((n, 1))
    small = rng.standard_normal((n, 2))
    return np.concatenate([large, small, -large, small[:, ::-1]], axis=1).astype(dtype)


def negative_zeros(dtype: DType) -> Array:
    """Zeros of both signs, alone and beside ones."""
    rows = [[0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0], [0.0, 0.0], [1.0, -0.0], [-0.0, 1.0]]
    return np.array(rows, dtype)


def _scaled(cloud: Cloud, scale: Callable[[np.finfo], float], dtype: DType) -> Array:
    return cloud(dtype) * dtype.type(scale(np.finfo(dtype)))


def _line(through_origin: bool, dtype: DType) -> Array:
    steps = seeded("line").permutation(31)[:, None] - 15.0
    start = np.zeros(3) if through_origin else np.array([0.1, 0.7, -0.3])
    return (start + steps * np.array([0.3, -0.2, 0.9])).astype(dtype)


def _plane(dtype: DType) -> Array:
    plane = np.array([[1.0, 0.5, -0.5, 0.1], [0.0, 1.0, 0.3, -0.7]])
    return (gaussian(40, 2, np.dtype(np.float64)) @ plane).astype(dtype)


CLOUDS: dict[str, Cloud] = {
    "one point": lambda t: np.array([[0.3, -0.7]], t),
    "two points": lambda t: np.array([[0.3, -0.7], [-0.1, 0.2]], t),
    "origin": lambda t: np.zeros((1, 3), t),
    "no points": lambda t: np.empty((0, 2), t),
    "no features": lambda t: np.empty((4, 0), t),
    "lattice d=1": partial(lattice, 7, 1),
    "lattice d=2": partial(lattice, 5, 2),
    "lattice d=3": partial(lattice, 3, 3),
    "lattice d=4": partial(lattice, 2, 4),
    "mirrored": mirrored,
    "duplicates": lambda t: np.tile(gaussian(9, 3, t), (4, 1)),
    "all equal": lambda t: np.tile(gaussian(1, 3, t), (37, 1)),
    "within an ulp d=1": partial(ulp_neighbours, 20, 1),
    "within an ulp d=3": partial(ulp_neighbours, 40, 3),
    "within an ulp d=16": partial(ulp_neighbours, 40, 16),
    "collinear": partial(_line, False),
    "collinear through the origin": partial(_line, True),
    "coplanar": _plane,
    "clustered d=2": partial(clustered, 50, 2),
    "clustered d=8": partial(clustered, 40, 8),
    "circle": partial(circle, 90),
    "ball d=2": partial(ball, 60, 2),
    "ball d=3": partial(ball, 60, 3),
    "sphere d=5": partial(sphere, 40, 5),
    **{f"gaussian d={d}": partial(gaussian, 40, d) for d in (1, 2, 3, 4, 5, 7, 8)},
    **{f"gaussian d={d}": partial(gaussian, 21, d) for d in (16, 17, 33, 64, 100)},
    "parabola": lambda t: np.array([[2 * j, -j * j] for j in range(-20, 21)], t),
    "huge": partial(_scaled, partial(gaussian, 40, 2), lambda info: 1e18),
    "as large as can be": partial(
        _scaled, partial(ball, 40, 2), lambda info: float(info.max) ** 0.5 / 4
    ),
    "tiny": partial(_scaled, partial(gaussian, 40, 2), lambda info: 1e-30),
    "products underflow": partial(
        _scaled, partial(gaussian, 40, 3), lambda info: float(info.smallest_subnormal) ** 0.5 * 4
    ),
    "products of the least numbers": partial(
        _scaled, partial(gaussian, 60, 5), lambda info: float(info.smallest_subnormal) ** 0.5 * 0.7
    ),
    "subnormal": partial(
        _scaled, partial(lattice, 5, 2), lambda info: 700 * float(info.smallest_subnormal)
    ),
    "offset": lambda t: gaussian(40, 3, t) + t.type(1e6),
    "permuted features d=3": partial(permuted_features, 30, 3),
    "permuted features d=16": partial(permuted_features, 30, 16),
    "cancelling": partial(cancelling, 40),
    "negative zeros": negative_zeros,
}
