"""Machine code that searches a tree of boxes for the keys that win, where a cell lists none.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_ties import score_of
from ._jit import inlined, part

__all__ = ["tied_in_tree"]


@inlined
def _bound(query, i, boxes, b, dims):
    """The canonical score of a box's best corner: rounding is monotone, so no key scores more."""
    score = max(query[i, 0] * boxes[b, 0, 0], query[i, 0] * boxes[b, 1, 0])
    for f in range(1, len(dims)):
        score += max(query[i, f] * boxes[b, 0, f], query[i, f] * boxes[b, 1, f])
    return score


@part
def tied_in_tree(query, i, first, lists, boxes, keys, tied, nodes, bounds, dims):
    """Write the best candidates of query i to ``tied``; how many, and how many were scored.

    They are among the entries of ``lists`` from ``first`` on, in the order of the boxes.
    """
    n = len(lists) - first
    bottom = len(boxes) // 2
    nodes[0], bounds[0] = 1, np.inf
    pending = 1
    best = keys.dtype.type(-np.inf)
    found = scored = 0
    while pending:
        pending -= 1
        node = nodes[pending]
        if bounds[pending] < best:
            continue
        if node < bottom:
            left = _bound(query, i, boxes, 2 * node, dims)
            right = _bound(query, i, boxes, 2 * node + 1, dims)
            nodes[pending], bounds[pending] = 2 * node, left
            nodes[pending + 1], bounds[pending + 1] = 2 * node + 1, right
            if left > right:
                nodes[pending], bounds[pending] = 2 * node + 1, right
                nodes[pending + 1], bounds[pending + 1] = 2 * node, left
            pending += 2
            continue
        start, stop = n * (node - bottom) // bottom, n * (node - bottom + 1) // bottom
        scored += stop - start
        for j in range(first + start, first + stop):
            score = score_of(query, i, keys, lists[j], dims)
            if score > best:
                best = score
                found = 0
            if score == best:
                tied[found] = lists[j]
                found += 1
    return found, scored
