"""Machine code that builds a cone index: throw away inner keys, find duplicates, divide the cells.

Everything here lives in one file because Numba's disk cache notices changes of this file only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["collapse", "divide", "extremes", "outside", "regroup", "tree"]

_compiled = njit(nogil=True, cache=True, error_model="numpy")

# Lists so short are compared pair by pair.
_ALL_PAIRS = 24


@_compiled
def outside(keys, frames, radii, start, stop, kept, dims):
    """Write to ``kept`` the rows start..stop-1 that lie in none of three bodies; returns how many.

    With x = (key - frames[0]) * frames[1] and y = (key - frames[2]) * frames[3] the bodies are
    |x|_2^2 < radii[0], |y|_2^2 < radii[1] and |y|_inf < radii[2].
    """
    found = 0
    for i in range(start, stop):
        n0 = n1 = n2 = keys.dtype.type(0)
        for f in range(len(dims)):
            x = (keys[i, f] - frames[0, f]) * frames[1, f]
            y = (keys[i, f] - frames[2, f]) * frames[3, f]
            n0 += x * x
            n1 += y * y
            n2 = max(n2, abs(y))
        kept[found] = i
        found += not ((n0 < radii[0]) | (n1 < radii[1]) | (n2 < radii[2]))
    return found


@_compiled
def extremes(columns, directions, best):
    """Write to ``best`` which of ``columns`` (d, n) scores highest in each of ``directions``."""
    d, n = columns.shape
    block = 512
    scores = np.empty(block)
    tops = np.full(len(directions), -np.inf)
    best[:] = 0
    for start in range(0, n, block):
        size = min(block, n - start)
        for t in range(len(directions)):
            for j in range(size, block):
                scores[j] = -np.inf
            for f in range(d):
                x, column = directions[t, f], columns[f, start : start + size]
                if f == 0:
                    for j in range(size):
                        scores[j] = x * column[j]
                else:
                    for j in range(size):
                        scores[j] += x * column[j]
            # Folding in parts is what the compiler vectorises.
            top = tops[t]
            for part in range(0, block, 64):
                few = scores[part : part + 64]
                for width in (32, 16, 8):
                    other = few[width:]
                    for j in range(width):
                        few[j] = few[j] if few[j] > other[j] else other[j]
                for j in range(8):
                    top = max(top, few[j])
            if top > tops[t]:
                tops[t] = top
                for j in range(start, start + size):
                    score = directions[t, 0] * columns[0, j]
                    for f in range(1, d):
                        score += directions[t, f] * columns[f, j]
                    if score == top:
                        best[t] = j
                        break


@_compiled
def collapse(bits, group, first):
    """Number equal rows of ``bits`` (n, d) alike, by first appearance; returns how many differ.

    ``group`` gets each row's number, ``first`` each number's first row.
    """
    n, d = bits.shape
    size = 16
    while size < 2 * n:
        size *= 2
    slots = np.full(size, -1, np.int32)  # the first row of a group, by hash
    groups = 0
    for i in range(n):
        mixed = np.uint64(0)
        for f in range(d):
            mixed = (mixed ^ np.uint64(bits[i, f])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        slot = np.int64(mixed & np.uint64(size - 1))
        while True:
            row = slots[slot]
            if row < 0:
                slots[slot] = i
                group[i] = groups
                first[groups] = i
                groups += 1
                break
            same = True
            for f in range(d):
                same &= bits[row, f] == bits[i, f]
            if same:
                group[i] = group[row]
                break
            slot = (slot + 1) & (size - 1)
    return groups


@_compiled
def _undominated(rows, work, lo, n, at, centre, half, slip, upper, heads, tops):
    """Copy to ``work[at:]`` what of ``work[lo:lo+n]`` may win in a box; returns how many.

    A row is (g_0, g_1, ..., g_m, e): the key in the face's frame and its margin. In the box the
    query is (1, t_1, ..., t_m) with |t - centre| <= half + slip.
    """
    m = rows.shape[1] - 2
    for a in range(1 + 2 * m):
        heads[a] = work[lo]
        tops[a] = -np.inf
    for i in range(n):
        row = rows[work[lo + i]]
        score = row[0]
        for g in range(m):
            score += centre[g] * row[1 + g]
        upper[i] = score + row[m + 1]
        score -= row[m + 1]
        if score > tops[0]:
            tops[0] = score
            heads[0] = work[lo + i]
        for g in range(m):
            tilt = half[g] * row[1 + g]
            if score + tilt > tops[1 + 2 * g]:
                tops[1 + 2 * g] = score + tilt
                heads[1 + 2 * g] = work[lo + i]
            if score - tilt > tops[2 + 2 * g]:
                tops[2 + 2 * g] = score - tilt
                heads[2 + 2 * g] = work[lo + i]
    # The distinct ones, and their lower bounds at the centre.
    n_heads = 0
    for a in range(1 + 2 * m):
        new = True
        for b in range(n_heads):
            new &= heads[b] != heads[a]
        if new:
            row = rows[heads[a]]
            score = row[0]
            for g in range(m):
                score += centre[g] * row[1 + g]
            tops[n_heads] = score - row[m + 1]
            heads[n_heads] = heads[a]
            n_heads += 1
    found = 0
    for i in range(n):
        row = rows[work[lo + i]]
        lost = False
        for a in range(n_heads):
            gap = upper[i] - tops[a]
            for g in range(m):
                gap += (half[g] + slip) * abs(row[1 + g] - rows[heads[a], 1 + g])
            if gap < 0:
                lost = True
                break
        if not lost:
            work[at + found] = work[lo + i]
            upper[found] = upper[i]
            found += 1
    if found > _ALL_PAIRS or found < 2:
        return found
    few = found
    found = 0
    kept = np.ones(_ALL_PAIRS, np.bool_)
    for i in range(few):
        row = rows[work[at + i]]
        for j in range(few):
            other = rows[work[at + j]]
            gap = upper[i] - upper[j] + 2 * other[m + 1]
            if gap >= 0 or i == j or not kept[j]:
                continue
            for g in range(m):
                gap += (half[g] + slip) * abs(row[1 + g] - other[1 + g])
            if gap < 0:
                kept[i] = False
                break
    for i in range(few):
        if kept[i]:
            work[at + found] = work[at + i]
            found += 1
    return found


@_compiled
def _longer(array, size):
    """``array`` with room for ``size`` elements."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, 2 * len(array)), array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@_compiled
def _mark(table, grid, centre, half, entry):
    """Write ``entry`` to the cells of a face's table that a box covers."""
    m = len(centre) - 1
    first = np.empty(m + 1, np.int64)
    count = np.empty(m + 1, np.int64)
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


@_compiled
def divide(rows, grid, table, slip, least, inner, outer, most, budget):
    """Halve one face of the cube of directions until its boxes have few candidates.

    ``rows`` (n, d + 1) as in :func:`_undominated`. Boxes down to the cells of ``grid`` per side are
    halved while they have more than ``inner`` candidates, smaller ones while more than ``outer``;
    none below ``least``, and none whose share of ``budget`` is spent. More than ``most`` are not
    listed.

    Returns ``(low, high, at, lists)``. Node i is a leaf with the candidates
    ``lists[low[i] : low[i] + high[i]]``, or with unlisted ones for ``high[i] = 0``; for negative
    ``high[i]`` it is divided at position ``at[i]`` of coordinate ``-1 - high[i]`` into the nodes
    ``low[i]`` and ``low[i] + 1``. ``table`` gets each cell's node, or ``-1 - key`` where a cell has
    one candidate.
    """
    m, n = rows.shape[1] - 2, len(rows)
    upper = np.empty(n)
    heads = np.empty(1 + 2 * m, np.int32)
    tops = np.empty(1 + 2 * m)
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
    s_centre = np.empty((depth, m + 1))
    s_half = np.empty((depth, m + 1))
    centre = np.zeros(m + 1)
    half = np.ones(m + 1)
    for i in range(n):
        work[i] = i
    s_node[0], s_lo[0], s_budget[0], s_marked[0] = 0, 0, budget, False
    for g in range(m + 1):
        s_centre[0, g], s_half[0, g] = 0, 1
    s_n[0] = _undominated(rows, work, 0, n, n, centre, half, slip, upper, heads, tops)
    for i in range(s_n[0]):
        work[i] = work[n + i]
    pending = 1
    while pending:
        pending -= 1
        node, lo, k, share = s_node[pending], s_lo[pending], s_n[pending], s_budget[pending]
        marked = s_marked[pending]
        for g in range(m):
            centre[g], half[g] = s_centre[pending, g], s_half[pending, g]
        side_by = -1
        if k > min(inner, outer) and share >= k:
            widest = 0.0
            for g in range(m):
                if half[g] <= least:
                    continue
                left = right = rows[work[lo], 1 + g]
                for i in range(1, k):
                    x = rows[work[lo + i], 1 + g]
                    left = min(left, x)
                    right = max(right, x)
                if half[g] * (right - left) > widest:
                    widest = half[g] * (right - left)
                    side_by = g
            if side_by >= 0 and k <= (inner if half[side_by] * grid > 1 else outer):
                side_by = -1
        if side_by < 0:
            if not marked:
                _mark(table, grid, centre, half, -1 - work[lo] if k == 1 else node)
            k = k if k <= most else 0
            lists = _longer(lists, n_listed + k)
            for i in range(k):
                lists[n_listed + i] = work[lo + i]
            low[node], high[node], at[node] = n_listed, k, 0
            n_listed += k
            continue
        if not marked and half[side_by] * grid <= 1:
            _mark(table, grid, centre, half, node)
            marked = True
        work = _longer(work, lo + 3 * k)
        low = _longer(low, n_nodes + 2)
        high = _longer(high, n_nodes + 2)
        at = _longer(at, n_nodes + 2)
        low[node], high[node], at[node] = n_nodes, -1 - side_by, centre[side_by]
        half[side_by] /= 2
        middle = centre[side_by]
        centre[side_by] = middle - half[side_by]
        k1 = _undominated(rows, work, lo, k, lo + k, centre, half, slip, upper, heads, tops)
        for g in range(m):
            s_centre[pending, g] = centre[g]
        centre[side_by] = middle + half[side_by]
        k2 = _undominated(rows, work, lo, k, lo + k + k1, centre, half, slip, upper, heads, tops)
        for g in range(m):
            s_centre[pending + 1, g] = centre[g]
        for i in range(k1 + k2):
            work[lo + i] = work[lo + k + i]
        for child in range(2):
            s_node[pending] = n_nodes
            s_lo[pending] = lo if child == 0 else lo + k1
            s_n[pending] = k1 if child == 0 else k2
            s_budget[pending] = share * s_n[pending] / (k1 + k2)
            s_marked[pending] = marked
            for g in range(m):
                s_half[pending, g] = half[g]
            pending += 1
            n_nodes += 1
    return low[:n_nodes], high[:n_nodes], at[:n_nodes], lists[:n_listed]


@_compiled
def regroup(lists, table, group, outer, n_groups):
    """Number the groups anew in the order in which ``lists`` name them; drop those never named.

    Changes ``lists`` and ``table`` in place. Returns the old numbers and the keys ``outer`` of
    each group, increasing, as ``(named, spans, members)``.
    """
    number = np.full(n_groups, -1, np.int32)
    named = np.empty(n_groups, np.int32)
    n = 0
    for i in range(len(lists)):
        old = lists[i]
        if number[old] < 0:
            number[old] = n
            named[n] = old
            n += 1
        lists[i] = number[old]
    for i in range(len(table)):
        if table[i] < 0:
            table[i] = -1 - number[-1 - table[i]]
    spans = np.zeros(n + 1, np.int64)
    for i in range(len(group)):
        if number[group[i]] >= 0:
            spans[number[group[i]] + 1] += 1
    for g in range(n):
        spans[g + 1] += spans[g]
    members = np.empty(spans[n], np.int64)
    into = np.empty(n, np.int64)
    for g in range(n):
        into[g] = spans[g]
    for i in range(len(group)):
        g = number[group[i]]
        if g >= 0:
            members[into[g]] = outer[i]
            into[g] += 1
    return named[:n], spans, members


@_compiled
def _select(keys, order, start, stop, middle, f):
    """Permute ``order[start:stop]`` so that feature f is no larger before ``middle`` than after."""
    low, high = start, stop - 1
    while low < high:
        pivot = keys[order[(low + high) // 2], f]
        i, j = low, high
        while i <= j:
            while keys[order[i], f] < pivot:
                i += 1
            while keys[order[j], f] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@_compiled
def tree(keys, levels, order, boxes):
    """Sort ``keys`` (n, d) into boxes, halved along their longest side ``levels`` times.

    Box i of level l, number 2^l + i, holds the keys ``order[n * i >> l : n * (i + 1) >> l]``,
    between its corners ``boxes[number, 0]`` and ``boxes[number, 1]``.
    """
    n, d = keys.shape
    for level in range(levels + 1):
        for i in range(1 << level):
            start, stop = (n * i) >> level, (n * (i + 1)) >> level
            box = boxes[(1 << level) + i]
            for f in range(d):
                box[0, f] = box[1, f] = keys[order[start], f]
            for j in range(start + 1, stop):
                for f in range(d):
                    x = keys[order[j], f]
                    box[0, f] = min(box[0, f], x)
                    box[1, f] = max(box[1, f], x)
            if level < levels:
                longest = 0
                for f in range(1, d):
                    if box[1, f] - box[0, f] > box[1, longest] - box[0, longest]:
                        longest = f
                _select(keys, order, start, stop, (n * (2 * i + 1)) >> (level + 1), longest)
