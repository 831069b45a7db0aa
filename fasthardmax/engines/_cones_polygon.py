"""Keys of the plane that may win at all: those inside of a polygon of outermost keys are left out.

A polygon of a sample first; where many keys are left, once more one of theirs, with more corners.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_edges as edging
from . import _cones_kernels as kernels
from ._arrays import columns_of, readonly, rows_of
from ._cones_margins import margins
from ._cones_shear import find_slant
from ._cones_vectors import LANES

__all__ = ["outer_keys", "share_left"]

_SAMPLE, _SOME_TRIED = 1 << 12, 1 << 10
# Fewer keys are swept at once, and fewer left over are not reduced again.
_WORTH_REDUCING, _WORTH_ANOTHER = 1 << 11, 1 << 10
_CORNERS, _CORNERS_AGAIN = 16, 64  # at most
_HOPELESS = 0.5  # share of the sample
_ROWS = 1 << 16
_FARTHEST = 900  # binary orders: scales and their products stay normal numbers


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """As of ``_cones_shell.py``, for keys (n, 2)."""
    n = len(keys)
    if n <= _WORTH_REDUCING or abs(exponent) > _FARTHEST:
        return np.arange(n)
    margin = (relative, float(np.ldexp(absolute, exponent)))
    some = readonly(np.ascontiguousarray(keys[:: max(1, n // _SAMPLE)]))
    edges = _polygon(some, _CORNERS, *margin)
    if not len(edges) or len(_outside(some, edges, relative, 1)) > _HOPELESS * len(some):
        return np.arange(n)
    kept = _outside(keys, edges, relative, num_threads)
    if len(kept) > _WORTH_ANOTHER:
        left = readonly(rows_of(keys, kept))
        edges = _polygon(left, _CORNERS_AGAIN, *margin)
        if len(edges):
            kept = kept[_outside(left, edges, relative, num_threads)]
    return kept


def share_left(keys: NDArray[Any]) -> float:
    """As of ``_cones_losing.py``, for keys (n, 2); it takes some 0.1 ms."""
    some = readonly(np.ascontiguousarray(keys[:: max(1, len(keys) // _SOME_TRIED)]))
    relative, _, _ = margins(2, keys.dtype)
    edges = _polygon(some, _CORNERS, relative, 0.0)
    return len(_outside(some, edges, relative, 1)) / len(some) if len(edges) else 1.0


def _polygon(
    keys: NDArray[Any], n_corners: int, relative: float, absolute: float
) -> NDArray[np.float64]:
    """Edges as of ``_cones_edges.polygon``, of the keys that are outermost in some directions."""
    columns = columns_of(keys, LANES)
    low, high = columns.min(axis=1), columns.max(axis=1)
    orders = np.frexp(high / 2 - low / 2)[1]
    if not (np.all(high > low) and np.abs(orders).max() < _FARTHEST > np.ptp(orders)):
        return np.empty((0, 3))
    scale = np.ldexp(1.0, -orders)
    heads = np.empty(n_corners, np.int64)
    directions = _directions(n_corners) @ find_slant(keys).matrix
    kernels.extremes(columns, directions, 0, n_corners, heads)
    edges = np.empty((n_corners, 3))
    return edges[: edging.polygon(columns, heads, scale, relative, absolute, edges)]


@cache
def _directions(n: int) -> NDArray[np.float64]:
    """Directions (n, 2), once around to the left."""
    angles = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _outside(
    keys: NDArray[Any], edges: NDArray[np.float64], relative: float, num_threads: int
) -> NDArray[np.int64]:
    """Indices of keys, all those that may win among them."""
    n = len(keys)
    kept = np.empty(n, np.int64)
    found: dict[int, int] = {}

    def look(start: int, stop: int) -> None:
        found[start] = edging.outside(keys, edges, relative, start, stop, kept)

    for_each_range(look, n, _ROWS, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])
