"""Machine code for long lists of candidates: groups of near keys, each in a box.

Where rounding decides, cells keep many candidates however small they are. A query scores only the
groups whose box may hold a winner. The note on Numba's disk cache in ``_vectors.py`` holds for this
file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_divide import GROUPED
from ._cones_groups import bound_groups, reaching, score_group
from ._cones_kernels import select
from ._cones_vectors import PACK
from ._jit import compiled, part
from ._vectors import lowest_bit

__all__ = ["LONGEST", "ROOM", "group", "tied_in_groups"]

LONGEST = 4096  # candidates of a list, at most: more are faster to search in a tree of boxes
ROOM = LONGEST // PACK + PACK  # that a search needs: bounds of groups, and scores of one


@compiled
def group(keys, lists, low, high, long, columns, corners, dims):
    """Sort the lists marked ``GROUPED`` into groups of ``PACK``, and move them to ``long``.

    Leaves' ``low`` then are positions there, multiples of ``PACK``. ``columns`` (groups, d,
    ``PACK``) gets the keys, those that fill up a list as NaN, which wins nowhere, and ``corners``
    (2, d, groups + ``PACK``) the boxes.
    """
    d = len(dims)
    starts, ends = np.empty(64, np.int64), np.empty(64, np.int64)
    at = 0
    for leaf in range(len(low)):
        n = high[leaf] - GROUPED
        if n < 0:
            continue
        begin = low[leaf]
        for t in range(-(-n // PACK) * PACK):
            long[at + t] = lists[begin + min(t, n - 1)]
        starts[0], ends[0] = at, at + n
        pending = 1
        while pending:
            pending -= 1
            start, stop = starts[pending], ends[pending]
            g = start // PACK
            longest = 0
            for f in range(d):
                least = most = keys[long[start], f]
                for t in range(start + 1, stop):
                    x = keys[long[t], f]
                    least, most = min(least, x), max(most, x)
                corners[0, f, g], corners[1, f, g] = least, most
                if most - least > corners[1, longest, g] - corners[0, longest, g]:
                    longest = f
            if stop - start <= PACK:
                for f in range(d):
                    for t in range(PACK):
                        here = start + t < stop
                        columns[g, f, t] = keys[long[start + t], f] if here else np.nan
                continue
            middle = start + (-(-(stop - start) // PACK) + 1) // 2 * PACK
            select(keys, long, start, stop, middle, longest)
            starts[pending], ends[pending] = start, middle
            starts[pending + 1], ends[pending + 1] = middle, stop
            pending += 2
        low[leaf] = at
        at += -(-n // PACK) * PACK


@part
def _tied_in_group(query, i, columns, g, numbers, tied, found, best, room, dims):
    """Add to ``tied`` the winners in group g; returns how many there are, and their score."""
    left = score_group(query, i, columns, g, best, room, dims)
    while left:
        t = lowest_bit(left)
        left &= left - np.uint64(1)
        if room[t] > best:
            best = room[t]
            found = 0
        if room[t] == best:
            tied[found] = numbers[g * PACK + t]
            found += 1
    return found, best


@part
def tied_in_groups(query, i, start, n, long, columns, corners, tied, room, dims):
    """Write the winners among ``long[start:start+n]``; how many, and how many were scored."""
    first, groups = start // PACK, -(-n // PACK)
    top = bound_groups(query, i, corners, first, groups, room, dims)
    likely = 0
    while reaching(room, PACK + likely, top) == 0:
        likely += PACK
    likely += lowest_bit(reaching(room, PACK + likely, top))
    least = query.dtype.type(-np.inf)
    found, best = _tied_in_group(
        query, i, columns, first + likely, long, tied, 0, least, room, dims
    )
    scored = 1
    for block in range(0, groups, PACK):
        left = reaching(room, PACK + block, best)
        while left:
            g = block + lowest_bit(left)
            left &= left - np.uint64(1)
            if g != likely and room[PACK + g] >= best:
                found, best = _tied_in_group(
                    query, i, columns, first + g, long, tied, found, best, room, dims
                )
                scored += 1
    return found, scored * PACK
