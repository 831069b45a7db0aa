"""Which points, or which directions, count as one: groups within an explicit tolerance."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import check_points
from ..numerics import compute_dtype

__all__ = ["check_tolerance", "coincident", "directions"]

Index = NDArray[np.int64]


def coincident(points: ArrayLike, *, tolerance: float) -> Index:
    """Group points that are at one place, to within a tolerance.

    The cloud is cut wherever the points leave a gap wider than ``tolerance`` along one feature, and
    the parts are cut likewise until none has such a gap. So points that differ by at most
    ``tolerance`` in every feature are always together; a group is wider than that only where its
    points are strung out; and the order of points or features does not matter.

    Parameters
    ----------
    points : array_like, shape (n, d) or (B, n, d)
        One cloud, or B clouds that are grouped apart.
    tolerance : float, at least 0
        In the units of the points; 0 groups equal points.

    Returns
    -------
    ndarray of int64, shape (n,) or (B, n)
        Groups, numbered from 0 in order of their first points: ``labels.max(axis=-1) + 1`` is how
        many there are.

    Raises
    ------
    ValueError, TypeError
        For points that are not finite numbers of such a shape, or a negative tolerance.

    Notes
    -----
    Cost: one sort, O(n log n), for each feature and round; two rounds where clusters are tight.
    Groups of one point, or no wider than the tolerance, are not sorted again.

    The groups are well defined: a set without such gaps is never separated, in whatever order cuts
    are made, because further points only make its gaps smaller.

    Examples
    --------
    >>> from fasthardmax.analysis import coincident
    >>> coincident([[0.0, 0.0], [1.0, 0.0], [1e-9, 0.0]], tolerance=1e-6)
    array([0, 1, 0])
    """
    array = check_points(points)
    clouds = array.astype(compute_dtype(array.dtype), copy=False)
    return _number(clouds, np.ones(array.shape[:-1], bool), check_tolerance(tolerance))


def directions(points: ArrayLike, *, tolerance: float) -> Index:
    """Group points by the direction in which they lie from the origin.

    Parameters
    ----------
    points : array_like, shape (n, d) or (B, n, d)
    tolerance : float, at least 0
        Between unit vectors, as for :func:`coincident`; about an angle in radians. Normalisation
        rounds, so that 0 may separate multiples of one vector.

    Returns
    -------
    ndarray of int64, shape (n,) or (B, n)
        Groups, numbered from 0 in order of their first points; -1 for points at the origin, which
        have no direction. ``labels.max(axis=-1) + 1`` is how many directions there are.

    Raises
    ------
    ValueError, TypeError
        As :func:`coincident`.

    Notes
    -----
    Cost: as :func:`coincident`.

    Examples
    --------
    >>> from fasthardmax.analysis import directions
    >>> directions([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0], [0.6, 0.8]], tolerance=1e-12)
    array([ 0,  1, -1,  0])
    """
    array = check_points(points)
    clouds = array.astype(compute_dtype(array.dtype), copy=False)
    length = np.abs(clouds).max(axis=-1, initial=0, keepdims=True)
    somewhere = length[..., 0] > 0
    unit = clouds / np.where(length > 0, length, 1)  # so that squares neither overflow nor vanish
    norm = np.linalg.norm(unit, axis=-1, keepdims=True)
    unit /= np.where(norm > 0, norm, 1)
    return _number(unit, somewhere, check_tolerance(tolerance))


def _number(clouds: NDArray[Any], counted: NDArray[np.bool_], tolerance: float) -> Index:
    """Groups of the counted points, numbered within each cloud; -1 for the others."""
    rows = clouds[counted]
    # Rows of one cloud lie one after the other; each starts as one part, named by its first row.
    size = counted.sum(axis=-1, dtype=np.int64)
    begin = np.cumsum(size) - size
    part = np.repeat(begin, size)
    _cut(rows, part, tolerance)
    first = np.flatnonzero(part == np.arange(len(part)))
    numbers = np.searchsorted(first, part) - np.repeat(np.searchsorted(first, begin), size)
    labels = np.full(counted.shape, -1, np.int64)
    labels[counted] = numbers
    return labels


def _cut(x: NDArray[Any], part: Index, tolerance: float) -> None:
    """Cut parts at gaps, along one feature after another until none shows another gap.

    ``part`` names the part of each row by the part's first row, and is changed in place.
    """
    d = x.shape[1]
    rows = np.arange(len(x))  # of parts that may still be cut
    feature, quiet = 0, 0  # so many features in succession without a gap
    while quiet < d and len(rows):
        order = rows[np.lexsort((x[rows, feature], part[rows]))]
        with np.errstate(over="ignore"):
            gap = np.diff(x[order, feature]) > tolerance
        apart = part[order[1:]] != part[order[:-1]]
        new = bool((gap & ~apart).any())
        quiet = 1 if new else quiet + 1
        if new:
            at = np.concatenate([[0], 1 + np.flatnonzero(gap | apart)])
            size = np.diff(np.append(at, len(order)))
            part[order] = np.repeat(np.minimum.reduceat(order, at), size)
            rows = order[np.repeat(_wide(x[order], at, tolerance), size)]
        feature = (feature + 1) % d


def _wide(x: NDArray[Any], at: NDArray[np.intp], tolerance: float) -> NDArray[np.bool_]:
    """Which runs of rows, starting at ``at``, are wider than the tolerance in some feature."""
    with np.errstate(over="ignore"):
        width = np.maximum.reduceat(x, at) - np.minimum.reduceat(x, at)
    return np.asarray((width > tolerance).any(axis=1))


def check_tolerance(tolerance: object) -> float:
    """``tolerance`` as a float in [0, inf)."""
    if isinstance(tolerance, numbers.Real) and not isinstance(tolerance, bool):
        number = float(tolerance)
        if 0 <= number < math.inf:
            return number
    raise ValueError(f"tolerance: got {tolerance!r}, expected a finite number of at least 0")
