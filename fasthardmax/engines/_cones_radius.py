"""Machine code that finds how large a body fits into the hull of some keys.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import math

import numpy as np

from ._cones_vectors import LANES
from ._cones_walls import head
from ._jit import compiled, part

__all__ = ["inner_radius"]

# Of more keys than this a box gets its own list of those that may be best in it, while there is
# room, so many keys for each box (measured: a list for each takes longer than looking at all).
_MANY, _ROOM = 128, 24


@part
def _shown(keys, w, b, face, boxes, reach, dual, middle, unit, relative, absolute, cubic):
    """A radius for which key ``w`` shows that the body fits, as far as box ``b`` sees it.

    Its centre and the negative of its half widths are ``boxes[b]``. For a query t in the box and
    any key w, the hull reaches to <t, w>, and a body of radius r to <t, middle> + r |t unit|, in
    the dual norm. The quotient of the linear <t, w - middle> and the convex |t unit| is
    quasi-concave where positive: over a box it is least at a corner. The margin of w is taken off
    first; that of an inner key afterwards, by ``Frames.safe_radius``.
    """
    reach[0], dual[0] = -absolute, 0
    d, corners = len(middle), 1
    for f in range(d):
        reach[0] -= relative * (abs(keys[f, w]) + abs(middle[f]))
    for f in range(d):
        away = keys[f, w] - middle[f]
        low, high = boxes[b, f] + boxes[b, d + f], boxes[b, f] - boxes[b, d + f]
        wide, wider = abs(low) * unit[f], abs(high) * unit[f]
        if not cubic:
            wide, wider = wide * wide, wider * wider
        others = 0 if f == face else corners
        for corner in range(others):
            reach[corners + corner] = reach[corner] + high * away
            dual[corners + corner] = dual[corner] + wider
        for corner in range(corners):
            reach[corner] += low * away
            dual[corner] += wide
        corners += others
    if not cubic:
        for corner in range(corners):
            dual[corner] = math.sqrt(dual[corner])
    for corner in range(corners):
        reach[corner] /= dual[corner]
    least = np.inf
    for corner in range(corners):
        least = min(least, reach[corner])
    return least


@part
def _narrow(columns, names, begin, end, boxes, b, w, gains, to):
    """Copy to ``to`` on the columns begin..end-1 that column ``w`` does not beat in all of box b.

    Returns where they end: whole vectors, filled up with ``w``.
    """
    d, n = len(columns) // 2, end - begin
    for i in range(n):
        gains[i] = 0
    for f in range(d):
        x, own, weight, half = columns[f, begin:end], columns[f, w], boxes[b, f], boxes[b, d + f]
        for i in range(n):
            gains[i] += weight * (x[i] - own) - half * abs(x[i] - own)
    gains[w - begin] = 1  # it stays, though it gains nothing over itself
    for i in range(n):
        if gains[i] > 0:
            names[to] = names[begin + i]
            for f in range(2 * d):
                columns[f, to] = columns[f, begin + i]
            to += 1
    while to % LANES:
        names[to] = names[w]
        for f in range(2 * d):
            columns[f, to] = columns[f, w]
        to += 1
    return to


@compiled
def inner_radius(keys, face, sign, middle, unit, relative, absolute, cubic, most):
    """The largest radius found of a body around ``middle`` that reaches no farther than the keys.

    For queries on one face of the cube of directions; ``keys`` (d, n) are whole vectors of keys.
    The box of directions where the keys reach least far is halved, for ever better bounds, until
    there are ``most`` boxes, two at least.
    """
    d, n_keys = keys.shape
    room = n_keys + _ROOM * most
    # Over a box with centre c and half widths h, the least <t, w> is <c, w> - <h, |w|>.
    columns, names = np.empty((2 * d, room)), np.empty(room, np.int32)
    for i in range(n_keys):
        names[i] = i
        for f in range(d):
            columns[f, i] = keys[f, i] - middle[f]
            columns[d + f, i] = abs(columns[f, i])
    used = n_keys
    gains, corners = np.empty(n_keys), np.empty((2, 1 << (d - 1)))
    body = (corners[0], corners[1], middle, unit, relative, absolute, cubic)
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    boxes = np.zeros((most, 2 * d))
    begin, end = np.zeros(most, np.int64), np.full(most, n_keys)
    bound, heap = np.zeros(most), np.zeros(most, np.int64)
    boxes[0, d:] = -1
    boxes[0, face], boxes[0, d + face] = sign, 0
    for n in range(1, most):
        b = heap[0]
        side = 0
        for f in range(1, d):
            if boxes[b, d + f] * unit[f] < boxes[b, d + side] * unit[side]:
                side = f
        boxes[b, d + side] /= 2
        boxes[n] = boxes[b]
        boxes[b, side] += boxes[b, d + side]
        boxes[n, side] -= boxes[b, d + side]
        bound[n], begin[n], end[n] = bound[b], begin[b], end[b]
        for a in (b, n):
            start, stop = begin[a], end[a]
            w, _ = head(columns[:d], start, stop, boxes, a, tops, places)
            shown = _shown(keys, names[w], a, face, boxes, *body)
            if shown < bound[a]:
                # What is best at the centre may see little of the box.
                other, _ = head(columns, start, stop, boxes, a, tops, places)
                shown = _shown(keys, names[other], a, face, boxes, *body)
            bound[a] = max(bound[a], shown)
            if stop - start > _MANY and used + stop - start + LANES <= room:
                begin[a] = used
                end[a] = used = _narrow(columns, names, start, stop, boxes, a, w, gains, used)
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
    return bound[heap[0]]
