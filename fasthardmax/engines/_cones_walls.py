"""Machine code for walls, points in the hull of the keys that others must beat to win in a box.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_vectors import LANES, highest
from ._jit import compiled, part

__all__ = ["fan_walls", "find_walls", "head", "may_win"]

_BLOCK = 64


@part
def head(columns, begin, end, weights, w, tops, places):
    """The best of the keys begin..end-1 by the weights ``weights[w]``, and its score."""
    highest(columns, weights, w, begin, end, tops, places)
    lane = 0
    for other in range(1, LANES):
        if tops[other] > tops[lane]:
            lane = other
    return places[lane] + lane, tops[lane]


@part
def find_walls(columns, n, centre, half, begin, walls, weights, tops, places):
    """Write to ``walls[begin:]`` points in the hull of the keys that score high in a box.

    They are the best keys at its centre and towards its sides, and a mean; returns how many. A wall
    is (g_1, ..., g_m, s), s the lower bound of its score at the centre.
    """
    m = len(columns) - 2
    weights[0, 0], weights[0, 1 + m] = 1, -1
    for a in range(begin, 1 + 2 * m):
        for g in range(m):
            weights[0, 1 + g] = centre[g]
        if a:
            g = (a - 1) // 2
            weights[0, 1 + g] += half[g] if a & 1 else -half[g]
        best, _ = head(columns, 0, n, weights, 0, tops, places)
        score = columns[0, best]
        for g in range(m):
            walls[a, g] = columns[1 + g, best]
            score += centre[g] * walls[a, g]
        walls[a, m] = score - columns[m + 1, best]
    if m == 0:
        return 1
    # The mean of those towards the sides: it beats keys in the middle that none of them beats.
    for g in range(m + 1):
        total = 0.0
        for a in range(1, 1 + 2 * m):
            total += walls[a, g]
        walls[1 + 2 * m, g] = total / (2 * m)
    return 2 + 2 * m


@compiled
def fan_walls(exact, size, centres, half, fan):
    """Write the walls of equal boxes on every face to ``fan`` (2 d, boxes, 2 + 2 m, m + 1).

    The keys ``exact`` (n, d) have the margins ``size`` (n,); ``centres`` (boxes, m + 1) and
    ``half`` (m + 1,) are the boxes of a face.
    """
    n, d = exact.shape
    m = d - 1
    padded = -(-n // LANES) * LANES
    columns, weights = np.empty((m + 2, padded)), np.empty((1, m + 2))
    walls, centre = np.empty((2 + 2 * m, m + 1)), np.empty(m + 1)
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    for face in range(2 * d):
        f, sign = face // 2, 1.0 - 2 * (face % 2)
        for i in range(padded):
            j = min(i, n - 1)
            columns[0, i], columns[1 + m, i] = sign * exact[j, f], size[j]
            for g in range(m):
                columns[1 + g, i] = exact[j, g + (g >= f)]
        for box in range(len(centres)):
            for g in range(m):
                centre[g] = centres[box, g]
            find_walls(columns, padded, centre, half, 0, walls, weights, tops, places)
            for a in range(2 + 2 * m):
                for g in range(m + 1):
                    fan[face, box, a, g] = walls[a, g]


@compiled
def may_win(keys, scale, relative, absolute, slip, centres, half, fan, start, stop, kept, dims):
    """Write to ``kept[start:]`` the rows start..stop-1 that may win in a box; returns how many.

    ``fan`` as of :func:`fan_walls`; ``scale`` is two numbers whose product the keys are scaled by.
    """
    d = len(dims)
    m = d - 1
    columns, size_of, upper = np.empty((d, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    gap, least, most = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    found = start
    for begin in range(start, stop, _BLOCK):
        size = min(_BLOCK, stop - begin)
        for j in range(_BLOCK):
            row = begin + min(j, size - 1)
            for f in range(d):
                columns[f, j] = np.float64(keys[row, f]) * scale[0] * scale[1]
            most[j], size_of[j] = -np.inf, absolute
        for f in range(d):
            for j in range(_BLOCK):
                size_of[j] += relative * abs(columns[f, j])
        for face in range(2 * d):
            f, sign = face // 2, 1.0 - 2 * (face % 2)
            for box in range(len(centres)):
                for j in range(_BLOCK):
                    upper[j] = sign * columns[f, j] + size_of[j]
                    least[j] = np.inf
                for g in range(m):
                    x, c = columns[g + (g >= f)], centres[box, g]
                    for j in range(_BLOCK):
                        upper[j] += c * x[j]
                for a in range(2 + 2 * m):
                    floor = fan[face, box, a, m]
                    for j in range(_BLOCK):
                        gap[j] = upper[j] - floor
                    for g in range(m - 1):
                        x, w, reach = columns[g + (g >= f)], fan[face, box, a, g], half[g] + slip
                        for j in range(_BLOCK):
                            gap[j] += reach * abs(x[j] - w)
                    g = m - 1
                    x, w, reach = columns[g + (g >= f)], fan[face, box, a, g], half[g] + slip
                    for j in range(_BLOCK):
                        above = gap[j] + reach * abs(x[j] - w)
                        least[j] = above if above < least[j] else least[j]
                for j in range(_BLOCK):
                    most[j] = least[j] if least[j] > most[j] else most[j]
        for j in range(size):
            kept[found] = begin + j
            found += most[j] >= 0
    return found - start
