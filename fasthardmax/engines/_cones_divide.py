"""Machine code that divides a face of the cube of directions into cells with few candidates.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_entries import MOST_CANDIDATES, entry_of
from ._cones_vectors import LANES, PACK, extent, survivors
from ._cones_walls import find_walls, head
from ._jit import compiled, part
from ._vectors import lowest_bit

__all__ = ["GROUPED", "divide", "place"]

GROUPED = 1 << 30  # added to the number of candidates in a list that ``_cones_long`` shall group

# Lists so short are compared pair by pair.
_ALL_PAIRS = 32
# So few queries are answered faster than a box is halved for them.
_CROWD = 256
# If none of so many queries of a sample is in one half of a box, nearly none are.
_ENOUGH = 32


@part
def _gather(rows, which, start, n, columns):
    """Copy ``n`` of the rows ``which`` to ``columns``, whole vectors with keys that lose."""
    width = rows.shape[1]
    for i in range(n):
        row = which[start + i]
        for f in range(width):
            columns[f, i] = rows[row, f]
    for i in range(n, -(-n // LANES) * LANES):
        columns[0, i] = -1e300
        for f in range(1, width):
            columns[f, i] = columns[f, n - 1]


@part
def _take(columns, which, n, taken):
    """Copy ``n`` of the ``columns``, increasing, to ``taken``, which they may be themselves.

    Whole vectors, filled up with keys that lose; returns how many that makes.
    """
    whole = -(-n // LANES) * LANES
    for f in range(len(columns)):
        for i in range(n):
            taken[f, i] = columns[f, which[i]]
        for i in range(n, whole):
            taken[f, i] = taken[f, n - 1] if f else -1e300
    return whole


@part
def _wall_at_centre(columns, n, centre, walls, weights, tops, places):
    """The first of :func:`find_walls`."""
    m = len(columns) - 2
    weights[0, 0], weights[0, 1 + m] = 1, -1
    for g in range(m):
        weights[0, 1 + g] = centre[g]
    best, walls[0, m] = head(columns, 0, n, weights, 0, tops, places)
    for g in range(m):
        walls[0, g] = columns[1 + g, best]


@part
def _unbeaten(columns, n, centre, upper, walls, begin, end, weights, reach, kept):
    """Write to ``kept`` which of ``n`` keys none of the walls begin..end-1 beats; how many."""
    m = len(columns) - 2
    weights[0, 0], weights[0, 1 + m] = 1, 1
    for g in range(m):
        weights[0, 1 + g] = centre[g]
    found = 0
    for start in range(0, n, LANES):
        left = survivors(columns, start, weights, 0, upper, walls, begin, end, reach)
        while left:
            kept[found] = start + lowest_bit(left)
            found += 1
            left &= left - np.uint64(1)
    return found


@part
def _undominated(
    columns, n, centre, half, slip, few, upper, walls, weights, reach, tops, places, stays, near,
    kept,
):  # fmt: skip
    """Write to ``kept`` which of the ``n`` keys in ``columns`` may win in a box; returns how many.

    A key's column is (g_0, g_1, ..., g_m, e): the key in the face's frame and its margin. In the
    box the query is (1, t_1, ..., t_m) with |t - centre| <= half + slip. Most keys lose to the best
    at the centre: only those that do not, copied to ``few``, are looked at more closely.
    """
    m = len(columns) - 2
    for g in range(m):
        reach[g] = half[g] + slip
    _wall_at_centre(columns, -(-n // LANES) * LANES, centre, walls, weights, tops, places)
    n = _unbeaten(columns, n, centre, upper, walls, 0, 1, weights, reach, near)
    if m == 0:  # there are no other walls, which what fills up vectors would lose to
        for i in range(n):
            kept[i] = near[i]
        return n
    whole = _take(columns, near, n, few)
    n_walls = find_walls(few, whole, centre, half, 1, walls, weights, tops, places)
    found = _unbeaten(few, n, centre, upper, walls, 1, n_walls, weights, reach, kept)
    found = _unbeaten_by_another(few, found, centre, upper, walls, weights, reach, stays, kept)
    for i in range(found):
        kept[i] = near[kept[i]]
    return found


@part
def _unbeaten_by_another(columns, found, centre, upper, walls, weights, reach, stays, kept):
    """Leave those of the ``found`` keys in ``kept`` that none of the others beats; how many.

    Changes ``columns``. None beats itself, and of two at most one the other.
    """
    m = len(columns) - 2
    if found > _ALL_PAIRS or found < 2:
        return found
    _take(columns, kept, found, columns)
    for i in range(found):
        walls[i, m] = upper[kept[i]] - 2 * columns[m + 1, i]
        for g in range(m):
            walls[i, g] = columns[1 + g, i]
    few = _unbeaten(columns, found, centre, upper, walls, 0, found, weights, reach, stays)
    for i in range(few):
        kept[i] = kept[stays[i]]
    return few


@part
def _widest(columns, n, half, least, low, high):
    """The coordinate along which the keys' scores vary most over a box, or -1."""
    m = len(columns) - 2
    widest, side = 0.0, -1
    for g in range(m):
        if half[g] <= least:
            continue
        extent(columns, 1 + g, -(-n // LANES) * LANES, low, high)
        spread = -np.inf
        for lane in range(LANES):
            for other in range(LANES):
                spread = max(spread, high[lane] - low[other])
        if half[g] * spread > widest:
            widest, side = half[g] * spread, g
    return side


@compiled
def _longer(array, size):
    """``array`` with room for ``size`` elements."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, 2 * len(array)), array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@part
def _mark(table, grid, centre, half, entry, first, count):
    """Write ``entry`` to the cells of a face's table that a box covers."""
    m = len(centre) - 1
    cells = 1
    for g in range(m):
        first[g] = np.int64((centre[g] - half[g] + 1) * (grid / 2))
        count[g] = np.int64(half[g] * grid)
        cells *= count[g]
    for cell in range(cells):
        rest = cell
        at = 0
        stride = 1
        for g in range(m - 1, -1, -1):
            at += (first[g] + rest % count[g]) * stride
            rest //= count[g]
            stride *= grid
        table[at] = entry


@compiled
def place(queries, placed, starts):
    """Sort ``queries`` (n, d) by faces into ``placed`` (n, d - 1), those of face i from starts[i].

    Those that are zero are left out.
    """
    n, d = queries.shape
    faces = np.empty(n, np.int64)
    starts[:] = 0
    for i in range(n):
        f = 0
        for g in range(1, d):
            f = g if abs(queries[i, g]) > abs(queries[i, f]) else f
        faces[i] = 2 * f + (queries[i, f] < 0) if queries[i, f] != 0 else -1
        if faces[i] >= 0:
            starts[faces[i] + 1] += 1
    for face in range(2 * d):
        starts[face + 1] += starts[face]
    into = starts.copy()
    for i in range(n):
        if faces[i] < 0:
            continue
        f = faces[i] // 2
        for g in range(d - 1):
            placed[into[faces[i]], g] = queries[i, g + (g >= f)] / abs(queries[i, f])
        into[faces[i]] += 1


@part
def _split(asked, begin, end, side, middle):
    """Sort rows of ``asked`` by which side of ``middle`` they are on; where the upper begin."""
    for i in range(begin, end):
        if asked[i, side] < middle:
            for g in range(asked.shape[1]):
                asked[i, g], asked[begin, g] = asked[begin, g], asked[i, g]
            begin += 1
    return begin


@compiled
def divide(
    keys, size, face, grid, table, slip, least, inner, outer, most, budget, listed, asked, crowd,
    counts,
):  # fmt: skip
    """Halve one face of the cube of directions until its boxes have few candidates.

    ``keys`` (d, n) are columns, with margins ``size`` (n,). Boxes down to the cells of ``grid`` per
    side are halved while they have more than ``inner`` candidates, smaller ones while more than
    ``outer``; none below ``least``, and none whose share of ``budget`` is spent. Of the face's
    queries, a ``crowd``, ``asked`` (s, d - 1) are some, which are sorted. Where few are to be
    expected, were they spread out evenly but for where none are, boxes with a list are not halved,
    nor those whose keys have long stayed the same or are not even told apart by one query alone.

    More candidates than ``most`` are not listed, nor are more than half the budget in lists longer
    than ``listed`` that queries ask. Lengths of such lists, in ``high``, are increased by
    ``GROUPED``. ``counts`` gets how many of ``asked`` find none, and how many keys all boxes had.

    Returns ``(low, high, at, lists)``. Node i is a leaf with the candidates
    ``lists[low[i] : low[i] + high[i]]``, or with unlisted ones for ``high[i] = 0``; for negative
    ``high[i]`` it is divided at position ``at[i]`` of coordinate ``-1 - high[i]`` into the nodes
    ``low[i]`` and ``low[i] + 1``. ``table`` gets each cell's node, or where a cell has but one
    candidate that as a run.
    """
    m, n = len(keys) - 1, len(size)
    rows = np.empty((n, m + 2))  # as in :func:`_undominated`
    f, sign = face // 2, 1.0 - 2 * (face % 2)
    for i in range(n):
        rows[i, 0], rows[i, 1 + m] = sign * keys[f, i], size[i]
        for g in range(m):
            rows[i, 1 + g] = keys[g + (g >= f), i]
    whole = PACK if m > 2 else 1  # lists begin with a vector, where they are packed
    padded = -(-n // LANES) * LANES
    columns = np.empty((m + 2, padded))
    kept = np.empty(padded, np.int32)
    weights = np.empty((1, m + 2))
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    walls = np.empty((max(2 + 2 * m, _ALL_PAIRS), m + 1))
    reach, ends = np.empty(m + 1), np.empty(LANES)
    room = (
        np.empty((m + 2, padded)), np.empty(padded), walls, weights, reach, tops, places,
        np.empty(_ALL_PAIRS, np.int32), np.empty(padded, np.int32),
    )  # fmt: skip
    marks = (np.empty(m + 1, np.int64), np.empty(m + 1, np.int64))
    work = np.empty(3 * n + 64, np.int32)
    low = np.empty(64, np.int32)
    high = np.empty(64, np.int32)
    at = np.zeros(64)
    lists = np.empty(64, np.int32)
    n_nodes = 1
    n_listed = 0
    depth = 2
    side = 1.0
    while side > least:
        side /= 2
        depth += m
    s_node = np.empty(depth, np.int64)
    s_lo = np.empty(depth, np.int64)
    s_n = np.empty(depth, np.int64)
    s_budget = np.empty(depth)
    s_marked = np.empty(depth, np.bool_)
    s_idle = np.empty(depth, np.int64)  # halvings since the last that helped much
    s_asked = np.empty((depth, 2), np.int64)
    s_crowd = np.empty(depth)
    spot, nothing = np.zeros(m + 1), np.zeros(m + 1)
    s_centre = np.empty((depth, m + 1))
    s_half = np.empty((depth, m + 1))
    centre = np.zeros(m + 1)
    half = np.ones(m + 1)
    for i in range(n):
        work[i] = i
    _gather(rows, work, 0, n, columns)
    s_node[0], s_lo[0], s_budget[0], s_marked[0], s_idle[0] = 0, 0, budget, False, 0
    s_asked[0, 0], s_asked[0, 1], s_crowd[0] = 0, len(asked), crowd
    counts[0], counts[1] = 0, n
    room_left = budget / 2
    s_centre[0], s_half[0] = 0, 1
    s_n[0] = _undominated(columns, n, centre, half, slip, *room, kept)
    for i in range(s_n[0]):
        work[i] = kept[i]
    pending = 1
    while pending:
        pending -= 1
        node, lo, k, share = s_node[pending], s_lo[pending], s_n[pending], s_budget[pending]
        marked = s_marked[pending]
        centre[:], half[:] = s_centre[pending], s_half[pending]
        counts[1] += k
        idle = s_idle[pending]
        crowd, first, last = s_crowd[pending], s_asked[pending, 0], s_asked[pending, 1]
        side_by = -1
        alone = crowd == 0 or (crowd < _CROWD and (k <= listed or idle >= 2 * m))
        if k > min(inner, outer) and share >= k and not alone:
            _gather(rows, work, lo, k, columns)
            if idle >= 2 * m and last > first:
                idle = 0
                for g in range(m):
                    spot[g] = asked[first, g]
                found = _undominated(columns, k, spot, nothing, slip, *room, kept)
                alone = 2 * found > k
        if k > min(inner, outer) and share >= k and not alone:
            side_by = _widest(columns, k, half, least, tops, ends)
            if side_by >= 0 and k <= (inner if half[side_by] * grid > 1 else outer):
                side_by = -1
        if side_by < 0:
            if not marked:
                one = k == 1 and work[lo] < MOST_CANDIDATES
                _mark(table, grid, centre, half, entry_of(work[lo], 1) if one else node, *marks)
            if k > listed:
                room_left -= k if crowd else 0
                if k > most or room_left < 0:
                    k = 0
                    counts[0] += last - first
            room_for = -(-k // whole) * whole
            lists = _longer(lists, n_listed + room_for)
            for i in range(room_for):
                lists[n_listed + i] = work[lo + min(i, k - 1)]
            low[node], high[node], at[node] = n_listed, k, 0
            if k > listed and crowd:
                high[node] += GROUPED
            n_listed += room_for
            continue
        if not marked and half[side_by] * grid <= 1:
            _mark(table, grid, centre, half, node, *marks)
            marked = True
        work = _longer(work, lo + 3 * k)
        low = _longer(low, n_nodes + 2)
        high = _longer(high, n_nodes + 2)
        at = _longer(at, n_nodes + 2)
        low[node], high[node], at[node] = n_nodes, -1 - side_by, centre[side_by]
        half[side_by] /= 2
        middle = centre[side_by]
        begin = lo + k
        upper = _split(asked, first, last, side_by, middle)
        for child in range(2):
            centre[side_by] = middle + (half[side_by] if child else -half[side_by])
            seen = last - upper if child else upper - first
            expected = crowd / 2
            if last - first >= _ENOUGH and (seen == 0 or seen == last - first):
                expected = crowd if seen else 0.0
            found = 0
            if expected or k <= most:  # other boxes may stay as they are
                found = _undominated(columns, k, centre, half, slip, *room, kept)
            for i in range(found):
                work[begin + i] = work[lo + kept[i]]
            s_node[pending + child], s_lo[pending + child] = n_nodes, begin - k
            s_n[pending + child], s_marked[pending + child] = found, marked
            s_idle[pending + child] = idle + 1 if 8 * found > 7 * k else 0
            s_asked[pending + child, 0] = upper if child else first
            s_asked[pending + child, 1] = last if child else upper
            s_crowd[pending + child] = expected
            s_centre[pending + child], s_half[pending + child] = centre, half
            begin += found
            n_nodes += 1
        for i in range(lo, begin - k):
            work[i] = work[k + i]
        total = s_n[pending] + s_n[pending + 1]
        for child in range(2):
            s_budget[pending + child] = share * s_n[pending + child] / total
        for child in range(2):
            if s_crowd[pending + child] == 0:  # it is not halved again
                found = s_n[pending + child] if s_n[pending + child] <= most else 0
                s_budget[pending + 1 - child] = max(share - found, share / 2)
        pending += 2
    return low[:n_nodes], high[:n_nodes], at[:n_nodes], lists[:n_listed]
