"""Machine code that prepares the keys of a cone index: drop inner ones, find duplicates, sort.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_entries import candidate_of, entry_of
from ._cones_lanes import PLACES, outside_body, write_eight
from ._cones_vectors import LANES
from ._cones_walls import head
from ._jit import compiled, part
from ._processor import VECTOR_BYTES
from ._vectors import bit_count, lowest_bit

__all__ = [
    "boxes_around", "collapse", "enlist", "extremes", "farthest", "outside", "renumber",
    "select", "tree",
]  # fmt: skip


@compiled
def outside(keys, frames, shear, frame, radius, box, start, stop, kept, dims):
    """Write to ``kept[start:]`` the rows start..stop-1 outside of a body; returns how many.

    With x = (shear @ (key - frames[frame])) * frames[frame + 1] it is |x|_inf < radius for a
    ``box``, and else |x|_2^2 < radius. ``shear`` is as of ``_cones_shear.py``.
    """
    found = start
    lanes = VECTOR_BYTES // keys.itemsize
    whole = stop - (stop - start) % lanes
    for i in range(start, whole, lanes):
        bits = outside_body(keys, i, frames, shear, frame, radius, box, dims)
        # Without branches on what is found, which could not be foretold: what is written in vain
        # is written over.
        for eight in range(0, lanes, 8):
            word = (bits >> np.uint64(eight)) & np.uint64(255)
            if found + 8 <= stop:
                write_eight(PLACES[word], i + eight, kept, found)
                found += bit_count(word)
                continue
            while word:
                kept[found] = i + eight + lowest_bit(word)
                found += 1
                word &= word - np.uint64(1)
    for i in range(whole, stop):
        largest = total = keys.dtype.type(0)
        for f in range(len(dims)):
            x = keys[i, f] - frames[frame, f]
            for g in range(f):
                x += shear[f, g] * (keys[i, g] - frames[frame, g])
            x *= frames[frame + 1, f]
            largest = max(largest, abs(x))
            total += x * x
        if not (largest if box else total) < radius:
            kept[found] = i
            found += 1
    return found - start


@compiled
def extremes(columns, directions, start, stop, best):
    """Write to ``best`` which of ``columns`` score highest in directions start..stop-1.

    The columns are whole vectors of keys.
    """
    tops, places = np.empty(LANES), np.empty(LANES, np.int64)
    for t in range(start, stop):
        best[t], _ = head(columns, 0, columns.shape[1], directions, t, tops, places)


@compiled
def farthest(moved, middle, widths, per_side, best, heads):
    """Write to ``heads`` the row of ``moved`` farthest from ``middle`` in each box of directions.

    Distances, whose squares raise ``best``, are in ``widths``; ``per_side`` boxes lie along each
    side of each face of the cube of directions. Rows that are infinitely far are passed over.
    """
    n, d = moved.shape
    away = np.empty(d)
    for i in range(n):
        square, face = 0.0, 0
        for f in range(d):
            away[f] = (moved[i, f] - middle[f]) / widths[f]
            square += away[f] * away[f]
            if abs(away[f]) > abs(away[face]):
                face = f
        if not 0 < square < np.inf:
            continue
        box = 2 * face + (away[face] < 0)
        for f in range(d):
            if f != face:
                along = int((away[f] / abs(away[face]) + 1) / 2 * per_side)
                box = box * per_side + min(along, per_side - 1)
        if square > best[box]:
            best[box], heads[box] = square, i


@compiled
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


@compiled
def renumber(lists, table, group, named, number, spans):
    """Number the groups anew in the order in which ``lists`` name them; drop those never named.

    Changes ``lists`` and ``table``, whose runs are of one each, in place. Writes the old numbers to
    ``named``, the new ones, -1 for those dropped, to ``number``, and to ``spans``, with room for
    one more than there are groups, where members of each will start. Returns how many are named.
    """
    number[:] = -1
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
            table[i] = entry_of(number[candidate_of(table[i])], 1)
    spans[: n + 1] = 0
    for i in range(len(group)):
        if number[group[i]] >= 0:
            spans[number[group[i]] + 1] += 1
    for g in range(n):
        spans[g + 1] += spans[g]
    return n


@compiled
def enlist(group, outer, number, spans, members):
    """Write to ``members`` the keys ``outer`` of each group, increasing, from ``spans`` on."""
    into = spans.copy()
    for i in range(len(group)):
        g = number[group[i]]
        if g >= 0:
            members[into[g]] = outer[i]
            into[g] += 1


@part
def select(keys, order, start, stop, middle, f):
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


@compiled
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
                select(keys, order, start, stop, (n * (2 * i + 1)) >> (level + 1), longest)


@compiled
def boxes_around(keys, levels, order, boxes):
    """Write the boxes of :func:`tree` around ``keys`` that have been sorted."""
    n, d = keys.shape
    bottom = 1 << levels
    for i in range(bottom):
        start, stop = (n * i) >> levels, (n * (i + 1)) >> levels
        for f in range(d):
            low = high = keys[order[start], f]
            for j in range(start + 1, stop):
                x = keys[order[j], f]
                low, high = min(low, x), max(high, x)
            boxes[bottom + i, 0, f], boxes[bottom + i, 1, f] = low, high
    for number in range(bottom - 1, 0, -1):
        for f in range(d):
            left, right = boxes[2 * number], boxes[2 * number + 1]
            boxes[number, 0, f] = min(left[0, f], right[0, f])
            boxes[number, 1, f] = max(left[1, f], right[1, f])
