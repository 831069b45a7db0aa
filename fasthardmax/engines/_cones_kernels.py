"""Machine code that prepares the keys of a cone index: drop inner ones, find duplicates, sort.

Everything here lives in one file because Numba's disk cache notices changes of this file only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["collapse", "enlist", "extremes", "outside", "renumber", "tree"]

_compiled = njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)

_BLOCK = 128


@_compiled
def outside(keys, frames, radii, start, stop, kept, dims):
    """Write to ``kept`` the rows start..stop-1 that lie in none of three bodies; returns how many.

    With x = (key - frames[0]) * frames[1] and y = (key - frames[2]) * frames[3] the bodies are
    |x|_2^2 < radii[0], |y|_2^2 < radii[1] and |y|_inf < radii[2].
    """
    found = 0
    lies = np.empty(_BLOCK, np.bool_)
    for begin in range(start, stop, _BLOCK):
        # Whole blocks vectorise; the last one reaches back.
        at = max(0, min(begin, stop - _BLOCK))
        size = min(_BLOCK, stop - at)
        block = keys[at : at + size]
        n_outer = 0
        for j in range(size):
            n0 = n1 = n2 = keys.dtype.type(0)
            for f in range(len(dims)):
                x = (block[j, f] - frames[0, f]) * frames[1, f]
                y = abs(block[j, f] - frames[2, f]) * frames[3, f]
                n0 += x * x
                n1 += y * y
                n2 = y if y > n2 else n2
            lies[j] = not ((n0 < radii[0]) | (n1 < radii[1]) | (n2 < radii[2]))
            n_outer += lies[j]
        if n_outer:
            for j in range(begin - at, size):
                kept[found] = at + j
                found += lies[j]
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
def renumber(lists, table, group, named, number, spans):
    """Number the groups anew in the order in which ``lists`` name them; drop those never named.

    Changes ``lists`` and ``table`` in place. Writes the old numbers to ``named``, the new ones, -1
    for those dropped, to ``number``, and to ``spans``, with room for one more than there are
    groups, where members of each will start. Returns how many are named.
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
            table[i] = -1 - number[-1 - table[i]]
    spans[: n + 1] = 0
    for i in range(len(group)):
        if number[group[i]] >= 0:
            spans[number[group[i]] + 1] += 1
    for g in range(n):
        spans[g + 1] += spans[g]
    return n


@_compiled
def enlist(group, outer, number, spans, members):
    """Write to ``members`` the keys ``outer`` of each group, increasing, from ``spans`` on."""
    into = spans.copy()
    for i in range(len(group)):
        g = number[group[i]]
        if g >= 0:
            members[into[g]] = outer[i]
            into[g] += 1


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
