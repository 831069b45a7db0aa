"""Machine code that settles the queries of a cone index for which no one candidate is known to win.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_boxes import tied_in_tree
from ._cones_divide import GROUPED
from ._cones_long import ROOM, tied_in_groups
from ._cones_ties import copy_row, listed, scan, score_of, settle
from ._jit import compiled, part

__all__ = ["DEPTH", "new_room", "settle_open", "tied_in_list"]

_HELD = 64  # tie sets
DEPTH = 64  # of the tree of boxes, at most; as many bounds fit into ``ROOM``


@part
def tied_in_list(query, i, start, length, lists, more, keys, tied, nodes, bounds, dims):
    """Write the winning candidates of query i to ``tied``; how many, and how many were scored.

    ``start`` and ``length`` are of a list, as ``_cones_divide.divide`` gives them for a leaf.
    """
    boxes, long, columns, corners = more
    if length == 0:
        return tied_in_tree(query, i, start, lists, boxes, keys, tied, nodes, bounds, dims)
    if length >= GROUPED:
        n = length - GROUPED
        return tied_in_groups(query, i, start, n, long, columns, corners, tied, bounds, dims)
    best = keys.dtype.type(-np.inf)
    found = 0
    for j in range(start, start + length):
        c = listed(lists, j)
        score = score_of(query, i, keys, c, dims)
        if score > best:
            best = score
            found = 0
        if score == best:
            tied[found] = c
            found += 1
    return found, length


@compiled
def new_room(candidates, mean):
    """Room for tie sets, some of which are kept with what they give, and for a tree.

    ``settle_open`` writes there; last among what is kept is what all keys give.
    """
    return (
        np.empty(len(candidates), np.int32), np.empty((_HELD, len(candidates)), np.int32),
        np.zeros(_HELD, np.int64), np.empty((_HELD + 1, mean.shape[1]), mean.dtype),
        np.empty(_HELD + 1, np.int64), np.zeros(_HELD + 1, np.int64),
        np.empty(DEPTH, np.int64), np.empty(ROOM, candidates.dtype),
    )  # fmt: skip


@compiled
def settle_open(
    begin, n, open_, starts, lengths, won, query, key, value, candidates, spans, members,
    firsts, source, rows, lists, more, zero, ties, into, mean_into, mean, first, count, dims,
    tied, held, n_held, held_mean, held_first, held_count, nodes, bounds,
):  # fmt: skip
    """Answer ``n`` of a block's queries, those won by one and others; how many were scored anew.

    Their lists have ``starts`` and ``lengths``, -1 for queries too short for one.

    Query ``begin + j`` gets row ``into + j`` of ``first`` and ``count``, ``mean_into + j`` of
    ``mean``. The last arguments are those of :func:`new_room`.
    """
    alone = len(members) == len(candidates)
    scored = 0
    for o in range(n):
        j, length, c = open_[o], lengths[o], won[open_[o]]
        i = begin + j
        if c < 0 <= length:
            found, new = tied_in_list(
                query, i, starts[o], length, lists, more, candidates, tied, nodes, bounds, dims
            )
            scored += 0 if 0 < length < GROUPED else new  # those have been counted
            c = tied[0] if found == 1 else c
        if c >= 0:
            first[into + j] = firsts[c]
            count[into + j] = 1 if alone else spans[c + 1] - spans[c]
            copy_row(source, rows[c], mean, mean_into + j)
            continue
        if length < 0:
            slot, kept = _HELD, True
            for f in range(len(dims)):
                kept &= abs(query[i, f]) <= zero
            same = kept and held_count[slot] > 0
        else:
            # Queries often tie alike: tie sets are kept, none in place of a larger one.
            slot = (found + 3 * tied[0] + 5 * tied[found - 1]) % _HELD
            kept = found >= n_held[slot]
            same = found == n_held[slot]
            for t in range(found if same else 0):
                same &= tied[t] == held[slot, t]
        if same:
            first[into + j], count[into + j] = held_first[slot], held_count[slot]
            copy_row(held_mean, slot, mean, mean_into + j)
            continue
        if length < 0:
            winners = scan(query, i, key, value, ties, mean, mean_into + j, dims)
            scored += len(key)
        else:
            winners = settle(tied, found, spans, members, value, ties, mean, mean_into + j)
            if kept:
                n_held[slot] = found
                for t in range(found):
                    held[slot, t] = tied[t]
        first[into + j], count[into + j] = winners
        if kept:
            held_first[slot], held_count[slot] = winners
            copy_row(mean, mean_into + j, held_mean, slot)
    return scored
