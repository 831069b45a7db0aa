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
def _best(columns, weights, b, tops, places):
    """The key that scores highest with ``weights[b]``."""
    highest(columns, weights, b, columns.shape[1], tops, places)
    lane = 0
    for other in range(1, LANES):
        if tops[other] > tops[lane]:
            lane = other
    return places[lane] + lane


@part
def _shown(columns, w, b, face, boxes, middle, unit, relative, absolute, cubic):
    """A radius for which key ``w`` shows that the body fits, as far as box ``b`` sees it.

    Its centre and the negative of its half widths are ``boxes[b]``. For a query t in the box and
    any key w, the hull reaches to <t, w>, and a body of radius r to <t, middle> + r |t unit|, in
    the dual norm. The quotient of the linear <t, w - middle> and the convex |t unit| is
    quasi-concave where positive: over a box it is least at a corner. The margin of w is taken off
    first; that of an inner key afterwards, by ``Frames.safe_radius``.
    """
    d = len(middle)
    margin = absolute
    for f in range(d):
        margin += relative * (abs(columns[f, w]) + abs(middle[f]))
    least = np.inf
    for corner in range(1 << (d - 1)):
        reach, dual, bits = -margin, 0.0, corner
        for f in range(d):
            t = boxes[b, f]
            if f != face:
                t += boxes[b, d + f] if bits & 1 else -boxes[b, d + f]
                bits >>= 1
            reach += t * (columns[f, w] - middle[f])
            wide = abs(t) * unit[f]
            dual += wide if cubic else wide * wide
        least = min(least, reach / (dual if cubic else math.sqrt(dual)))
    return least


@part
def _bound(columns, b, known, face, boxes, body, tops, places):
    """The largest radius shown by some keys, at least the ``known`` one of a box around this."""
    w = _best(columns[: len(columns) // 2], boxes, b, tops, places)
    found = _shown(columns, w, b, face, boxes, *body)
    if found < known:
        # What is best at the centre may see little of the box.
        w = _best(columns, boxes, b, tops, places)
        found = _shown(columns, w, b, face, boxes, *body)
    return max(found, known)


@compiled
def inner_radius(keys, face, sign, middle, unit, relative, absolute, cubic, most):
    """The largest radius found of a body around ``middle`` that reaches no farther than the keys.

    For queries on one face of the cube of directions; ``keys`` (d, n) are whole vectors of keys.
    The box of directions where the keys reach least far is halved, for ever better bounds, until
    there are ``most`` boxes.
    """
    d, n_keys = keys.shape
    # Over a box with centre c and half widths h, the least <t, w> is <c, w> - <h, |w|>.
    columns = np.empty((2 * d, n_keys))
    for f in range(d):
        for i in range(n_keys):
            columns[f, i] = keys[f, i]
            columns[d + f, i] = abs(keys[f, i] - middle[f])
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    boxes = np.zeros((most + 2, 2 * d))
    bound, heap = np.empty(most + 2), np.empty(most + 2, np.int64)
    boxes[0, d:] = -1
    boxes[0, face], boxes[0, d + face] = sign, 0
    room = (face, boxes, (middle, unit, relative, absolute, cubic), tops, places)
    bound[0], heap[0] = _bound(columns, 0, 0.0, *room), 0
    n = 1
    while n < most:
        b = heap[0]
        side = 0
        for f in range(1, d):
            if boxes[b, d + f] * unit[f] < boxes[b, d + side] * unit[side]:
                side = f
        boxes[b, d + side] /= 2
        boxes[n] = boxes[b]
        boxes[b, side] += boxes[b, d + side]
        boxes[n, side] -= boxes[b, d + side]
        bound[n] = _bound(columns, n, bound[b], *room)
        bound[b] = _bound(columns, b, bound[b], *room)
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
