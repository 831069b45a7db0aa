"""Machine code that divides the directions of the plane into cells, by a sweep over slopes.

On a face a key (g_0, g_1) is the line g_0 + t g_1. For any keys p and w with slopes p_1 >= w_1, if
p loses to w at some t, by the margins that ``_cones_margins`` derives, it loses to w at every
smaller t too, and where p_1 <= w_1 at every larger one. So a key may win in one interval only. Its
ends are bounded by the crossings with any other keys; those used are neighbours by slope on the
upper envelope. A crossing is a quotient of sums of three terms: its error is that of a change of
the terms by at most 8 v, v the roundoff of float64, for which the margins have room. In the order
of slopes, the keys that may win in a cell lie next to each other.

Everything here lives in one file because Numba's disk cache notices changes of this file only.
"""

from __future__ import annotations

import numpy as np

from ._jit import compiled, inlined, part

__all__ = ["cells", "flank", "intervals"]

_DEPTH = 64
_SAMPLE = 1 << 12


@inlined
def _line(keys, i, f, frame):
    """The line of key i on a face of feature f, and its margin."""
    sign, scale, rest, relative, absolute = frame
    g0 = sign * (np.float64(keys[i, f]) * scale * rest)
    g1 = np.float64(keys[i, 1 - f]) * scale * rest
    return g0, g1, relative * (abs(g0) + abs(g1)) + absolute


@compiled
def flank(keys, f, frame, end, kept, slopes):
    """Write to ``kept`` which keys (n, 2) may win on a face, and their slopes; returns how many.

    The face has t in [-end, end]. Those that lose on both of its halves to the best of a sample at
    an end or in the middle are left out. ``frame`` holds the face's sign, the two powers of two by
    which keys are scaled, and the factors of their margins.
    """
    n = len(keys)
    tops = np.full(3, -np.inf)
    heads = np.zeros(3, np.int64)
    for i in range(0, n, max(1, n // _SAMPLE)):
        g0, g1, e = _line(keys, i, f, frame)
        for a in range(3):
            score = g0 + (a - 1) * end * g1 - e
            if score > tops[a]:
                tops[a], heads[a] = score, i
    walls = np.empty((3, 3))
    for a in range(3):
        g0, g1, e = _line(keys, heads[a], f, frame)
        for b in range(3):
            walls[a, b] = g0 + (b - 1) * end * g1 - e
    found = 0
    for i in range(n):
        g0, g1, e = _line(keys, i, f, frame)
        left, middle, right = g0 - end * g1 + e, g0 + e, g0 + end * g1 + e
        loses = True
        for half in range(2):
            beaten = False
            for a in range(half, half + 2):
                at_end = left < walls[a, 0] if half == 0 else right < walls[a, 2]
                beaten |= at_end & (middle < walls[a, 1])
            loses &= beaten
        kept[found], slopes[found] = i, g1
        found += not loses
    return found


@part
def _envelope(g0, g1, e, hull):
    """Write to ``hull`` which lines, of rising slope, lie on top, about; returns how many."""
    n = 0
    for i in range(len(g0)):
        a, b = g0[i] - e[i], g1[i]
        while n:
            top = hull[n - 1]
            a1, b1 = g0[top] - e[top], g1[top]
            if b1 == b and a1 >= a:
                break
            if b1 != b:
                if n == 1:
                    break
                under = hull[n - 2]
                a2, b2 = g0[under] - e[under], g1[under]
                if (a2 - a) * (b1 - b2) > (a2 - a1) * (b - b2):
                    break
            n -= 1
        if n == 0 or g1[hull[n - 1]] != b:
            hull[n] = i
            n += 1
    return n


@inlined
def _loses_before(g0, g1, e, i, w):
    """Line i loses to line w, of no larger slope, at every smaller t."""
    ahead = (g0[i] - g0[w]) + (e[i] + e[w])
    rise = abs(g1[i] - g1[w])
    if rise > 0:
        return -ahead / rise
    return np.inf if ahead < 0 else -np.inf


@compiled
def intervals(keys, f, frame, end, order, which, first, last):
    """Write to ``which`` the keys of ``order``, of rising slope, that may win; returns how many.

    The i-th of them, and those before it, lose at all t beyond ``last[i]``; it and those after it
    lose at all t before ``first[i]``.
    """
    n = len(order)
    g0, g1, e = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        g0[i], g1[i], e[i] = _line(keys, order[i], f, frame)
    hull = np.empty(n, np.int64)
    n_hull = _envelope(g0, g1, e, hull)
    found = passed = 0
    for i in range(n):
        while passed < n_hull and hull[passed] < i:
            passed += 1
        # Lines farther off are worth a try where neighbours are too close to tell apart.
        left, step, j = -np.inf, 1, passed - 1
        while j >= 0:
            t = _loses_before(g0, g1, e, i, hull[j])
            if t <= left and left > -np.inf:
                break
            left = max(left, t)
            j -= step
            step *= 2
        right, step, j = np.inf, 1, passed + (passed < n_hull and hull[passed] == i)
        while j < n_hull:
            t = -_loses_before(g0, g1, e, i, hull[j])
            if t >= right and right < np.inf:
                break
            right = min(right, t)
            j += step
            step *= 2
        which[found], first[found], last[found] = order[i], left, right
        found += not (left > right or left > end or right < -end)
    for i in range(1, found):
        last[i] = max(last[i], last[i - 1])
    for i in range(found - 2, -1, -1):
        first[i] = min(first[i], first[i + 1])
    return found


@compiled
def _longer(array, size):
    """``array`` with room for ``size`` elements."""
    if size <= len(array):
        return array
    longer = np.zeros(max(size, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def cells(number, first, last, grid, table, slip, least, outer, most, budget):
    """Write a face's ``table``: who may win in each of its ``grid`` cells.

    Cells with more than ``outer`` candidates are halved, down to ``least``, and into ``budget``
    parts at most. Returns ``(low, high, at)`` as ``_cones_divide.divide`` does, for lists that are
    runs of candidates, the i-th by slope number ``number + i``.
    """
    n = len(first)
    low = np.empty(grid + 64, np.int32)
    high = np.empty(grid + 64, np.int32)
    at = np.zeros(grid + 64)
    s_node, s_lo, s_hi = (
        np.empty(_DEPTH, np.int64), np.empty(_DEPTH, np.int64), np.empty(_DEPTH, np.int64)
    )  # fmt: skip
    s_begin, s_end = np.empty(_DEPTH), np.empty(_DEPTH)
    s_useless = np.empty(_DEPTH, np.bool_)
    n_nodes = 0
    lo = hi = 0
    held_lo, held_hi, held = -1, -1, -1
    for cell in range(grid):
        begin, end = cell * (2.0 / grid) - 1, (cell + 1) * (2.0 / grid) - 1
        while lo < n - 1 and last[lo] < begin - slip:
            lo += 1
        hi = max(lo, hi)
        while hi < n - 1 and first[hi + 1] <= end + slip:
            hi += 1
        if lo == hi:
            table[cell] = -1 - (number + lo)
            continue
        if lo == held_lo and hi == held_hi:
            table[cell] = held
            continue
        held_lo, held_hi, held = lo, hi, n_nodes
        table[cell] = n_nodes
        n_nodes += 1
        low, high, at = _longer(low, n_nodes), _longer(high, n_nodes), _longer(at, n_nodes)
        if hi - lo < outer:
            low[held], high[held] = number + lo, hi - lo + 1
            continue
        s_node[0], s_lo[0], s_hi[0], s_begin[0], s_end[0] = held, lo, hi, begin, end
        s_useless[0] = False
        pending = 1
        while pending:
            pending -= 1
            node, left, right = s_node[pending], s_lo[pending], s_hi[pending]
            a, b, useless = s_begin[pending], s_end[pending], s_useless[pending]
            k = right - left + 1
            if k > outer and b - a > 4 * least and budget > 0:
                middle = (a + b) / 2
                # Both are sorted: the last that may win left of the middle, the first right of it.
                inner_right = left + np.searchsorted(
                    first[left + 1 : right + 1], middle + slip, side="right"
                )
                inner_left = left + np.searchsorted(last[left:right], middle - slip)
                fewest = min(inner_right - left, right - inner_left) + 1
                vain = 8 * fewest > 7 * k
                if not (vain and useless):
                    budget -= 2
                    held_lo = -1
                    low[node], high[node], at[node] = n_nodes, -1, middle
                    s_node[pending], s_lo[pending], s_hi[pending] = n_nodes, left, inner_right
                    s_begin[pending], s_end[pending], s_useless[pending] = a, middle, vain
                    pending += 1
                    s_node[pending], s_lo[pending], s_hi[pending] = n_nodes + 1, inner_left, right
                    s_begin[pending], s_end[pending], s_useless[pending] = middle, b, vain
                    pending += 1
                    n_nodes += 2
                    low, high = _longer(low, n_nodes), _longer(high, n_nodes)
                    at = _longer(at, n_nodes)
                    continue
            low[node], high[node] = number + left, k if k <= most else 0
    return low[:n_nodes], high[:n_nodes], at[:n_nodes]
