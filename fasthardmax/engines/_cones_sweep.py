"""Machine code that divides the directions of the plane into cells, by a sweep over slopes.

On a face a key (g_0, g_1) is the line g_0 + t g_1. For any keys p and w with slopes p_1 >= w_1, if
p loses to w at some t, by the margins that ``_cones_margins`` derives, it loses to w at every
smaller t too, and where p_1 <= w_1 at every larger one. So a key may win in one interval only. Its
ends are bounded by the crossings with any other keys; those used are neighbours by slope on the
upper envelope. A crossing is a quotient of sums of three terms: its error is that of a change of
the terms by at most 8 v, v the roundoff of float64, for which the margins have room. In the order
of slopes, the keys that may win in a cell lie next to each other.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_entries import entry_of
from ._cones_lanes import PLACES, write_eight
from ._jit import compiled, inlined, part
from ._vectors import bit_count

__all__ = ["arrange", "cells", "flank", "intervals", "mark"]

_DEPTH = 64
_SAMPLE = 1 << 12
_BLOCK = 256  # keys
_NODES = 1 << 10  # that there is room for at first
_ONE_A_BYTE = np.uint64(0x0102040810204080)  # times eight bytes, 0 or 1: their bits, on top
_NARROW = 2.0**-900  # slopes that differ by less are not multiplied up


@inlined
def _line(keys, i, f, frame):
    """The line of key i on a face of feature f, and its margin."""
    sign, scale, rest, _, _ = frame
    g0 = sign * (np.float64(keys[i, f]) * scale * rest)
    g1 = np.float64(keys[i, 1 - f]) * scale * rest
    return g0, g1, _margin(g0, g1, frame)


@inlined
def _margin(g0, g1, frame):
    return frame[3] * (abs(g0) + abs(g1)) + frame[4]


@compiled
def flank(keys, f, frame, end, rows, kept, slopes):
    """Write which keys (n, 2) may win on a face: to ``rows`` them, their numbers to ``kept``.

    And their slopes; returns how many. The face has t in [-end, end]. Keys that lose on both of its
    halves to the best of a sample at an end or in the middle are left out. ``frame`` holds the
    face's sign, the two powers of two by which keys are scaled, and the factors of their margins.
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
    wins, places = np.empty(_BLOCK // 8, np.uint64), np.empty(_BLOCK + 8, np.int64)
    wins_of = wins.view(np.uint8)
    side_by_side = keys.reshape(-1)  # at a distance that the compiler knows
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        wins[:] = 0
        _may_win(side_by_side, begin, size, f, frame, end, walls, wins_of)
        some = 0
        for eight in range(-(-size // 8)):
            bits = (wins[eight] * _ONE_A_BYTE) >> np.uint64(56)
            write_eight(PLACES[bits], begin + 8 * eight, places, some)
            some += bit_count(bits)
        for p in range(some):
            i = places[p]
            rows[found, 0], rows[found, 1] = keys[i, 0], keys[i, 1]
            kept[found], slopes[found] = i, _line(keys, i, f, frame)[1]
            found += 1
    return found


@part
def _may_win(keys, begin, size, f, frame, end, walls, wins):
    """Which of ``size`` keys do not lose on a face to what ``walls`` are of; in vectors."""
    across, along = float(f), float(1 - f)
    sign, scale, rest, _, _ = frame
    left_0, middle_0, middle_1 = walls[0, 0], walls[0, 1], walls[1, 1]
    left_1, right_1, middle_2, right_2 = walls[1, 0], walls[1, 2], walls[2, 1], walls[2, 2]
    some = keys[2 * begin : 2 * (begin + size)]
    for j in range(len(some) // 2):
        x, y = np.float64(some[2 * j]), np.float64(some[2 * j + 1])
        g0 = sign * ((along * x + across * y) * scale * rest)
        g1 = (across * x + along * y) * scale * rest
        e = _margin(g0, g1, frame)
        left, middle, right = g0 - end * g1 + e, g0 + e, g0 + end * g1 + e
        before = ((left < left_0) & (middle < middle_0)) | ((left < left_1) & (middle < middle_1))
        after = ((right < right_1) & (middle < middle_1)) | (
            (right < right_2) & (middle < middle_2)
        )
        wins[j] = not (before & after)


@inlined
def _loses_before(g0, g1, e, i, w, frame):
    """Line i, of margin e, loses to line w, of no larger slope, at every smaller t."""
    ahead = (g0[i] - g0[w]) + (e + _margin(g0[w], g1[w], frame))
    rise = abs(g1[i] - g1[w])
    if rise > 0:
        return -ahead / rise
    return np.inf if ahead < 0 else -np.inf


@compiled
def mark(slopes, bits, marks):
    """Write numbers (int64) that sort as the ``slopes``, about: the last ``bits`` say which it is.

    Sorted they order the slopes several times as fast as those are themselves.
    """
    low = high = slopes[0] if len(slopes) else 0.0
    for i in range(len(slopes)):
        low, high = min(low, slopes[i]), max(high, slopes[i])
    # One bit is left for rounding, and one for the sign.
    scale = 2.0 ** (62 - bits) / (high - low) if high - low > _NARROW else 0.0
    for i in range(len(slopes)):
        marks[i] = (np.int64((slopes[i] - low) * scale) << bits) | i


@compiled
def arrange(keys, f, frame, bits, order, rows, lines, hull):
    """Write to ``rows`` the keys that ``order`` names, and to ``lines`` (2, n) theirs.

    It names them in its last ``bits``; others are cleared. ``hull`` gets which lines, of rising
    slope, lie on top, about. Returns how many, -1 if the slopes do not rise.
    """
    for i in range(len(order)):
        order[i] &= (1 << bits) - 1
    for i in range(len(order)):  # nothing else: reads that are far apart overlap
        k = order[i]
        rows[i, 0], rows[i, 1] = keys[k, 0], keys[k, 1]
    g0, g1 = lines[0], lines[1]
    before = -np.inf
    n = 0
    for i in range(len(order)):
        g0[i], b, e = _line(rows, i, f, frame)
        g1[i], a = b, g0[i] - e
        if b < before:
            return -1
        before = b
        while n:
            top = hull[n - 1]
            a1, b1 = g0[top] - _margin(g0[top], g1[top], frame), g1[top]
            if b1 == b and a1 >= a:
                break
            if b1 != b:
                if n == 1:
                    break
                under = hull[n - 2]
                a2, b2 = g0[under] - _margin(g0[under], g1[under], frame), g1[under]
                if (a2 - a) * (b1 - b2) > (a2 - a1) * (b - b2):
                    break
            n -= 1
        if n == 0 or g1[hull[n - 1]] != b:
            hull[n] = i
            n += 1
    return n


@compiled
def intervals(lines, frame, hull, end, order, rows, first, last):
    """Move the keys that may win to the front of ``order`` and ``rows``; returns how many.

    Their ``lines`` are of rising slope, those of ``hull`` on top, as of :func:`arrange`. The i-th
    of those that may win, and those before it, lose at all t beyond ``last[i]``; it and those after
    it lose at all t before ``first[i]``.
    """
    n, n_hull = len(order), len(hull)
    g0, g1 = lines[0], lines[1]
    found = passed = 0
    latest = -np.inf
    for i in range(n):
        e = _margin(g0[i], g1[i], frame)
        while passed < n_hull and hull[passed] < i:
            passed += 1
        # Lines farther off are worth a try where neighbours are too close to tell apart.
        left, step, j = -np.inf, 1, passed - 1
        while j >= 0:
            t = _loses_before(g0, g1, e, i, hull[j], frame)
            if t <= left and left > -np.inf:
                break
            left = max(left, t)
            j -= step
            step *= 2
        right, step, j = np.inf, 1, passed + (passed < n_hull and hull[passed] == i)
        while j < n_hull:
            t = -_loses_before(g0, g1, e, i, hull[j], frame)
            if t >= right and right < np.inf:
                break
            right = min(right, t)
            j += step
            step *= 2
        order[found], first[found], last[found] = order[i], left, max(latest, right)
        rows[found, 0], rows[found, 1] = rows[i, 0], rows[i, 1]
        if not (left > right or left > end or right < -end):
            latest = last[found]
            found += 1
    for i in range(found - 2, -1, -1):
        first[i] = min(first[i], first[i + 1])
    return found


@compiled
def _longer(array, size):
    """``array`` with room for ``size`` elements, more than it has."""
    longer = np.zeros(max(size, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def cells(first, last, grid, table, longest, slip, least, outer, most, budget):
    """Write a face's ``table``: who may win in each of its ``grid`` cells.

    Cells with more than ``outer`` candidates are halved, down to ``least``, and into ``budget``
    parts at most. Returns ``(low, high, at)`` as ``_cones_divide.divide`` does, for lists that are
    runs of candidates, numbered by slope. Runs no longer than ``longest`` are entries themselves.
    """
    n = len(first)
    low, high, at = np.empty(_NODES, np.int32), np.empty(_NODES, np.int32), np.zeros(_NODES)
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
        if hi - lo < longest:
            table[cell] = entry_of(lo, hi - lo + 1)
            continue
        if lo == held_lo and hi == held_hi:
            table[cell] = held
            continue
        held_lo, held_hi, held = lo, hi, n_nodes
        table[cell] = n_nodes
        n_nodes += 1
        if n_nodes > len(low):
            low, high, at = _longer(low, n_nodes), _longer(high, n_nodes), _longer(at, n_nodes)
        if hi - lo < outer:
            low[held], high[held] = lo, hi - lo + 1
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
                    if n_nodes > len(low):
                        low, high = _longer(low, n_nodes), _longer(high, n_nodes)
                        at = _longer(at, n_nodes)
                    continue
            low[node], high[node] = left, k if k <= most else 0
    return low[:n_nodes], high[:n_nodes], at[:n_nodes]
