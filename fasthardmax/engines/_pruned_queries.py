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
from ._vectors import VECTOR_BYTES

__all__ = ["assign", "directions", "split", "spread"]

# Rows that stand for a node when it is split.
_SAMPLE = 128
_BLOCK = 64


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
def _select(values, start, stop, k):
    """The element that would be ``values[k]`` were start..stop-1 sorted; it reorders them."""
    low, high = start, stop - 1
    while low < high:
        # the middle of three, so that sorted and constant values stay linear
        a, b, c = values[low], values[(low + high) >> 1], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@part
def _long_axis(unit, start, stop, axis):
    """The line through two rows far apart, both from a sample."""
    d = unit.shape[1]
    step = max(1, (stop - start) // _SAMPLE)
    a = start
    for _ in range(3):
        b, widest = a, -1.0
        for i in range(start, stop, step):
            distance = 0.0
            for f in range(d):
                gap = unit[i, f] - unit[a, f]
                distance += gap * gap
            if distance > widest:
                widest, b = distance, i
        for f in range(d):
            axis[f] = unit[b, f] - unit[a, f]
        a = b


@part
def _cut(
    unit, order, begin, end, left, axis, spare, spare_order, place, sorted_place
):  # fmt: skip
    """Reorder rows begin..end-1: the ``left`` ones lowest along ``axis`` come first."""
    d = unit.shape[1]
    for i in range(begin, end):
        along = unit.dtype.type(0)
        for f in range(d):
            along += axis[f] * unit[i, f]
        place[i] = along
        sorted_place[i] = along
    border = _select(sorted_place, begin, end, begin + left)
    level = left  # rows on the border that go left
    for i in range(begin, end):
        level -= place[i] < border
    lower, upper = begin, begin + left
    for i in range(begin, end):
        goes_left = place[i] < border
        if place[i] == border and level > 0:
            goes_left = True
            level -= 1
        to = lower if goes_left else upper
        lower += goes_left
        upper += not goes_left
        spare_order[to] = order[i]
        for f in range(d):
            spare[to, f] = unit[i, f]
    for i in range(begin, end):
        order[i] = spare_order[i]
        for f in range(d):
            unit[i, f] = spare[i, f]


@compiled
def split(unit, order, leaf, start, stop, spare, spare_order, place, sorted_place):  # fmt: skip
    """Reorder rows start..stop-1 so that aligned runs of ``leaf`` 2^l rows lie close together.

    The last four arguments are workspace.
    """
    axis = np.empty(unit.shape[1], unit.dtype)
    # The part that waits is at most half of what was cut, so that 64 places are enough.
    waiting = np.empty((64, 2), np.int64)
    n_waiting, begin, end = 0, start, stop
    while True:
        if end - begin > leaf:
            left = leaf
            while 2 * left < end - begin:
                left *= 2
            _long_axis(unit, begin, end, axis)
            _cut(unit, order, begin, end, left, axis, spare, spare_order, place, sorted_place)
            waiting[n_waiting, 0], waiting[n_waiting, 1] = begin + left, end
            n_waiting += 1
            end = begin + left
        elif n_waiting:
            n_waiting -= 1
            begin, end = waiting[n_waiting, 0], waiting[n_waiting, 1]
        else:
            break
