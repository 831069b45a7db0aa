"""Points that are hard on an index of directions, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .clouds import Array, DType, ball, gaussian, lattice, seeded, slanted, sphere

__all__ = ["HARD", "near_ties"]


def _curve(n: int, d: int, dtype: DType) -> Array:
    t = seeded(f"curve {n} {d}").uniform(-1, 1, n)
    return np.stack([t ** (k + 1) for k in range(d)], axis=1).astype(dtype)


def _flat(n: int, d: int, dtype: DType, rank: int) -> Array:
    rng = seeded(f"flat {n} {d} {rank}")
    return (rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + 0.3).astype(dtype)


def _outlier(n: int, d: int, dtype: DType) -> Array:
    points = gaussian(n, d, dtype)
    points[n // 2] = 1e6
    return points


def _two_clusters(n: int, d: int, dtype: DType) -> Array:
    side = np.where(np.arange(n)[:, None] % 2, 1.0, -1.0)
    return (side + 1e-3 * gaussian(n, d, np.dtype(np.float64))).astype(dtype)


def near_ties(n: int, d: int, dtype: DType) -> Array:
    return (1 + 4 * np.finfo(dtype).eps * seeded("near").integers(0, 8, (n, d))).astype(dtype)


HARD: dict[str, Callable[[int, int, DType], Array]] = {
    "Gaussian": gaussian,
    "sphere": sphere,
    "ball": ball,
    "moment curve": _curve,
    "cube": lambda n, d, t: seeded(f"cube {d}").uniform(-1, 1, (n, d)).astype(t),
    "lattice": lambda n, d, t: lattice(int(n ** (1 / d)), d, t),
    "collinear": lambda n, d, t: _flat(n, d, t, 1),
    "coplanar": lambda n, d, t: _flat(n, d, t, 2),
    "all equal": lambda n, d, t: np.tile(gaussian(1, d, t), (n, 1)),
    "many zeros": lambda n, d, t: gaussian(n, d, t) * (np.arange(n)[:, None] % 2).astype(t),
    "duplicates": lambda n, d, t: gaussian(n // 9, d, t)[seeded("again").integers(0, n // 9, n)],
    "two far clusters": _two_clusters,
    "heavy tails": lambda n, d, t: seeded(f"t {d}").standard_t(1.2, (n, d)).astype(t),
    "one outlier": _outlier,
    "offset by 1e6": lambda n, d, t: gaussian(n, d, t) + t.type(1e6),
    "near ties": near_ties,
    "slanted": slanted,
    "needle": lambda n, d, t: slanted(n, d, t, 1e-6),
    "stretched": lambda n, d, t: gaussian(n, d, t) * t.type(10.0) ** np.arange(d, dtype=t),
}
