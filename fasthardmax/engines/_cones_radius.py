"""Machine code that finds how large a body fits into the hull of some keys.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import math

import numpy as np

from ._cones_vectors import LANES, highest
from ._jit import compiled, part

__all__ = ["inner_radius"]


@part
def _reaches(columns, w, b, face, centre, half, middle, unit, relative, absolute, cubic):
    """A radius for which key ``w`` shows that the body fits, as far as box ``b`` sees it.

    For a query t in a box of directions and any key w, the hull reaches to <t, w>, and a body of
    radius r to <t, middle> + r |t unit|, in the dual norm. The quotient of the linear
    <t, w - middle> and the convex |t unit| is quasi-concave where positive: over a box it is least
    at a corner. The margin of w is taken off first; that of an inner key afterwards, by
    ``Frames.safe_radius``.
    """
    d = len(columns)
    margin = absolute
    for f in range(d):
        margin += relative * (abs(columns[f, w]) + abs(middle[f]))
    least = np.inf
    for corner in range(1 << (d - 1)):
        reach, dual, bits = -margin, 0.0, corner
        for f in range(d):
            t = centre[b, f]
            if f != face:
                t += half[b, f] if bits & 1 else -half[b, f]
                bits >>= 1
            reach += t * (columns[f, w] - middle[f])
            wide = abs(t) * unit[f]
            dual += wide if cubic else wide * wide
        least = min(least, reach / (dual if cubic else math.sqrt(dual)))
    return least


@part
def _bound(columns, b, known, heads, face, centre, half, body, tops, places):
    """The largest radius that the best key at the centre of box ``b`` shows, or the ``known`` one.

    That one showed it for a box around this. Whichever it is, ``heads[b]`` is told.
    """
    highest(columns, centre, b, columns.shape[1], tops, places)
    lane = 0
    for other in range(1, LANES):
        if tops[other] > tops[lane]:
            lane = other
    w = places[lane] + lane
    found = _reaches(columns, w, b, face, centre, half, *body)
    before = _reaches(columns, known, b, face, centre, half, *body)
    heads[b] = w if found >= before else known
    return max(found, before)


@compiled
def inner_radius(columns, face, sign, middle, unit, relative, absolute, cubic, most):
    """The largest radius found of a body around ``middle`` that reaches no farther than the keys.

    For queries on one face of the cube of directions; ``columns`` (d, n) are whole vectors of keys.
    The box of directions where the keys reach least far is halved, for ever better bounds, until
    there are ``most`` boxes.
    """
    d = len(columns)
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    centre, half = np.zeros((most + 2, d)), np.ones((most + 2, d))
    bound, heap = np.empty(most + 2), np.empty(most + 2, np.int64)
    centre[0, face], half[0, face] = sign, 0
    heads = np.zeros(most + 2, np.int64)
    room = (heads, face, centre, half, (middle, unit, relative, absolute, cubic), tops, places)
    bound[0], heap[0] = _bound(columns, 0, 0, *room), 0
    n = 1
    while n < most:
        b = heap[0]
        side = 0
        for f in range(1, d):
            if half[b, f] * unit[f] > half[b, side] * unit[side]:
                side = f
        half[b, side] /= 2
        centre[n], half[n] = centre[b], half[b]
        centre[b, side] -= half[b, side]
        centre[n, side] += half[b, side]
        known = heads[b]
        bound[b] = _bound(columns, b, known, *room)
        bound[n] = _bound(columns, n, known, *room)
        # The least bound comes first: b sinks, n rises.
        at = 0
        while True:
            child = 2 * at + 1
            if child + 1 < n and bound[heap[child + 1]] < bound[heap[child]]:
                child += 1
            if child >= n or bound[heap[child]] >= bound[b]:
                break
            heap[at] = heap[child]
            at = child
        heap[at] = b
        at = n
        while at and bound[heap[(at - 1) // 2]] > bound[n]:
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = n
        n += 1
    return bound[heap[0]]
