"""Keys of the plane that may win at all: those inside of a polygon of outermost keys are left out.

A polygon of a sample first; where many keys are left, once more one of theirs, with more corners.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_edges as edging
from . import _cones_kernels as kernels
from ._arrays import columns_of, readonly, rows_of
from ._cones_shear import find_slant
from ._cones_vectors import LANES

__all__ = ["Look", "look", "outer_keys"]

_SAMPLE = 1 << 12
# Fewer keys are swept at once, and fewer left over are not reduced again.
_WORTH_REDUCING, _WORTH_ANOTHER = 1 << 11, 1 << 10
_CORNERS, _CORNERS_AGAIN = 16, 64  # at most
_HOPELESS = 0.5  # share of the sample
_ROWS = 1 << 16
_FARTHEST = 900  # binary orders: scales and their products stay normal numbers


class Look(NamedTuple):
    """What a sample of keys tells: a polygon that fits, without edges where none does."""

    edges: NDArray[np.float64]
    left: float  # the share outside


def look(keys: NDArray[Any], exponent: int, relative: float, absolute: float) -> Look | None:
    """Find a polygon, in some 0.2 ms; None for so few keys that they are swept at once.

    The margins are those of ``_cones_margins.margins``, ``absolute`` times P.
    """
    n = len(keys)
    if n <= _WORTH_REDUCING or abs(exponent) > _FARTHEST:
        return None
    some = readonly(np.ascontiguousarray(keys[:: max(1, n // _SAMPLE)]))
    edges = _polygon(some, _CORNERS, relative, float(np.ldexp(absolute, exponent)))
    return Look(edges, len(_outside(some, edges, relative, 1)) / len(some) if len(edges) else 1.0)


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int, seen: Look | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """As of ``_cones_shell.py``, for keys (n, 2)."""
    seen = seen or look(keys, exponent, relative, absolute)
    if seen is None or seen.left > _HOPELESS:
        return np.arange(len(keys))
    kept = _outside(keys, seen.edges, relative, num_threads)
    if len(kept) > _WORTH_ANOTHER:
        left = readonly(rows_of(keys, kept))
        edges = _polygon(left, _CORNERS_AGAIN, relative, float(np.ldexp(absolute, exponent)))
        if len(edges):
            kept = kept[_outside(left, edges, relative, num_threads)]
    return kept


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
