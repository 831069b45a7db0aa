"""Kernels of the pruned engine that put like queries side by side.

How well they do it shows in the time and in no answer, so nothing here needs a margin.
"""

from __future__ import annotations

import math

import numpy as np

from ._canonical import fewest_keys
from ._decide import pack, padded_scores
from ._few_keys import decide
from ._jit import compiled, part
from ._processor import VECTOR_BYTES
from ._vectors import prefetch

__all__ = ["assign", "directions", "refine", "split", "spread"]

# Rows that stand for a node when it is split.
_SAMPLE = 128
_BLOCK = 64
_BISECTIONS = 24
# Rows lie anywhere in memory: they are asked for so many ahead.
_AHEAD = 16


@compiled
def directions(query, unit, size, scale):
    """Unit vectors of the queries, zeros for zeros, and their lengths times ``scale``."""
    n, d = query.shape
    number = query.dtype.type
    zero, one = number(0), number(1)
    columns = np.empty((max(1, d), _BLOCK), query.dtype)
    peak, total = np.empty(_BLOCK, query.dtype), np.empty(_BLOCK, query.dtype)
    # Feature by feature: so it vectorises.
    for begin in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - begin)
        for i in range(_BLOCK):
            peak[i] = total[i] = zero
        for i in range(rows):
            for f in range(d):
                columns[f, i] = query[begin + i, f]
        for f in range(d):
            for i in range(_BLOCK):
                x = abs(columns[f, i])
                peak[i] = x if x > peak[i] else peak[i]
        for f in range(d):
            for i in range(_BLOCK):
                x = columns[f, i] / (peak[i] if peak[i] > zero else one)
                columns[f, i] = x
                total[i] += x * x
        for i in range(_BLOCK):
            total[i] = math.sqrt(total[i])
        for f in range(d):
            for i in range(_BLOCK):
                columns[f, i] /= total[i] if total[i] > zero else one
        for i in range(rows):
            size[begin + i] = peak[i] * total[i] * scale
            for f in range(d):
                unit[begin + i, f] = columns[f, i]


@compiled
def spread(sample, centres, vectors):
    """Far-apart rows of ``sample``, each then moved to the middle of the rows nearest to it.

    Centres are unit vectors, too: the nearest one is the one of highest score.
    """
    n, d = sample.shape
    k = len(centres)
    scores = np.empty(n + fewest_keys(sample.itemsize), sample.dtype)
    nearness = np.empty(n, sample.dtype)
    for i in range(n):
        nearness[i] = -np.inf
    choice = 0
    for c in range(k):
        for f in range(d):
            centres[c, f] = sample[choice, f]
        padded_scores(centres, c, sample, 0, n, scores)
        choice = 0
        for i in range(n):
            nearness[i] = max(nearness[i], scores[i])
            if nearness[i] < nearness[choice]:
                choice = i
    nearest = np.empty(n, np.uint16)
    members = np.empty(k, np.int64)
    for _ in range(2):
        assign(sample, centres, 0, n, nearest, vectors)
        _middles(sample, nearest, centres, members)


@part
def _middles(sample, nearest, centres, members):
    """Move each centre to the direction of the mean of its rows, if it has any."""
    d = sample.shape[1]
    for c in range(len(centres)):
        members[c] = 0
    for i in range(len(sample)):
        c = nearest[i]
        for f in range(d):
            centres[c, f] = sample[i, f] + (centres[c, f] if members[c] else 0)
        members[c] += 1
    for c in range(len(centres)):
        length = sample.dtype.type(0)
        for f in range(d):
            length += centres[c, f] * centres[c, f]
        length = math.sqrt(length)
        for f in range(d if length > 0 else 0):
            centres[c, f] /= length


@compiled
def assign(unit, centres, start, stop, nearest, vectors):
    """The nearest of ``centres`` (float32) to each of rows start..stop-1, or one about as near."""
    d = unit.shape[1]
    if d == 0:
        return
    width = len(vectors) * VECTOR_BYTES // 4
    panel, best = np.empty((1, d * width), np.float32), np.empty(width, np.float32)
    first, last = np.empty(width, np.int64), np.empty(width, np.int64)
    count = np.empty(width, np.int64)
    for begin in range(start, stop, width):
        lanes = min(width, stop - begin)
        pack(unit, begin, lanes, width, panel, 0)
        decide(panel, 0, centres, len(centres), best, first, last, count, 0, vectors)
        for lane in range(lanes):
            nearest[begin + lane] = first[lane]


@part
def _below(place, border):
    """How many of ``place`` are less."""
    count = np.int32(0)
    for i in range(len(place)):
        count += np.int32(place[i] < border)
    return count


@part
def _border(place, left, reach):
    """Two numbers: those below the first are at most ``left``, those up to the second at least.

    All lie within ``reach``. Bisection, for counting vectorises.
    """
    low, high = -reach, reach
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        count = _below(place, middle)
        if count <= left:
            low = middle
        if count >= left:
            high = middle
        if not low < high:
            break
    return low, high


@part
def _long_axis(columns, start, stop, axis):
    """The line through two rows far apart, both from a sample."""
    d = len(columns)
    step = max(1, (stop - start) // _SAMPLE)
    a = start
    for _ in range(3):
        b, widest = a, np.float32(-1)
        for i in range(start, stop, step):
            distance = np.float32(0)
            for f in range(d):
                gap = columns[f, i] - columns[f, a]
                distance += gap * gap
            if distance > widest:
                widest, b = distance, i
        for f in range(d):
            axis[f] = columns[f, b] - columns[f, a]
        a = b


@part
def _cut(columns, rows, begin, end, left, axis, room):
    """Reorder columns begin..end-1: the ``left`` ones lowest along ``axis`` come first.

    Views instead of offsets, and numbers instead of branches: so it vectorises.
    """
    place, spare = room[0][begin:end], room[1][begin:end]
    to, spare_rows, moved = room[2][begin:end], room[3][begin:end], rows[begin:end]
    n, reach = len(place), np.float32(0)
    for i in range(n):
        place[i] = 0
    for f in range(len(columns)):
        x, slope = columns[f, begin:end], axis[f]
        reach += 2 * abs(slope)  # no feature of a direction exceeds 1 by much
        for i in range(n):
            place[i] += slope * x[i]
    low, high = _border(place, left, reach)
    level = left - np.int64(_below(place, low))  # columns on the border that go left
    lower, upper = np.int64(0), left
    for i in range(n):
        on_border = np.int64(place[i] >= low) & np.int64(place[i] <= high) & np.int64(level > 0)
        level -= on_border
        goes_left = np.int64(place[i] < low) | on_border
        to[i] = upper + goes_left * (lower - upper)
        lower += goes_left
        upper += 1 - goes_left
    for i in range(n):
        spare_rows[to[i]] = moved[i]
    for i in range(n):
        moved[i] = spare_rows[i]
    for f in range(len(columns)):
        x = columns[f, begin:end]
        for i in range(n):
            spare[to[i]] = x[i]
        for i in range(n):
            x[i] = spare[i]


@part
def _place(unit, rows, leaf, columns, axis, room, waiting):
    """Reorder ``rows`` of ``unit`` so that aligned runs of ``leaf`` 2^l lie close together."""
    n = len(rows)
    for i in range(n):
        prefetch(unit, rows[min(i + _AHEAD, n - 1)])
        for f in range(unit.shape[1]):
            columns[f, i] = unit[rows[i], f]
    # The part that waits is at most half of what was cut, so that 64 places are enough.
    n_waiting, begin, end = 0, 0, n
    while True:
        if end - begin > leaf:
            left = leaf
            while 2 * left < end - begin:
                left *= 2
            _long_axis(columns, begin, end, axis)
            _cut(columns, rows, begin, end, left, axis, room)
            waiting[n_waiting, 0], waiting[n_waiting, 1] = begin + left, end
            n_waiting += 1
            end = begin + left
        elif n_waiting:
            n_waiting -= 1
            begin, end = waiting[n_waiting, 0], waiting[n_waiting, 1]
        else:
            break


@compiled
def split(unit, size, order, leaf, start, stop, out_unit, out_size, out_order):
    """Write rows ``order[start:stop]`` so that aligned runs of ``leaf`` 2^l lie close together.

    Runs of no more than ``leaf`` keep their order.
    """
    d, n = unit.shape[1], stop - start
    rows = order[start:stop].copy()
    if n > leaf:
        room = (
            np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.uint32),
            np.empty(n, np.int64),
        )  # fmt: skip
        _place(
            unit, rows, leaf, np.empty((d, n), np.float32), np.empty(d, np.float32), room,
            np.empty((64, 2), np.int64),
        )  # fmt: skip
    for i in range(n):
        prefetch(unit, rows[min(i + _AHEAD, n - 1)])
        out_order[start + i] = rows[i]
        out_size[start + i] = size[rows[i]]
        for f in range(d):
            out_unit[start + i, f] = unit[rows[i], f]


@compiled
def refine(unit, size, order, best, leaf, start, stop):
    """As :func:`split`, in place, the rows start..stop-1 and what is known of them."""
    n = stop - start
    if n <= leaf:
        return
    old_unit, old_size = unit[start:stop].copy(), size[start:stop].copy()
    old_order, old_best, rows = order[start:stop].copy(), best[start:stop].copy(), np.arange(n)
    split(old_unit, old_size, rows, leaf, 0, n, unit[start:stop], size[start:stop], rows)
    for i in range(n):
        order[start + i], best[start + i] = old_order[rows[i]], old_best[rows[i]]
